"""Plain data from what a learner returns: numbers, arrays, tensors and lists, and how to speak of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

__all__ = ["array_described", "as_array", "number", "numbers", "shape_of", "shown", "was_changed"]

#: More numbers than this are not sent on: no exercise asks for so many.
MOST = 20_000


def as_array(value: Any) -> np.ndarray | None:
    """Return a tensor, an array or a list of numbers as an array, or None for anything else."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if not isinstance(value, np.ndarray | list | tuple | float | int | np.number):
        return None
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return array


def shape_of(value: Any) -> list[int] | None:
    """Return the shape of a tensor, an array or a list of numbers, or None for anything else."""
    array = as_array(value)
    return None if array is None else list(array.shape)


def number(value: Any) -> float | None:
    """Return a single finite number as a float, or None for anything else, True and False as well."""
    if isinstance(value, bool):
        return None
    array = as_array(value)
    if array is None or array.size != 1 or not np.isfinite(array).all():
        return None
    return float(array.reshape(()))


def numbers(value: Any) -> list[Any] | None:
    """Return all-finite numbers as nested lists, or None for anything else."""
    array = as_array(value)
    if array is None or not np.isfinite(array).all():
        return None
    return array.tolist()


def shown(value: Any) -> str:
    """Say what a returned value is: a number itself, anything else by type and shape."""
    array = as_array(value)
    if array is None:
        return "nothing (`None`)" if value is None else f"a value of the type `{_type(value)}`"
    if array.size == 1 and array.ndim == 0:
        single = float(array)
        return f"`{single:.4g}`" if math.isfinite(single) else f"`{single}`"
    return f"a {_type(value)} of the shape `{array.shape}`"


def was_changed(now: torch.Tensor, before: torch.Tensor) -> bool:
    """Tell whether a tensor was written to."""
    return now.shape != before.shape or not torch.equal(now, before)


def array_described(value: Any) -> dict[str, Any]:
    """Describe an array or tensor: type, dtype, shape and its numbers, None where not finite."""
    seen: dict[str, Any] = {"type": type(value).__name__, "dtype": None, "shape": None}
    seen["values"] = None
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        seen["dtype"] = str(value.dtype).removeprefix("torch.")
        value = value.double().numpy()
    elif isinstance(value, np.ndarray) and value.dtype.kind in "buif":
        seen["dtype"] = str(value.dtype)
    else:
        return seen
    seen["shape"] = list(value.shape)
    if value.size <= MOST:
        flat = value.astype(float).ravel().tolist()
        seen["values"] = [x if math.isfinite(x) else None for x in flat]
    return seen


def _type(value: Any) -> str:
    return "tensor" if isinstance(value, torch.Tensor) else type(value).__name__
