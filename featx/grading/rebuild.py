"""The instructor's notebook with the student's answers in it: nothing else of a submission counts.

Tags, metadata, the kernel, the order of cells, edited tests and points never get here: cells that are
the instructor's are taken from the instructor's notebook, in its order.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from featx.grading.submissions import Cell, Unreadable

__all__ = ["Instructor", "Part", "Rebuilt", "grade_id_of", "rebuild"]

Role = Literal["given", "answer", "added", "test", "manual"]


@dataclass(frozen=True)
class Instructor:
    """A notebook of an assignment, as the teacher has it and as students got it.

    Attributes
    ----------
    notebook : NotebookNode
        With the hidden tests, without solutions.
    handed_out : dict
        ``grade_id`` -> source of the cell as students got it.
    """

    notebook: NotebookNode
    handed_out: dict[str, str]


@dataclass(frozen=True)
class Part:
    """A cell of the rebuilt notebook, and what it is there for.

    Attributes
    ----------
    node : NotebookNode
        The cell.
    role : str
        ``"given"`` by the instructor; an ``"answer"``; ``"added"`` by the student; a ``"test"`` that
        gives points; ``"manual"``: an answer that a person grades.
    original : str or None
        What stood in a cell that was given, but not locked, before the student changed it.
    """

    node: NotebookNode
    role: Role
    original: str | None = None

    @property
    def grade_id(self) -> str | None:
        """The name by which nbgrader knows the cell."""
        return grade_id_of(self.node)

    @property
    def runs(self) -> bool:
        """Whether the cell is code."""
        return self.node.cell_type == "code"


@dataclass(frozen=True)
class Rebuilt:
    """A notebook ready to run, and what was found odd on the way.

    Attributes
    ----------
    parts : list of Part
        The cells in the instructor's order; those that a student added stand behind the cell that they
        stood behind.
    metadata : NotebookNode
        The instructor's.
    missing : frozenset of str
        The ``grade_id`` of each answer that was not handed in, or as it was given out.
    own : list of str
        The names that a student may define: the words of the prompts, and of the answers as they were given
        out. All else that the instructor's cells define stays the instructor's.
    handed_out : dict
        ``grade_id`` -> source as students got it: feedback shows this, and no hidden test.
    notes : list of str
        What a teacher should know.
    given_files : frozenset of str
        The files beside it that are the instructor's: it does not run without them.
    """

    parts: list[Part]
    metadata: NotebookNode
    missing: frozenset[str]
    own: list[str]
    handed_out: dict[str, str]
    notes: list[str]
    given_files: frozenset[str] = frozenset()


def grade_id_of(node: Any) -> str | None:
    """Return the name by which nbgrader knows a cell."""
    return node.metadata.get("nbgrader", {}).get("grade_id")


def rebuild(instructor: Instructor, submitted: list[Cell] | Unreadable) -> Rebuilt:
    """Set a student's answers, and the code cells between them, into the instructor's notebook.

    Parameters
    ----------
    instructor
        The assignment's notebook.
    submitted
        The student's cells; for a notebook that cannot be read no answer is there.

    Returns
    -------
    Rebuilt
        It has every cell of the instructor's, each once, in the instructor's order.
    """
    notes: list[str] = []
    if isinstance(submitted, Unreadable):
        notes.append(f"Nothing could be taken over: {submitted.reason}.")
        submitted = []
    notebook = instructor.notebook
    own = {_key(node, place): node for place, node in enumerate(notebook.cells)}
    taken, added = _sort(submitted, own, notes)
    for key, source in taken.items():
        if (
            _role(own[key]) in ("given", "test")
            and source.strip() != instructor.handed_out.get(key, source).strip()
        ):
            notes.append(f"{key!a} was changed; the original was used.")
    parts = [*added.get(None, [])]
    missing = set()
    for key, node in own.items():
        role, original = _role(node), None
        node = copy.deepcopy(node)
        if node.cell_type == "code":
            node.outputs, node.execution_count = [], None
        if role in ("answer", "manual"):
            if key in taken:
                node.source = taken[key]
            else:
                missing.add(key)
            if node.source.strip() == instructor.handed_out.get(key, "").strip():
                missing.add(key)
        elif role == "given" and key in taken and not grade_id_of(node):
            if taken[key].strip() != node.source.strip():
                original = node.source
            node.source = taken[key]  # not locked: a student may have changed it
        parts += [Part(node, role, original), *added.get(key, [])]
    return Rebuilt(
        parts,
        copy.deepcopy(notebook.metadata),
        frozenset(missing),
        _words(notebook),
        instructor.handed_out,
        notes,
    )


def _words(notebook: NotebookNode) -> list[str]:
    texts = [
        node.source
        for node in notebook.cells
        if node.cell_type == "markdown" or _role(node) in ("answer", "manual")
    ]
    return sorted(set(re.findall(r"\b[^\W\d]\w*", "\n".join(texts))))


def _sort(
    submitted: list[Cell], own: dict[str, NotebookNode], notes: list[str]
) -> tuple[dict[str, str], dict[str | None, list[Part]]]:
    """Part a student's cells: what replaces a cell of the instructor's, and what stands behind which."""
    keys = _match(submitted, own)
    # Of several cells with one name (JupyterLab copies it when a cell is split) the last that says
    # something is the answer; those before it run before it.
    last = {
        key: place
        for place, key in enumerate(keys)
        if key and (submitted[place].source.strip() != own[key].source.strip())
    }
    first = {key: place for place, key in reversed(list(enumerate(keys))) if key}
    chosen = first | last
    twice = sorted(key for key, times in Counter(keys).items() if key and times > 1)
    if twice:
        notes.append(f"There more than once: {', '.join(map(ascii, twice))}; the last one counts.")
    taken: dict[str, str] = {}
    added: dict[str | None, list[Part]] = {}
    anchor: str | None = None
    order = list(own)
    for place, (cell, key) in enumerate(zip(submitted, keys, strict=True)):
        if key is None:
            added.setdefault(anchor, []).append(_added(cell, sum(map(len, added.values()))))
            continue
        role = _role(own[key])
        is_answer = role in ("answer", "manual")
        if chosen[key] == place:
            taken[key] = cell.source
        elif is_answer and cell.source.strip() != own[key].source.strip():
            # the first half of a split answer runs right before the second
            before = order[order.index(key) - 1] if order.index(key) else None
            added.setdefault(before, []).append(_added(cell, sum(map(len, added.values()))))
        anchor = key
    return taken, added


def _match(submitted: list[Cell], own: dict[str, NotebookNode]) -> list[str | None]:
    """Find the cell of the instructor's that each of a student's cells is."""
    # Cells that nbgrader does not know, and those that lost their metadata in another program, have their id.
    by_id = {node["id"]: key for key, node in reversed(own.items()) if "id" in node}
    keys = [
        by_id.get(cell.cell_id or "")
        if cell.grade_id is None
        else cell.grade_id
        if cell.grade_id in own
        else None
        for cell in submitted
    ]
    # In older formats they have only their text. Several may have the same: each is taken once, and only
    # where it stood, between the cells that are known around it.
    order = list(own)
    free = [key for key in order if not grade_id_of(own[key]) and key not in keys]
    ends = [len(order)]
    for key in reversed(keys):
        ends.append(order.index(key) if key else ends[-1])
    begin = 0
    for place, (cell, end) in enumerate(zip(submitted, ends[:0:-1], strict=True)):
        if keys[place] is None and cell.grade_id is None:
            fits = (k for k in order[begin:end] if k in free and own[k].source == cell.source)
            keys[place] = next(fits, None)
            free = [each for each in free if each != keys[place]]
        if key := keys[place]:
            begin = order.index(key) + 1
    # One that was moved is known by a text that no other of the instructor's cells has.
    texts = Counter(node.source for node in own.values())
    moved = {own[key].source: key for key in free if texts[own[key].source] == 1}
    for place, cell in enumerate(submitted):
        if keys[place] is None and cell.grade_id is None:
            keys[place] = moved.pop(cell.source, None)
    return keys


def _key(node: NotebookNode, place: int) -> str:
    return grade_id_of(node) or f"cell {place}"


def _role(node: NotebookNode) -> Role:
    nbgrader = node.metadata.get("nbgrader", {})
    if nbgrader.get("task") or (nbgrader.get("grade") and nbgrader.get("solution")):
        return "manual"
    if nbgrader.get("grade"):
        return "test" if node.cell_type == "code" else "manual"
    return "answer" if nbgrader.get("solution") else "given"


def _added(cell: Cell, number: int) -> Part:
    new = new_code_cell if cell.cell_type == "code" else new_markdown_cell
    return Part(new(cell.source, id=f"added-{number + 1}"), "added")
