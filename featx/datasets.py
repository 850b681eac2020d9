"""Small data that needs no network, and folders of the user's own images."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import Dataset

from featx.errors import FeatxError
from featx.images import (
    UnreadableImage,
    check_image,
    extensions,
    file_problem,
    os_reason,
    printable,
    read_image,
)

__all__ = [
    "ImageFiles",
    "LabelledImages",
    "SkippedFile",
    "find_images",
    "image_paths",
    "load_digits",
]


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
    kept = _read_digits()
    return LabelledImages(kept.images.clone(), kept.labels.clone(), kept.class_names)


@functools.cache
def _read_digits() -> LabelledImages:
    # here, for it takes two seconds, and files of images need none of it
    from sklearn import datasets

    bunch = cast(Any, datasets.load_digits())
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    return LabelledImages(
        torch.from_numpy(images),
        torch.from_numpy(bunch.target.astype(np.int64)),
        tuple(str(name) for name in bunch.target_names),
    )


@dataclass(frozen=True)
class SkippedFile:
    """A file or folder that was passed over, and why.

    Attributes
    ----------
    path : str
        Where it is, fit to be printed: what cannot be printed is written as an escape.
    reason : str
        A short phrase, for example ``"not an image"``.
    """

    path: str
    reason: str


@dataclass(frozen=True, eq=False)
class ImageFiles(Dataset):
    """Image files, decoded as they are asked for: a torch `Dataset`.

    An item is ``(image, label)``, or the image alone where there are no labels. The image is a
    uint8 tensor ``(3, H, W)`` as `featx.images.read_image` gives it; a file that cannot be decoded
    raises `featx.images.UnreadableImage`.

    Attributes
    ----------
    paths : tuple of pathlib.Path
        The N files, in the order of the rows.
    labels : numpy.ndarray or None
        int64, ``(N,)``.
    class_names : tuple of str
        One name for each label 0, 1, 2, …; empty where the labels are the user's own numbers, or
        absent.
    skipped : tuple of SkippedFile
        What was found and is not among the paths.
    """

    paths: tuple[Path, ...]
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    skipped: tuple[SkippedFile, ...] = ()

    def __post_init__(self) -> None:
        if self.labels is not None and len(self.labels) != len(self.paths):
            raise FeatxError(
                f"Expected one label for each file, got {len(self.paths)} files and "
                f"{len(self.labels)} labels."
            )

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        parts = [f"{len(self)} images"]
        if self.class_names:
            parts.append(f"{len(self.class_names)} classes")
        if self.skipped:
            parts.append(f"{len(self.skipped)} skipped")
        return f"ImageFiles({', '.join(parts)})"

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int] | torch.Tensor:
        image = read_image(self.paths[index])
        return image if self.labels is None else (image, int(self.labels[index]))


def find_images(folder: str | os.PathLike[str]) -> ImageFiles:
    """Find the images in a folder, one sub-folder for each class, or all in one place.

    Parameters
    ----------
    folder
        Either it has one sub-folder for each class, and the files below that at any depth belong
        to the class; or all images lie at its top, and there are no labels. Links are followed.

    Returns
    -------
    ImageFiles
        Sorted by path, folder by folder and letter by letter (by code point, so in the same order
        on every machine). `skipped` names what is no image, cannot be read, is a broken link or
        leads in a circle, and sub-folders without an image. Hidden files and folders, and those
        that systems leave behind (``Thumbs.db``, ``__MACOSX``), are passed over in silence.

    Raises
    ------
    FeatxError
        There is no such folder, no image in it, or images both at its top and in sub-folders.

    Notes
    -----
    A file is taken for an image by its extension; only where that says nothing, the file is
    opened and its header decides. That a file is broken shows when it is decoded.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
    ...         path = Path(folder, name)
    ...         path.parent.mkdir(exist_ok=True)
    ...         Image.new("RGB", (8, 8)).save(path)
    ...     files = find_images(folder)
    ...     image, label = files[2]
    >>> files, files.labels.tolist(), files.class_names, image.shape, label
    (ImageFiles(3 images, 2 classes), [0, 0, 1], ('cat', 'dog'), torch.Size([3, 8, 8]), 1)
    """
    top = _as_folder(folder)
    found, skipped = _walk(top)
    at_top = [path for path in found if path.parent == top]
    below = [path for path in found if path.parent != top]
    if not found:
        raise FeatxError(
            f"Expected images in {printable(top)}, got "
            f"{_what_was_found(skipped, 'files and folders', 'an empty folder')}. "
            "Pass the folder that holds the images or the class folders."
        )
    if at_top and below:
        raise FeatxError(
            f"Expected one sub-folder for each class in {printable(top)}, or all images at its "
            f"top, got both: {len(at_top)} at the top ({_names(at_top, top)}) and {len(below)} in "
            f"sub-folders ({_names(below, top)}). Move the first into a sub-folder, or pass a list "
            "of paths."
        )
    if at_top:
        return ImageFiles(tuple(found), skipped=tuple(skipped))
    return _labelled(found, [path.relative_to(top).parts[0] for path in found], skipped)


def image_paths(
    paths: Iterable[str | os.PathLike[str]], labels: Sequence[Any] | np.ndarray | None = None
) -> ImageFiles:
    """Take a list of image files, in the order given.

    Parameters
    ----------
    paths
        The files.
    labels
        One for each path: whole numbers, which are kept as they are, or strings, which become the
        class names.

    Returns
    -------
    ImageFiles
        `skipped` names the paths where no file can be read; their labels go with them.

    Raises
    ------
    FeatxError
        Not a list of paths, no file among them, or labels that do not fit.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [f"{folder}/{name}.png" for name in ("b", "a")]
    ...     for path in paths:
    ...         Image.new("RGB", (8, 8)).save(path)
    ...     files = image_paths([*paths, "nowhere.png"], ["dog", "cat", "cat"])
    >>> files.labels.tolist(), files.class_names, files.skipped
    ([1, 0], ('cat', 'dog'), (SkippedFile(path='nowhere.png', reason='no such file'),))
    """
    listed = _as_paths(paths)
    problems = [file_problem(path) for path in listed]
    kept = [row for row, problem in enumerate(problems) if not problem]
    skipped = [
        SkippedFile(printable(path), problem)
        for path, problem in zip(listed, problems, strict=True)
        if problem
    ]
    if not kept:
        raise FeatxError(
            "Expected the paths of image files, got "
            f"{_what_was_found(skipped, 'paths', 'an empty list')}. Pass files that exist."
        )
    values = None if labels is None else _as_labels(labels, len(listed))
    files = [listed[row] for row in kept]
    if values is None:
        return ImageFiles(tuple(files), skipped=tuple(skipped))
    if isinstance(values, np.ndarray):
        return ImageFiles(tuple(files), values[kept], skipped=tuple(skipped))
    return _labelled(files, [values[row] for row in kept], skipped)


# What systems and tools leave in folders, in small letters; names with a leading dot besides.
_LEFTOVERS = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini"}


def _walk(top: Path) -> tuple[list[Path], list[SkippedFile]]:
    """All images below `top`, and what else lies there, both sorted."""
    found: list[Path] = []
    skipped: list[tuple[Path, str]] = []
    sub_folders: list[Path] = []
    # With each folder go the folders on the way to it, by identity: a link to one of them would
    # lead in a circle. A stack of our own, because folders can be nested deeper than calls.
    waiting: list[tuple[Path, frozenset[tuple[int, int]]]] = [(top, frozenset())]
    while waiting:
        folder, way = waiting.pop()
        try:
            status = folder.stat()
            identity = (status.st_dev, status.st_ino)
            if identity in way:
                skipped.append((folder, "a link that leads back to a folder above it"))
                continue
            entries = [entry for entry in folder.iterdir() if not _is_leftover(entry.name)]
        except OSError as error:
            skipped.append((folder, os_reason(error)))
            continue
        for entry in entries:
            problem = file_problem(entry)
            if problem == "a folder":
                waiting.append((entry, way | {identity}))
                if folder == top:
                    sub_folders.append(entry)
                continue
            problem = problem or _image_problem(entry)
            if problem:
                skipped.append((entry, problem))
            else:
                found.append(entry)

    named = {path for path, _ in skipped}
    with_images = {path.relative_to(top).parts[0] for path in found}
    skipped += [
        (folder, "a folder without images")
        for folder in sub_folders
        if folder.name not in with_images and folder not in named
    ]

    def key(path: Path) -> tuple[str, ...]:
        return path.relative_to(top).parts

    skipped.sort(key=lambda item: key(item[0]))
    return sorted(found, key=key), [SkippedFile(printable(path), why) for path, why in skipped]


def _is_leftover(name: str) -> bool:
    return name.startswith(".") or name.lower() in _LEFTOVERS


def _image_problem(path: Path) -> str:
    """Why a file is no image: by its name where that tells, else by its header."""
    if path.suffix.lower() in extensions():
        return ""
    try:
        check_image(path)
    except UnreadableImage as error:
        return error.reason
    return ""


def _labelled(files: list[Path], names: list[str], skipped: list[SkippedFile]) -> ImageFiles:
    """Give numbers to the classes that have a file, in the order of their names."""
    class_names = sorted(set(names))
    number = {name: label for label, name in enumerate(class_names)}
    labels = np.array([number[name] for name in names], dtype=np.int64)
    shown = tuple(printable(name) for name in class_names)
    return ImageFiles(tuple(files), labels, shown, tuple(skipped))


def _as_folder(folder: object) -> Path:
    if not isinstance(folder, str | os.PathLike):
        raise FeatxError(
            f"Expected the path of a folder of images, got {type(folder).__name__}. "
            "Pass a list of paths to image_paths."
        )
    path = _path(folder)
    problem = file_problem(path)
    if problem == "a folder":
        return path
    what = {"": "a file", "no such file": "nothing there"}.get(problem, problem)
    raise FeatxError(
        f"Expected a folder of images, got {printable(path)}: {what}. "
        "Pass the folder that holds the images or the class folders."
    )


def _as_paths(paths: object) -> list[Path]:
    listed = [paths] if isinstance(paths, str | bytes | os.PathLike) else paths
    if listed is not paths or not isinstance(listed, Iterable):
        raise FeatxError(
            f"Expected a list of paths, got {type(paths).__name__}. "
            "Write [path] for one file; find_images takes a folder."
        )
    listed = list(listed)
    for row, path in enumerate(listed):
        if not isinstance(path, str | os.PathLike):
            raise FeatxError(
                f"Expected a list of paths, got {type(path).__name__} at position {row}. "
                "Pass strings or pathlib.Path."
            )
    return [_path(path) for path in listed]


def _path(path: str | bytes | os.PathLike) -> Path:
    # Path.expanduser raises for a name that begins with a tilde and is nobody's
    return Path(os.path.expanduser(os.fsdecode(path)))  # noqa: PTH111


def _as_labels(labels: object, count: int) -> np.ndarray | list[str]:
    """Labels as whole numbers or as strings, one for each of `count` paths."""
    if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
        raise FeatxError(
            f"Expected a list of labels, got {type(labels).__name__}. Give one label for each path."
        )
    values = list(labels)
    if len(values) != count:
        raise FeatxError(
            f"Expected one label for each path, got {count} paths and {len(values)} labels."
        )
    if all(isinstance(value, str) for value in values):
        return [str(value) for value in values]
    numbers = np.asarray(labels)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iub":
        kinds = sorted({type(value).__name__ for value in values})
        raise FeatxError(
            f"Expected labels that are all whole numbers or all strings, got {', '.join(kinds)} of "
            f"shape {numbers.shape}. For regression leave labels out and keep the targets yourself."
        )
    return numbers.astype(np.int64)


def _what_was_found(skipped: list[SkippedFile], noun: str, nothing: str) -> str:
    if not skipped:
        return nothing
    shown = _shown([f"{Path(item.path).name} ({item.reason})" for item in skipped], 3)
    return f"{len(skipped)} {noun}, none of them an image to read: {shown}"


def _names(paths: list[Path], top: Path) -> str:
    return _shown([printable(path.relative_to(top).as_posix()) for path in paths], 2)


def _shown(names: list[str], limit: int) -> str:
    return ", ".join(names[:limit]) + (", …" if len(names) > limit else "")
