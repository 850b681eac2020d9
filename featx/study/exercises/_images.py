"""Plain data from what a learner returns: arrays, tensors, lists and numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

__all__ = ["plain_array", "plain_number", "plain_rows"]

#: More numbers than this are not sent on: no exercise asks for so many.
MOST = 20_000


def plain_array(value: Any) -> dict[str, Any]:
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


def plain_number(value: Any) -> float | None:
    """Read one finite number from a float, a NumPy scalar or an array or tensor of one number."""
    if isinstance(value, bool | str) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return number if math.isfinite(number) else None


def plain_rows(value: Any) -> list[int] | None:
    """Read row numbers from a list, array or tensor of whole numbers; None when it is no such thing."""
    if not isinstance(value, list | tuple | set | frozenset | range | np.ndarray | torch.Tensor):
        return None
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    array = value if isinstance(value, np.ndarray) else np.array(list(value) or np.empty(0, int))
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.size > MOST:
        return None
    return [int(row) for row in array]
