"""Values on their way in and out: what a user has becomes NumPy's, what JSON takes becomes Python's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.errors import FeatxError

__all__ = ["as_numpy", "channels_last", "plain"]


def as_numpy(values: Any) -> np.ndarray:
    """Return an array of anything: a list, a pandas column, a torch tensor on any device.

    Parameters
    ----------
    values
        What `numpy.asarray` takes, or a tensor, or a list of tensors, with or without gradients.

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
    if isinstance(values, (list, tuple)):  # NumPy refuses tensors that have their graph
        values = [as_numpy(item) if hasattr(item, "detach") else item for item in values]
    try:
        return np.asarray(values)
    except ValueError as error:
        raise FeatxError(
            "Expected rows of one length, got a list of parts of different lengths. Join batches first, with "
            "numpy.concatenate or torch.cat."
        ) from error


def channels_last(shape: Sequence[int], size: Sequence[int] = (1, 1)) -> bool:
    """Tell where a feature map has its channels: height and width keep the proportion of the images.

    Parameters
    ----------
    shape
        Of one image's map, three numbers.
    size
        Height and width of the images that it was made of; by default of a square.

    Returns
    -------
    bool
        True for ``(H, W, C)``, as Swin has it; False for ``(C, H, W)``, and where both would fit. Where
        neither does, as after pooling to a square, it is the square.

    Examples
    --------
    >>> channels_last((7, 7, 96)), channels_last((96, 7, 7)), channels_last((64, 64, 96), (128, 192))
    (True, False, False)
    >>> channels_last((7, 7, 96), (128, 192)), channels_last((96, 7, 7), (128, 192))
    (True, False)
    """
    if len(shape) != 3:
        return False
    height, width = size
    # Each layer rounds a size to whole places: the proportion may be off by less than one.
    first, last = (abs(h * width - w * height) for h, w in (shape[1:], shape[:2]))
    if max(size) <= min(first, last):
        return shape[0] == shape[1] != shape[2]
    return last < max(size) <= first


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
