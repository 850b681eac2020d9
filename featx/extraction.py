"""Images become features: one forward pass each, nothing trained, order kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from featx.backbones import Backbone
from featx.errors import FeatxError

__all__ = ["Features", "extract"]


@dataclass(frozen=True, eq=False)
class Features:
    """What `extract` returns.

    Attributes
    ----------
    X : numpy.ndarray
        float32 ``(N, D)``, one row for each image, in the order of the data.
    y : numpy.ndarray or None
        Labels ``(N,)`` where the data has some.
    """

    X: np.ndarray
    y: np.ndarray | None

    def __len__(self) -> int:
        return len(self.X)

    def __repr__(self) -> str:
        return f"Features(X {self.X.shape}, {'no labels' if self.y is None else 'with labels'})"


def extract(
    backbone: Backbone,
    data: Any,
    *,
    batch_size: int = 256,
    device: str | torch.device = "auto",
    progress: bool = True,
) -> Features:
    """Run each image through the frozen backbone once and keep its features.

    The model is used in eval mode and without gradients, and is left as it was found: mode and
    device are given back.

    Parameters
    ----------
    backbone
        From `featx.load_backbone`.
    data
        A torch `Dataset` or `DataLoader` of images or of ``(image, label)``, or an array or tensor of
        images ``(N, H, W)`` or ``(N, C, H, W)``: uint8 0-255 or float 0-1, **not** preprocessed. The
        backbone's own preprocessing is applied here.
    batch_size
        Images in one forward pass (a `DataLoader` keeps its own).
    device
        ``"auto"`` takes a GPU when there is one, else any name that `torch.device` knows.
    progress
        Show a progress bar on long jobs.

    Returns
    -------
    Features
        ``X`` float32 ``(N, D)``, ``y`` ``(N,)`` or None.

    Raises
    ------
    FeatxError
        When the data is empty, not images, out of range, or the device is not there.

    Examples
    --------
    >>> import featx
    >>> digits = featx.datasets.load_digits()
    >>> features = featx.extract(featx.load_backbone("glyphnet"), digits, progress=False)
    >>> features.X.shape, features.X.dtype, features.y[:3].tolist()
    ((1797, 256), dtype('float32'), [0, 1, 2])
    """
    if not isinstance(backbone, Backbone):
        raise FeatxError(
            f"Expected a backbone from featx.load_backbone, got {type(backbone).__name__}. A plain "
            "model does not say which preprocessing its weights need."
        )
    if not isinstance(batch_size, int) or batch_size < 1:
        raise FeatxError(f"Expected batch_size to be a whole number from 1, got {batch_size!r}.")
    model, target = backbone.model, _device(device)
    home = next(model.parameters()).device
    mode = {name: module.training for name, module in model.named_modules()}
    rows, labels = [], []
    try:
        model.to(target).eval()
        with torch.inference_mode():
            for images, y in _batches(data, batch_size, progress):
                x = backbone.preprocess(_to_channels(images, backbone.in_channels).to(target))
                rows.append(backbone.features(x).float().cpu().numpy())
                labels.append(y)
    finally:
        model.to(home)
        for name, module in model.named_modules():
            module.training = mode[name]
    if not rows:
        raise FeatxError("Expected at least one image, got data of length 0.")
    has_labels = all(y is not None for y in labels)
    return Features(np.concatenate(rows), np.concatenate(labels) if has_labels else None)


def _device(device: str | torch.device) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen).item()  # "meta" is a device too, but holds no numbers
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise FeatxError(
            f'Expected a device that this machine has ("auto" picks one), got {device!r}: {reason}'
        ) from error
    return chosen


def _batches(
    data: Any, batch_size: int, progress: bool
) -> Iterator[tuple[torch.Tensor, np.ndarray | None]]:
    """Yield ``(images, labels or None)`` from whatever holds them."""
    if isinstance(data, (np.ndarray, torch.Tensor)):
        images = _as_tensor(data)
        loader = [images[i : i + batch_size] for i in range(0, len(images), batch_size)]
    elif isinstance(data, DataLoader):
        loader = data
    elif isinstance(data, Dataset):
        loader = DataLoader(data, batch_size=batch_size)
    else:
        raise FeatxError(
            "Expected images as an array, a tensor, a torch Dataset or a DataLoader, got "
            f"{type(data).__name__}."
        )
    bar = track(loader, "extract", transient=True, disable=not progress)
    for batch in _explained(bar):
        images, *rest = batch if isinstance(batch, (list, tuple)) else [batch]
        if not isinstance(images, torch.Tensor):
            raise FeatxError(
                f"Expected batches of image tensors, got {type(images).__name__}. Give the dataset "
                "a transform that ends in a tensor of 0-255 (uint8) or 0-1 (float)."
            )
        yield images, np.asarray(rest[0]) if rest else None


def _as_tensor(data: np.ndarray | torch.Tensor) -> torch.Tensor:
    try:
        # torch knows no negative strides, which images[::-1] has
        images = torch.as_tensor(
            np.ascontiguousarray(data) if isinstance(data, np.ndarray) else data
        )
    except TypeError as error:
        raise FeatxError(
            f"Expected an array of numbers, got one of {getattr(data, 'dtype', type(data))}. Images of "
            "different sizes do not make one array: resize them first."
        ) from error
    return images if images.ndim else images[None]


def _explained(batches: Iterable) -> Iterator:
    """Pass batches on; say in one sentence why one cannot be made."""
    iterator = iter(batches)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except (TypeError, RuntimeError, ValueError) as error:
            raise FeatxError(
                "Expected a dataset whose images make batches, but one cannot be made: "
                f"{str(error).splitlines()[0]} Give the dataset a transform that turns each image into a "
                "tensor of one size."
            ) from error
        yield batch


def _to_channels(images: torch.Tensor, channels: int) -> torch.Tensor:
    """Bring a batch to ``(N, C, H, W)`` with the channels that the backbone takes."""
    x = images[:, None] if images.ndim == 3 else images
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise FeatxError(
            "Expected images (N, H, W) or (N, C, H, W) with C of 1 or 3, got the shape "
            f"{tuple(images.shape)}. Move the channels to the second place: x.permute(0, 3, 1, 2)."
        )
    if x.is_floating_point() and x.numel() and not (x.min() >= 0 and x.max() <= 1):
        raise FeatxError(
            "Expected pixels of 0-255 (uint8) or 0-1 (float), got floats of "
            f"{x.min():.3g} to {x.max():.3g}. Pass the images before any normalisation; the backbone's "
            "own preprocessing is applied here."
        )
    if not x.is_floating_point() and x.dtype != torch.uint8:
        raise FeatxError(
            f"Expected pixels of 0-255 (uint8) or 0-1 (float), got {x.dtype}. Convert them with "
            "x.to(torch.uint8) if they are 0-255."
        )
    return x.expand(-1, channels, -1, -1) if x.shape[1] < channels else x
