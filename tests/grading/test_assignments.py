"""Assignments: what is in the repository is what would be built, and faults are named."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from featx.errors import FeatxError
from featx.grading.assignments import (
    Item,
    build_assignment,
    check_assignment,
    list_assignments,
    load_assignment,
)
from featx.study.exercises import STUB

COURSE = Path(__file__).parents[2] / "autograders"


@pytest.fixture
def course(tmp_path: Path) -> Path:
    (tmp_path / "assignments.toml").write_bytes((COURSE / "assignments.toml").read_bytes())
    return tmp_path


@pytest.mark.parametrize("name", list_assignments(COURSE))
def test_no_notebook_has_drifted(name: str) -> None:
    check_assignment(name, COURSE)


def test_building_twice_gives_the_same_bytes(course: Path) -> None:
    first = build_assignment("practice", course).read_bytes()
    assert build_assignment("practice", course).read_bytes() == first
    check_assignment("practice", course)


def test_drift_is_found(course: Path) -> None:
    path = build_assignment("practice", course)
    path.write_text(path.read_text().replace("points=4", "points=5", 1))
    with pytest.raises(FeatxError, match=r"has drifted .* featx assignment build practice"):
        check_assignment("practice", course)


def test_a_missing_notebook_is_found(course: Path) -> None:
    with pytest.raises(FeatxError, match="there is none yet"):
        check_assignment("practice", course)


def test_the_notebook_is_valid_and_has_no_outputs() -> None:
    notebook = nbformat.read(COURSE / "source/practice/practice.ipynb", as_version=4)
    nbformat.validate(notebook)
    ids = [cell.metadata.nbgrader.grade_id for cell in notebook.cells]
    assert len(set(ids)) == len(ids)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
            ast.parse(cell.source)


def test_a_set_of_problems_for_each_two_lessons_and_a_final_for_all() -> None:
    lessons = {
        name: {_lesson(item) for item in load_assignment(name, COURSE).items}
        for name in list_assignments(COURSE)
    }
    for number in range(1, 6):
        assert lessons[f"ps{number}"] == {2 * number - 1, 2 * number}
    assert lessons["final"] == set(range(1, 12))


def test_options_are_labelled_as_they_are_in_the_lessons() -> None:
    text = "\n".join(
        cell.source
        for path in sorted(COURSE.glob("source/*/*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
    )
    assert "\n* **a)** " in text
    assert "\n* line 3: `" in text
    assert "\n* **3" not in text


def test_nothing_is_asked_in_two_assignments() -> None:
    items = [
        each
        for name in list_assignments(COURSE)
        for item in load_assignment(name, COURSE).items
        for each in item.ids
    ]
    assert len(set(items)) == len(items)


def _lesson(item: Item) -> int:
    (lesson,) = {each.lesson for each in item.load()}  # whichever a student gets
    return lesson


@pytest.mark.slow
@pytest.mark.parametrize("name", list_assignments(COURSE))
def test_the_reference_earns_every_point_and_a_blank_none(name: str, capsys) -> None:
    possible = {
        f"test-{item.id}" if len(item.ids) == 1 else f"test-slot-{number}": item.points
        for number, item in enumerate(load_assignment(name, COURSE).items, 1)
    }
    assert _marks(name, lambda source: source) == possible
    blank = re.compile(r"### BEGIN SOLUTION.*?### END SOLUTION", re.DOTALL)
    assert _marks(name, lambda source: blank.sub(STUB, source)) == dict.fromkeys(possible, 0.0)
    assert capsys.readouterr().err == ""  # nbgrader gives no marks where there is anything on it


def _marks(name: str, answer: Callable[[str], str]) -> dict[str, float]:
    """Run the notebook's cells in plain Python; return what each test cell says was earned."""
    notebook = nbformat.read(COURSE / f"source/{name}/{name}.ipynb", as_version=4)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    earned = {}
    for cell in notebook.cells:
        if cell.cell_type != "code" or cell.id.startswith("try-"):
            continue
        source = answer(cell.source) if cell.metadata.nbgrader.solution else cell.source
        *statements, last = ast.parse(source).body
        exec(compile(ast.Module(statements, []), "<cell>", "exec"), namespace)
        if cell.metadata.nbgrader.grade:
            assert isinstance(last, ast.Expr)
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)
            earned[cell.metadata.nbgrader.grade_id] = value
        else:
            exec(compile(ast.Module([last], []), "<cell>", "exec"), namespace)
    return earned


def test_each_problem_is_asked_as_a_question_and_as_code() -> None:
    items = load_assignment("practice", COURSE).items
    assert sum(bool(item.question) for item in items) == 5
    assert sum(bool(item.exercise) for item in items) == 5


def test_the_stub_is_the_one_that_nbgrader_sets() -> None:
    config = (COURSE / "nbgrader_config.py").read_text()
    assert re.search(r'code_stub = \{"python": "(.*)"\}', config).group(1) == STUB  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("", "Expected the name of an assignment, got 'ps'."),
        ("[ps", "expected TOML, but it does not parse"),
        ('[ps]\ntitle = "T"\nminutes = 5\nitems = []', "ps.items: Tuple should have at least 1"),
        (
            '[ps]\ntitle = "T"\nminutes = 5\nitems = [{ points = 1 }]',
            "ps.items.0: expected either a question or an exercise",
        ),
        (
            '[ps]\ntitle = "T"\nminutes = 5\nitems = [{ question = "freeze-order", points = 0 }]',
            "ps.items.0.points: Input should be greater than 0",
        ),
        (
            '[ps]\ntitle = "T"\nminutes = 5\nitems = [{ question = "freeze-ordr", points = 1 }]',
            "Expected the id of a question, got 'freeze-ordr'. Close matches: freeze-order",
        ),
        (
            '[ps]\ntitle = "T"\nminutes = 5\nitems = [{ exercise = "unfreeze", points = 1 }]',
            "Expected the id of an exercise, got 'unfreeze'.",
        ),
        (
            '[ps]\ntitle = "T"\nminutes = 5\nitems = [{ question = "freeze-order", points = 1 }, '
            '{ question = "freeze-order", points = 2 }]',
            "expected each item once, but freeze-order came twice",
        ),
        (
            '[ps]\ntitle = "T"\nminutes = 5\n'
            'items = [{ question = ["freeze-order", "few-labels", "freeze-order"], points = 1 }]',
            "expected each item once, but freeze-order came twice",
        ),
        (
            '[ps]\ntitle = "T"\nminutes = 5\nitems = [{ question = [], points = 1 }]',
            "ps.items.0: expected either a question or an exercise",
        ),
        (
            '[ps]\ntitle = "T"\nminutes = 5\nitems = [{ question = 3, points = 1 }]',
            "ps.items.0.question: Input should be a valid tuple",
        ),
        (
            '[ps]\ntitle = "T"\nminutes = 5\n'
            'items = [{ question = ["few-labels", "freeze-ordr"], points = 1 }]',
            "Expected the id of a question, got 'freeze-ordr'. Close matches: freeze-order",
        ),
        (
            '[ps]\ntitle = "T"\nminutes = 5\n'
            'items = [{ question = ["few-labels", "more-labels"], points = 1 }]',
            "ps.items.0: expected alternatives of the same difficulty, got few-labels (easy), "
            "more-labels (hard). Choose others",
        ),
        (
            '[ps]\ntitle = "T"\nminutes = 5\n'
            'items = [{ exercise = ["lead-over-pixels", "hook-features"], points = 1 }]',
            "ps.items.0: expected alternatives of the same points, got lead-over-pixels (3 points), "
            "hook-features (5 points). Choose others",
        ),
    ],
)
def test_faults_are_named(tmp_path: Path, toml: str, said: str) -> None:
    (tmp_path / "assignments.toml").write_text(toml)
    with pytest.raises(FeatxError) as caught:
        load_assignment("ps", tmp_path)
    assert said in str(caught.value)


def test_a_folder_that_is_no_course(tmp_path: Path) -> None:
    with pytest.raises(FeatxError, match=r"Expected a course with assignments.toml"):
        list_assignments(tmp_path)
