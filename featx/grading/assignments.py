"""Assignments are lists of questions and exercises; their nbgrader notebooks are built from them."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from featx.errors import FeatxError, ProblemFound, close_matches
from featx.study.bank import Question, load_question
from featx.study.exercises import SETUP, Exercise, load_exercise

__all__ = [
    "Assignment",
    "Item",
    "build_assignment",
    "check_assignment",
    "list_assignments",
    "load_assignment",
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Item(_Strict):
    """A question or an exercise, and what it is worth here."""

    question: str | None = None
    exercise: str | None = None
    points: float = Field(gt=0)

    @model_validator(mode="after")
    def _names_one(self) -> Item:
        if (self.question is None) == (self.exercise is None):
            raise ValueError("expected either a question or an exercise in each item")
        return self

    @property
    def id(self) -> str:
        """The id of the question or exercise."""
        return self.question or str(self.exercise)


class Assignment(_Strict):
    """A title, the minutes it takes, an introduction and the items in their order."""

    title: str = Field(min_length=1)
    minutes: int = Field(gt=0)
    introduction: str = ""
    items: tuple[Item, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_each_once(self) -> Assignment:
        ids = [item.id for item in self.items]
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
    for item in assignment.items:
        _load(item)
    return assignment


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
    path = _notebook_path(name, course_dir)
    text = _notebook_text(load_assignment(name, course_dir))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def check_assignment(name: str, course_dir: str | Path) -> bool:
    """Check that the notebook of an assignment is what `build_assignment` would write.

    Parameters
    ----------
    name
        Such as ``"practice"``.
    course_dir
        The nbgrader course, with ``assignments.toml`` in it.

    Returns
    -------
    bool
        True.

    Raises
    ------
    ProblemFound
        When the notebook is missing or has drifted.
    FeatxError
        When the assignment is not valid.
    """
    path = _notebook_path(name, course_dir)
    expected = _notebook_text(load_assignment(name, course_dir))
    if not path.is_file():
        problem = "there is none yet"
    elif path.read_text(encoding="utf-8") != expected:
        problem = "it has drifted from the questions and exercises"
    else:
        return True
    raise ProblemFound(
        f"Expected the notebook of {name} at {path}, but {problem}. "
        f"Run: featx assignment build {name}"
    )


def _read(course_dir: Path) -> dict[str, Any]:
    path = course_dir / "assignments.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FeatxError(
            f"Expected a course with assignments.toml, but {path} cannot be read "
            f"({error.strerror}). Go to the course's folder, or name it."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FeatxError(f"{path}: expected TOML, but it does not parse: {error}.") from error


def _notebook_path(name: str, course_dir: str | Path) -> Path:
    return Path(course_dir) / "source" / name / f"{name}.ipynb"


def _load(item: Item) -> Question | Exercise:
    return load_question(item.question) if item.question else load_exercise(item.id)


def _notebook_text(assignment: Assignment) -> str:
    cells = [_head_cell(assignment), _cell("setup", SETUP, locked=True)]
    for number, item in enumerate(assignment.items, 1):
        loaded = _load(item)
        make = _question_cells if isinstance(loaded, Question) else _exercise_cells
        cells += make(loaded, f"## {number}. ", item.points)  # type: ignore[arg-type]
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
    return nbformat.writes(notebook) + "\n"


def _head_cell(assignment: Assignment) -> Any:
    text = f"""# {assignment.title}

{assignment.introduction}

About {assignment.minutes} minutes, {assignment.points:g} points.

* Where you see `"?"`, put your answer between the quotes. Below each question stands what is asked for.
* Where you see `# YOUR ANSWER HERE`, write your code. Keep the names of functions and variables.
* Cells named *Try it* are for you: they help, and give no points.
* At the end choose *Restart Kernel and Run All Cells*, save, and hand in.
"""
    return _cell("introduction", text, locked=True, markdown=True)


def _question_cells(question: Question, heading: str, points: float) -> list[Any]:
    code = f"\n\n```python\n{question.numbered_code}\n```" if question.code else ""
    options = "\n".join(f"* **{key}** {text}" for key, text in question.shown.items())
    prompt = (
        f"{heading}{_capitalised(question.concept)} ({question.difficulty}, {_say(points)})\n\n"
        f"{question.prompt}{code}\n\n{options}"
        f"\n\n{question.how}"
    )
    answer = (
        f'{question.answer_name} = "?"\n'
        f"### BEGIN SOLUTION\n{question.answer_name} = {json.dumps(question.key)}\n### END SOLUTION"
    )
    call = f'mark_answer("{question.id}", globals(), points={points:g})'
    return [
        _cell(f"question-{question.id}", prompt, locked=True, markdown=True),
        _cell(f"answer-{question.id}", answer, solution=True),
        _test_cell(question.id, "mark_answer", call, points),
    ]


def _exercise_cells(exercise: Exercise, heading: str, points: float) -> list[Any]:
    prompt = f"{heading}{exercise.title} (code, {_say(points)})\n\n{exercise.prompt}"
    call = f'mark_exercise("{exercise.id}", globals(), points={points:g})'
    visible = f"# Try it: run this cell as often as you like.\n{exercise.visible_test}"
    return [
        _cell(f"exercise-{exercise.id}", prompt, locked=True, markdown=True),
        _cell(f"answer-{exercise.id}", exercise.marked_solution, solution=True),
        _cell(f"try-{exercise.id}", visible, locked=True),
        _test_cell(exercise.id, "mark_exercise", call, points),
    ]


def _test_cell(item_id: str, name: str, call: str, points: float) -> Any:
    source = (
        f"# Graded: {_say(points)}. The test is hidden; leave this cell as it is.\n"
        f"### BEGIN HIDDEN TESTS\nfrom featx.grading.marking import {name}\n\n{call}\n"
        "### END HIDDEN TESTS"
    )
    return _cell(f"test-{item_id}", source, locked=True, points=points)


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
