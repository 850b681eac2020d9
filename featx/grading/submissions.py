"""What a student handed in: the files, and the cells of each notebook, read without trusting any of it."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featx.wording import storable

__all__ = [
    "Cell",
    "Submission",
    "Unreadable",
    "list_submissions",
    "read_cells",
    "read_submission",
]

#: A notebook above this is not read: with all its pictures an honest one has a few MB.
LARGEST_NOTEBOOK = 100 * 2**20
#: What a student wrote is far below this; outputs do not count.
LARGEST_SOURCES = 4 * 2**20
#: And their number: each costs time, and an empty one as much as another.
MOST_CELLS = 5000
#: Other files of a submission, all together.
LARGEST_FILES = 50 * 2**20


@dataclass(frozen=True)
class Cell:
    """A cell as it was handed in: its source, and what says where it belongs."""

    source: str
    cell_type: str = "code"
    cell_id: str | None = None
    grade_id: str | None = None


@dataclass(frozen=True)
class Unreadable:
    """A notebook that is missing or cannot be read, and why."""

    reason: str


@dataclass(frozen=True)
class Submission:
    """All that one student handed in for one assignment.

    Attributes
    ----------
    student : str
        The name of the folder.
    notebooks : dict
        Name without ``.ipynb`` -> its cells, or why it cannot be read.
    files : dict
        Path below the folder -> content, of everything else.
    notes : list of str
        What was left out, and why.
    """

    student: str
    notebooks: dict[str, list[Cell] | Unreadable]
    files: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def list_submissions(submitted: Path, assignment: str) -> list[str]:
    """Name the students who handed in an assignment.

    Parameters
    ----------
    submitted
        The course's folder of submissions; in it one folder a student.
    assignment
        The assignment.

    Returns
    -------
    list of str
        Their names, sorted.
    """
    if not submitted.is_dir():
        return []
    return sorted(
        folder.name
        for folder in submitted.iterdir()
        if not folder.is_symlink() and os.path.lexists(folder / assignment)
    )


def read_submission(folder: Path, student: str, names: list[str]) -> Submission:
    """Read a submission. Links are never followed: they may lead to a neighbour's work.

    Parameters
    ----------
    folder
        ``submitted/<student>/<assignment>``.
    student
        The student.
    names
        The notebooks of the assignment, without ``.ipynb``.

    Returns
    -------
    Submission
        Every name has an entry. A notebook of another name is taken for the one that is missing, if
        there is but one of each.
    """
    notes: list[str] = []
    found: dict[str, Path] = {}
    files: dict[str, bytes] = {}
    room = LARGEST_FILES
    if folder.is_symlink() or not folder.is_dir():
        return Submission(student, dict.fromkeys(names, Unreadable("the submission is no folder")))
    for path in _walk(folder, notes):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".ipynb":
            if path.parent == folder:
                found[path.stem] = path
            continue
        content = _read(path, room)
        if content is None:
            notes.append(f"{_shown(name)} was left out: it is no file, or too large.")
            continue
        room -= len(content)
        files[name] = content
    strangers = [name for name in found if name not in names]
    absent = [name for name in names if name not in found]
    if len(strangers) == len(absent) == 1:
        notes.append(f"{_shown(strangers[0])}.ipynb was taken for {absent[0]}.ipynb.")
        found[absent[0]] = found[strangers[0]]
    return Submission(
        student,
        {name: _read_notebook(found.get(name)) for name in names},
        files,
        notes,
    )


def _walk(folder: Path, notes: list[str]) -> Iterator[Path]:
    """Name the plain files of a folder; links and devices are left out with a note."""
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(each for each in folders if each != ".ipynb_checkpoints")
        for name in [*folders, *sorted(names)]:
            path = Path(parent, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                yield path
            elif not stat.S_ISDIR(mode):
                where = _shown(path.relative_to(folder).as_posix())
                notes.append(f"{where} was left out: it is a link or no plain file.")


def _read(path: Path, most: int) -> bytes | None:
    """Read a plain file of at most so many bytes; None for anything else."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        seen = os.fstat(handle)
        if not stat.S_ISREG(seen.st_mode) or seen.st_size > most:
            return None
        content = file.read(most + 1)
        return content if len(content) <= most else None


def _read_notebook(path: Path | None) -> list[Cell] | Unreadable:
    if path is None:
        return Unreadable("the notebook is missing")
    content = _read(path, LARGEST_NOTEBOOK)
    if content is None:
        return Unreadable(f"the notebook is no plain file of at most {LARGEST_NOTEBOOK >> 20} MB")
    return read_cells(content)


def read_cells(content: bytes) -> list[Cell] | Unreadable:
    """Read the cells of a notebook, of any format since version 3, valid or not.

    Parameters
    ----------
    content
        The bytes of the file.

    Returns
    -------
    list of Cell or Unreadable
        The cells that have a source, in their order.

    Examples
    --------
    >>> read_cells(b'{"cells": [{"cell_type": "code", "source": ["x = ", "1"]}]}')
    [Cell(source='x = 1', cell_type='code', cell_id=None, grade_id=None)]
    >>> read_cells(b"oops")
    Unreadable(reason='the file is no notebook (it is not JSON)')
    """
    if not content.strip():
        return Unreadable("the file is empty")
    try:
        notebook = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return Unreadable("the file is no notebook (it is not JSON)")
    raw = notebook.get("cells") if isinstance(notebook, dict) else None
    if raw is None and isinstance(notebook, dict):  # format 3
        sheets = notebook.get("worksheets")
        first = sheets[0] if isinstance(sheets, list) and sheets else None
        raw = first.get("cells") if isinstance(first, dict) else None
    if not isinstance(raw, list):
        return Unreadable("the file is no notebook (it has no cells)")
    if len(raw) > MOST_CELLS:
        return Unreadable(f"the notebook has more than {MOST_CELLS} cells")
    cells = [cell for each in raw if (cell := _cell(each)) is not None]
    if sum(len(cell.source) for cell in cells) > LARGEST_SOURCES:
        return Unreadable(f"the cells hold more than {LARGEST_SOURCES >> 20} MB of text")
    return cells


def _cell(raw: Any) -> Cell | None:
    if not isinstance(raw, dict):
        return None
    source = raw.get("source", raw.get("input"))  # format 3 says "input"
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        return None
    metadata = raw.get("metadata")
    nbgrader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else None
    return Cell(
        storable(source),
        raw["cell_type"] if raw.get("cell_type") in ("markdown", "raw") else "code",
        raw["id"] if isinstance(raw.get("id"), str) else None,
        grade_id if isinstance(grade_id, str) else None,
    )


def _shown(name: str) -> str:
    """Make a student's file name safe to print."""
    return ascii(name)[1:-1][:80]
