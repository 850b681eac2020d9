"""A freeze that holds, unfreeze by stage, and the proof that nothing moved.

``requires_grad = False`` alone keeps the parameters still. It does not keep a backbone still: in
``train()`` mode BatchNorm goes on updating its running statistics, and Dropout and stochastic depth
go on drawing random numbers. `freeze` pins all of it, through every later ``model.train()``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from featx.errors import FeatxError, close_matches
from featx.heads import find_head, head_name

__all__ = ["assert_frozen", "freeze", "unfreeze"]


def freeze(model: nn.Module, except_: Iterable[str] = ("head",)) -> nn.Module:
    """Freeze `model` but for the parts named in `except_`.

    A frozen part has no gradients and stays in eval mode, also after ``model.train()``: neither its
    parameters nor its buffers (BatchNorm's running statistics) change, and Dropout and stochastic
    depth in it do nothing.

    Parameters
    ----------
    model
        Any module, changed in place.
    except_
        Names of parts to leave as they are. ``"head"`` stands for the classification head of
        whatever architecture this is. Pass ``()`` to freeze everything.

    Returns
    -------
    torch.nn.Module
        The same model, for chaining.

    Raises
    ------
    FeatxError
        When a name is not a part of the model; the message lists close matches.

    Notes
    -----
    Stale gradients are dropped (``p.grad = None``): an optimizer with momentum would otherwise go on
    moving a parameter that was frozen in the middle of training.

    Examples
    --------
    >>> from torchvision.models import resnet18
    >>> model = freeze(resnet18(weights=None))
    >>> [name for name, p in model.named_parameters() if p.requires_grad]
    ['fc.weight', 'fc.bias']
    >>> model.train().bn1.training                 # pinned: its running statistics stay
    False
    """
    wanted = [except_] if isinstance(except_, str) else list(except_)
    if find_head(model) is None:  # the head was removed: all that is left is backbone
        wanted = [name for name in wanted if name != "head"]
    kept = [_resolve(model, name) for name in wanted]
    for name, module in model.named_modules():
        if _touches(name, kept):  # a kept part, or a container on the way to one
            frozen_here = [] if _inside(name, kept) else list(module.parameters(recurse=False))
        else:
            _pin(module)
            frozen_here = list(module.parameters(recurse=False))
        for parameter in frozen_here:
            parameter.requires_grad = False
            parameter.grad = None
    return model


def unfreeze(model: nn.Module, *names: str) -> nn.Module:
    """Give the named parts of `model`, or all of it, back to training.

    Parameters
    ----------
    model
        A module that `freeze` has been called on, changed in place.
    *names
        Parts to unfreeze, for example ``"layer4"`` or ``"head"``. Without any: everything.

    Returns
    -------
    torch.nn.Module
        The same model, for chaining. The parts take the training mode that the model is in.

    Raises
    ------
    FeatxError
        When a name is not a part of the model; the message lists close matches.

    Examples
    --------
    >>> from torchvision.models import resnet18
    >>> model = unfreeze(freeze(resnet18(weights=None)), "layer4")
    >>> sorted({name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad})
    ['fc', 'layer4']
    """
    parts = [_resolve(model, name) for name in names] or [""]
    for name, module in model.named_modules():
        if _touches(name, parts):
            _unpin(module)
    for name in parts:
        model.get_submodule(name).requires_grad_(True).train(model.training)
    return model


@contextmanager
def assert_frozen(model: nn.Module) -> Iterator[None]:
    """Check that the code in the ``with`` block moves nothing that is frozen.

    Frozen is each parameter that does not require gradients, and each buffer of a part whose
    parameters are all frozen.

    Parameters
    ----------
    model
        The model that the block trains.

    Raises
    ------
    FeatxError
        At the start, when nothing is frozen; at the end, when a frozen parameter or buffer is not
        bit-identical to what it was. The message names what moved.

    Examples
    --------
    >>> import torch
    >>> from torchvision.models import resnet18
    >>> model = resnet18(weights=None).requires_grad_(False).train()
    >>> with assert_frozen(model):
    ...     _ = model(torch.rand(2, 3, 32, 32))
    Traceback (most recent call last):
        ...
    featx.errors.FeatxError: 60 frozen tensors moved, bn1.running_mean first: ...
    """
    before = {name: tensor.detach().clone() for name, tensor in _frozen_tensors(model)}
    if not before:
        raise FeatxError(
            f"Expected a model with frozen parts, got a {type(model).__name__} where every "
            "parameter requires gradients. Call featx.freeze(model) first."
        )
    yield
    after = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    moved = [name for name, old in before.items() if not _same_bits(old, after.get(name))]
    if moved:
        buffers = dict(model.named_buffers())
        cause = (
            "BatchNorm updates its running statistics in train() mode, whatever requires_grad says"
            if moved[0] in buffers
            else "an optimizer with stale gradients, or code that writes to it, has changed it"
        )
        raise FeatxError(
            f"{len(moved)} frozen tensor{'s' if len(moved) > 1 else ''} moved, {moved[0]} first: "
            f"{cause}. featx.freeze(model) pins both."
        )


def _resolve(model: nn.Module, name: str) -> str:
    """Return the full name of a part of `model`; ``"head"`` finds the head of any architecture."""
    known = dict(model.named_modules())
    if name in known and name:
        return name
    if name == "head":
        return head_name(model)
    raise FeatxError(
        f"Expected the name of a part of this {type(model).__name__}, got {name!r}. "
        f"{close_matches(name, [part for part in known if part])}"
    )


def _inside(name: str, parts: list[str]) -> bool:
    return any(name == part or part == "" or name.startswith(f"{part}.") for part in parts)


def _touches(name: str, parts: list[str]) -> bool:
    """Say whether `name` is in one of `parts`, or contains one of them."""
    return _inside(name, parts) or any(_inside(part, [name]) for part in parts)


def _pin(module: nn.Module) -> None:
    # An instance attribute shadows the method that `model.train()` calls on each child. Unlike a
    # subclass or a closure, a partial of a plain function survives deepcopy and torch.save.
    module.eval()
    module.train = partial(_stay_in_eval, module)  # pyright: ignore[reportAttributeAccessIssue]


def _unpin(module: nn.Module) -> None:
    vars(module).pop("train", None)


def _stay_in_eval(module: nn.Module, mode: bool = True) -> nn.Module:
    """Stand in for ``module.train``: a pinned module ignores the mode."""
    return module


def _frozen_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            yield name, parameter
    for path, module in model.named_modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            for name, buffer in module.named_buffers(prefix=path, recurse=False):
                yield name, buffer


def _same_bits(old: torch.Tensor, new: torch.Tensor | None) -> bool:
    if new is None or new.shape != old.shape or new.dtype != old.dtype:
        return False
    as_bytes = [t.detach().to(old.device).reshape(-1).view(torch.uint8) for t in (old, new)]
    return torch.equal(*as_bytes)
