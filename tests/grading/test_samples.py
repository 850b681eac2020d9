"""The made-up class: every mistake is in it, and in the repository it is graded as it comes."""

from __future__ import annotations

import csv
import html
import re
import shutil
from pathlib import Path

import pytest

from featx.errors import FeatxError
from featx.grading.assignments import list_assignments, load_assignment
from featx.grading.gradebook import Course
from featx.grading.samples import ERROR, NOTHING, RIGHT, list_samples, make_class
from featx.study.bank import load_question
from featx.study.exercises import load_exercise
from tests.grading.teacher import python

COURSE = Path(__file__).parents[2] / "autograders"


@pytest.mark.parametrize("name", list_assignments(COURSE))
def test_every_mistake_is_made(name: str) -> None:
    assignment = load_assignment(name, COURSE)
    samples = list_samples(assignment)
    assert len({sample.student for sample in samples}) == len(samples)
    assert set(samples[0].given.values()) == {RIGHT}
    assert set(samples[1].given.values()) == {NOTHING}
    for item in assignment.items:
        made = {sample.given[item.id] for sample in samples}
        known = (
            set(load_question(item.id).wrong_answers)
            if item.question
            else {*load_exercise(item.id).mutants, ERROR}
        )
        assert made == {RIGHT, NOTHING, *known}


def test_a_class_is_as_large_as_is_asked() -> None:
    assignment = load_assignment("practice", COURSE)
    for students in (1, 2, 12, 60):
        samples = list_samples(assignment, students)
        assert len({sample.student for sample in samples}) == students


def copied(folder: Path) -> Path:
    """Copy the course as it is in a fresh clone."""
    for name in ("nbgrader_config.py", "assignments.toml"):
        shutil.copy(COURSE / name, folder)
    for name in ("source/practice", "submitted"):
        shutil.copytree(COURSE / name, folder / name)
    return folder


def test_the_class_in_the_repository_has_not_drifted(tmp_path: Path) -> None:
    """After a change: remove autograders/submitted, `featx assignment sample practice --students 12`."""
    shutil.rmtree(copied(tmp_path) / "submitted")
    make_class("practice", tmp_path, 12)
    made = sorted(p.relative_to(tmp_path) for p in tmp_path.glob("submitted/*/*/*.ipynb"))
    kept = sorted(p.relative_to(COURSE) for p in COURSE.glob("submitted/*/*/*.ipynb"))
    assert made == kept
    for path in made:
        assert (tmp_path / path).read_text() == (COURSE / path).read_text(), path
    with pytest.raises(FeatxError, match="nothing of a student's is overwritten"):
        make_class("practice", tmp_path, 12)


@pytest.mark.slow
def test_from_a_fresh_clone_to_feedback_and_export(bwrap: str, tmp_path: Path) -> None:
    course = copied(tmp_path)

    def run(*arguments: str) -> str:
        return python(course, "-m", *arguments).stdout

    said = run("featx", "grade", "practice", "--course-dir", ".")
    assert "released it now" in said
    samples = list_samples(load_assignment("practice", COURSE), 12)
    for sample in samples:
        assert sample.student in said
    run("nbgrader", "generate_feedback", "practice")
    run("nbgrader", "export")
    with (course / "grades.csv").open(newline="") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    marks = Course(course).marks("practice")
    assert set(rows) == {sample.student for sample in samples}
    for student, row in rows.items():
        assert float(row["score"]) == pytest.approx(sum(p or 0 for p in marks[student].values()))
    assert float(rows[samples[0].student]["score"]) == 26
    assert float(rows[samples[1].student]["score"]) == 0
    page = (course / "feedback" / samples[2].student / "practice/practice.html").read_text()
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    assert "Not right yet" in text
    assert "mark_exercise" not in text
