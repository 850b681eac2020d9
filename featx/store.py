"""Features on disk: memory-mapped, keyed by content, resumable, safe against every crash.

::

    cache_dir/
        resnet18-5f0c…/          one for each way to compute features (a recipe)
            meta.json            what that is: weights, layers, preprocessing, precision, versions
            meta.copy.json       the same
            broken.json          content that could not be read as an image, and why
            9ab2….lock
            9ab2…/               one for each data: the images' content, in order
                meta.json        how many rows, how many at a time
                items.npy        the digest of each image's content
                features.npy     float32 (N, D): row i belongs to image i; one file a layer
                journal-0.jsonl  a line for each finished chunk of rows, with their SHA-256 and its own
                seal.json        what the file system said of the files when all rows were found right

A row counts only when a whole line of a journal vouches for it and its bytes have that line's SHA-256. This
one rule covers an interrupted run, a truncated file, a flipped bit and a full disk alike: what it does not
vouch for is computed again. Rows of images that another data set shares are copied, not computed.

To read all rows takes a while where there are millions. So a view that is complete and right is sealed: while
size, times and inode of its files stay the same, nobody has written to them, and they are not read again.
(What a disk loses by itself is noticed without a seal only. Delete seal.json to have all rows checked.)
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import mmap
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from featx.errors import FeatxError
from featx.files import write_atomically
from featx.progress import say

__all__ = [
    "DIGEST_BYTES",
    "Recipe",
    "View",
    "content_digest",
    "file_name",
    "signed",
    "unsigned",
]

_RECIPE_FILES = ("meta.json", "meta.copy.json")

#: Size of the digest of one image's content: half a SHA-256, too long for two to meet by chance.
DIGEST_BYTES = 16


def content_digest(*parts: Any) -> bytes:
    """Return the digest of some content: 16 bytes.

    Parameters
    ----------
    *parts
        Bytes, or contiguous arrays.

    Returns
    -------
    bytes
        The first half of the SHA-256.

    Examples
    --------
    >>> content_digest(b"abc").hex()
    'ba7816bf8f01cfea414140de5dae2223'
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()[:DIGEST_BYTES]


def file_name(layer: str) -> str:
    """Return the name of the file with the features of `layer`.

    Examples
    --------
    >>> file_name("layer4.0.conv1")
    'layer4.0.conv1.npy'
    """
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in layer)
    if name != layer.lower():  # two layers must not meet in one file, nor where case does not count
        name += f"-{content_digest(layer.encode()).hex()[:8]}"
    return f"{name}.npy"


class Recipe:
    """One way to compute features, and the folder for all that was computed so.

    Parameters
    ----------
    cache_dir
        The user's folder; made when it is missing.
    name
        What to call it, for those who look into the folder.
    key
        Everything that the features depend on but the images; JSON.
    canary
        Layer -> features ``(D,)`` of one fixed image. Code that computes something else under the same key
        gets a folder of its own.
    tolerance
        How far two runs of the same code may be apart, as a part of the largest number.
    """

    def __init__(
        self,
        cache_dir: Path,
        name: str,
        key: Mapping[str, Any],
        canary: Mapping[str, np.ndarray],
        tolerance: float,
    ) -> None:
        described = json.dumps(key, sort_keys=True).encode()
        base = f"{file_name(name)[:-4]}-{hashlib.sha256(described).hexdigest()[:16]}"
        short = {layer: _short(row) for layer, row in canary.items()}
        try:
            for number in count(1):
                self.folder = cache_dir / (base if number == 1 else f"{base}-{number}")
                if not self.folder.exists() and self._made(key, short):
                    return
                # Twice, because rows whose recipe nobody knows can never be served again.
                copies = [_read_signed(self.folder / name) for name in _RECIPE_FILES]
                stored = next(filter(None, copies), {})
                if stored and _same_features(stored["canary"], short, tolerance):
                    if not all(copies):
                        with contextlib.suppress(OSError):  # it may be read-only
                            _write_recipe(self.folder, key, short)
                    return
        except OSError as error:
            raise _cannot_write(cache_dir, error) from error

    def _made(self, key: Mapping[str, Any], canary: Mapping[str, list[float]]) -> bool:
        """Make the folder, whole at once; say whether no other process was quicker."""
        new = self.folder.with_name(f".{self.folder.name}.{secrets.token_hex(6)}")
        try:
            new.mkdir(parents=True)
            _write_recipe(new, key, canary)
            new.rename(self.folder)
            return True
        except OSError:
            if not self.folder.exists():
                raise
            return False
        finally:
            shutil.rmtree(new, ignore_errors=True)

    def broken(self) -> dict[bytes, str]:
        """Return the content that is known not to be an image: digest -> reason."""
        known = _read_signed(self.folder / "broken.json")
        return {bytes.fromhex(digest): reason for digest, reason in known.items()}

    def add_broken(self, found: Mapping[bytes, str]) -> None:
        """Remember content that is not an image."""
        try:
            with FileLock(self.folder / "broken.lock"):
                known = {**self.broken(), **found}
                content = signed({digest.hex(): reason for digest, reason in known.items()})
                write_atomically(self.folder / "broken.json", content)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def view(self, digests: np.ndarray, widths: Mapping[str, int]) -> View:
        """Return the features of the images with these digests, in this order.

        Parameters
        ----------
        digests
            uint8 ``(N, 16)``.
        widths
            Layer -> D.

        Returns
        -------
        View
            Not yet checked, and perhaps not yet there.
        """
        return View(self.folder / content_digest(digests).hex(), digests, widths)


class View:
    """The features of some images in some order, on disk: ``(N, D)`` for each layer.

    Attributes
    ----------
    folder : pathlib.Path
        Where it is.
    done : numpy.ndarray
        bool ``(N,)``: the rows that are there and right, as `verify` found them.
    broken : dict
        Row -> why its image could not be read.
    """

    def __init__(self, folder: Path, digests: np.ndarray, widths: Mapping[str, int]) -> None:
        self.folder = folder
        self.digests = digests
        self.widths = dict(widths)
        self.done = np.zeros(len(digests), bool)
        self.broken: dict[int, str] = {}
        self._files: dict[str, io.FileIO] = {}
        self._journal: io.FileIO | None = None

    def __len__(self) -> int:
        return len(self.digests)

    @property
    def complete(self) -> bool:
        """Whether every row is there, right, and of an image."""
        return bool(self.done.all()) and not self.broken

    # --- reading: needs no lock, and no right to write ---------------------------------------------

    def verify(self) -> None:
        """Find out which rows are there: set `done` and `broken`."""
        self.broken = {}
        self.done[:] = self._is_sealed()
        if self.done.all() or not self._is_sound():
            return
        stamps = self._stamps()
        written = max((changed for changed, *_ in stamps.values()), default=0)
        is_past = _clock(self.folder) > written
        for start, stop, line in _journal_lines(self.folder, len(self)):
            if self._sums(start, stop) == line["sha256"]:
                self.done[start:stop] = True
                self.broken |= {int(row): why for row, why in line.get("broken", {}).items()}
        # Whoever writes to a file now gives it a later time, so that the seal breaks: if the clock of the
        # file system had moved on since the last write, for it moves in steps of some milliseconds.
        same = stamps and stamps == self._stamps()
        if self.complete and is_past and same and _tells_of_writes(self.folder):
            with contextlib.suppress(OSError):  # it may be read-only
                write_atomically(self.folder / "seal.json", signed({"stamps": stamps}))

    def _is_sealed(self) -> bool:
        known = _read_signed(self.folder / "seal.json").get("stamps")
        try:
            return bool(known) and known == self._stamps() and self._has_items()
        except OSError:
            return False

    def _stamps(self) -> dict[str, list[int]]:
        """Return what changes whenever somebody writes to a file: name -> times, size, inode."""
        names = ["items.npy", *map(file_name, self.widths)]
        try:
            found = [(self.folder / name).stat() for name in names]
        except OSError:
            return {}
        return {
            name: [each.st_ctime_ns, each.st_mtime_ns, each.st_size, each.st_ino]
            for name, each in zip(names, found, strict=True)
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return layer -> read-only memory map ``(N, D)``."""
        return {
            layer: np.load(self.folder / file_name(layer), mmap_mode="r") for layer in self.widths
        }

    def _is_sound(self) -> bool:
        """Say whether the files have the form they should have, so that rows can be looked at."""
        try:
            return self._has_items() and all(
                path.stat().st_size == size and _starts_with(path, header)
                for path, header, size in self._layout()
            )
        except OSError:
            return False

    def _has_items(self) -> bool:
        return (self.folder / "items.npy").read_bytes() == _npy(self.digests)

    def _layout(self) -> Iterator[tuple[Path, bytes, int]]:
        """Yield path, header and size of each layer's file."""
        for layer, width in self.widths.items():
            header = _npy_header((len(self), width))
            yield (
                self.folder / file_name(layer),
                header,
                len(header) + len(self) * width * 4,
            )

    def _sums(self, start: int, stop: int) -> dict[str, str]:
        # Plain reads: pages of a memory map would count as this process's memory.
        return {
            layer: hashlib.sha256(self._read(layer, start, stop)).hexdigest()
            for layer in self.widths
        }

    def _read(self, layer: str, start: int, stop: int) -> bytes:
        width = self.widths[layer] * 4
        with (self.folder / file_name(layer)).open("rb") as file:
            file.seek(len(_npy_header((len(self), self.widths[layer]))) + start * width)
            return file.read((stop - start) * width)

    # --- writing: one process at a time, or the processes of one group ------------------------------

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from extracting the same; wait while another one does.

        The operating system gives the lock back when its holder dies, however it dies.
        """
        lock = FileLock(f"{self.folder}.lock")
        try:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                say(f"Another process is extracting the same images into {self.folder}: waiting.")
                lock.acquire()
        except OSError as error:
            raise _cannot_write(self.folder.parent, error) from error
        try:
            yield
        finally:
            lock.release()

    def prepare(self, chunk: int) -> int:
        """Make the files, or mend what is there, and take over rows that other views have.

        Parameters
        ----------
        chunk
            How many rows go through the model at a time, if this is a new view.

        Returns
        -------
        int
            How many rows it is: what an interrupted run began with, so that the rest comes out the same.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            chunk = _read_signed(self.folder / "meta.json").get("chunk", chunk)
            if (self.folder / "items.npy").exists():
                self._mend()
            else:
                for path, header, size in self._layout():
                    _allocate(path, header, size)
                write_atomically(self.folder / "items.npy", _npy(self.digests))
            meta = {"rows": len(self), "chunk": chunk, "layers": self.widths}
            write_atomically(self.folder / "meta.json", signed(meta))
            self.verify()
            self._take_over(chunk)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        return chunk

    def _mend(self) -> None:
        # Rows that survived a truncation or a damaged header are still vouched for.
        write_atomically(self.folder / "items.npy", _npy(self.digests))
        for path, header, size in self._layout():
            if not path.exists() or path.stat().st_size != size or not _starts_with(path, header):
                _allocate(path, header, size)

    def write(self, rows: np.ndarray, features: Mapping[str, np.ndarray]) -> None:
        """Write features ``(len(rows), D)`` of each layer; they count once `commit` was called."""
        try:
            for layer, values in features.items():
                file = self._file(layer)
                width = self.widths[layer] * 4
                offset = len(_npy_header((len(self), self.widths[layer])))
                values = np.ascontiguousarray(values, np.float32)
                edges = np.flatnonzero(np.diff(rows) != 1) + 1  # runs of neighbours go at once
                for run, block in zip(np.split(rows, edges), np.split(values, edges), strict=True):
                    if len(run):
                        file.seek(offset + int(run[0]) * width)
                        _write_all(file, block)
        except OSError as error:
            raise _cannot_write(self.folder, error) from error

    def commit(self, start: int, stop: int, broken: Mapping[int, str], writer: int = 0) -> None:
        """Vouch for the rows from `start` to `stop`.

        Parameters
        ----------
        start, stop
            The rows, as in a slice.
        broken
            Those that belong to no readable image -> why not.
        writer
            The number of this process in its group: each has a journal of its own.
        """
        line = {"rows": [start, stop], "sha256": self._sums(start, stop)}
        if broken:
            line["broken"] = {str(row): reason for row, reason in broken.items()}
        try:
            if self._journal is None:
                # A line that a crash cut short is closed, so that it cannot spoil the next.
                self._journal = (self.folder / f"journal-{writer}.jsonl").open("ab", buffering=0)
                _write_all(self._journal, b"\n")
            _write_all(self._journal, signed(line) + b"\n")
        except OSError as error:
            raise _cannot_write(self.folder, error) from error
        self.done[start:stop] = True
        self.broken.update(broken)

    def close(self) -> None:
        """Close the files that `write` and `commit` opened."""
        for file in [*self._files.values(), *([self._journal] if self._journal else [])]:
            file.close()
        self._files, self._journal = {}, None

    def remove(self) -> None:
        """Delete the view from the disk."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, layer: str) -> io.FileIO:
        if layer not in self._files:
            self._files[layer] = (self.folder / file_name(layer)).open("r+b", buffering=0)
        return self._files[layer]

    def _take_over(self, chunk: int) -> None:
        """Copy rows of images that other views of the same recipe have."""
        for folder in sorted(self.folder.parent.iterdir()):
            digests = None if folder == self.folder else _read_digests(folder / "items.npy")
            if digests is None or self.done.all():
                continue
            mine, theirs = _shared(self.digests, digests, ~self.done)
            if not len(mine):
                continue
            other = View(folder, digests, self.widths)
            try:
                other.verify()  # a damaged view has nothing to give
                usable = other.done[theirs]
                usable[np.isin(theirs, list(other.broken))] = False
                mine, theirs = mine[usable], theirs[usable]
                for at in range(0, len(mine), chunk):  # a chunk at a time: memory stays flat
                    rows = theirs[at : at + chunk]
                    self.write(
                        mine[at : at + chunk],
                        {layer: np.array(array[rows]) for layer, array in other.arrays().items()},
                    )
            except FileNotFoundError:  # another process removed it meanwhile
                continue
            self._commit_copied(mine, chunk)

    def _commit_copied(self, rows: np.ndarray, chunk: int) -> None:
        there = self.done.copy()
        there[rows] = True
        for start in range(0, len(self), chunk):
            stop = min(start + chunk, len(self))
            if there[start:stop].all() and not self.done[start:stop].all():
                self.commit(start, stop, {})
        self.done |= there  # of the others the caller vouches for, with the rest of their chunk


def _write_recipe(folder: Path, key: Mapping[str, Any], canary: Mapping[str, list[float]]) -> None:
    for name in _RECIPE_FILES:
        write_atomically(folder / name, signed({"key": key, "canary": canary}))


def _shared(
    mine: np.ndarray, theirs: np.ndarray, wanted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the wanted rows that are in both, in mine and in theirs."""
    a, b = (np.ascontiguousarray(d).view(f"V{DIGEST_BYTES}").ravel() for d in (mine, theirs))
    rows = np.flatnonzero(wanted)
    known, first = np.unique(b, return_index=True)
    at = np.searchsorted(known, a[rows]).clip(max=len(known) - 1)
    found = known[at] == a[rows]
    return rows[found], first[at[found]]


def _journal_lines(folder: Path, rows: int) -> Iterator[tuple[int, int, dict]]:
    for path in sorted(folder.glob("journal-*.jsonl")):
        for text in path.read_bytes().splitlines():
            line = unsigned(text)  # a line that was cut short or flipped vouches for nothing
            if line:
                start, stop = line["rows"]
                if stop <= rows:
                    yield start, stop, line


def signed(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    """Write JSON with its checksum in it, by default on one line."""
    return json.dumps({"checksum": _checksum(content), **content}, indent=indent).encode()


def unsigned(text: bytes) -> dict:
    """Read what `signed` wrote; nothing when what it says has changed."""
    try:
        content = json.loads(text)
        return content if content.pop("checksum") == _checksum(content) else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _checksum(content: Mapping[str, Any]) -> str:
    return content_digest(json.dumps(content, sort_keys=True).encode()).hex()


def _short(row: np.ndarray) -> list[float]:
    """Sum up a row of any length in at most 256 numbers, all of it with a sign drawn at random."""
    mixed = row * np.random.default_rng(0).choice(np.array([-1, 1], np.float32), row.shape)
    columns: Any = np.pad(mixed, (0, -len(row) % 256)).reshape(-1, 256)
    return columns.sum(0).tolist()


def _same_features(
    stored: Mapping[str, list[float]], canary: Mapping[str, list[float]], tolerance: float
) -> bool:
    """Say whether two runs computed the same thing, but for rounding and another device."""
    return stored.keys() == canary.keys() and all(
        np.allclose(stored[layer], row, rtol=0, atol=tolerance * float(np.abs(row).max()) + 1e-12)
        for layer, row in canary.items()
    )


def _read_signed(path: Path) -> dict:
    try:
        return unsigned(path.read_bytes())
    except OSError:
        return {}


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _npy_header(shape: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f4", "fortran_order": False, "shape": shape}
    )
    return buffer.getvalue()


def _read_digests(path: Path) -> np.ndarray | None:
    """Read the digests of a view; None where there is none, or a damaged one."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    rows = content[10 + int.from_bytes(content[8:10], "little") :]  # behind the header
    digests = np.frombuffer(rows[: len(rows) // DIGEST_BYTES * DIGEST_BYTES], np.uint8)
    digests = digests.reshape(-1, DIGEST_BYTES)
    return digests if _npy(digests) == content else None


def _clock(folder: Path) -> int:
    """Return the file system's time, in ns; 0 where it cannot be told: Windows gives that of the creation."""
    new = folder / f".clock.{secrets.token_hex(6)}"
    try:
        new.touch()
        return new.stat().st_ctime_ns if os.name == "posix" else 0
    except OSError:  # it may be read-only
        return 0
    finally:
        with contextlib.suppress(OSError):
            new.unlink()


def _tells_of_writes(folder: Path) -> bool:
    """Say whether the file system notes when somebody writes through a memory map: one in memory does not."""
    path = folder / f".written.{secrets.token_hex(6)}"
    try:
        path.write_bytes(bytes(mmap.PAGESIZE))
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            before = memory[0] + path.stat().st_ctime_ns  # read first: the page is there, then
            time.sleep(0.02)  # the clock moves on
            memory[0] = 1
            memory.flush()
        return path.stat().st_ctime_ns > before
    except (OSError, ValueError):
        return False
    finally:
        with contextlib.suppress(OSError):
            path.unlink()


def _starts_with(path: Path, header: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(header)) == header


def _allocate(path: Path, header: bytes, size: int) -> None:
    """Make `path` a file of this size, keeping what is in it, and claim the space now.

    A disk that is full must say so here: writing into a hole of a memory map would kill the process.
    """
    old_size = path.stat().st_size if path.exists() else 0
    with path.open("r+b" if old_size else "w+b", buffering=0) as file:
        try:
            _write_all(file, header)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(size)
        except OSError:
            file.truncate(old_size)  # give back what was claimed in vain
            raise


def _write_all(file: io.FileIO, data: Any) -> None:
    view = memoryview(data).cast("B")
    while view:  # a write to a nearly full disk may be a short one
        view = view[file.write(view) :]


def _cannot_write(folder: Path, error: OSError) -> FeatxError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(folder).free / 1e6
            return FeatxError(
                f"Expected room for the features in {folder}, but the disk is full ({free:.0f} MB free). "
                "Make room and run again: it goes on where it stopped. Or choose another cache_dir."
            )
    return FeatxError(
        f"Expected a folder to write features to, got {folder}: {error.strerror or error}. Choose another "
        "cache_dir."
    )
