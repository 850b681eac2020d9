"""Assignments are lists of questions and exercises; their nbgrader notebooks are built from them.

An item may have alternatives of equal value, of which each student gets one (`featx.grading.variants`).
nbgrader knows one notebook for all: in it the cells of such an item are named by its number, and it is
filled with the first alternative.
"""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from featx.errors import FeatxError, ProblemFound
from featx.files import write_atomically
from featx.study.bank import Question, load_question
from featx.study.exercises import SETUP, Exercise, load_exercise
from featx.wording import close_matches

__all__ = [
    "ASSIGNMENTS",
    "Assignment",
    "Item",
    "build_assignment",
    "check_assignment",
    "list_assignments",
    "load_assignment",
    "make_notebook",
    "notebook_path",
    "notebook_text",
]

#: The file in a course that lists them.
ASSIGNMENTS = "assignments.toml"


def _as_tuple(given: Any) -> Any:
    return (given,) if isinstance(given, str) else given


#: An id, or several.
Ids = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Item(_Strict):
    """A question or an exercise, and what it is worth here.

    Attributes
    ----------
    question, exercise : tuple of str
        The ids of one or the other; the other is empty. Of several, each student gets one.
    points : float
        The same for each alternative.
    """

    question: Ids = ()
    exercise: Ids = ()
    points: float = Field(gt=0)

    @model_validator(mode="after")
    def _names_one(self) -> Item:
        if bool(self.question) == bool(self.exercise):
            raise ValueError("expected either a question or an exercise in each item")
        return self

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all alternatives, or the one id."""
        return self.question or self.exercise

    @property
    def id(self) -> str:
        """The id of the question or exercise; of several, the first."""
        return self.ids[0]

    def load(self) -> tuple[Question, ...] | tuple[Exercise, ...]:
        """Load all alternatives, or the one question or exercise."""
        if self.question:
            return tuple(map(load_question, self.question))
        return tuple(map(load_exercise, self.exercise))


class Assignment(_Strict):
    """A title, the minutes it takes, an introduction and the items in their order."""

    title: str = Field(min_length=1)
    minutes: int = Field(gt=0)
    introduction: str = ""
    items: tuple[Item, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_each_once(self) -> Assignment:
        ids = [each for item in self.items for each in item.ids]
        twice = sorted({each for each in ids if ids.count(each) > 1})
        if twice:
            raise ValueError(f"expected each item once, but {', '.join(twice)} came twice")
        return self

    @property
    def points(self) -> float:
        """The points of all items together."""
        return sum(item.points for item in self.items)


def list_assignments(course_dir: str | Path) -> list[str]:
    """Name the assignments of a course.

    Parameters
    ----------
    course_dir
        The nbgrader course, with ``assignments.toml`` in it.

    Returns
    -------
    list of str
        Their names.

    Raises
    ------
    FeatxError
        When there is no ``assignments.toml``, or it is no TOML.
    """
    return list(_read(Path(course_dir)))


def load_assignment(name: str, course_dir: str | Path) -> Assignment:
    """Read and validate one assignment.

    Parameters
    ----------
    name
        Such as ``"practice"``.
    course_dir
        The nbgrader course, with ``assignments.toml`` in it.

    Returns
    -------
    Assignment
        Every id in it exists.

    Raises
    ------
    FeatxError
        When the assignment, or an id in it, does not exist or has not the expected form.
    """
    assignments = _read(Path(course_dir))
    if name not in assignments:
        raise FeatxError(
            f"Expected the name of an assignment, got {name!r}. {close_matches(name, assignments)}"
        )
    try:
        assignment = Assignment.model_validate(assignments[name])
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in (name, *fault["loc"]))
        problem = fault["msg"].removeprefix("Value error, ")
        raise FeatxError(f"assignments.toml, {where}: {problem}.") from error
    for place, item in enumerate(assignment.items):
        _check_equal_value(item, f"{name}.items.{place}")
    return assignment


def _check_equal_value(item: Item, where: str) -> None:
    values = {
        each.id: each.difficulty if isinstance(each, Question) else _say(each.points)
        for each in item.load()
    }
    if len(set(values.values())) > 1:
        said = ", ".join(f"{each} ({value})" for each, value in values.items())
        same = "difficulty" if item.question else "points"
        raise FeatxError(
            f"assignments.toml, {where}: expected alternatives of the same {same}, got {said}. "
            "Choose others, or make items of their own of them."
        )


def build_assignment(name: str, course_dir: str | Path) -> Path:
    """Write the nbgrader source notebook of an assignment.

    Parameters
    ----------
    name
        Such as ``"practice"``.
    course_dir
        The nbgrader course, with ``assignments.toml`` in it.

    Returns
    -------
    Path
        ``source/<name>/<name>.ipynb`` in the course. The same assignment gives the same bytes.

    Raises
    ------
    FeatxError
        When the assignment is not valid.
    """
    path = Path(course_dir, notebook_path(name))
    text = notebook_text(name, course_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())
    return path


def check_assignment(name: str, course_dir: str | Path) -> None:
    """Check that the notebook of an assignment is what `build_assignment` would write.

    Parameters
    ----------
    name
        Such as ``"practice"``.
    course_dir
        The nbgrader course, with ``assignments.toml`` in it.

    Raises
    ------
    ProblemFound
        When the notebook is missing or has drifted.
    FeatxError
        When the assignment is not valid.
    """
    path = Path(course_dir, notebook_path(name))
    expected = notebook_text(name, course_dir)
    if not path.is_file():
        problem = "there is none yet"
    elif path.read_text(encoding="utf-8") != expected:
        problem = "it has drifted from the questions and exercises"
    else:
        return
    raise ProblemFound(
        f"Expected the notebook of {name} at {path}, but {problem}. "
        f"Run: featx assignment build {name} --course-dir {shlex.quote(str(course_dir))}"
    )


def _read(course_dir: Path) -> dict[str, Any]:
    path = course_dir / ASSIGNMENTS
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FeatxError(
            f"Expected a course with assignments.toml, but {path} cannot be read "
            f"({error.strerror}). Go to the course's folder, or name it."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FeatxError(f"{path}: expected TOML, but it does not parse: {error}.") from error


def notebook_path(name: str) -> Path:
    """Return where in a course the source notebook of an assignment is."""
    return Path("source", name, f"{name}.ipynb")


def notebook_text(name: str, course_dir: str | Path) -> str:
    """Return what `build_assignment` writes; its arguments and errors are the same."""
    assignment = load_assignment(name, course_dir)
    first = [item.id for item in assignment.items]
    return nbformat.writes(make_notebook(assignment, first)) + "\n"


def make_notebook(assignment: Assignment, chosen: Sequence[str]) -> NotebookNode:
    """Make the source notebook of an assignment, with solutions and hidden tests.

    Parameters
    ----------
    assignment
        The assignment.
    chosen
        For each item the id of the alternative that is asked. Only its prompt, its starter and its visible
        test depend on it: graded cells are the same in all notebooks.

    Returns
    -------
    NotebookNode
        The same arguments give the same cells, their ids included.
    """
    cells = [_head_cell(assignment), _cell("setup", SETUP, locked=True)]
    for number, (item, each) in enumerate(zip(assignment.items, chosen, strict=True), 1):
        cells += _item_cells(item, number, each)
    notebook = new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {
                "display_name": "Python 3 (ipykernel)",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        },
    )
    nbformat.validate(notebook)
    return notebook


def _head_cell(assignment: Assignment) -> Any:
    text = f"""# {assignment.title}

{assignment.introduction}

About {assignment.minutes} minutes, {assignment.points:g} points.

* Where you see `"?"`, put your answer between the quotes. Below each question stands what is asked for.
* Where you see `# YOUR ANSWER HERE`, write your code. Keep the names of functions and variables.
* Cells named *Try it* are for you: they help, and give no points.
* Nothing is downloaded: you can work without the internet.
* At the end choose *Restart Kernel and Run All Cells*, save, and hand in.
"""
    return _cell("introduction", text, locked=True, markdown=True)


def _item_cells(item: Item, number: int, chosen: str) -> list[Any]:
    points, several = item.points, len(item.ids) > 1
    name = f"slot-{number}" if several else item.id
    if item.question:
        kind, mark = "question", "mark_answer"
        prompt, answer = _question_texts(load_question(chosen), number, points)
        visible = None
    else:
        kind, mark = "exercise", "mark_exercise"
        exercise = load_exercise(chosen)
        prompt = f"## {number}. {exercise.title} (code, {_say(points)})\n\n{exercise.prompt}"
        answer = exercise.marked_solution
        visible = f"# Try it: run this cell as often as you like.\n{exercise.visible_test}"
    # What is given and differs between students must not be known to nbgrader, which would put the
    # first alternative in its place.
    given = _own_cell if several else _locked_cell
    cells = [given(f"{kind}-{name}", prompt, markdown=True)]
    cells.append(_cell(f"answer-{name}", answer, solution=True))
    if visible is not None:
        cells.append(given(f"try-{name}", visible))
    marked = json.dumps(item.ids if several else item.id)
    call = f"{mark}({marked}, globals(), points={points:g})"
    return [*cells, _test_cell(name, mark, call, points)]


def _question_texts(question: Question, number: int, points: float) -> tuple[str, str]:
    code = f"\n\n```python\n{question.numbered_code}\n```" if question.code else ""
    labels = {key: question.label(key) for key in question.shown}
    options = "\n".join(
        f"* **{labels[key]}** {text}" if labels[key] else f"* {text}"
        for key, text in question.shown.items()
    )
    heading = f"## {number}. {_capitalised(question.concept)}"
    prompt = (
        f"{heading} ({question.difficulty}, {_say(points)})\n\n"
        f"{question.prompt}{code}\n\n{options}"
        f"\n\n{question.how}"
    )
    answer = (
        f'{question.answer_name} = "?"\n'
        f"### BEGIN SOLUTION\n{question.answer_name} = {json.dumps(question.key)}\n### END SOLUTION"
    )
    return prompt, answer


def _test_cell(name: str, mark: str, call: str, points: float) -> Any:
    source = (
        f"# Graded: {_say(points)}. The test is hidden; leave this cell as it is.\n"
        f"### BEGIN HIDDEN TESTS\nfrom featx.grading.marking import {mark}\n\n{call}\n"
        "### END HIDDEN TESTS"
    )
    return _cell(f"test-{name}", source, locked=True, points=points)


def _locked_cell(name: str, source: str, *, markdown: bool = False) -> Any:
    return _cell(name, source, locked=True, markdown=markdown)


def _own_cell(name: str, source: str, *, markdown: bool = False) -> Any:
    """Make a cell that only the student's notebook has like this: JupyterLab locks it, nbgrader does not."""
    cell = _cell(name, source, markdown=markdown)
    cell.metadata = NotebookNode(deletable=False, editable=False)
    return cell


def _cell(
    grade_id: str,
    source: str,
    *,
    locked: bool = False,
    solution: bool = False,
    points: float | None = None,
    markdown: bool = False,
) -> Any:
    """Make a cell with nbgrader's metadata; its id is its grade_id, so builds repeat exactly."""
    nbgrader = {
        "grade": points is not None,
        "grade_id": grade_id,
        "locked": locked,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    if points is not None:
        nbgrader["points"] = points
    new = new_markdown_cell if markdown else new_code_cell
    return new(source.strip(), id=grade_id[:64], metadata={"nbgrader": nbgrader})


def _say(points: float) -> str:
    return f"{points:g} point" if points == 1 else f"{points:g} points"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
