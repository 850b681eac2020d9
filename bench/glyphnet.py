"""What GlyphNet's features are worth with few labels: the numbers of its model card.

    python bench/glyphnet.py

Side by side in one run, on the same draws: pixels, random weights, GlyphNet; the course's linear probe
and scikit-learn's plain logistic regression.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

import featx

SHOTS = (1, 5, 10)


def main() -> None:
    digits = featx.datasets.load_digits()
    y = digits.labels.numpy()
    torch.manual_seed(0)
    kinds = {
        "pixels": digits.images.flatten(1).numpy() / np.float32(255),
        "random weights": featx.extract(featx.load_backbone("glyphnet", weights=None), digits).X,
        "**GlyphNet**": featx.extract(featx.load_backbone("glyphnet"), digits).X,
    }
    settings = {
        "LinearProbe, seeds 0-4": (featx.LinearProbe(), range(5)),
        "LinearProbe, seeds 0-49": (featx.LinearProbe(), range(50)),
        "LogisticRegression, seeds 0-4": (LogisticRegression(max_iter=2000), range(5)),
    }
    for title, (probe, seeds) in settings.items():
        print(f"\n{title}\n")
        print("| labels a class | " + " | ".join(map(str, SHOTS)) + " |")
        print("|---|" + "---|" * len(SHOTS))
        for name, X in kinds.items():
            result = featx.few_label_accuracy(X, y, shots=SHOTS, seeds=seeds, probe=probe)
            cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(result.mean, result.std, strict=True)]
            print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
