"""The linear probe beside scikit-learn's logistic regression: accuracy, and time as a ratio.

    python bench/probe.py

Side by side in one run, on the same scaled features of the digits and the same draws. The ratio is
scikit-learn's time over the probe's: above 1 the probe is faster.
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

import featx
from featx.probes import draw_rows

SHOTS = (1, 5, 10, 100)
REPEATS = 3


def timed(fit):
    """Return the best time of a few, and what was fitted last."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        fitted = fit()
        seconds.append(time.perf_counter() - start)
    return min(seconds), fitted


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)  # scikit-learn's, at its largest C
    digits = featx.datasets.load_digits()
    features = featx.extract(featx.load_backbone("glyphnet"), digits, progress=False)
    X, y = features.X, features.y
    print(
        "| labels a class | C | probe | scikit-learn, tol 1e-4 | tol 1e-8 | ratio | ratio, tol 1e-8 |"
    )
    print("|---|---|---|---|---|---|---|")
    for shots in SHOTS:
        rows = draw_rows(y, shots, seed=0)
        test = np.setdiff1d(np.arange(len(y)), rows)
        for C in (1e-2, 1.0, 1e2):
            probe_time, probe = timed(lambda C=C, r=rows: featx.LinearProbe(C).fit(X[r], y[r]))
            scaled = ((X - probe.mean_) / probe.scale_).astype(np.float64)
            accuracy, ratio = [probe.score(X[test], y[test])], []
            for tol in (1e-4, 1e-8):
                other = LogisticRegression(C=C, tol=tol, max_iter=5000)
                seconds, other = timed(lambda m=other, Z=scaled, r=rows: m.fit(Z[r], y[r]))
                accuracy.append(other.score(scaled[test], y[test]))
                ratio.append(seconds / probe_time)
            cells = [*(f"{a:.3f}" for a in accuracy), *(f"{r:.2f}" for r in ratio)]
            print(f"| {shots} | {C:g} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
