"""Exercise: list the images of a folder with one sub-folder for each class."""

from __future__ import annotations

import hashlib
import operator
import os
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from featx.study.exercises import Exercise
from featx.study.verdicts import Check, Verdict, weigh

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "goat", "hen")


def list_image_folder(folder: str) -> tuple[list, list[str]]:
    """Return (samples, class_names) of a folder with one sub-folder for each class.

    `samples` is a sorted list of (path, class index), `class_names` a sorted list.
    """
    from pathlib import Path

    ### BEGIN SOLUTION
    suffixes = {".jpg", ".jpeg", ".png"}
    folders = sorted(f for f in Path(folder).iterdir() if f.is_dir() and not f.name.startswith("."))
    samples = [
        (path, index)
        for index, class_folder in enumerate(folders)
        for path in sorted(class_folder.iterdir())
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    ]
    return samples, [f.name for f in folders]
    ### END SOLUTION


def case_sensitive(folder: str) -> tuple[list, list[str]]:
    from pathlib import Path

    folders = sorted(f for f in Path(folder).iterdir() if f.is_dir() and not f.name.startswith("."))
    samples = []
    for index, class_folder in enumerate(folders):
        for path in sorted(class_folder.iterdir()):
            if path.name.endswith((".jpg", ".jpeg", ".png")) and not path.name.startswith("."):
                samples.append((path, index))
    return samples, [f.name for f in folders]


def hidden_files(folder: str) -> tuple[list, list[str]]:
    from pathlib import Path

    folders = sorted(f for f in Path(folder).iterdir() if f.is_dir() and not f.name.startswith("."))
    samples = []
    for index, class_folder in enumerate(folders):
        for path in sorted(class_folder.iterdir()):
            if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
                samples.append((path, index))
    return samples, [f.name for f in folders]


def every_file(folder: str) -> tuple[list, list[str]]:
    from pathlib import Path

    folders = sorted(f for f in Path(folder).iterdir() if f.is_dir() and not f.name.startswith("."))
    samples = []
    for index, class_folder in enumerate(folders):
        for path in sorted(class_folder.iterdir()):
            if not path.name.startswith("."):
                samples.append((path, index))
    return samples, [f.name for f in folders]


def hidden_folders(folder: str) -> tuple[list, list[str]]:
    from pathlib import Path

    folders = sorted(f for f in Path(folder).iterdir() if f.is_dir())
    samples = []
    for index, class_folder in enumerate(folders):
        for path in sorted(class_folder.iterdir()):
            if path.suffix.lower() in (".jpg", ".jpeg", ".png") and path.name[0] != ".":
                samples.append((path, index))
    return samples, [f.name for f in folders]


def unsorted(folder: str) -> tuple[list, list[str]]:
    import os
    from pathlib import Path

    ends = (".jpg", ".jpeg", ".png")
    top = Path(folder)
    names = [name for name in os.listdir(top) if (top / name).is_dir() and name[0] != "."]  # noqa: PTH208
    samples = []
    for index, name in enumerate(names):
        for file in os.listdir(top / name):  # noqa: PTH208
            if file.lower().endswith(ends) and not file.startswith("."):
                samples.append((top / name / file, index))
    return samples, names


def names_as_labels(folder: str) -> tuple[list, list[str]]:
    from pathlib import Path

    folders = sorted(f for f in Path(folder).iterdir() if f.is_dir() and not f.name.startswith("."))
    samples = []
    for class_folder in folders:
        for path in sorted(class_folder.iterdir()):
            if path.suffix.lower() in (".jpg", ".jpeg", ".png") and path.name[0] != ".":
                samples.append((path, class_folder.name))
    return samples, [f.name for f in folders]


def observe(function: Any, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        for name in _files(seed):
            path = Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"not decoded here")
        # Some file systems list names in an order of their own; here all do.
        listdir, scandir = os.listdir, os.scandir
        with (
            mock.patch("os.listdir", lambda path=".": sorted(listdir(path), key=_mixed)),
            mock.patch("os.scandir", lambda path=".": _Entries(scandir(path))),
        ):
            returned = function(folder)
        seen: dict[str, Any] = {"type": type(returned).__name__, "samples": None, "names": None}
        if not isinstance(returned, tuple | list) or len(returned) != 2:
            return seen
        samples, names = returned
        if isinstance(names, list | tuple | np.ndarray):
            seen["names"] = [str(name) for name in names]
        if isinstance(samples, list | tuple):
            seen["samples"] = [_sample(sample, folder) for sample in samples]
        return seen


class _Entries:
    """The entries of a folder in a mixed order, to be used as those of `os.scandir` are."""

    def __init__(self, entries: Any) -> None:
        with entries:
            self._entries = iter(sorted(entries, key=lambda entry: _mixed(entry.name)))

    def __iter__(self) -> Any:
        return self._entries

    def __next__(self) -> Any:
        return next(self._entries)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._entries = iter(())


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    files = _files(seed)
    images = sorted(name for name in files if _is_image(name))
    classes = sorted({name.split("/")[0] for name in images})
    samples, names = seen["samples"] or [], seen["names"] or []
    formed = bool(samples) and bool(names) and all(sample is not None for sample in samples)
    pairs = [sample for sample in samples if sample is not None]
    found = [path for path, _ in pairs]
    images_found = set(found) & set(images)
    missing = sorted(set(images) - set(found))
    extra = sorted(set(found) - set(images))
    hidden = [path for path in extra if path.split("/")[-1].startswith(".")]
    unreal = [path for path in found if path not in files]
    named = dict(pairs)
    wrong = [p for p in images_found if named[p] != classes.index(p.split("/")[0])]
    hidden_names = [name for name in names if name.startswith(".")]
    cased = bool(missing) and all(name.rpartition(".")[2] != "jpeg" for name in missing)
    cased = cased and all(name != name.lower() for name in missing)
    usable = formed and bool(images_found)
    labelled = usable and not wrong
    return weigh(
        [
            Check(
                formed,
                0,
                "not-samples-and-names",
                f"You returned a {seen['type']}. Expected `(samples, class_names)`: a list of pairs "
                "`(path, class index)` that is not empty, and a list of names.",
            ),
            Check(
                not (formed and hidden_names),
                0,
                "hidden-folder-is-a-class",
                f"`{(hidden_names or ['-'])[0]}` became a class. Jupyter and other tools leave hidden "
                "folders behind; as a class it moves the index of every other class. Pass over names "
                "that start with a dot.",
            ),
            Check(
                not formed or set(names) == set(classes),
                0,
                "wrong-class-names",
                f"You named {len(names)} classes, but there are {len(classes)} class folders. Each "
                "sub-folder that is not hidden is a class; files at the top are none.",
            ),
            Check(
                usable and names == classes,
                1,
                "unsorted-folder",
                "The class names are not in sorted order. A folder gives its entries in the order of the "
                "file system, so on another machine class 0 may be another class, and a saved head would "
                "be wrong. Use `sorted(...)`.",
                right="the class names",
            ),
            Check(
                not formed or not unreal,
                0,
                "path-does-not-lead-there",
                f"{len(unreal)} of your paths lead to no file in the folder. Return paths that can be "
                "opened, not only the names of the files.",
            ),
            Check(
                not hidden,
                0,
                "hidden-files-taken",
                f"You took {len(hidden)} hidden files, whose names start with a dot. macOS leaves such "
                "files beside each image (`._name.jpg`); they end like images and cannot be decoded.",
            ),
            Check(
                usable and not extra,
                1,
                "takes-every-file",
                f"You took {len(extra)} files that are no images. Real folders hold notes, tables and "
                "`Thumbs.db` too, and the first of them would stop the run. Compare the suffix.",
                right="nothing but images is listed",
            ),
            Check(
                not (formed and cased),
                0,
                "suffix-case-sensitive",
                f"{len(missing)} of {len(images)} images are missing: their suffix is in capitals, as "
                "cameras write it (`.JPG`). Compare `suffix.lower()`. No error shows such a loss.",
            ),
            Check(
                usable and not missing and len(found) == len(set(found)),
                1,
                "images-missing",
                f"{len(missing)} of {len(images)} images are missing, or one is there twice. Take `.jpg`, "
                "`.jpeg` and `.png`, in small letters and capitals, each once.",
                right="every image is listed once",
            ),
            Check(
                not (formed and any(isinstance(label, str) for label in named.values())),
                0,
                "labels-not-indices",
                "The second part of your pairs is a string. `cross_entropy` needs the class *index*: the "
                "place of the name in `class_names`, from 0 on.",
            ),
            Check(
                labelled,
                1,
                "wrong-class-index",
                f"{len(wrong)} images have another class index than their folder has in the sorted "
                "class names. Take both from the same list, with `enumerate`.",
                right="each image has the index of its folder",
            ),
            Check(
                labelled and not missing and [path for path in found if path in images] == images,
                1,
                "samples-unsorted",
                "The samples are not sorted by path. Then the same seed gives another split on another "
                "machine, because the rows have other numbers there.",
                right="the samples are sorted",
            ),
        ],
        praise="Every image once, nothing else, and the same list on every machine. This is what "
        "`featx.datasets.find_images` does, which also names the files that it skipped.",
    )


def _sample(sample: Any, folder: str) -> list[Any] | None:
    if not isinstance(sample, tuple | list) or len(sample) != 2:
        return None
    path, label = sample
    if not isinstance(path, str | os.PathLike):
        return None
    where = os.path.relpath(os.path.realpath(os.fspath(path)), os.path.realpath(folder))
    if isinstance(label, str):
        return [Path(where).as_posix(), label]
    try:
        plain = None if isinstance(label, bool) else operator.index(label)
    except TypeError:
        plain = None
    return [Path(where).as_posix(), plain]


def _mixed(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def _is_image(name: str) -> bool:
    folder, _, file = name.rpartition("/")
    hidden = folder.startswith(".") or file.startswith(".")
    return bool(folder) and not hidden and file.lower().endswith((".jpg", ".jpeg", ".png"))


def _files(seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    classes = [NAMES[i] for i in draw.choice(len(NAMES), 4, replace=False)]
    files = [".ipynb_checkpoints/photo-checkpoint.jpg", "readme.txt", "cover.png"]
    for name in classes:
        numbers = draw.choice(np.arange(100, 999), 7, replace=False)
        ends = (".jpg", ".png", ".jpeg", ".JPG", ".Png", ".jpg", ".png")
        images = [f"photo_{number}{end}" for number, end in zip(numbers, ends, strict=True)]
        others = [f"._{images[0]}", ".DS_Store", "Thumbs.db", "labels.csv", "notes.jpg.txt"]
        files += [f"{name}/{file}" for file in images + others]
    return [files[i] for i in draw.permutation(len(files))]


EXERCISE = Exercise(
    id="list-image-folder",
    lesson=11,
    title="List a folder of images",
    points=4,
    prompt="""
Your own images lie in a folder with one sub-folder for each class, such as `pets/cat/001.jpg`. Write
`list_image_folder(folder)`, where `folder` is a string. Return `(samples, class_names)`:

* `class_names`: the names of the sub-folders, as `sorted` orders them;
* `samples`: a list of `(path, class index)`, sorted by path. The index is the place of the class in
  `class_names`. A path is a string or a `Path` that can be opened.

Images are files that end in `.jpg`, `.jpeg` or `.png`, in small letters or capitals, directly inside a class
folder. Real folders hold more: other files, files beside the class folders, and *hidden* files and folders,
whose names start with a dot. Leave them all out. Do not open the files.
""".strip(),
    hints=(
        "`Path(folder).iterdir()` gives files and folders in any order; `is_dir()` and `sorted` help.",
        "`path.suffix.lower()` is the suffix in small letters; `path.name.startswith('.')` is hidden.",
        "`for index, class_folder in enumerate(sorted_folders)` gives names and indices that agree.",
    ),
    reference=list_image_folder,
    mutants={
        "suffix-case-sensitive": case_sensitive,
        "hidden-files-taken": hidden_files,
        "takes-every-file": every_file,
        "hidden-folder-is-a-class": hidden_folders,
        "unsorted-folder": unsorted,
        "labels-not-indices": names_as_labels,
    },
    visible_test="""
import pathlib
import tempfile
with tempfile.TemporaryDirectory() as folder:
    for name in ("dog/b.jpg", "dog/a.png", "cat/c.jpeg", "cat/list.txt"):
        path = pathlib.Path(folder, name)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    found = list_image_folder(folder)
assert found is not None and len(found) == 2, "expected samples and class names"
samples, class_names = found
assert list(class_names) == ["cat", "dog"], f"expected the names cat and dog, got {class_names}"
assert [pathlib.Path(path).name for path, _ in samples] == ["c.jpeg", "a.png", "b.jpg"]
assert [label for _, label in samples] == [0, 1, 1], "expected the class index of each image"
""".strip(),
    observer=observe,
    judger=judge,
)
