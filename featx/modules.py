"""What holds for any module of torch: that it is one, that its tensors have sizes, and its modes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from torch import nn

from featx.errors import FeatxError

__all__ = ["check_module", "check_sizes", "in_eval_mode", "no_backbone"]


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
