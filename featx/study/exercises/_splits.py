"""What the exercises on splitting share: the row numbers of both parts, as plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from featx.study.exercises._plain import MOST, as_array

__all__ = ["observe_split", "row_numbers"]


def observe_split(
    function: Callable[..., Any], values: np.ndarray, amount: float, seed: int, noise: int
) -> dict[str, Any]:
    """Call a learner's split and read the rows of both parts; `noise` sets the global generators.

    Who draws from a global generator in place of `seed` gives other rows with other noise.
    """
    np.random.seed(noise)  # noqa: NPY002
    torch.manual_seed(noise)
    returned = function(values.copy(), amount, seed)
    seen: dict[str, Any] = {"type": f"a {type(returned).__name__}", "train": None, "test": None}
    if isinstance(returned, tuple | list) and len(returned) == 2:
        kinds = [type(part).__name__ for part in returned]
        seen["type"] = f"a {type(returned).__name__} of {kinds[0]} and {kinds[1]}"
        seen["train"], seen["test"] = (row_numbers(part) for part in returned)
    return seen


def row_numbers(value: Any) -> list[int] | None:
    """Read row numbers from a list, set, array, tensor or `Subset`.

    None when it is no such thing: no row can be taken by a number like 1.0, and a mask is none either.
    """
    if isinstance(value, torch.utils.data.Subset):
        value = [value[place] for place in range(len(value))]
    elif isinstance(value, set | frozenset | range | tuple):
        value = list(value)
    parts = value if isinstance(value, list) else [value]
    kinds = " ".join({str(getattr(part, "dtype", type(part))) for part in parts})
    if "bool" in kinds:
        return None
    if isinstance(value, list):
        value = [p.item() if isinstance(p, torch.Tensor) and p.numel() == 1 else p for p in value]
    array = as_array(value)
    if array is None or array.ndim != 1 or array.size > MOST:
        return None
    if array.size and ("float" in kinds or not np.isfinite(array).all() or (array % 1).any()):
        return None
    return [int(row) for row in array]
