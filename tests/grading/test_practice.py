"""The practice assignment through stock nbgrader: release, three submissions, every mark, feedback."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from featx.grading.assignments import load_assignment
from featx.study.bank import load_question
from featx.study.exercises import STUB, load_exercise
from tests.grading.teacher import python

pytestmark = pytest.mark.slow

COURSE = Path(__file__).parents[2] / "autograders"
PRACTICE = load_assignment("practice", COURSE)

# What the half-right student hands in: the letter of an option, "right", "", or a mutant's name;
# beside it the marks that it deserves.
HALF_RIGHT: dict[str, tuple[str, float]] = {
    "purpose-of-pretrained": ("right", 1.0),
    "pretrained-features": ("left-in-train-mode", 1.0),
    "freeze-order": ("b", 0.0),
    "freeze-all-but-head": ("head-before-freeze", 3.0),
    "identity-head-shape": ("", 0.0),
    "identity-head-features": ("right", 4.0),
    "optimizer-holds-frozen": ("b", 0.0),
    "train-only-the-head": ("batchnorm-drifts", 3.2),
    "underfit-frozen": ("right", 1.0),
    "unfreeze-deeper": ("error", 0.0),
}


def nbgrader(course: Path, *arguments: str) -> None:
    python(course, "-m", "nbgrader", *arguments)


def answer_of(item_id: str, given: str, released: str) -> str:
    """Make the source of one answer cell."""
    item = next(item for item in PRACTICE.items if item.id == item_id)
    if not given:
        return released
    if item.question:
        question = load_question(item_id)
        letter = question.key if given == "right" else given
        return released.replace('"?"', f'"{letter}"')
    exercise = load_exercise(item_id)
    if given == "error":
        return released.replace(STUB, "return not_defined_anywhere")
    return exercise.solution if given == "right" else exercise.mutant(given)


def submit(course: Path, student: str, answer: Callable[[str], str]) -> None:
    notebook = nbformat.read(course / "release/practice/practice.ipynb", as_version=4)
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            item_id = cell.metadata.nbgrader.grade_id.removeprefix("answer-")
            cell.source = answer_of(item_id, answer(item_id), cell.source)
    folder = course / "submitted" / student / "practice"
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / "practice.ipynb")


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the course in which three students were graded and got feedback."""
    course = tmp_path_factory.mktemp("course")
    for name in ("nbgrader_config.py", "assignments.toml"):
        shutil.copy(COURSE / name, course)
    shutil.copytree(COURSE / "source", course / "source")
    nbgrader(course, "generate_assignment", "practice")
    submit(course, "correct", lambda item_id: "right")
    submit(course, "empty", lambda item_id: "")
    submit(course, "half", lambda item_id: HALF_RIGHT[item_id][0])
    nbgrader(course, "autograde", "practice")
    nbgrader(course, "generate_feedback", "practice")
    return course


@pytest.fixture(scope="module")
def marks(course: Path) -> dict[str, dict[str, tuple[float, float]]]:
    """Student -> id -> (points earned, points possible), read from the gradebook."""
    script = """
import json
from nbgrader.api import Gradebook
with Gradebook("sqlite:///gradebook.db") as book:
    print(json.dumps({
        each.student.id: {
            grade.name: (grade.auto_score, grade.max_score, bool(grade.needs_manual_grade))
            for notebook in each.notebooks for grade in notebook.grades
        }
        for each in book.assignment_submissions("practice")
    }))
"""
    read = json.loads(python(course, "-c", script).stdout)
    assert not any(manual for student in read.values() for *_, manual in student.values())
    return {
        student: {
            name.removeprefix("test-"): (earned, possible)
            for name, (earned, possible, _) in grades.items()
        }
        for student, grades in read.items()
    }


def feedback(course: Path, student: str) -> str:
    page = (course / "feedback" / student / "practice/practice.html").read_text(encoding="utf-8")
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def test_the_release_hides_solutions_and_tests(course: Path) -> None:
    notebook = nbformat.read(course / "release/practice/practice.ipynb", as_version=4)
    sources = {cell.metadata.nbgrader.grade_id: cell.source for cell in notebook.cells}
    assert "SOLUTION" not in str(sources)
    assert "HIDDEN" not in str(sources)
    assert "mark_" not in str(sources)
    for item in PRACTICE.items:
        if item.exercise:
            assert sources[f"answer-{item.id}"] == load_exercise(item.id).starter
        else:
            name = load_question(item.id).answer_name
            assert sources[f"answer-{item.id}"] == f'{name} = "?"\n{STUB}'


def test_correct_submission_gets_every_point(marks) -> None:
    expected = {item.id: (item.points, item.points) for item in PRACTICE.items}
    assert marks["correct"] == expected


def test_empty_submission_gets_none(marks) -> None:
    assert marks["empty"] == {item.id: (0.0, item.points) for item in PRACTICE.items}


def test_half_right_submission_gets_what_it_deserves(marks) -> None:
    expected = {item.id: (HALF_RIGHT[item.id][1], item.points) for item in PRACTICE.items}
    assert marks["half"] == expected


def test_feedback_of_the_correct_submission(course: Path) -> None:
    page = feedback(course, "correct")
    assert page.count("✓ Correct") == len(PRACTICE.items)
    assert "Not right yet" not in page


def test_feedback_of_the_empty_submission(course: Path) -> None:
    page = feedback(course, "empty")
    assert page.count("○ Not attempted yet") == len(PRACTICE.items)
    assert "✓ Correct" not in page


def test_feedback_names_the_mistakes(course: Path) -> None:
    page = feedback(course, "half")
    for item_id in ("freeze-order", "optimizer-holds-frozen"):
        assert load_question(item_id).choices["b"].feedback in page
    assert "The head was replaced before the freeze, so the new head is frozen too" in page
    assert "No weight changed, but the BatchNorm statistics did" in page
    assert "The BatchNorm statistics moved" in page
    assert "name 'not_defined_anywhere' is not defined" in page
    assert page.count("✓ Correct") == sum(given == "right" for given, _ in HALF_RIGHT.values())
    assert page.count("○ Not attempted yet") == 1


def test_feedback_shows_no_solution(course: Path) -> None:
    page = feedback(course, "half")
    for item_id in ("freeze-order", "optimizer-holds-frozen", "identity-head-shape"):
        assert load_question(item_id).steps[-1] not in page
        assert load_question(item_id).quick_check not in page
    for item_id, (given, _) in HALF_RIGHT.items():
        item = next(item for item in PRACTICE.items if item.id == item_id)
        if item.exercise and given != "right":
            assert load_exercise(item_id).solution not in page
    # the loop of the reference that holds BatchNorm, line by line
    assert "if isinstance(module, nn.BatchNorm2d)" not in page
