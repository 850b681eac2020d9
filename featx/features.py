"""What an extraction gives: features, labels, where each row came from; saved and loaded."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from featx.arrays import as_numpy
from featx.datasets import SkippedFile
from featx.errors import FeatxError
from featx.files import replacing, sha256, write_atomically
from featx.images import os_reason
from featx.store import file_name, signed, unsigned

__all__ = ["Features", "Plan", "load_features", "named_labels"]


@dataclass
class Plan:
    """How features were extracted, and where the time went.

    Attributes
    ----------
    device, precision : str
        Where, and with which numbers.
    batch_size, num_workers, threads : int
        Images in one forward pass; processes that read them; without any, threads of this one that do.
    settings : str
        How the model was run: precision, memory layout, and what was done to it.
    notes : list of str
        What would have been quicker and was not done, and why.
    cores : int
        Processor cores that there were.
    images, computed : int
        How many there are, and how many of them went through the model here: the others came from the
        cache, or from another process.
    seconds : dict
        ``"read"`` (waiting for images), ``"model"`` and ``"write"``.
    reading : float
        Seconds of processor time for reading, of all the processes that did it.

    Examples
    --------
    >>> plan = Plan("cpu", "float32", 32, 2, cores=2, images=960, computed=960)
    >>> plan.seconds, plan.reading = {"read": 0.5, "model": 9.5, "write": 0.0}, 4.0
    >>> print(plan.explain())
    960 of 960 images computed on cpu in float32, 32 at a time, processes that read: 2; ...
    Time: 2.0 s reading (20 %), 8.0 s model (80 %), 0.0 s writing (0 %); one without ...
    To be faster: a GPU, or a smaller backbone.
    """

    device: str
    precision: str
    batch_size: int
    num_workers: int
    threads: int = 1
    settings: str = ""
    notes: list[str] = field(default_factory=list)
    cores: int = 1
    images: int = 0
    computed: int = 0
    seconds: dict[str, float] = field(
        default_factory=lambda: {"read": 0.0, "model": 0.0, "write": 0.0}
    )
    reading: float = 0.0

    def shares(self) -> dict[str, float]:
        """Return the seconds of each stage, overlap counted once; they sum up to the whole."""
        total, write = sum(self.seconds.values()), self.seconds["write"]
        read = self.seconds["read"]
        if self.num_workers and self.device.startswith("cpu"):
            # what reads in the background takes the model's cores: it shows as a slower model
            read = min(max(read, self.reading / self.cores), total - write)
        return {"read": read, "model": total - write - read, "write": write}

    @property
    def bound(self) -> str:
        """The stage that takes the longest: ``"read"``, ``"model"`` or ``"write"``."""
        shares = self.shares()
        return max(shares, key=lambda stage: shares[stage])

    def __str__(self) -> str:
        kind = "processes" if self.num_workers else "threads"
        how = (
            f"{self.computed} of {self.images} images computed on {self.device} in {self.precision}, "
            f"{self.batch_size} at a time, {kind} that read: {self.num_workers or self.threads}"
        )
        total = sum(self.seconds.values())
        if not self.computed or not total:
            return how
        return (
            f"{how}; {_BOUND[self.bound]}: {self.computed / total:.0f} images/s, model idle "
            f"{1 - self.shares()['model'] / total:.0%}"
        )

    def explain(self) -> str:
        """Say how it was done, what each stage took, which limit binds, and what would change it.

        Returns
        -------
        str
            A few lines.
        """
        lines = [str(self)]
        total = sum(self.seconds.values())
        if self.settings and self.settings != self.precision:
            lines.append(f"The model: {self.settings}.")
        if self.computed and total:
            parts = [
                f"{seconds:.1f} s {_STAGES[stage]} ({seconds / total:.0%})".replace("%", " %")
                for stage, seconds in self.shares().items()
            ]
            shares = self.shares()
            # of several that read: what they took together, not what was waited for
            readers = self.num_workers or self.threads
            shares["read"] = max(shares["read"], self.reading / readers)
            alone = [
                f"{_STAGES[stage]} {self.computed / shares[stage]:.0f} images/s"
                for stage in ("read", "model")
                if shares[stage]
            ]
            lines.append(f"Time: {', '.join(parts)}; one without the other: {', '.join(alone)}.")
            lines.append(f"To be faster: {self._way()}.")
        return "\n".join([*lines, *self.notes])

    def _way(self) -> str:
        """Say what to change, given what binds."""
        if self.bound == "write":
            return "a cache_dir on a faster disk"
        if self.bound == "read":
            reads_alone = self.num_workers == 0 and self.threads == 1
            on_a_gpu = not self.device.startswith("cpu")
            if self.num_workers < self.cores and (reads_alone or on_a_gpu):
                return f"more reading processes (num_workers={self.cores})"
            return "smaller image files (the model shrinks them anyway), or more cores"
        if self.device.startswith("cpu"):
            return "a GPU, or a smaller backbone"
        return "a larger batch_size, or a smaller backbone"


_STAGES = {"read": "reading", "model": "model", "write": "writing"}
_BOUND = {
    "read": "bound by reading",
    "model": "bound by the model",
    "write": "bound by the disk",
}


@dataclass(frozen=True, eq=False)
class Features:
    """What `featx.extract` returns.

    Attributes
    ----------
    X : numpy.ndarray
        float32 ``(N, D)``, one row for each image, in the order of the data; a read-only memory map where
        there is a cache. With several layers: of the last one.
    y : numpy.ndarray or None
        Labels ``(N,)`` where the data has some.
    layers : dict
        Layer -> ``(N, D)``, in the order that was asked for.
    paths : list of str or None
        The file of each row, where the data has files.
    class_names : tuple of str
        Names of the labels 0, 1, 2, …, where they have some.
    skipped : list of SkippedFile
        What was found in the data and is no image, with the reason.
    plan : Plan or None
        How it was done, and where the time went.
    meta : dict
        Which backbone, weights and settings these features are of.

    Examples
    --------
    Features that come from elsewhere can be saved, and probed with ``featx probe``, just the same:

    >>> features = Features(np.zeros((4, 8), np.float32), np.array([0, 0, 1, 1]), class_names=("cat", "dog"))
    >>> features, len(features)
    (Features(X (4, 8), with labels), 4)
    """

    X: np.ndarray
    y: np.ndarray | None = None
    layers: dict[str, np.ndarray] = field(default_factory=dict)
    paths: list[str] | None = None
    class_names: tuple[str, ...] = ()
    skipped: list[SkippedFile] = field(default_factory=list)
    plan: Plan | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.X)

    def __repr__(self) -> str:
        labels = "no labels" if self.y is None else "with labels"
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"Features(X {self.X.shape}, {labels}{skipped})"

    def save(self, folder: str | Path) -> Path:
        """Write the features as plain files that any program can read.

        Parameters
        ----------
        folder
            Made when it is missing. ``X.npy`` is float32 ``(N, D)``; ``index.csv`` has a line for each row:
            its label, class name and path; ``layers/`` has the others where several were extracted;
            ``meta.json`` says what it is, what was skipped, and holds a checksum of each file.

        Returns
        -------
        pathlib.Path
            The folder.

        Raises
        ------
        FeatxError
            When it cannot be written to, or what there is does not make features: rows of numbers, and as
            many labels and paths.
        """
        folder = Path(folder).expanduser()
        return self._converted()._write(folder)

    def _converted(self) -> Features:
        """Return the same as what the files hold, whatever a user has made them of."""
        X = _as_rows(self.X, "X")
        layers = {
            layer: X if given is self.X else _as_rows(given, layer, len(X))
            for layer, given in self.layers.items()
        }
        y = None if self.y is None else _as_labels(self.y, len(X))
        paths = None if self.paths is None else [str(path) for path in self.paths]
        if paths is not None and len(paths) != len(X):
            raise FeatxError(
                f"Expected one path for each of {len(X)} rows, got {len(paths)}. Leave paths out where "
                "there are no files."
            )
        return replace(self, X=X, y=y, layers=layers, paths=paths)

    def _write(self, folder: Path) -> Path:
        arrays = {"X.npy": self.X}
        arrays |= {
            f"layers/{file_name(layer)}": X for layer, X in self.layers.items() if X is not self.X
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if len(arrays) > 1:
                (folder / "layers").mkdir(exist_ok=True)
            sums = {name: _save_array(folder / name, array) for name, array in arrays.items()}
            for old in (folder / "layers").glob("*.npy"):  # of what was here before
                if f"layers/{old.name}" not in arrays:
                    old.unlink()
            index = self._index()
            write_atomically(folder / "index.csv", index)
            meta = {
                **self.meta,
                "images": len(self),
                "labels": None if self.y is None else str(self.y.dtype),
                "paths": self.paths is not None,
                "class_names": list(self.class_names),
                "layers": list(self.layers),
                "skipped": [asdict(each) for each in self.skipped],
                "plan": asdict(self.plan) if self.plan else None,
                "sha256": {**sums, "index.csv": hashlib.sha256(index).hexdigest()},
            }
            # Last: what a crash leaves behind does not have the checksums of a whole.
            write_atomically(folder / "meta.json", signed(meta, indent=1))
        except OSError as error:
            raise FeatxError(
                f"Expected a folder to write features to, got {folder}: {error.strerror or error}. Choose "
                "another one."
            ) from error
        return folder

    def _index(self) -> bytes:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["row", "label", "class_name", "path"])
        for row in range(len(self)):
            label = "" if self.y is None else self.y[row].tolist()
            cell = label if isinstance(label, str) else json.dumps(label)
            name = _name_of(label, self.class_names) or ""
            table.writerow([row, cell, name, self.paths[row] if self.paths else ""])
        return text.getvalue().encode("utf-8", "surrogateescape")


def named_labels(features: Features) -> np.ndarray | None:
    """Return the class name of each row, which says more than a number that another may use otherwise.

    Parameters
    ----------
    features
        Labels 0, 1, 2, … have the names in `class_names`.

    Returns
    -------
    numpy.ndarray or None
        Strings ``(N,)``; a whole number without a name stays, as a string. The labels as they are where
        there are no names or the labels are no whole numbers, and None without labels.

    Examples
    --------
    >>> named_labels(Features(np.zeros((3, 8)), np.array([0, 1, 7]), class_names=("cat", "dog")))
    array(['cat', 'dog', '7'], dtype='<U3')
    """
    if features.y is None:
        return None
    labels, names = as_numpy(features.y), features.class_names
    if not names or labels.dtype.kind not in "biu" or labels.ndim != 1:
        return labels
    found = [_name_of(label, names) for label in labels.tolist()]
    return np.array(
        [str(n) if name is None else name for n, name in zip(labels, found, strict=True)]
    )


def _name_of(label: object, class_names: tuple[str, ...]) -> str | None:
    whole = isinstance(label, int)  # True is 1
    return class_names[label] if whole and 0 <= label < len(class_names) else None


def load_features(folder: str | Path) -> Features:
    """Load what ``featx extract`` or `Features.save` wrote.

    Parameters
    ----------
    folder
        Where it is.

    Returns
    -------
    Features
        `X` is a read-only memory map; `plan` is None.

    Raises
    ------
    FeatxError
        When nothing was saved there, or a file is not what was saved.

    Examples
    --------
    >>> import tempfile, featx
    >>> digits = featx.datasets.load_digits()
    >>> features = featx.extract(featx.load_backbone("glyphnet"), digits, progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     featx.load_features(features.save(folder)).X.shape
    (1797, 256)
    """
    folder = Path(folder).expanduser()
    try:
        content = (folder / "meta.json").read_bytes()
    except FileNotFoundError as error:
        raise _no_features(folder) from error
    except OSError as error:
        raise FeatxError(
            f"Expected features that can be read in {folder}, got: {os_reason(error)}. Ask their owner for "
            "the permission, or extract again."
        ) from error
    meta = unsigned(content)
    if not meta and b'"sha256"' not in content:
        raise _no_features(folder)
    damaged = [
        name for name, known in meta.get("sha256", {}).items() if _sum(folder / name) != known
    ]
    if damaged or not meta:
        raise FeatxError(
            f"Expected {folder / (damaged or ['meta.json'])[0]} as it was saved, but its content has "
            "changed. Extract again; what the cache holds is not computed twice."
        )
    index = (folder / "index.csv").read_bytes()
    rows = list(csv.reader(io.StringIO(index.decode("utf-8", "surrogateescape"))))[1:]
    labels = None
    if meta["labels"] is not None:
        kind = np.dtype(meta["labels"])
        cells = [row[1] for row in rows]
        labels = np.array(cells if kind.kind == "U" else [json.loads(c) for c in cells], kind)
    X = np.load(folder / "X.npy", mmap_mode="r")
    layers = {
        layer: np.load(folder / "layers" / file_name(layer), mmap_mode="r")
        if f"layers/{file_name(layer)}" in meta["sha256"]
        else X  # which is written once
        for layer in meta["layers"]
    }
    return Features(
        X,
        labels,
        layers,
        [row[3] for row in rows] if meta["paths"] else None,
        tuple(meta["class_names"]),
        [SkippedFile(**each) for each in meta["skipped"]],
        meta={key: value for key, value in meta.items() if key not in _OF_THE_FILES},
    )


def _as_rows(values: Any, name: str, count: int | None = None) -> np.ndarray:
    """Return float32 ``(N, D)``; what is that already stays as it is, a memory map too."""
    rows = values if isinstance(values, np.ndarray) else as_numpy(values)
    if rows.ndim != 2 or rows.dtype.kind not in "biuf":
        raise FeatxError(
            f"Expected {name} (N, D) of numbers, got {rows.dtype} {rows.shape}. One row for each image."
        )
    if count not in (None, len(rows)):
        raise FeatxError(
            f"Expected {name} with {count} rows, got {len(rows)}. All layers are of the same images."
        )
    return rows.astype(np.float32, copy=False)


def _as_labels(values: Any, count: int) -> np.ndarray:
    """Return labels of a type that comes back from a file: numbers or strings."""
    labels = as_numpy(values)
    if not labels.ndim or len(labels) != count:
        got = len(labels) if labels.ndim else type(values).__name__
        raise FeatxError(
            f"Expected one label for each of {count} rows, got {got}. Give them in the order of the rows."
        )
    if labels.dtype == object and len({isinstance(each, str) for each in labels.flat}) == 1:
        labels = np.array(labels.tolist())
    if labels.dtype.kind not in "biufU":
        raise FeatxError(
            f"Expected labels as numbers or names, got {labels.dtype}. Make them one kind: "
            "np.array([str(label) for label in y])."
        )
    return labels


def _no_features(folder: Path) -> FeatxError:
    return FeatxError(
        f"Expected a folder with features, got {folder}, where there are none. Make them with: "
        f"featx extract IMAGES --out {folder}"
    )


def _sum(path: Path) -> str:
    try:
        return sha256(path).hex()
    except OSError:
        return ""


# What `save` adds to `Features.meta`
_OF_THE_FILES = ("images", "labels", "paths", "class_names", "skipped", "plan", "sha256")


def _save_array(path: Path, array: np.ndarray) -> str:
    """Save an array, piece by piece so that a memory map stays one; return its SHA-256."""
    with replacing(path) as new:
        source = _whole_file(array)
        if source is not None:
            shutil.copyfile(source, new)
        else:
            with new.open("wb") as file:
                np.save(file, array)
        return sha256(new).hex()


def _whole_file(array: Any) -> Path | None:
    """Return the .npy file that a memory map is the whole of."""
    if not isinstance(array, np.memmap) or array.filename is None:
        return None
    path = Path(array.filename)
    # A part of a memory map is one too, of the same file.
    same = array.flags.c_contiguous and array.offset + array.nbytes == path.stat().st_size  # pyright: ignore[reportAttributeAccessIssue]
    return path if same and np.load(path, mmap_mode="r").shape == array.shape else None
