"""Whatever holds images becomes one thing: numbered images that come in batches.

A folder, a list of files, an array, a `Dataset` and a `DataLoader` differ in how an image is reached, and in
nothing else that the extraction has to know.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from featx.datasets import ImageFiles, SkippedFile, find_images, image_paths
from featx.errors import FeatxError, whole_number
from featx.files import sha256
from featx.images import (
    UnreadableImage,
    decode,
    os_reason,
    read_bytes,
    silenced,
    to_rgb_tensor,
)
from featx.machine import cores, free_memory, out_of_memory
from featx.modules import bits_of
from featx.pixels import as_images, fit_channels
from featx.progress import progress_bar
from featx.store import DIGEST_BYTES, content_digest
from featx.wording import first_line, named_line

__all__ = ["Batch", "Scan", "Source", "open_source", "prepare_images"]

Prepare = Callable[[torch.Tensor], torch.Tensor]

#: From this many files on, reading them is worth worker processes.
MANY_FILES = 256

MOST_WORKERS = 16

#: Bytes for a process that reads: its own, and the batches that it has ready.
WORKER_MEMORY = 2**30


@dataclass(frozen=True, eq=False)
class Batch:
    """Some images, read.

    Attributes
    ----------
    rows : numpy.ndarray
        Their numbers in the data ``(n,)``, ascending.
    images : torch.Tensor
        ``(n, C, H, W)`` or ``(n, H, W)``; what the model takes when `prepared`, else as they were.
    prepared : bool
        Whether the preprocessing was applied.
    labels : dict
        Number -> label, where there are labels.
    digests : dict
        Number -> digest of the content, of the broken ones too, where asked for.
    broken : dict
        Number -> why that image could not be read.
    seconds : float
        Processor time that it took to read them, and to preprocess them if they are.
    """

    rows: np.ndarray
    images: torch.Tensor
    prepared: bool
    labels: dict[int, Any]
    digests: dict[int, bytes]
    broken: dict[int, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Scan:
    """The content of all images at a glance: what a cache needs to know them again.

    Attributes
    ----------
    digests : numpy.ndarray
        uint8 ``(N, 16)``; zeros where `broken`.
    labels : dict
        Number -> label, where there are labels.
    broken : dict
        Number -> why nothing could be read there.
    batches : list of range or None
        The batches of a `DataLoader`; None where any images can be read together.
    """

    digests: np.ndarray
    labels: dict[int, Any]
    broken: dict[int, str]
    batches: list[range] | None = None


@dataclass(frozen=True, eq=False)
class Source:
    """Numbered images; see `open_source`.

    Attributes
    ----------
    items : Dataset or DataLoader
        Where they are: a map-style `Dataset`, each image on its own, or a `DataLoader`, one after the
        other.
    count : int or None
        How many; None where only reading them all can tell.
    paths : tuple of str or None
        Their files, where they have some.
    labels : list or None
        Their labels, where they are known without reading.
    class_names : tuple of str
        Names of the labels 0, 1, 2, …, where they have some.
    skipped : tuple of SkippedFile
        What was found and is no image.
    """

    items: Any
    count: int | None
    paths: tuple[str, ...] | None = None
    labels: list | None = None
    class_names: tuple[str, ...] = ()
    skipped: tuple[SkippedFile, ...] = ()

    @property
    def batch_size(self) -> int | None:
        """How many images come together, where the data itself says so."""
        sampler = getattr(self.items, "batch_sampler", None)
        return getattr(self.items, "batch_size", None) or getattr(sampler, "batch_size", None)

    @property
    def about(self) -> int | None:
        """How many images there will be, more or less; None for a stream."""
        if self.count is not None or not isinstance(self.items, DataLoader):
            return self.count
        try:
            return len(self.items) * (self.batch_size or 1)
        except TypeError:
            return None

    def name(self, row: int) -> str:
        """Return what to call an image in a message: its file, or its number."""
        return self.paths[row] if self.paths else f"image {row}"

    @property
    def threads(self) -> int:
        """How many threads of this process read the images, where no other processes do."""
        # as many as torch may use: where several processes share a machine, each has its part
        return torch.get_num_threads() if isinstance(self.items, _Files) else 1

    def workers(self, wanted: int | str, device: torch.device, prepare: Prepare) -> int:
        """Return how many processes read the images; 0 is this process itself.

        Where the model runs on the processor too, processes would only take turns with it: they would take
        its cores in the middle of a batch. Threads read a batch while the model rests.
        """
        if isinstance(self.items, DataLoader):
            return self.items.num_workers
        if wanted != "auto":
            return whole_number(wanted, "num_workers", 0, beside='"auto"')
        few = not isinstance(self.items, _Files) or len(self.items) < MANY_FILES
        if few or device.type == "cpu":
            return 0
        try:
            pickle.dumps(prepare)  # what starts without fork needs this
        except Exception:
            return 0
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # under torchrun they share the machine
        return max(1, min(cores() // ranks, free_memory() // ranks // WORKER_MEMORY, MOST_WORKERS))

    def batches(
        self,
        chunks: Sequence[Sequence[int]],
        prepare: Prepare | None,
        *,
        num_workers: int = 0,
        digests: bool = False,
        in_turn: bool = False,
    ) -> Iterator[Batch]:
        """Yield the images, batch by batch; each is good until the next is asked for.

        Parameters
        ----------
        chunks
            The numbers of the images for each batch. A `DataLoader` has its own batches and ignores this.
        prepare
            The preprocessing. Files are preprocessed one by one where they are read, for they differ in
            size.
        num_workers
            Processes that read.
        digests
            Whether to compute digests of the content.
        in_turn
            Whether to preprocess one image after the other, as random numbers must be drawn.
        """
        if isinstance(self.items, DataLoader):
            return _loaded(self.items, digests)
        one_by_one = isinstance(self.items, _Files)
        pool = _Pool(self.threads) if one_by_one and not num_workers else None
        loader = DataLoader(
            _Reading(self.items, prepare if one_by_one else None, digests, pool, in_turn),
            batch_sampler=[list(chunk) for chunk in chunks],  # pyright: ignore[reportArgumentType]
            num_workers=num_workers,
            multiprocessing_context=_start_method() if num_workers else None,
            # A seed for the workers, without a draw from the generator that is the user's.
            generator=torch.Generator().manual_seed(torch.initial_seed() % 2**63),
            collate_fn=partial(
                _together,
                prepare=prepare,
                prepared=one_by_one,
                stack=pool.stack if pool else torch.stack,
            ),
            worker_init_fn=_leave_quietly,
        )
        return _raised(iter(loader))

    @property
    def stands_still(self) -> bool:
        """Whether an image may be read once more: a `Dataset` of the user's may draw random numbers."""
        return isinstance(self.items, (_Files, _Listed, TensorDataset))

    def some(
        self, prepare: Prepare, count: int, broken: Collection[int] = (), total: int | None = None
    ) -> Batch | None:
        """Return a few images from all over the data, or one, or None where none can be read."""
        rows = np.setdiff1d(np.arange(total or self.count or 0), list(broken))
        few = rows[:: max(1, len(rows) // count)][:count].tolist()
        for chunk in chain([few], ([int(row)] for row in rows)):
            for batch in self.batches([chunk], prepare):
                if len(batch.rows):  # a file may turn out to be no image
                    return batch
            if isinstance(self.items, DataLoader):  # it has its own chunks, and was read to its end
                break
        return None

    def scan(self, *, num_workers: int = 0, show: bool = True) -> Scan:
        """Read every image's content once, and keep its digest and label."""
        if isinstance(self.items, _Files):
            return self._scan_files(show)
        chunks = [range(i, min(i + 256, self.count or 0)) for i in range(0, self.count or 0, 256)]
        found: list[bytes] = []
        labels, broken, batches = {}, {}, []
        with progress_bar("check images", self.count, show=show) as advance:
            for batch in self.batches(chunks, None, num_workers=num_workers, digests=True):
                rows = [*batch.rows.tolist(), *batch.broken]
                batches.append(range(len(found), len(found) + len(rows)))
                found += [batch.digests.get(row) or bytes(DIGEST_BYTES) for row in sorted(rows)]
                labels |= batch.labels
                broken |= batch.broken
                advance(len(rows))
        one_after_the_other = isinstance(self.items, DataLoader)
        return Scan(_stacked(found), labels, broken, batches if one_after_the_other else None)

    def _scan_files(self, show: bool) -> Scan:
        found, broken = [], {}
        with (
            progress_bar("check files", self.count, show=show, unit="files") as advance,
            ThreadPoolExecutor(8) as pool,  # hashing lets other threads run
        ):
            for row, result in enumerate(pool.map(_file_digest, self.items.paths)):
                if isinstance(result, str):
                    broken[row] = result
                found.append(bytes(DIGEST_BYTES) if isinstance(result, str) else result)
                advance(1)
        return Scan(_stacked(found), dict(enumerate(self.labels or [])), broken)


def open_source(data: Any, batch_size: int) -> Source:
    """Turn whatever holds images into a `Source`.

    Parameters
    ----------
    data
        See `featx.extract`.
    batch_size
        For an `IterableDataset`, which comes in batches only.

    Returns
    -------
    Source
        Its images are not read yet.

    Raises
    ------
    FeatxError
        When it holds no images, or is nothing that could.
    """
    if isinstance(data, (str, Path)):
        data = find_images(data)
    elif isinstance(data, (list, tuple)) and data:
        if all(isinstance(each, Image.Image) for each in data):
            data = _Listed(data)
        elif any(isinstance(each, (str, Path)) for each in data):
            data = image_paths(data)
    if isinstance(data, ImageFiles):
        return Source(
            _Files(data),
            len(data),
            tuple(str(path) for path in data.paths),
            None if data.labels is None else data.labels.tolist(),
            data.class_names,
            data.skipped,
        )
    if isinstance(data, (np.ndarray, torch.Tensor)):
        data = TensorDataset(as_images(data))
    if isinstance(data, IterableDataset):
        data = DataLoader(data, batch_size=batch_size)
    if not isinstance(data, (Dataset, DataLoader)):
        empty = isinstance(data, (list, tuple)) and not data
        raise FeatxError(
            "Expected images as a folder, a list of files or of Pillow images, an array, a tensor, a torch "
            f"Dataset or a DataLoader, got {'an empty ' * empty}{type(data).__name__}. Tensors "
            "of one size make one with torch.stack(images), file names a list with list(names)."
        )
    inside = data.dataset if isinstance(data, DataLoader) else data
    return Source(data, _length(data), class_names=_class_names(inside))


def prepare_images(images: torch.Tensor, preprocess: Prepare, in_channels: int) -> torch.Tensor:
    """Bring images to what the model takes: channels, then the weights' own preprocessing.

    Parameters
    ----------
    images
        ``(N, H, W)`` or ``(N, C, H, W)``: uint8 0-255 or float 0-1.
    preprocess
        The backbone's.
    in_channels
        Channels that the backbone takes. Grey is repeated, colour is turned to grey.

    Returns
    -------
    torch.Tensor
        What the model takes.

    Raises
    ------
    FeatxError
        When these are not images, or were preprocessed already.
    """
    x = fit_channels(images, in_channels)
    try:
        prepared = preprocess(x)
    except FeatxError:
        raise
    except Exception as error:  # it is the user's, and may raise anything
        if out_of_memory(error):
            raise
        raise FeatxError(
            f"Expected preprocessing that takes a tensor {tuple(x.shape)} of {x.dtype}, but it raised "
            f"{named_line(error)}. Images come as tensors: ToTensor and what is for "
            "Pillow images only must go."
        ) from error
    if not isinstance(prepared, torch.Tensor):
        raise FeatxError(
            f"Expected preprocessing that returns a tensor, got {type(prepared).__name__}. Let it return "
            "what the model takes."
        )
    return prepared


# --- how a single image is read -------------------------------------------------------------------


class _Files(Dataset):
    """Files, each read once: the very bytes that are hashed are decoded."""

    def __init__(self, files: ImageFiles) -> None:
        self.paths, self.labels = files.paths, files.labels

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, row: int, digest: bool) -> tuple[torch.Tensor, list, bytes]:
        content = read_bytes(self.paths[row])
        label = [] if self.labels is None else [int(self.labels[row])]
        found = content_digest(content) if digest else b""
        try:
            return decode(content, str(self.paths[row])), label, found
        except UnreadableImage as error:
            raise _Broken(error.reason, found) from None


class _Listed(Dataset):
    def __init__(self, images: Sequence[Image.Image]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> Image.Image:
        return self.images[row]


class _Broken(Exception):
    """No image, for this reason; with the digest of the content, where there is content."""

    def __init__(self, reason: str, digest: bytes = b"") -> None:
        super().__init__(reason)
        self.reason, self.digest = reason, digest


@dataclass(frozen=True)
class _Entry:
    """What a worker sends: an image, or why there is none. Exceptions would lose their form on the way."""

    row: int
    image: torch.Tensor | None = None
    label: list = field(default_factory=list)
    digest: bytes = b""
    broken: str = ""
    wrong_use: str = ""
    seconds: float = 0.0


class _Pool(ThreadPoolExecutor):
    """Threads that read files and put them together; decoding lets other threads run."""

    memory = torch.empty(0)

    def stack(self, images: list[torch.Tensor]) -> torch.Tensor:
        """Do as `torch.stack`, in memory that is used again: new memory costs as much as the copy."""
        first = images[0]
        if any(image.shape != first.shape or image.dtype != first.dtype for image in images):
            return torch.stack(images)  # which says what is wrong
        with torch.inference_mode(False), torch.no_grad():  # as in the threads, whatever it is here
            usable = self.memory.shape[1:] == first.shape and self.memory.dtype == first.dtype
            if not usable or len(self.memory) < len(images):
                self.memory = torch.empty((len(images), *first.shape), dtype=first.dtype)
            together = self.memory[: len(images)]
            for _ in self.map(_copy_to, together.unbind(), images):
                pass  # raise what was raised
        return together


@torch.no_grad()
def _copy_to(place: torch.Tensor, image: torch.Tensor) -> None:
    place.copy_(image)


class _Reading(Dataset):
    """A dataset that turns row numbers into entries; what raises in it is an entry too."""

    def __init__(
        self,
        items: Any,
        prepare: Prepare | None,
        digests: bool,
        pool: _Pool | None,
        in_turn: bool,
    ) -> None:
        self.items, self.prepare, self.digests = items, prepare, digests
        self.pool, self.in_turn = pool, in_turn

    def __getitem__(self, row: int) -> _Entry:
        return self._prepared(self._entry(row))

    def __getitems__(self, rows: list[int]) -> list[_Entry]:
        if not isinstance(self.items, _Files):
            return [self[row] for row in rows]
        with silenced():  # here: threads cannot do that, each for itself
            if self.pool is None:
                return [self[row] for row in rows]
            if self.in_turn:
                return [self._prepared(entry) for entry in self.pool.map(self._entry, rows)]
            return list(self.pool.map(self.__getitem__, rows))

    def _prepared(self, entry: _Entry) -> _Entry:
        if self.prepare is None or entry.image is None:
            return entry
        start = time.thread_time()
        try:
            image = self.prepare(entry.image[None])[0]
        except FeatxError as error:
            return _Entry(entry.row, wrong_use=str(error))
        except Exception as error:  # want of memory
            reason = named_line(error)
            return _Entry(
                entry.row,
                wrong_use=f"Expected room to preprocess image {entry.row}, got {reason}. Use fewer "
                "num_workers, or smaller images.",
            )
        return replace(entry, image=image, seconds=entry.seconds + time.thread_time() - start)

    def _entry(self, row: int) -> _Entry:
        start = time.thread_time()
        try:
            read = self.items.read if isinstance(self.items, _Files) else self._read_item
            image, label, digest = read(row, self.digests)
            return _Entry(row, image, label, digest, seconds=time.thread_time() - start)
        except _Broken as error:
            return _Entry(row, digest=error.digest, broken=error.reason)
        except UnreadableImage as error:
            return _Entry(row, broken=error.reason)
        except OSError as error:  # Pillow's errors too
            return _Entry(row, broken=os_reason(error))
        except FeatxError as error:
            return _Entry(row, wrong_use=str(error))
        except Exception as error:
            reason = f"{named_line(error)}."
            return _Entry(
                row,
                wrong_use=f"Expected a dataset that gives image {row}, but it raised {reason} "
                f"Try dataset[{row}] on its own.",
            )

    def _read_item(self, row: int, digest: bool) -> tuple[torch.Tensor, list, bytes]:
        item = self.items[row]
        image, *rest = item if isinstance(item, (list, tuple)) else [item]
        if isinstance(image, Image.Image):
            image = to_rgb_tensor(image)
        if isinstance(image, np.ndarray):
            image = as_images(image)
        if not isinstance(image, torch.Tensor):
            raise FeatxError(
                f"Expected a dataset of images or of (image, label), got {type(image).__name__} for "
                "the image. Give the dataset a transform that ends in a tensor of 0-255 (uint8) or "
                "0-1 (float)."
            )
        return image, rest[:1], _tensor_digest(image) if digest else b""


def _together(
    entries: list[_Entry],
    prepare: Prepare | None,
    prepared: bool,
    stack: Callable[[list[torch.Tensor]], torch.Tensor],
) -> Batch | str:
    """Make a batch; a string is the sentence to raise."""
    wrong = next((entry.wrong_use for entry in entries if entry.wrong_use), "")
    if wrong:
        return wrong
    good = [entry for entry in entries if entry.image is not None]
    images = [entry.image for entry in good if entry.image is not None]
    stacked = torch.empty(0)
    if prepare is not None and images:  # else only the digests are asked for
        try:
            if not prepared and len({(image.shape, image.dtype) for image in images}) > 1:
                images, prepared = [prepare(image[None])[0] for image in images], True
            stacked = stack(images)
        except FeatxError as error:
            return str(error)
        except RuntimeError as error:
            return (
                "Expected preprocessing that brings all images to one size, but they do not make a batch: "
                f"{first_line(error)}."
            )
    return Batch(
        np.array([entry.row for entry in good], np.int64),
        stacked,
        prepared,
        {entry.row: label for entry in good for label in entry.label},
        {entry.row: entry.digest for entry in entries},
        {entry.row: entry.broken for entry in entries if entry.image is None},
        sum(entry.seconds for entry in entries),
    )


def _start_method() -> str | None:
    """Return how reading processes start; None leaves it to Python.

    On Linux they are forked, as before Python 3.14. Its forkserver would run the user's script once more,
    which fails where that has no guard, and would keep them for ever when this process is killed: torch
    looks whether their parent lives, and that is the forkserver, which lives as long as they do.
    """
    told = multiprocessing.get_start_method(allow_none=True)
    usual = told in (None, multiprocessing.get_all_start_methods()[0])
    return "fork" if usual and sys.platform == "linux" else None


def _leave_quietly(_: int) -> None:
    """Let a reading process not complain that it could not hand on a batch: its parent was stopped."""
    said = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, (ConnectionError, EOFError)):
            said(kind, error, trace)

    sys.excepthook = hook


def _raised(batches: Iterator[Batch | str]) -> Iterator[Batch]:
    try:
        for batch in batches:
            if isinstance(batch, str):
                raise FeatxError(batch)
            yield batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise FeatxError(
            "Expected the processes that read images to live, but one was killed, perhaps for want of "
            f"memory ({first_line(error)}). Use num_workers=0."
        ) from error


def _loaded(loader: DataLoader, digests: bool) -> Iterator[Batch]:
    """Yield what a `DataLoader` yields."""
    row, batches = 0, iter(loader)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except (TypeError, RuntimeError, ValueError, OSError) as error:
            raise FeatxError(
                "Expected a DataLoader that makes batches of images, but it raised "
                f"{named_line(error)}. Give its dataset a transform that turns each "
                "image into a tensor of one size, or pass the dataset itself."
            ) from error
        images, *rest = batch if isinstance(batch, (list, tuple)) else [batch]
        if not isinstance(images, torch.Tensor):
            raise FeatxError(
                f"Expected batches of image tensors, got {type(images).__name__}. Give the dataset "
                "a transform that ends in a tensor of 0-255 (uint8) or 0-1 (float)."
            )
        if loader.batch_sampler is None and images.ndim < 4:
            raise FeatxError(
                f"Expected a DataLoader that makes batches (N, C, H, W), got {tuple(images.shape)} from one "
                "with batch_size=None. Give it a batch_size, or pass its dataset."
            )
        rows = np.arange(row, row + len(images))
        row += len(images)
        labels = {}
        if rest and isinstance(rest[0], (torch.Tensor, np.ndarray, list, tuple)):
            labels = dict(zip(rows.tolist(), rest[0], strict=False))
        found = {row: _tensor_digest(images[i]) for i, row in enumerate(rows.tolist()) if digests}
        yield Batch(rows, images, False, labels, found)


# --- small things ---------------------------------------------------------------------------------


def _file_digest(path: Path) -> bytes | str:
    try:
        return sha256(path)[:DIGEST_BYTES]
    except OSError as error:
        return os_reason(error)


def _tensor_digest(image: torch.Tensor) -> bytes:
    form = f"{image.dtype} {tuple(image.shape)}".encode()
    return content_digest(form, bits_of(image.cpu()).numpy())


def _stacked(digests: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, DIGEST_BYTES)


def _length(data: Any) -> int | None:
    return None if isinstance(data, DataLoader) else len(data)  # samplers may leave images out


def _class_names(dataset: Any) -> tuple[str, ...]:
    # what torchvision's datasets call them, and our own
    names = getattr(dataset, "class_names", None) or getattr(dataset, "classes", None) or ()
    return tuple(str(name) for name in names)
