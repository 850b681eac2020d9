"""Duplicates across a split: what `featx.pitfalls.check_split` finds, by features alone and with images.

    python bench/duplicates.py [SEEDS]

Each data set is split, and copies of 100 training images are put among the test images: the same image
once more, saved as JPEG, brighter, darker, mirrored, shifted, cut. The table gives the part of each kind that
is found, and the part of the true test images that is flagged all the same. Features are GlyphNet's.

* digits: scikit-learn's, 8 x 8.
* letters: draws of GlyphNet's augmentation, 32 x 32: no two are the same by construction.
* photos: crops of 64 x 64 from scikit-learn's two photographs; training crops from the left part of each,
  which overlap one another, test crops from the right part, which overlap none of them.
* fonts: the letters as rendered, 64 x 64. Many letters look the same in two cuts of a font, on both sides of
  the split, so what stands under "false alarms" there is mostly none: with images 38 % are flagged, of one
  split's pairs 97 % show the same letter, and of 16 drawn at random all look the same to the eye. Real false
  alarms are among the rest: I for T, O for Q, and b for d, which is its mirror image.

Three minutes on two cores.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.nn.functional import interpolate, pad

import featx
from featx.glyphnet.glyphs import Augment, render_letters
from featx.pitfalls import check_split

COPIES = 100


def jpeg(images: torch.Tensor, quality: int = 75) -> torch.Tensor:
    out = []
    for image in images.permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image.squeeze()).save(file, "JPEG", quality=quality)
        out.append(np.array(Image.open(file)).reshape(image.shape))
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2)


def times(images: torch.Tensor, factor: float) -> torch.Tensor:
    return (images.float() * factor).clamp(0, 255).to(torch.uint8)


def step(images: torch.Tensor) -> int:
    return max(1, images.shape[-1] // 16)


def shifted(images: torch.Tensor) -> torch.Tensor:
    k = step(images)
    return pad(images, (k, 0, k, 0))[:, :, :-k, :-k]


def cut(images: torch.Tensor) -> torch.Tensor:
    k = step(images)
    return images[:, :, :-k, :-k]


def resized(images: torch.Tensor) -> torch.Tensor:
    small = cut(images).float()
    size = images.shape[-2:]
    return interpolate(small, size, mode="bilinear", antialias=True).round().to(torch.uint8)


#: Ways to copy images ``(N, C, H, W)``; a step is a sixteenth of the image, at least one pixel.
KINDS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "JPEG 75": jpeg,
    "JPEG 50": lambda images: jpeg(images, 50),
    "darker, x 0.75": lambda images: times(images, 0.75),
    "brighter, x 1.25": lambda images: times(images, 1.25),
    "mirrored": lambda images: images.flip(3),
    "shifted by a step": shifted,
    "cut by a step": cut,
    "cut and resized": resized,
}


def crops(places: list[tuple[int, int, int]], by: int = 0, size: int = 64) -> torch.Tensor:
    photos = load_sample_images().images
    out = [photos[p][y + by : y + by + size, x + by : x + by + size] for p, y, x in places]
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2)


def made_up(name: str, seed: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray, dict]:
    """Return training images, test images, the rows that are copied, and the copies by kind."""
    rng = np.random.default_rng(seed)
    places = []
    if name == "photos":

        def draw(count: int, start: float, end: float) -> list[tuple[int, int, int]]:
            # 8 pixels from every edge, so that a copy can be shifted
            left, right = int(640 * start) + 8, int(640 * end) - 72
            return [
                (
                    int(rng.integers(2)),
                    int(rng.integers(8, 427 - 72)),
                    int(rng.integers(left, right)),
                )
                for _ in range(count)
            ]

        places = draw(1000, 0.0, 0.6)
        train, test = crops(places), crops(draw(500, 0.6, 1.0))
    else:
        if name == "digits":
            images = featx.datasets.load_digits().images
        elif name == "letters":
            drawn = Augment(*render_letters(), seed).batch(1800, turned=False)[0]
            images = (drawn.clamp(0, 1) * 255).to(torch.uint8)
        else:
            images = render_letters()[0][:, None]
        order = rng.permutation(len(images))
        part = int(0.7 * len(images))
        train, test = images[order[:part]], images[order[part:]]
    rows = rng.choice(len(train), COPIES, replace=False)
    copies = {kind: copy(train[rows]) for kind, copy in KINDS.items()}
    if places:
        for by in (2, 4, 6):
            copies[f"crop {by} px further"] = crops([places[row] for row in rows], by)
    return train, test, rows, copies


def measure(name: str, seed: int, with_images: bool) -> dict[str, float]:
    """Return the part that is found of each kind, of exact copies, and of the test images."""
    train, test, rows, copies = made_up(name, seed)
    backbone = featx.load_backbone("glyphnet")

    def features(images: torch.Tensor, batch_size: int = 64) -> np.ndarray:
        return featx.extract(backbone, images, batch_size=batch_size, progress=False).X

    # The same images in batches of another size: float32 rounds otherwise
    groups = {"false alarms": test, "exact": train[rows], **copies}
    Z = np.concatenate([features(images, 48) for images in groups.values()])
    images = None
    if with_images:
        images = train, [image for group in groups.values() for image in group]
    found = check_split(features(train), Z, images=images)
    ends = np.cumsum([len(images) for images in groups.values()])
    kind = np.repeat(np.arange(len(groups)), np.diff(ends, prepend=0))
    flagged = {
        code: np.bincount(
            kind[np.unique(found[code].numbers["pairs"][:, 1])], minlength=len(groups)
        )
        if code in found
        else np.zeros(len(groups))
        for code in ("exact_duplicates", "near_duplicates")
    }
    total = flagged["exact_duplicates"] + flagged["near_duplicates"]
    out = {what: total[i] / len(images) for i, (what, images) in enumerate(groups.items())}
    out["exact"] = flagged["exact_duplicates"][1] / COPIES
    return out


def main() -> None:
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
    print(
        "| | "
        + " | ".join(f"{name}, {how}" for name in NAMES for how in ("features", "images"))
        + " |"
    )
    print("|---" * (1 + 2 * len(NAMES)) + "|")
    columns = []
    for name in NAMES:
        for with_images in (False, True):
            runs = [measure(name, seed, with_images) for seed in seeds]
            column = {what: float(np.mean([run[what] for run in runs])) for what in runs[0]}
            near = [v for k, v in column.items() if k not in ("exact", "false alarms")]
            column["all kinds of near copies"] = float(np.mean(near))
            column["most false alarms of a seed"] = max(run["false alarms"] for run in runs)
            columns.append(column)
    kinds = list(dict.fromkeys(what for column in columns for what in column))
    last = ["all kinds of near copies", "false alarms", "most false alarms of a seed"]
    for what in [kind for kind in kinds if kind not in last] + last:
        digits = 4 if "alarms" in what else 2
        cells = [f"{column[what]:.{digits}f}" if what in column else "" for column in columns]
        print(f"| {what} | " + " | ".join(cells) + " |")


NAMES = ("digits", "letters", "photos", "fonts")

if __name__ == "__main__":
    main()
