"""Small data that needs no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from sklearn import datasets as sklearn_datasets
from torch.utils.data import Dataset

from featx.errors import FeatxError

__all__ = ["LabelledImages", "load_digits"]


@dataclass(frozen=True, eq=False)
class LabelledImages(Dataset):
    """Images with labels, in memory: a torch `Dataset` of ``(image, label)``.

    Attributes
    ----------
    images : torch.Tensor
        uint8 0-255, ``(N, C, H, W)``.
    labels : torch.Tensor
        int64, ``(N,)``.
    class_names : tuple of str
        One name for each label 0, 1, 2, ….
    """

    images: torch.Tensor
    labels: torch.Tensor
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise FeatxError(
                f"Expected one label for each image, got {len(self.images)} images and "
                f"{len(self.labels)} labels."
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return (
            f"LabelledImages({len(self)} images of {tuple(self.images.shape[1:])}, "
            f"{len(self.class_names)} classes)"
        )

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], int(self.labels[index])


def load_digits() -> LabelledImages:
    """Load scikit-learn's 1797 handwritten digits, 8 x 8 pixels, from 13 people.

    Returns
    -------
    LabelledImages
        Images ``(1797, 1, 8, 8)``, bright ink on dark ground; labels 0 to 9, about 180 of each.

    Notes
    -----
    A pixel of the original counts the inked dots, 0 to 16, in a block of 4 x 4; here 16 becomes 255.
    Source: the test part of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits"
    (UCI Machine Learning Repository, 1998): 13 of the 43 writers.

    Examples
    --------
    >>> digits = load_digits()
    >>> digits.images.shape, digits.labels[:5].tolist()
    (torch.Size([1797, 1, 8, 8]), [0, 1, 2, 3, 4])
    """
    bunch = cast(Any, sklearn_datasets.load_digits())
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    return LabelledImages(
        torch.from_numpy(images),
        torch.from_numpy(bunch.target.astype(np.int64)),
        tuple(str(name) for name in bunch.target_names),
    )
