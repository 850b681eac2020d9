"""Values on their way in and out: what a user has becomes NumPy's, what JSON takes becomes Python's."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.errors import FeatxError

__all__ = ["as_numpy", "plain"]


def as_numpy(values: Any) -> np.ndarray:
    """Return an array of anything: a list, a pandas column, a torch tensor on any device.

    Parameters
    ----------
    values
        What `numpy.asarray` takes, or a tensor, with or without gradients.

    Returns
    -------
    numpy.ndarray
        Not copied where that can be avoided.

    Raises
    ------
    FeatxError
        When the parts of a list differ in length.

    Examples
    --------
    >>> import torch
    >>> as_numpy(torch.ones(2, requires_grad=True)), as_numpy(["cat", "dog"])
    (array([1., 1.], dtype=float32), array(['cat', 'dog'], dtype='<U3'))
    """
    if hasattr(values, "detach"):  # torch is not imported for who has no tensor
        values = values.detach().cpu()
        values = values.float() if str(values.dtype) == "torch.bfloat16" else values
        return values.numpy()
    try:
        return np.asarray(values)
    except ValueError as error:
        raise FeatxError(
            "Expected rows of one length, got a list of parts of different lengths. Join batches first, with "
            "numpy.concatenate or torch.cat."
        ) from error


def plain(value: Any) -> Any:
    """Turn NumPy's values into Python's, through dicts, lists and tuples.

    Parameters
    ----------
    value
        Anything; what is not NumPy's stays as it is. A number that is not finite becomes None, for
        which JSON has a word.

    Returns
    -------
    Any
        Ready for `json.dumps` where the rest is.

    Examples
    --------
    >>> plain({"rows": np.arange(2), "share": (np.float64(0.5), float("nan"))})
    {'rows': [0, 1], 'share': [0.5, None]}
    """
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
