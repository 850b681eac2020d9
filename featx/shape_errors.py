"""Why a layer refused its input: expected, got, and the likely cause."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd

from featx.wording import counted, first_line, named_line

__all__ = ["ModuleCall", "explain_refusal"]


@dataclass(eq=False)
class ModuleCall:
    """One call of one module, while a forward pass runs.

    Attributes
    ----------
    name : str
        The module's dotted name; empty for the model itself.
    module : torch.nn.Module
        What was called.
    args, kwargs : tuple, dict
        What it was called with.
    depth : int
        How deep in calls of other modules.
    number : int
        1 for the module's first call.
    shape
        What it returned, once it has.
    """

    name: str
    module: nn.Module
    args: tuple
    kwargs: dict
    depth: int
    number: int
    shape: Any = None


def explain_refusal(
    call: ModuleCall, error: Exception, calls: list[ModuleCall], args: tuple, kwargs: dict
) -> str:
    """Say in a sentence or two why a forward pass failed.

    Parameters
    ----------
    call
        The innermost call that the error came out of.
    error
        What was raised.
    calls
        All calls so far, in order.
    args, kwargs
        What the model was given.

    Returns
    -------
    str
        The layer, what it expected, what it got and the likely cause. The rules go by the attributes of
        PyTorch's layers (``in_channels``, ``in_features``, …), never by the name of a model.
    """
    kind = type(call.module).__name__
    where = f"{call.name} ({kind})" if call.name else kind
    x, given = _first_tensor((call.args, call.kwargs)), _first_tensor((args, kwargs))
    if x is None or given is None:
        return f"{where} raised {named_line(error)}."
    found = next((found for rule in _RULES if (found := rule(call.module, x, given))), None)
    unbatched = _unbatched(calls, given)
    if found is None:
        # These say that the code is wrong, whatever the batch.
        of_code = isinstance(error, (TypeError, AttributeError, NameError))
        check = "" if of_code else "Check the size, the channels and the dtype of the batch."
        return (
            f"{where} could not take an input of {tuple(x.shape)}: {type(error).__name__}, "
            f"{first_line(error)}. {unbatched or check}"
        ).rstrip()
    expected, got, cause = found
    in_what = "" if got == str(tuple(x.shape)) else f" in an input of {tuple(x.shape)}"
    return f"{where} expected {expected}, got {got}{in_what}. {unbatched or cause}"


def _unbatched(calls: list[ModuleCall], given: torch.Tensor) -> str:
    """Say that the batch dimension is missing, where the first convolution got one single image.

    PyTorch's convolutions take such an image, so that a layer far behind is the one to refuse it.
    """
    first = next((call for call in calls if isinstance(call.module, _ConvNd)), None)
    if first is None:
        return ""
    layer: Any = first.module
    if given.ndim == len(layer.kernel_size) + 1 and given.shape[0] == layer.in_channels:
        return _ONE_IMAGE
    return ""


_ONE_IMAGE = "The batch dimension is missing: x[None] makes a batch of one."

_Found = tuple[str, str, str] | None  # expected, got, likely cause


def _wrong_device(module: nn.Module, x: torch.Tensor, given: torch.Tensor) -> _Found:
    weight = next(module.parameters(recurse=False), None)
    if weight is None or weight.device == x.device:
        return None
    cause = f'The batch and the model are on different devices: x.to("{weight.device}").'
    return f"a tensor on {weight.device}", f"one on {x.device}", cause


def _wrong_dtype(module: nn.Module, x: torch.Tensor, given: torch.Tensor) -> _Found:
    weight = next(module.parameters(recurse=False), None)
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        if x.dtype not in (torch.int32, torch.int64):
            return "indices (int64)", _dtype(x), "Indices are whole numbers: x.long()."
        if (
            x.numel()
            and not x.is_meta
            and not 0 <= int(x.min()) <= int(x.max()) < module.num_embeddings
        ):
            top = module.num_embeddings - 1
            return (
                f"indices from 0 to {top}",
                f"{int(x.min())} to {int(x.max())}",
                ("The vocabulary of the data is another than the model's."),
            )
        return None
    if weight is None or weight.dtype == x.dtype or torch.is_autocast_enabled(x.device.type):
        return None
    if x.is_floating_point():
        cause = f"Convert the batch: x.to({weight.dtype})."
    else:
        cause = "Images straight from a file: preprocess them, or at least x.float() / 255."
    return _dtype(weight), _dtype(x), cause


def _wrong_ndim(module: nn.Module, x: torch.Tensor, given: torch.Tensor) -> _Found:
    spatial = _spatial(module)
    if not spatial:
        return None
    allowed = {spatial + 2} if isinstance(module, _NormBase) else {spatial + 1, spatial + 2}
    if isinstance(module, nn.BatchNorm1d):
        allowed = {2, 3}
    if x.ndim in allowed:
        return None
    axes = ", ".join(
        ["N", "C", *["L" if spatial == 1 else "DHW"[3 - spatial :][k] for k in range(spatial)]]
    )
    inside = x.shape != given.shape and x.ndim != spatial + 1  # neither the batch nor one image
    if inside and isinstance(module, _BatchNorm) and x.shape[1:2] == (module.num_features,):
        right = f"BatchNorm{max(x.ndim - 2, 1)}d"
        cause = f"{type(module).__name__} stands where the layer before needs {right}."
    elif x.ndim == spatial + 1:
        cause = _ONE_IMAGE
    elif x.ndim < spatial + 1:
        cause = (
            "These are no images with channels: one grey image (H, W) is x[None, None], flattened images "
            "need x.reshape(N, C, H, W)."
        )
    else:
        cause = "There is a dimension too many: x.squeeze(dim), or x.flatten(0, 1)."
    return f"{spatial + 2} dimensions ({axes})", str(tuple(x.shape)), cause


def _wrong_channels(module: nn.Module, x: torch.Tensor, given: torch.Tensor) -> _Found:
    if isinstance(module, _ConvNd):
        size, axis = module.in_channels, -1 - len(module.kernel_size)
    elif isinstance(module, (_NormBase, nn.GroupNorm)):
        size = module.num_features if isinstance(module, _NormBase) else module.num_channels
        axis = 1
    else:
        return None
    if x.ndim < 2 or x.ndim < -axis or x.shape[axis] == size:
        return None
    got, first = x.shape[axis], x.shape == given.shape
    # Any size may be a width, too: three channels or a square image tell the two apart.
    last = x.shape[-1] == size and (axis > -3 or size in (1, 3, 4) or got == x.shape[axis + 1])
    if first and last:
        order = ", ".join(
            map(str, [*range(x.ndim + axis), x.ndim - 1, *range(x.ndim + axis, x.ndim - 1)])
        )
        cause = f"The channels are last: x.permute({order}){'[None]' * (x.ndim == -axis)}."
    elif first and x.ndim == -axis:
        cause = "The dimension of the channels is missing: x[:, None]."
    elif first and got == 1:
        ones = ", ".join("-1" for _ in x.shape[2:])
        cause = (
            f"These are grayscale images: x.expand(-1, {size}, {ones}) makes {size} equal channels."
        )
    elif first and size == 1:
        cause = "These are colour images: x.mean(1, keepdim=True) makes them grey."
    elif first and got == 4 and size == 3:
        cause = "These are images with transparency (RGBA): x[:, :3]."
    elif first:
        cause = f"The batch was made for another model: this one takes {counted(size, 'channel')}."
    else:
        gives = counted(got, "channel")
        cause = f"The layer before gives {gives}: one of the two was made for another model."
    return counted(size, "channel"), str(got), cause


def _wrong_features(module: nn.Module, x: torch.Tensor, given: torch.Tensor) -> _Found:
    if isinstance(module, nn.Linear):
        size = module.in_features
    elif isinstance(module, nn.LayerNorm) and type(module).forward is nn.LayerNorm.forward:
        size = module.normalized_shape[-1]
        tail = tuple(x.shape[-len(module.normalized_shape) :])
        if tail != module.normalized_shape:
            cause = "The features before this layer have another size than it was made for."
            return f"the last dimensions {tuple(module.normalized_shape)}", str(tail), cause
    elif isinstance(module, nn.MultiheadAttention):
        size = module.embed_dim
    elif isinstance(module, nn.RNNBase):
        size = module.input_size
    else:
        return None
    if x.ndim and x.shape[-1] == size:
        return None
    got = str(x.shape[-1]) if x.ndim else "a single number"
    first = x.shape == given.shape
    pixels = math.prod(given.shape[2:]) if given.ndim == 4 else 0
    if first and x.ndim == 2 and x.shape[0] == size:
        cause = "Rows and columns are swapped: x.T."
    elif first and x.numel() == size:
        cause = "The batch dimension is missing: x.reshape(1, -1) makes a flat batch of one."
    elif first and pixels == size:
        cause = "This layer was made for flat grey images: x.mean(1).flatten(1)."
    elif pixels == size and x.ndim == 2 and x.shape[1] == given.shape[1] * size:
        cause = "This layer was made for grey images: x.mean(1, keepdim=True)."
    elif math.prod(x.shape[1:]) == size:
        cause = "Flatten first: nn.Flatten() before this layer, or x.flatten(1)."
    elif x.ndim == 4 and x.shape[1] == size:
        cause = "Pool the feature map first: x.mean((2, 3))."
    elif first:
        cause = "The batch was made for another model: each row has to have as many features."
    elif given.ndim >= 3 and x.ndim == 2:
        cause = (
            "What was flattened has another size: images of another height and width than this layer was "
            "made for, or another layer before it. nn.AdaptiveAvgPool2d makes the size independent of them."
        )
    else:
        cause = "The layer before gives another size: one of the two was replaced."
    return counted(size, "feature"), got, cause


def _too_small(module: nn.Module, x: torch.Tensor, given: torch.Tensor) -> _Found:
    spatial = _spatial(module)
    kernel, padding = getattr(module, "kernel_size", None), getattr(module, "padding", 0)
    if not spatial or kernel is None or padding == "same" or getattr(module, "transposed", False):
        return None

    def each(value: Any) -> tuple[int, ...]:
        return tuple(value) if isinstance(value, (tuple, list)) else (value,) * spatial

    padding = 0 if padding == "valid" else padding
    dilation = getattr(module, "dilation", 1)
    least = [
        d * (k - 1) + 1 - 2 * p
        for k, p, d in zip(each(kernel), each(padding), each(dilation), strict=True)
    ]
    sizes = x.shape[-spatial:]
    if all(size >= needed for size, needed in zip(sizes, least, strict=True)):
        return None
    cause = (
        f"The images are too small for this model: {tuple(given.shape)} has shrunk to this by here. "
        "Resize them; the backbone's own preprocess does."
    )
    return f"at least {_by(least)} pixels", _by(sizes), cause


def _wrong_image_size(module: nn.Module, x: torch.Tensor, given: torch.Tensor) -> _Found:
    size = getattr(module, "image_size", None) or getattr(module, "img_size", None)
    size = (size, size) if isinstance(size, int) else size
    if not isinstance(size, (tuple, list)) or len(size) != 2 or tuple(x.shape[-2:]) == tuple(size):
        if isinstance(size, (tuple, list)) and x.ndim == 3:
            cause = _ONE_IMAGE
            return "4 dimensions (N, C, H, W)", str(tuple(x.shape)), cause
        return None
    if tuple(x.shape[1:3]) == tuple(size):
        cause = "The channels are last: x.permute(0, 3, 1, 2)."
    else:
        cause = "Resize the images (the backbone's own preprocess does), or build the model for this size."
    return f"images of {_by(size)} pixels", _by(x.shape[-2:]), cause


# The first that finds something is the one to tell: a wrong device or dtype hides the rest.
_RULES = (
    _wrong_device,
    _wrong_dtype,
    _wrong_ndim,
    _wrong_channels,
    _wrong_features,
    _too_small,
    _wrong_image_size,
)


def _spatial(module: nn.Module) -> int:
    """Return how many dimensions one of PyTorch's layers slides over: its name says so (Conv2d)."""
    for kind in type(module).__mro__:
        if kind.__module__.startswith("torch.nn.") and (
            found := re.search(r"([123])d$", kind.__name__)
        ):
            return int(found[1])
    return 0


def _first_tensor(values: Any) -> torch.Tensor | None:
    if isinstance(values, torch.Tensor):
        return values
    if isinstance(values, Mapping):
        values = tuple(values.values())
    inner = values if isinstance(values, (tuple, list)) else ()
    return next((t for t in map(_first_tensor, inner) if t is not None), None)


def _dtype(x: torch.Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _by(sizes: Iterable[int]) -> str:
    return " x ".join(map(str, sizes))
