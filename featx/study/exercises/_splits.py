"""What the exercises on splitting share: the row numbers of both parts, as plain data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from featx.study.exercises._plain import MOST

__all__ = ["observe_split"]


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
        seen["train"], seen["test"] = (_rows(part) for part in returned)
    return seen


def _rows(value: Any) -> list[int] | None:
    """Read row numbers from a list, array or tensor of whole numbers; None when it is no such thing."""
    if not isinstance(value, list | tuple | set | frozenset | range | np.ndarray | torch.Tensor):
        return None
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    array = value if isinstance(value, np.ndarray) else np.array(list(value) or np.empty(0, int))
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.size > MOST:
        return None
    return [int(row) for row in array]
