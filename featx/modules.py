"""What holds for any module of torch: that it is one, where it is, what its tensors hold, and its modes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import cast

import torch
from torch import nn

from featx.errors import FeatxError
from featx.wording import first_line

__all__ = [
    "bits_of",
    "check_device",
    "check_module",
    "check_sizes",
    "home",
    "in_eval_mode",
    "no_backbone",
]


def check_module(model: object) -> None:
    """Raise a sentence where something else than a module was passed: a name, a `Backbone`.

    Examples
    --------
    >>> check_module("resnet18")
    Traceback (most recent call last):
        ...
    featx.errors.FeatxError: Expected a torch module, got str. featx.load_backbone(name).model is one.
    """
    if isinstance(model, nn.Module):
        return
    inside = isinstance(getattr(model, "model", None), nn.Module)
    way_out = "Pass backbone.model" if inside else "featx.load_backbone(name).model is one"
    raise FeatxError(f"Expected a torch module, got {type(model).__name__}. {way_out}.")


def no_backbone(given: object) -> FeatxError:
    """Return the error for what is no `Backbone` where one is needed: a plain module, a name.

    Examples
    --------
    >>> raise no_backbone(nn.Linear(1, 1))
    Traceback (most recent call last):
        ...
    featx.errors.FeatxError: Expected a backbone from featx.load_backbone, got Linear. A plain model does ...
    """
    return FeatxError(
        f"Expected a backbone from featx.load_backbone, got {type(given).__name__}. A plain model does not "
        "say which preprocessing its weights need: wrap it with "
        "featx.Backbone.from_module(model, preprocess)."
    )


def check_sizes(model: object) -> None:
    """Raise a sentence for what is no module, and for one with a lazy parameter, which has no size yet.

    Examples
    --------
    >>> check_sizes(nn.Sequential(nn.LazyLinear(10)))
    Traceback (most recent call last):
        ...
    featx.errors.FeatxError: Expected a model whose parameters have a size, but 0.weight gets ...
    """
    check_module(model)
    tensors = (*cast(nn.Module, model).named_parameters(), *cast(nn.Module, model).named_buffers())
    lazy = [name for name, tensor in tensors if nn.parameter.is_lazy(tensor)]
    if lazy:
        raise FeatxError(
            f"Expected a model whose parameters have a size, but {lazy[0]} gets its size from the "
            "first batch. Run the model once before."
        )


def check_device(device: object, way_out: str, *, numbers: bool = True) -> torch.device:
    """Return the device that is meant, or raise a sentence where this machine has none such.

    Parameters
    ----------
    device
        What `torch.device` takes.
    way_out
        What to use instead: the end of the message.
    numbers
        Whether it must hold numbers; ``"meta"`` is a device too, and holds none.

    Examples
    --------
    >>> check_device("gpu", 'Use "cpu".')
    Traceback (most recent call last):
        ...
    featx.errors.FeatxError: Expected a device that this machine has, got 'gpu'. Use "cpu".
    """
    try:
        chosen = torch.device(device)  # pyright: ignore[reportCallIssue, reportArgumentType]
        there = torch.empty(1, device=chosen)
        if numbers:
            there.item()
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        why = first_line(error)  # torch lists all that it ever knew for a word that is none of them
        why = "" if why.startswith("Expected one of") else f" ({why[:80]})"
        raise FeatxError(
            f"Expected a device that this machine has, got {device!r}{why}. {way_out}"
        ) from error
    return chosen


def home(model: nn.Module, default: torch.device | None = None) -> torch.device:
    """Return where the first tensor of `model` is.

    Parameters
    ----------
    model
        A model, on one device.
    default
        The answer for a model without tensors; by default where torch makes new ones.

    Examples
    --------
    >>> home(nn.Linear(2, 2, device="meta")), home(nn.ReLU())
    (device(type='meta'), device(type='cpu'))
    """
    tensor = next(chain(model.parameters(), model.buffers()), None)
    if tensor is None:
        return default or torch.get_default_device()
    return tensor.device


def bits_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of `tensor` in a row: -0.0 is another number than 0.0, and NaN is as good as any.

    Nothing is copied where the numbers lie side by side.

    Examples
    --------
    >>> bits_of(torch.tensor([1, 256], dtype=torch.int16)).tolist()
    [1, 0, 0, 1]
    >>> torch.equal(bits_of(torch.tensor(0.0)), bits_of(torch.tensor(-0.0)))
    False
    """
    tensor = tensor.detach()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    return tensor.contiguous().reshape(-1).view(torch.uint8)


@contextmanager
def in_eval_mode(model: nn.Module) -> Iterator[None]:
    """Run the ``with`` block with `model` in eval mode, and leave its modes as they were found.

    Only the flags are set: `model.eval()` is noted by a module that `featx.freeze` has pinned, and one that
    overrides `train` does what it likes.

    Examples
    --------
    >>> model = nn.Sequential(nn.Dropout())
    >>> with in_eval_mode(model):
    ...     model[0].training
    False
    >>> model[0].training
    True
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode
