"""Pixels of any kind become grey ones, by torchvision's rules and without its seconds of import."""

from __future__ import annotations

import torch

__all__ = ["as_grey"]


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
        as torchvision's `to_dtype` and `rgb_to_grayscale` compute it.

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
