"""Exercise: turn an array of photos into the normalised tensor that a backbone takes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch

from featx.study.exercises import Exercise
from featx.study.exercises._plain import array_described
from featx.study.verdicts import Check, Verdict, weigh

NUM_IMAGES, HEIGHT, WIDTH = 3, 5, 7


def to_input(images, mean: list[float], std: list[float]) -> torch.Tensor:
    """Return a float32 tensor (N, 3, H, W) that is ready for a backbone.

    `images` is a NumPy array of uint8, 0-255, (N, H, W, 3), RGB. `mean` and `std` have one number
    for each channel, on the scale 0-1.
    """
    ### BEGIN SOLUTION
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)
    ### END SOLUTION


def forgets_255(images, mean: list[float], std: list[float]) -> torch.Tensor:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    return (pixels - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)


def channels_last(images, mean: list[float], std: list[float]) -> torch.Tensor:
    pixels = torch.from_numpy(images).float() / 255
    return (pixels - torch.tensor(mean)) / torch.tensor(std)


def reshapes(images, mean: list[float], std: list[float]) -> torch.Tensor:
    n, h, w, c = images.shape
    pixels = torch.from_numpy(images).reshape(n, c, h, w).float() / 255
    return (pixels - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)


def bgr(images, mean: list[float], std: list[float]) -> torch.Tensor:
    pixels = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 255
    return (pixels - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)


def std_forgotten(images, mean: list[float], std: list[float]) -> torch.Tensor:
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    return pixels - torch.tensor(mean).reshape(3, 1, 1)


def float64_images(images, mean: list[float], std: list[float]) -> torch.Tensor:
    import numpy as np

    pixels = (images / 255 - np.array(mean)) / np.array(std)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)


def observe(function: Any, seed: int) -> dict[str, Any]:
    images, mean, std = _inputs(seed)
    given = images.copy()
    returned = function(given, list(mean), list(std))
    seen = array_described(returned)
    seen["is_tensor"] = isinstance(returned, torch.Tensor)
    seen["input_unchanged"] = bool(np.array_equal(given, images))
    return seen


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    done = _what_was_done(seen, seed)
    shape = tuple(seen["shape"]) if seen["shape"] is not None else None
    shown = f"the shape {shape}" if shape is not None else f"a {seen['type']}"
    values = [value for value in seen["values"] or [] if value is not None]
    span = f"{min(values):.2f} to {max(values):.2f}" if values else "no finite number"
    known = done is not None
    scaled, centred, divided, order, layout = done or (False, False, False, "", "")
    return weigh(
        [
            Check(
                shape is not None,
                0,
                "not-an-array",
                f"You returned {shown}. Expected a tensor `(N, 3, H, W)` with the numbers of the images.",
            ),
            Check(
                seen["dtype"] != "uint8",
                0,
                "still-uint8",
                "The result is still uint8. A backbone computes with floats, and a mean cannot be taken "
                "off whole numbers from 0 to 255: make it float first.",
            ),
            Check(
                not (layout == "channels last" or (shape or (0,))[-1:] == (3,)),
                0,
                "channels-last",
                f"You returned {shown}: the channels are still last, as in NumPy and in image files. "
                "PyTorch puts them second, `(N, 3, H, W)`: move that axis with `permute`.",
            ),
            Check(
                layout != "reshaped",
                0,
                "reshapes-channels",
                f"The result has {shown}, but its pixels are shuffled: a reshape keeps the order of the "
                "numbers in memory and only cuts it anew. `permute` moves the axis.",
            ),
            Check(
                known and layout == "right",
                1,
                "not-normalised",
                f"You returned {shown} with numbers from {span}, and they are not the pixels of the "
                "images, scaled and normalised. Go step by step: axes, 0-1, minus `mean`, by `std`.",
                right="the channels are in the second place",
            ),
            Check(
                known and scaled,
                1,
                "forgets-255",
                f"Your numbers go from {span}: the pixels were not divided by 255. `mean` and `std` are "
                "given for pixels from 0 to 1, so scale first, then normalise.",
                right="the pixels are scaled to 0-1",
            ),
            Check(
                known and order == "rgb" and scaled,
                1,
                "bgr-order",
                "Red and blue have changed places. The images came in RGB, as PIL reads them, and the "
                "backbone was trained on RGB; only OpenCV's `imread` gives BGR.",
                right="the colours are in the order RGB",
            ),
            Check(
                known and centred,
                1,
                "mean-forgotten",
                f"Your numbers go from {span}: the mean of each channel was not taken off. The weights "
                "expect what they saw in training, numbers around 0.",
                right="the mean is taken off",
            ),
            Check(
                known and divided,
                1,
                "std-forgotten",
                f"Your numbers go from {span}: the mean is taken off, but nothing is divided by `std`. "
                "The backbone would see images of much too little contrast.",
                right="the contrast is divided by std",
            ),
            Check(
                known and scaled and centred and seen["is_tensor"] and seen["dtype"] == "float32",
                1,
                "float64-images",
                f"You returned a {seen['type']} of {seen['dtype']}. The weights of a backbone are float32 "
                "and its layers refuse another type: NumPy divides in float64, so end with a tensor "
                "and `.float()`.",
                right="it is a float32 tensor",
            ),
            Check(
                seen["input_unchanged"] and known and scaled and layout == "right",
                1,
                "changes-its-input",
                "Your function changed the array that it was given. `torch.from_numpy` shares its "
                "memory, so compute into a new tensor.",
                right="the given array is as it was",
            ),
        ],
        praise="Axes, scale, mean, std: this is what `weights.transforms()` does after resizing, and now "
        "the backbone sees what it saw in training.",
    )


def _what_was_done(seen: dict[str, Any], seed: int) -> tuple[bool, bool, bool, str, str] | None:
    """Find the steps that lead to these numbers: scaled, centred, divided, colours, layout."""
    if not seen["values"] or None in seen["values"]:
        return None
    images, mean, std = _inputs(seed)
    flags = [True, False]
    layouts = {"right": (0, 3, 1, 2), "channels last": (0, 1, 2, 3), "reshaped": None}
    found = np.array(seen["values"])
    for scaled, centred, divided in itertools.product(flags, flags, flags):
        for order, (layout, axes) in itertools.product(("rgb", "bgr"), layouts.items()):
            x = images.astype(float)[..., :: 1 if order == "rgb" else -1]
            # What was only reshaped gets the mean of the place where a number has come to stand.
            x = x.transpose(0, 3, 1, 2) if axes else x.reshape(NUM_IMAGES, 3, HEIGHT, WIDTH)
            x = x / 255 if scaled else x
            x = x - np.array(mean)[:, None, None] if centred else x
            x = x / np.array(std)[:, None, None] if divided else x
            x = x.transpose(0, 2, 3, 1) if layout == "channels last" else x
            same_shape = list(x.shape) == seen["shape"]
            if same_shape and np.allclose(x.ravel(), found, rtol=1e-3, atol=1e-3):
                return scaled, centred, divided, order, layout
    return None


def _inputs(seed: int) -> tuple[np.ndarray, list[float], list[float]]:
    draw = np.random.default_rng(seed)
    images = draw.integers(0, 256, (NUM_IMAGES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    mean = (0.35 + 0.3 * draw.random(3)).round(3).tolist()
    std = (0.15 + 0.2 * draw.random(3)).round(3).tolist()
    return images, mean, std


EXERCISE = Exercise(
    id="normalise-images",
    lesson=2,
    title="From an array of photos to the input of a backbone",
    points=4,
    prompt="""
Write `to_input(images, mean, std)`. `images` is a NumPy array of uint8 with the shape `(N, H, W, 3)`, RGB,
0-255. `mean` and `std` are lists of three numbers, one for each channel, for pixels from 0 to 1. Return a
float32 tensor `(N, 3, H, W)`: scaled to 0-1, then the mean taken off and divided by std, channel by channel.
The given array must stay as it is.
""".strip(),
    hints=(
        "`torch.from_numpy(images)` is a tensor of the same shape. Which axis has to move, and where?",
        "`permute(0, 3, 1, 2)` moves the channels to the second place; a reshape would mix the pixels up.",
        "Three numbers meet `(N, 3, H, W)` when they have the shape `(3, 1, 1)`. Divide by 255 first.",
    ),
    reference=to_input,
    mutants={
        "forgets-255": forgets_255,
        "channels-last": channels_last,
        "reshapes-channels": reshapes,
        "bgr-order": bgr,
        "std-forgotten": std_forgotten,
        "float64-images": float64_images,
    },
    visible_test="""
images = torch.randint(0, 256, (2, 4, 6, 3), dtype=torch.uint8).numpy()
ready = to_input(images, [0.5, 0.5, 0.5], [0.25, 0.25, 0.25])
assert isinstance(ready, torch.Tensor), "to_input returned no tensor yet"
assert ready.shape == (2, 3, 4, 6), f"expected the shape (2, 3, 4, 6), got {tuple(ready.shape)}"
assert ready.dtype == torch.float32, f"expected float32, got {ready.dtype}"
assert -2.01 < ready.min() and ready.max() < 2.01, "pixels 0 to 1 become -2 to 2 here"
""".strip(),
    observer=observe,
    judger=judge,
)
