"""Every mistake that questions and exercises know, in every assignment: `featx grade` and stock nbgrader."""

from __future__ import annotations

import contextlib
import io
import shutil
from pathlib import Path

import nbformat
import pytest

from featx.grading.assignments import Item, list_assignments, load_assignment
from featx.grading.grade import Graded, grade
from featx.grading.gradebook import Course
from featx.grading.marking import mark_answer, mark_exercise
from featx.grading.samples import ERROR, NOTHING, RIGHT, Sample, make_class
from featx.study.bank import load_question
from featx.study.exercises import SETUP, load_exercise
from tests.grading.teacher import python

COURSE = Path(__file__).parents[2] / "autograders"

pytestmark = pytest.mark.slow


def expected(item: Item, given: str) -> tuple[float, str]:
    """Mark in plain Python, where nothing can be in the way; return points and feedback."""
    item_id, points = item.id, item.points
    asked = item_id if len(item.ids) == 1 else list(item.ids)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        if item.question:
            question = load_question(item_id)
            key = question.key if given == RIGHT else given or "?"
            earned = mark_answer(asked, {question.answer_name: key}, points)
        else:
            exercise = load_exercise(item_id)
            source = {RIGHT: exercise.solution, NOTHING: exercise.starter}.get(given)
            if source is None:
                source = exercise.mutant(given)
            names: dict = {}
            with contextlib.suppress(SyntaxError):
                exec(f"{SETUP}\n{source}", names)
            earned = mark_exercise(asked, names, points)
    return earned, said.getvalue()


def hand_in(name: str, course: Path) -> list[Sample]:
    """Make a course with this assignment, and a class that makes each mistake."""
    for each in ("nbgrader_config.py", "assignments.toml"):
        shutil.copy(COURSE / each, course)
    shutil.copytree(COURSE / "source" / name, course / "source" / name)
    return make_class(name, course)


@pytest.mark.parametrize("name", list_assignments(COURSE))
def test_each_mistake_gets_its_mark_and_its_message(name: str, bwrap: str, tmp_path: Path) -> None:
    samples = hand_in(name, tmp_path)
    shown: dict[str, list[str]] = {}

    def keep(each: Graded) -> None:
        shown[each.student] = [
            "".join(output.get("text", "") for output in score.outputs)
            for score in each.scores.values()
        ]

    graded = {each.student: each for each in grade(name, tmp_path, jobs=1, done=keep)}
    assert not [each.fault for each in graded.values() if each.fault]
    items = load_assignment(name, COURSE).items
    for sample in samples:
        scores = list(graded[sample.student].scores.values())
        assert len(scores) == len(items)
        for item, score, said in zip(items, scores, shown[sample.student], strict=True):
            given = sample.given[item.id]
            where = f"{item.id}: {given}"
            if given == ERROR:
                assert (score.points, score.outcome) == (0.0, "error"), where
                assert "not_defined_anywhere" in said, where
                continue
            points, feedback = expected(item, given)
            assert score.points == points, where
            assert feedback in said, where
            assert (score.outcome == "correct") == (given == RIGHT), where
            assert (score.outcome == "missing") == (given == NOTHING), where
    best, worst, *_ = samples
    assert graded[best.student].points == graded[best.student].possible > 0
    assert graded[worst.student].points == 0


@pytest.mark.parametrize("name", list_assignments(COURSE))
def test_stock_nbgrader_gives_the_same_marks_and_messages(name: str, tmp_path: Path) -> None:
    samples = hand_in(name, tmp_path)
    python(tmp_path, "-m", "nbgrader", "autograde", name)
    marks = Course(tmp_path).marks(name)
    items = load_assignment(name, COURSE).items
    for sample in samples:
        notebook = nbformat.read(
            tmp_path / "autograded" / sample.student / name / f"{name}.ipynb", as_version=4
        )
        tests = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade")]
        assert len(tests) == len(items)
        for item, cell in zip(items, tests, strict=True):
            given = sample.given[item.id]
            where = f"{item.id}: {given}"
            earned = marks[sample.student][name, cell.metadata.nbgrader.grade_id]
            if given == ERROR:
                assert earned == 0, where
                continue
            points, feedback = expected(item, given)
            assert earned == pytest.approx(points), where
            assert feedback in "".join(each.get("text", "") for each in cell.outputs), where
