"""Each student's own selection of an assignment, drawn by the student's name: nobody's depends on others.

nbgrader needs to know nothing of it. A variant has the graded cells of the one notebook that is in the
gradebook; only what is asked in between differs.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.converters import GenerateAssignment
from nbgrader.preprocessors import SaveCells

from featx.errors import FeatxError
from featx.files import write_atomically
from featx.grading.assignments import Assignment, load_assignment, make_notebook
from featx.grading.gradebook import Course
from featx.grading.results import key_of

__all__ = ["build_variants", "draw_variant", "read_students"]


def draw_variant(name: str, assignment: Assignment, student: str, seed: int = 0) -> tuple[str, ...]:
    """Draw what a student is asked.

    The alternative with the largest hash of assignment, student, seed and id is taken. So each is drawn
    equally often, neither the order nor the number of students matters, and one more alternative changes
    only what those get who get it.

    Parameters
    ----------
    name
        The assignment's name.
    assignment
        Its items.
    student
        The student's id.
    seed
        Another one draws anew.

    Returns
    -------
    tuple of str
        For each item the id of a question or exercise.

    Examples
    --------
    >>> items = [{"question": ["few-labels", "what-learns"], "points": 1}]
    >>> assignment = Assignment(title="Example", minutes=5, items=items)
    >>> [draw_variant("example", assignment, student) for student in ("ada", "alan", "grace")]
    [('few-labels',), ('what-learns',), ('few-labels',)]
    """
    return tuple(
        max(item.ids, key=lambda each: key_of(name, student, str(seed), each))
        for item in assignment.items
    )


def build_variants(
    name: str,
    course_dir: str | Path,
    students: Iterable[str] | None = None,
    out: str | Path | None = None,
    seed: int = 0,
) -> list[Path]:
    """Write each student's own notebook, as it is handed out: without solutions and hidden tests.

    Parameters
    ----------
    name
        The assignment.
    course_dir
        The nbgrader course, with ``assignments.toml`` in it.
    students
        Their ids; None for all in the course's gradebook.
    out
        A folder to hand out from; None for ``variants/`` in the course.
    seed
        Another one draws anew.

    Returns
    -------
    list of Path
        ``<out>/<student>/<name>/<name>.ipynb`` for each. Done again, it writes the same bytes.

    Raises
    ------
    FeatxError
        When there is nothing to draw from, no student, or `out` is a folder that nbgrader uses.
    """
    assignment = load_assignment(name, course_dir)
    if all(len(item.ids) == 1 for item in assignment.items):
        raise FeatxError(
            f"Expected an assignment with alternatives to draw from, but no item of {name} has any. Name "
            'several of equal value in assignments.toml, such as question = ["…", "…"].'
        )
    course = Course(course_dir)
    ids = course.students() if students is None else list(dict.fromkeys(students))
    if not ids:
        raise FeatxError(
            f"Expected students, but the gradebook of {course.root} has none. Name them: --students with a "
            "file that has an id in each line, or with ids and commas between."
        )
    for student in ids:
        _check_student(student)
    folder = course.root / "variants" if out is None else Path(out)
    _check_folder(folder, course)
    texts: dict[tuple[str, ...], str] = {}
    paths = []
    for student in ids:
        chosen = draw_variant(name, assignment, student, seed)
        if chosen not in texts:
            notebook = _release(make_notebook(assignment, chosen), course)
            texts[chosen] = nbformat.writes(notebook) + "\n"
        path = folder / student / name / f"{name}.ipynb"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, texts[chosen].encode())
        except OSError as error:
            raise FeatxError(
                f"Expected to write {path}, but it cannot be written ({error.strerror}). Choose another "
                "folder with --out."
            ) from error
        paths.append(path)
    return paths


def read_students(given: str) -> list[str]:
    """Read the ids of students.

    Parameters
    ----------
    given
        A file with one id in each line, or a CSV file with a column ``id``, as ``nbgrader db student import``
        takes it; or the ids themselves with commas between.

    Returns
    -------
    list of str
        Each once, in their order.

    Raises
    ------
    FeatxError
        When the file cannot be read, or there is no id.

    Examples
    --------
    >>> read_students("ada, alan,ada")
    ['ada', 'alan']
    """
    path = Path(given)
    lines = given.split(",")
    if path.is_file() or path.suffix in (".txt", ".csv"):
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise FeatxError(
                f"Expected a file with an id in each line, but {given} cannot be read "
                f"({getattr(error, 'strerror', None) or 'it is no UTF-8'}). Name another, or the ids "
                "themselves with commas between."
            ) from error
        rows = csv.DictReader(lines)
        if "id" in (rows.fieldnames or ()):
            lines = [row["id"] or "" for row in rows]
    ids = list(dict.fromkeys(filter(None, map(str.strip, lines))))
    if not ids:
        raise FeatxError(
            f"Expected the ids of students, got none in {given!r}. Name a file with an id in each line, or "
            "ids with commas between."
        )
    return ids


def _check_student(student: str) -> None:
    if not student.strip() or student in (".", "..") or set(student) & set("/\\\0,"):
        raise FeatxError(
            f"Expected the id of a student, which names a folder, got {student!r}. An id has no slash and no "
            "comma."
        )


def _check_folder(folder: Path, course: Course) -> None:
    directory = course.directory
    for used in (
        directory.source_directory,
        directory.release_directory,
        directory.submitted_directory,
        directory.autograded_directory,
        directory.feedback_directory,
    ):
        if folder.resolve() == (course.root / used).resolve():
            raise FeatxError(
                f"Expected a folder to hand out from, got {folder}, which nbgrader uses for its own. Choose "
                "another with --out."
            )


def _release(notebook: NotebookNode, course: Course) -> NotebookNode:
    """Do what ``nbgrader generate_assignment`` does, with the course's settings, but for the gradebook."""
    converter = GenerateAssignment(coursedir=course.directory, config=course.config)
    with contextlib.chdir(course.root):
        resources = {}
        for each in converter.preprocessors:
            if each is not SaveCells:
                notebook, resources = each(config=course.config)(notebook, resources)
    return notebook
