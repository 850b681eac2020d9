"""A batch about to go into the model, held against the preprocessing that belongs to its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from featx.arrays import as_numpy
from featx.backbones import Backbone
from featx.errors import FeatxError
from featx.findings import Finding, Findings, with_overrides
from featx.pitfalls.limits import THRESHOLDS
from featx.wording import first_line

__all__ = ["check_preprocessing"]


# Name, lowest and highest values of other normalisations that are met in the wild, for so many channels.
_OTHERS: list[tuple[str, list[float], list[float]]] = [
    ("mean 0.5 and std 0.5 (-1 to 1)", [-1.0], [1.0]),
    ("mean 0.5 and std 0.5 (-1 to 1)", [-1.0] * 3, [1.0] * 3),
    ("ImageNet's mean and std", [-2.118, -2.036, -1.804], [2.249, 2.429, 2.640]),
    ("ImageNet's mean and std (0.449 and 0.226 for grey)", [-1.987], [2.438]),
    ("Caffe's (0-255 minus the mean, BGR)", [-103.94, -116.78, -123.68], [151.06, 138.22, 131.32]),
    ("MNIST's mean 0.1307 and std 0.3081", [-0.4243], [2.8215]),
]


@dataclass(frozen=True)
class _Expected:
    low: np.ndarray  # (C,) what black becomes
    high: np.ndarray  # (C,) what white becomes
    size: tuple[int, int] | None  # None: as large as the image was

    def fits(self, low: np.ndarray, high: np.ndarray, beyond: float) -> bool:
        room = beyond * (self.high - self.low)
        return bool((low >= self.low - room).all() and (high <= self.high + room).all())

    def pixels(self, values: np.ndarray) -> np.ndarray:
        """Turn values ``(…, C)`` back into pixels of 0-1."""
        return (values - self.low) / (self.high - self.low)


def check_preprocessing(
    backbone: Backbone, x: Any, *, thresholds: Mapping[str, float] | None = None
) -> Findings:
    """Hold a batch about to go into the model against what the backbone's own preprocessing gives.

    What is right is asked of `backbone.preprocess` itself: a black and a white image go through it, and
    what comes out are the lowest and the highest possible value of each channel, the size and the channels.

    Parameters
    ----------
    backbone
        What `featx.load_backbone` returned.
    x
        The batch ``(N, C, H, W)``, a tensor or an array.
    thresholds : dict, optional
        Other values for `featx.pitfalls.THRESHOLDS`.

    Returns
    -------
    Findings
        ``channels_last``, ``wrong_channels``, ``wrong_size``; one of ``not_scaled`` (0-255),
        ``not_normalised`` (0-1), ``normalised_twice``, ``other_normalisation``, ``channel_order``,
        ``out_of_range``; and where the range is right ``unusual_statistics`` (all the same, all dark,
        inverted ink), or ``channel_order`` with ``numbers["certain"]`` False, which is a suspicion from
        the mean colours alone.

    Raises
    ------
    FeatxError
        When `backbone` is none, or `x` is no batch of finite numbers.

    Notes
    -----
    BGR images that were normalised as RGB stay within the range, and only colours that are rare in
    photographs give them away: blue far above red. Pictures of sky and sea look like that by nature; a batch
    of fewer than 8 images is not judged.

    Examples
    --------
    >>> import featx
    >>> backbone = featx.load_backbone("glyphnet")
    >>> images = featx.datasets.load_digits().images[:64]
    >>> check_preprocessing(backbone, backbone.preprocess(images))
    Nothing stands out.
    >>> check_preprocessing(backbone, images).codes
    ['wrong_size', 'not_scaled']
    """
    limit = with_overrides(thresholds, THRESHOLDS)
    if not isinstance(backbone, Backbone):
        raise FeatxError(
            f"Expected a Backbone, got {type(backbone).__name__}. Load one with featx.load_backbone, or make "
            "one of your model with featx.Backbone.from_module(model, preprocess)."
        )
    batch = as_numpy(x)
    if batch.ndim != 4 or 0 in batch.shape or batch.dtype.kind not in "fiub":
        hint = "Write x[None] for one image." if batch.ndim == 3 else "Pass what the model gets."
        raise FeatxError(
            f"Expected a batch (N, C, H, W) of numbers, got the shape {batch.shape} of {batch.dtype}. {hint}"
        )
    if not np.isfinite(batch).all():
        raise FeatxError(
            "Expected a batch of finite numbers, got a NaN or an infinity. Look for the image that has it."
        )
    expected = _expected(backbone)
    found = []
    channels = len(expected.low)
    if batch.shape[1] != channels and batch.shape[3] == channels:
        found.append(
            Finding(
                "channels_last",
                f"The batch is {batch.shape}: the channels stand last, and {backbone.name} wants "
                f"(N, {channels}, H, W).",
                "Move them with x.permute(0, 3, 1, 2).",
                {"shape": batch.shape},
            )
        )
        batch = batch.transpose(0, 3, 1, 2)
    elif batch.shape[1] != channels:
        return Findings(
            [
                Finding(
                    "wrong_channels",
                    f"The batch has {batch.shape[1]} channels, and {backbone.name} wants {channels}.",
                    "Give the images to backbone.preprocess; read files with featx.images.read_image, which "
                    "gives 3 channels.",
                    {"channels": batch.shape[1], "expected": channels},
                )
            ]
        )
    if expected.size and batch.shape[2:] != expected.size:
        found.append(
            Finding(
                "wrong_size",
                f"The images are {batch.shape[2]} x {batch.shape[3]}, and {backbone.name}'s preprocessing "
                f"makes them {expected.size[0]} x {expected.size[1]}.",
                "Resize with backbone.preprocess: a model takes other sizes, if at all, with worse features.",
                {"size": batch.shape[2:], "expected": expected.size},
            )
        )
    values = batch.transpose(0, 2, 3, 1).astype(np.float64).reshape(len(batch), -1, channels)
    wrong = _wrong_range(values, expected, limit)
    found += [wrong] if wrong else _unusual(values, expected, limit)
    return Findings(found)


def _expected(backbone: Backbone) -> _Expected:
    ends = []  # of black, of black in another size, of white
    for level, size in ((0.0, 256), (0.0, 288), (1.0, 256)):
        image = torch.full((1, backbone.in_channels, size, size), level)
        try:
            ends.append(as_numpy(backbone.preprocess(image)))
        except Exception as error:  # a user's function may fail with any error
            raise FeatxError(
                f"Expected {backbone.name}'s preprocess to take images (N, C, H, W) of floats 0-1, but "
                f"it failed: {first_line(error)}. Mend it first."
            ) from error
    if ends[0].ndim != 4:
        raise FeatxError(
            f"Expected {backbone.name}'s preprocess to give (N, C, H, W), got {ends[0].shape}. Mend it first."
        )
    low, high = (end.mean((0, 2, 3)).astype(np.float64) for end in (ends[0], ends[2]))
    if not (high > low).all():
        raise FeatxError(
            f"Expected {backbone.name}'s preprocess to make white brighter than black, got {low} to {high}. "
            "Mend it first."
        )
    fixed = ends[0].shape == ends[1].shape
    return _Expected(low, high, ends[0].shape[2:] if fixed else None)


def _wrong_range(values: np.ndarray, expected: _Expected, limit: dict) -> Finding | None:
    # One pixel in a thousand may be beyond: resizing overshoots at sharp edges.
    low, high = np.quantile(values, [0.001, 0.999], axis=(0, 1))
    beyond = limit["beyond"]
    span = float((expected.high - expected.low).max())
    numbers = {
        "low": low,
        "high": high,
        "expected_low": expected.low,
        "expected_high": expected.high,
    }
    got = f"values from {low.min():.3g} to {high.max():.3g}"
    right = f"{expected.low.min():.3g} to {expected.high.max():.3g}"
    way_out = (
        "Give the images, uint8 0-255 or float 0-1, to backbone.preprocess and nothing else before."
    )

    def finding(code: str, message: str, advice: str = way_out) -> Finding:
        return Finding(code, message, advice, numbers)

    if span < 20 and high.max() > 20:
        if low.min() >= 0 and high.max() <= 256:
            text = f"The batch has {got}, as raw pixels do; the model was trained on {right}."
            return finding("not_scaled", text)
        black = -expected.low / (expected.high - expected.low)  # the mean, in pixels of 0-1
        back = np.stack([low, high]) / (expected.high - expected.low) + black
        if low.min() > -20 and back.min() > -1 and back.max() <= 257:
            text = f"The batch has {got}: pixels of 0-255 were normalised as if they were of 0-1."
            return finding("not_scaled", text)

    if expected.fits(low, high, beyond):
        # Ranges inside the right one: a batch that fills one of them was hardly made by chance.
        if (expected.low < -0.3).all() and low.min() > -beyond and 0.5 < high.max() < 1 + beyond:
            text = f"The batch has {got}, none below 0; the model was trained on {right}."
            return finding("not_normalised", text)
        halves = -1 - beyond < low.min() < -0.95 and 0.95 < high.max() < 1 + beyond
        if halves and span > 2.6:
            text = f"The batch has {got}: mean 0.5 and std 0.5; the model was trained on {right}."
            return finding("other_normalisation", text)
        return None

    if len(low) == 3 and expected.fits(low[::-1], high[::-1], beyond):
        return Finding(
            "channel_order",
            f"A channel leaves its own range ({_ranges(low, high)}; right are "
            f"{_ranges(expected.low, expected.high)}), and with red and blue exchanged all fit: the "
            "channels are in the order BGR.",
            "Reverse them with x.flip(1), or read files with featx.images.read_image, which gives RGB.",
            {**numbers, "certain": True},
        )
    if low.min() >= 0 - beyond and high.max() <= 1 + beyond and span > 1.3:
        return finding("not_normalised", f"The batch has {got}; the model was trained on {right}.")
    for name, other_low, other_high in _OTHERS:
        if len(other_low) != len(low):
            continue
        other = _Expected(np.array(other_low), np.array(other_high), None)
        for order in (slice(None), slice(None, None, -1)):
            if other.fits(low[order], high[order], beyond) and _fills(low, high, other, order):
                text = f"The batch has {got}, which fits {name}; the model was trained on {right}."
                return finding("other_normalisation", text)
    once = np.stack([low, high]) / (expected.high - expected.low)
    once = once - expected.low / (expected.high - expected.low)
    if expected.fits(once[0], once[1], beyond):
        text = f"The batch has {got}; undone once, the normalisation still leaves {right}: it was done twice."
        return finding("normalised_twice", text)
    return finding("out_of_range", f"The batch has {got}; the model was trained on {right}.")


def _fills(low: np.ndarray, high: np.ndarray, other: _Expected, order: slice) -> bool:
    """Say whether the values come near both ends of the range, in the mean over the channels."""
    spans = other.pixels(np.stack([low[order], high[order]]))
    return bool(spans[0].mean() < 0.15 and spans[1].mean() > 0.75)


def _ranges(low: np.ndarray, high: np.ndarray) -> str:
    return ", ".join(f"{a:.2f} to {b:.2f}" for a, b in zip(low, high, strict=True))


def _unusual(values: np.ndarray, expected: _Expected, limit: dict) -> list[Finding]:
    mean, std = float(values.mean()), float(values.std())
    # What the model was trained on has mean 0 and std 1 only if its range says so: 0-1 has 0.5, 0.29
    spread = expected.high - expected.low
    centred = bool((expected.low < 0).all() and (expected.high > 0).all())
    numbers = {"mean": mean, "std": std}
    if values.std((0, 1)).max() < 1e-3 * spread.max():
        what = f"All values are about {mean:.2f}: every image is one flat colour."
        advice = "Look at the images: were they read, and was the right channel kept?"
        return [Finding("unusual_statistics", what, advice, numbers)]
    if not centred:
        return []
    if not limit["dark"] < mean < limit["bright"] or not limit["std_low"] < std < limit["std_high"]:
        tone = "bright" if mean > 0 else "dark"
        return [
            Finding(
                "unusual_statistics",
                f"The range is right, but the mean is {mean:.2f} and the standard deviation {std:.2f}, where "
                f"about 0 and 1 are usual: the images are {tone} or flat as those trained on were not.",
                "Look at them: is the ink inverted (dark on bright for bright on dark)? Where they are like "
                "this by nature, pass over it.",
                numbers,
            )
        ]
    if len(expected.low) == 3 and len(values) >= 8:
        colours = expected.pixels(values.mean(1))  # (N, 3)
        excess = colours[:, 2] - colours[:, 0]
        if excess.mean() > limit["blue_above_red"]:
            red, _, blue = colours.mean(0)
            return [
                Finding(
                    "channel_order",
                    f"Blue is far above red (mean {blue:.2f} against {red:.2f} in pixels of 0-1), which is "
                    "rare in photographs: the channels may be in the order BGR.",
                    "It is a suspicion only, and wrong for pictures of sky or sea. Draw one image: if skin "
                    "or wood is blue, reverse the channels with x.flip(1).",
                    {"certain": False, "red": red, "blue": blue},
                )
            ]
    return []
