"""The assignment that all attacks answer: an ordinary nbgrader course, and two cells of featx's own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from featx.study.bank import load_question
from featx.study.exercises import STUB, load_exercise

NAME = "attacked"
QUESTION = load_question("freeze-order")
EXERCISE = load_exercise("majority-baseline")

#: What each question is worth.
POINTS = {
    "square": 2.0,
    "double": 3.0,
    "fizz": 4.0,
    "first": 1.0,
    "choice": 1.0,
    "baseline": 3.0,
}
FULL = dict(POINTS)
NONE = dict.fromkeys(POINTS, 0.0)

#: The right answers.
ANSWERS = {
    "square": "def square(x):\n    return x * x",
    "double": "def double(x):\n    return 2 * x",
    "fizz": ("def fizz(n):\n    return 'fizz' * (n % 3 == 0) + 'buzz' * (n % 5 == 0) or str(n)"),
    "first": "first = [1, 2, 3][0]",
    "choice": f'{QUESTION.answer_name} = "{QUESTION.key}"',
    "baseline": EXERCISE.solution,
}

#: A line is drawn above these.
RULED = ("double", "first")

TESTS = {
    "square": """
assert square(3) == 9, "square(3) should be 9"
### BEGIN HIDDEN TESTS
assert square(-2) == 4
assert square(0.5) == 0.25
assert math.isclose(square(0.1), 0.01)
### END HIDDEN TESTS
""",
    "double": """
### BEGIN HIDDEN TESTS
given = torch.tensor([1.0, -2.0])
assert torch.equal(double(given), torch.tensor([2.0, -4.0]))
for x, expected in [(3, 6), (5, 10)]:
    assert double(x) == expected
np.testing.assert_allclose(double(np.ones(2)), [2, 2])
torch.testing.assert_close(double(torch.ones(3)), torch.full((3,), 2.0))
### END HIDDEN TESTS
""",
    "fizz": """
### BEGIN HIDDEN TESTS
points = 0
if fizz(9) == "fizz":
    points += 1
if fizz(10) == "buzz":
    points += 1
if fizz(30) == "fizzbuzz":
    points += 1
if fizz(7) == "7":
    points += 1
points
### END HIDDEN TESTS
""",
    "first": """
### BEGIN HIDDEN TESTS
assert isinstance(first, int)
assert first == int(open("data/first.txt").read())
### END HIDDEN TESTS
""",
    "choice": f"""
### BEGIN HIDDEN TESTS
from featx.grading.marking import mark_answer

mark_answer("{QUESTION.id}", globals(), points=1)
### END HIDDEN TESTS
""",
    "baseline": f"""
### BEGIN HIDDEN TESTS
from featx.grading.marking import mark_exercise

mark_exercise("{EXERCISE.id}", globals(), points=3)
### END HIDDEN TESTS
""",
}

_STARTERS = {
    "square": "def square(x):\n    ### BEGIN SOLUTION\n    return x * x\n    ### END SOLUTION",
    "double": "def double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION",
    "fizz": "def fizz(n):\n    ### BEGIN SOLUTION\n    return str(n)\n    ### END SOLUTION",
    "first": "first = None\n### BEGIN SOLUTION\nfirst = 1\n### END SOLUTION",
    "choice": (
        f'{QUESTION.answer_name} = "?"\n### BEGIN SOLUTION\n'
        f'{QUESTION.answer_name} = "{QUESTION.key}"\n### END SOLUTION'
    ),
    "baseline": EXERCISE.marked_solution,
}


@dataclass(frozen=True)
class Case:
    """A submission and what it deserves.

    Attributes
    ----------
    name : str
        It is the student's name as well.
    answers : dict
        Question -> source in place of the right answer; ``None`` leaves the cell as it was given out.
    marks : dict
        Question -> points, where they are not the full ones.
    change : callable
        Changes the notebook, a plain dict as in the file.
    write : callable
        Writes the submission itself: gets its folder and the notebook.
    outcomes : dict
        Question -> outcome, where it matters.
    notes : str
        What the teacher must be told, in some note.
    """

    name: str
    answers: dict[str, str | None] = field(default_factory=dict)
    marks: dict[str, float] = field(default_factory=dict)
    change: Callable[[dict[str, Any]], None] | None = None
    write: Callable[[Path, dict[str, Any]], None] | None = None
    outcomes: dict[str, str] = field(default_factory=dict)
    notes: str = ""

    @property
    def deserves(self) -> dict[str, float]:
        """The points of every question."""
        return FULL | self.marks


def make_course(folder: Path) -> None:
    """Write the source version of the assignment."""
    cells = [
        new_markdown_cell("Write what is asked for."),
        _cell("setup", "import numpy as np\nimport torch\nfrom torch import nn", locked=True),
        new_code_cell("import math"),  # given, and neither locked nor known to nbgrader
    ]
    for name, points in POINTS.items():
        if name in RULED:
            cells.append(new_markdown_cell("---"))  # the same text twice
        cells += [
            _cell(f"answer-{name}", _STARTERS[name], solution=True),
            _cell(f"test-{name}", TESTS[name].strip(), locked=True, points=points),
        ]
    notebook = new_notebook(
        cells=cells,
        metadata={
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
    )
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    path = folder / "source" / NAME / f"{NAME}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)
    # what a test reads, and students get as well
    (path.parent / "data").mkdir()
    (path.parent / "data" / "first.txt").write_text("1")
    (folder / "nbgrader_config.py").write_text(
        "c = get_config()\n"
        f'c.ClearSolutions.code_stub = {{"python": "{STUB}"}}\n'
        "c.ExecutePreprocessor.timeout = 5\n"
    )


def _cell(
    grade_id: str,
    source: str,
    *,
    locked: bool = False,
    solution: bool = False,
    points: float | None = None,
) -> Any:
    nbgrader: dict[str, Any] = {
        "grade": points is not None,
        "grade_id": grade_id,
        "locked": locked,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    if points is not None:
        nbgrader["points"] = points
    return new_code_cell(source, metadata={"nbgrader": nbgrader})


def submit(course: Path, case: Case) -> None:
    """Write a case's submission into a course that has been released."""
    released = course / "release" / NAME / f"{NAME}.ipynb"
    notebook = json.loads(released.read_text(encoding="utf-8"))
    for name, answer in (ANSWERS | case.answers).items():
        if answer is not None:
            cell_of(notebook, f"answer-{name}")["source"] = answer
    if case.change:
        case.change(notebook)
    folder = course / "submitted" / case.name / NAME
    folder.mkdir(parents=True)
    if case.write:
        case.write(folder, notebook)
    else:
        save(folder, notebook)


def save(folder: Path, notebook: dict[str, Any]) -> None:
    """Write a notebook under its right name."""
    (folder / f"{NAME}.ipynb").write_text(json.dumps(notebook), encoding="utf-8")


def cell_of(notebook: dict[str, Any], grade_id: str) -> dict[str, Any]:
    """Find a cell by its name."""
    return next(c for c in notebook["cells"] if grade_id_of(c) == grade_id)


def grade_id_of(cell: dict[str, Any]) -> str | None:
    """Return a cell's name."""
    return cell["metadata"].get("nbgrader", {}).get("grade_id")


def code(source: str, **more: Any) -> dict[str, Any]:
    """Make a cell as a student adds it."""
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": f"x{abs(hash(source)) % 10**8}",
        "metadata": {},
        "outputs": [],
        "source": source,
        **more,
    }


def before_first(*cells: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Return a change that puts cells in front of the first answer."""

    def change(notebook: dict[str, Any]) -> None:
        place = notebook["cells"].index(cell_of(notebook, "answer-square"))
        notebook["cells"][place:place] = copy.deepcopy(list(cells))

    return change
