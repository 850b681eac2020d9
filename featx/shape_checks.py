"""A check of a shape that explains the difference: expected, got, and the step that mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from featx.errors import FeatxError

__all__ = ["check_shape"]

T = TypeVar("T")

_Dim = int | str | None  # a size, a name, "...", or anything


def check_shape(x: T, spec: str | Sequence[int | str | None]) -> T:
    """Return `x` when it has the shape that `spec` describes, and explain the difference when not.

    Parameters
    ----------
    x
        A tensor, an array, a list of numbers, or anything with a ``shape``.
    spec
        Sizes and names, apart by spaces: ``"batch 512"``, ``"batch 3 height width"``, ``"... 512"``.
        A name fits any size, but the same size each time; ``...`` fits any number of dimensions. Or
        a tuple, where None fits any size: ``(None, 512)``.

    Returns
    -------
    same as x
        `x` itself, so that the check can stand inside an expression.

    Raises
    ------
    FeatxError
        When the shape differs; the message says what was expected, what came, and where one step
        mends it, which. Also when `spec` cannot be read.

    Examples
    --------
    >>> import torch
    >>> check_shape(torch.zeros(4, 512), "batch 512").shape
    torch.Size([4, 512])
    >>> check_shape(torch.zeros(4, 512, 7, 7), "batch 512")
    Traceback (most recent call last):
        ...
    featx.errors.FeatxError: Expected the shape (batch, 512), got (4, 512, 7, 7). This is a feature map;
    pool it: x.mean((2, 3))
    """
    dims = _read_spec(spec)
    shape = _sizes(x)
    if _fits(shape, dims):
        return x
    written = f"({', '.join('any' if d is None else str(d) for d in dims)}{',' * (len(dims) == 1)})"
    way_out = _way_out(shape, dims, x) or _clash(shape, dims)
    raise FeatxError(f"Expected the shape {written}, got {shape}. {way_out}".rstrip())


def _read_spec(spec: str | Sequence[int | str | None]) -> list[_Dim]:
    words = spec.split() if isinstance(spec, str) else spec
    if not isinstance(words, (tuple, list)) or spec == "":
        raise FeatxError(
            f'Expected a shape as "batch 512" or (None, 512), got {spec!r}. Write sizes and names apart '
            "by spaces."
        )
    dims: list[_Dim] = []
    for word in words:
        if isinstance(word, str) and word.isdecimal():
            word = int(word)
        named = word is None or (isinstance(word, str) and (word.isidentifier() or word == "..."))
        if word is Ellipsis:
            word, named = "...", True
        if not named and not (type(word) is int and word >= 0):
            raise FeatxError(
                f"Expected each part of a shape to be a size, a name or ..., got {word!r} in {spec!r}. "
                'Write for example "batch 512" or (None, 512).'
            )
        dims.append(word)
    if dims.count("...") > 1:
        raise FeatxError(f'Expected "..." at most once in a shape, got {spec!r}.')
    return dims


def _sizes(x: Any) -> tuple[int, ...]:
    if hasattr(x, "shape"):
        return tuple(x.shape)
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise FeatxError(
            "Expected a tensor, an array or a list of numbers, got a list whose rows differ in length."
        ) from error
    if array.dtype.kind not in "biufc":
        raise FeatxError(
            f"Expected a tensor, an array or a list of numbers, got {type(x).__name__}. Pass what holds "
            "the numbers, such as features.X."
        )
    return array.shape


def _spread(dims: list[_Dim], ndim: int) -> list[_Dim]:
    """Put as many free dimensions in place of "..." as `ndim` leaves."""
    if "..." not in dims:
        return dims
    at = dims.index("...")
    return [*dims[:at], *[None] * (ndim - len(dims) + 1), *dims[at + 1 :]]


def _fits(shape: tuple[int, ...], dims: list[_Dim]) -> bool:
    dims = _spread(dims, len(shape))
    if len(dims) != len(shape):
        return False
    sizes: dict[str, int] = {}
    return all(
        dim is None or size == (sizes.setdefault(dim, size) if isinstance(dim, str) else dim)
        for dim, size in zip(dims, shape, strict=True)
    )


def _clash(shape: tuple[int, ...], dims: list[_Dim]) -> str:
    """Say what differs where no single step mends it."""
    spread = _spread(dims, len(shape))
    if len(spread) != len(shape):
        at_least = "at least " if "..." in dims else ""
        due = len(dims) - ("..." in dims)
        there = "is 1 dimension" if len(shape) == 1 else f"are {len(shape)} dimensions"
        return f"There {there}, not {at_least}{due}."
    if len(shape) == 2 and shape[-1] == 1000:
        return (
            "1000 columns look like ImageNet's class scores: featx.remove_head(model) makes the model "
            "return features."
        )
    sizes: dict[str, int] = {}
    for k, (dim, size) in enumerate(zip(spread, shape, strict=True)):
        if isinstance(dim, str) and sizes.setdefault(dim, size) != size:
            return f"{dim} is both {sizes[dim]} and {size}."
        if isinstance(dim, int) and dim != size:
            return f"Dimension {k} is {size}, not {dim}."
    return ""


@dataclass(frozen=True)
class _Step:
    """One step that may mend a shape: what is wrong, and the code that mends it."""

    cause: str
    do: Callable[[torch.Tensor], torch.Tensor]
    code: str
    for_numpy: str = ""  # where NumPy's code differs


def _steps(ndim: int) -> Iterator[_Step]:
    """Give the steps to try on a shape of `ndim` dimensions, the likeliest first."""
    one = "The batch dimension is missing"
    last = "The channels are last"
    if ndim == 4:
        yield _Step(
            last,
            lambda x: x.permute(0, 3, 1, 2),
            "x.permute(0, 3, 1, 2)",
            "x.transpose(0, 3, 1, 2)",
        )
        yield _Step(
            "The channels are first",
            lambda x: x.permute(0, 2, 3, 1),
            "x.permute(0, 2, 3, 1)",
            "x.transpose(0, 2, 3, 1)",
        )
    yield _Step(one, lambda x: x[None], "x[None]")
    if ndim == 1:
        yield _Step("The dimension of the columns is missing", lambda x: x[:, None], "x[:, None]")
    if ndim == 3:
        yield _Step(
            last, lambda x: x.permute(2, 0, 1), "x.permute(2, 0, 1)", "x.transpose(2, 0, 1)"
        )
        yield _Step(
            f"{one}, and the channels are last",
            lambda x: x.permute(2, 0, 1)[None],
            "x.permute(2, 0, 1)[None]",
            "x.transpose(2, 0, 1)[None]",
        )
        yield _Step("The dimension of the channels is missing", lambda x: x[:, None], "x[:, None]")
    if ndim == 2:
        yield _Step("Rows and columns are swapped", lambda x: x.T, "x.T")
    if ndim == 4:
        yield _Step(
            "These are grayscale images",
            lambda x: x.expand(-1, 3, -1, -1),
            "x.expand(-1, 3, -1, -1)",
            "x.repeat(3, axis=1)",
        )
        yield _Step(
            "These are images with transparency (RGBA)",
            lambda x: x[:, :3] if x.shape[1] == 4 else x,
            "x[:, :3]",
        )
        yield _Step(
            "These are colour images",
            lambda x: x.mean(1, keepdim=True) if x.shape[1] == 3 else x,
            "x.mean(1, keepdim=True)",
            "x.mean(1, keepdims=True)",
        )
        yield _Step(
            "A feature map of one place a channel was not flattened",
            lambda x: x.flatten(1) if x.shape[2:] == (1, 1) else x,
            "x.flatten(1)",
            "x.reshape(len(x), -1)",
        )
    for k in range(ndim):
        yield _Step(
            "There is a dimension too many",
            lambda x, k=k: x.squeeze(k),
            f"x.squeeze({k})",
        )
    if ndim == 4:
        yield _Step("This is a feature map; pool it", lambda x: x.mean((2, 3)), "x.mean((2, 3))")
        yield _Step(
            "This is a feature map with its channels last; pool it",
            lambda x: x.mean((1, 2)),
            "x.mean((1, 2))",
        )
    if ndim == 3:
        yield _Step(
            "These are tokens; average them, or take the class token x[:, 0]",
            lambda x: x.mean(1),
            "x.mean(1)",
        )
    if ndim > 2:
        yield _Step(
            "This was not flattened",
            lambda x: x.flatten(1),
            "x.flatten(1)",
            "x.reshape(len(x), -1)",
        )


def _way_out(shape: tuple[int, ...], dims: list[_Dim], x: Any) -> str:
    """Name the first step after which the shape fits: each is really taken, on the meta device."""
    stand_in = torch.empty(shape, device="meta")
    for step in _steps(len(shape)):
        try:
            mended = tuple(step.do(stand_in).shape)
        except (RuntimeError, IndexError):  # no such step from this shape
            continue
        if mended != shape and _fits(mended, dims):
            code = step.code if isinstance(x, torch.Tensor) else step.for_numpy or step.code
            if not hasattr(x, "shape"):
                code = f"np.asarray(x){code[1:]}"
            return f"{step.cause}: {code}"
    return ""
