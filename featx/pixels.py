"""Pixels of any kind become images that a backbone can take: checked, grey or in colour."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from featx.errors import FeatxError

__all__ = ["as_grey", "as_images", "check_pixels", "fit_channels"]


def as_grey(images: torch.Tensor) -> torch.Tensor:
    """Turn pixels into grey floats.

    Parameters
    ----------
    images
        ``(..., C, H, W)`` with C of 1 or 3; integers from 0 to the largest of their type, or floats 0-1.

    Returns
    -------
    torch.Tensor
        float32 0-1, ``(..., 1, H, W)``: the luma of ITU-R BT.601, 0.2989 R + 0.587 G + 0.114 B, to the bit
        as torchvision's `to_dtype` and `rgb_to_grayscale` compute it, whose import takes seconds.

    Examples
    --------
    >>> as_grey(torch.tensor([255, 0, 0], dtype=torch.uint8).view(3, 1, 1)).item()
    0.298...
    """
    x = images.to(torch.float32)
    if not images.is_floating_point():
        x = x * (1.0 if images.dtype == torch.bool else 1.0 / torch.iinfo(images.dtype).max)
    if x.shape[-3] == 1:
        return x
    red, green, blue = x.unbind(-3)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).unsqueeze(-3)


def as_images(data: np.ndarray | torch.Tensor) -> torch.Tensor:
    """Make an array a tensor, in whatever order and layout it is.

    Parameters
    ----------
    data
        Images, or one.

    Returns
    -------
    torch.Tensor
        Not copied where that can be avoided.

    Raises
    ------
    FeatxError
        When it does not hold numbers.

    Examples
    --------
    >>> as_images(np.zeros((5, 8, 8), np.uint8)[::-1]).shape
    torch.Size([5, 8, 8])
    """
    try:
        with warnings.catch_warnings():
            # A read-only array, such as a memory map, is fine: nothing here writes to images.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            # torch knows no negative strides, which images[::-1] has
            images = torch.as_tensor(
                np.ascontiguousarray(data) if isinstance(data, np.ndarray) else data
            )
    except TypeError as error:
        raise FeatxError(
            f"Expected an array of numbers, got one of {getattr(data, 'dtype', type(data))}. Images of "
            "different sizes do not make one array: pass a list of files or a Dataset."
        ) from error
    return images if images.ndim else images[None]


def check_pixels(images: torch.Tensor, channels: int) -> torch.Tensor:
    """Raise for what are no images by shape and type, before any preprocessing.

    Parameters
    ----------
    images
        ``(N, H, W)`` or ``(N, C, H, W)``: uint8 0-255 or float 0-1. What the numbers are is not looked at.
    channels
        How many a backbone takes. C may be 1, too, and 3 where 1 or 3 are taken.

    Returns
    -------
    torch.Tensor
        ``(N, C, H, W)``.

    Raises
    ------
    FeatxError
        When they have another shape or type.

    Examples
    --------
    >>> check_pixels(torch.zeros(5, 8, 8), 3).shape
    torch.Size([5, 1, 8, 8])
    """
    x = images[:, None] if images.ndim == 3 else images
    allowed = (1, 3) if channels in (1, 3) else (1, channels)
    if x.ndim != 4 or x.shape[1] not in allowed or 0 in x.shape[2:]:
        if x.ndim == 4 and x.shape[1] in (2, 4) and x.shape[1] - 1 in allowed:
            way_out = "Leave transparency out: x[:, :-1]."
        elif x.ndim == 4 and x.shape[-1] in allowed:
            way_out = "Move the channels to the second place: x.permute(0, 3, 1, 2)."
        elif x.ndim == 2:
            way_out = "One grey image is x[None]; rows of pixels need x.reshape(N, H, W)."
        elif x.ndim == 4 and 0 not in x.shape[2:]:
            way_out = "Pass all channels that the backbone takes, or grey images."
        else:
            way_out = "Reshape them."
        raise FeatxError(
            f"Expected images (N, H, W) or (N, C, H, W) with C of {' or '.join(map(str, allowed))}, got the "
            f"shape {tuple(images.shape)}. {way_out}"
        )
    if not x.is_floating_point() and x.dtype != torch.uint8:
        if x.dtype == torch.bool:
            way_out = "Say x.float()."
        elif x.dtype == torch.uint16:
            way_out = "Say (x / 65535).float() if they use all 16 bits."
        else:
            way_out = "Say x.to(torch.uint8) if they are 0-255."
        raise FeatxError(
            f"Expected pixels of 0-255 (uint8) or 0-1 (float), got {x.dtype}. {way_out}"
        )
    return x


def fit_channels(images: torch.Tensor, channels: int) -> torch.Tensor:
    """Bring images that are not preprocessed yet to as many channels as a backbone takes.

    Parameters
    ----------
    images
        ``(N, H, W)`` or ``(N, C, H, W)``: uint8 0-255 or float 0-1.
    channels
        How many there shall be. Grey is repeated, colour is turned to grey.

    Returns
    -------
    torch.Tensor
        ``(N, channels, H, W)``.

    Raises
    ------
    FeatxError
        When these are not images, or were preprocessed already.

    Examples
    --------
    >>> fit_channels(torch.zeros(5, 8, 8), 3).shape, fit_channels(torch.zeros(5, 3, 8, 8), 1).shape
    (torch.Size([5, 3, 8, 8]), torch.Size([5, 1, 8, 8]))
    """
    x = check_pixels(images, channels)
    if x.is_floating_point() and x.numel() and not (x.min() >= 0 and x.max() <= 1):
        if x.isnan().any():
            raise FeatxError(
                "Expected pixels of 0-255 (uint8) or 0-1 (float), got NaN among them. Leave these images "
                "out, or see where they come from."
            )
        if x.min() >= 0 and 1 < x.max() <= 255:
            way_out = "Divide them by 255."
        else:
            way_out = "Pass the images before any normalisation; it is applied here."
        raise FeatxError(
            "Expected pixels of 0-255 (uint8) or 0-1 (float), got floats of "
            f"{x.min():.3g} to {x.max():.3g}. {way_out}"
        )
    if x.shape[1] == 3 and channels == 1:
        return as_grey(x)
    return x.expand(-1, channels, -1, -1) if x.shape[1] < channels else x
