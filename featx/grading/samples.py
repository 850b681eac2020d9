"""A made-up class, whose every mistake is known: to try an assignment, or the grader, before students do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nbformat

from featx.errors import FeatxError
from featx.grading.assignments import Assignment, load_assignment
from featx.grading.gradebook import Course
from featx.study.bank import load_question
from featx.study.exercises import STUB, load_exercise

__all__ = ["Sample", "list_samples", "make_class", "write_sample"]

#: In place of a mistake: the right answer, none, and code that stops.
RIGHT, NOTHING, ERROR = "right", "", "error"

NAMES = (
    "ada",
    "alan",
    "annie",
    "barbara",
    "claude",
    "dennis",
    "donald",
    "edsger",
    "frances",
    "grace",
    "guido",
    "hedy",
    "ingrid",
    "john",
    "katherine",
    "linus",
    "margaret",
    "mary",
    "niklaus",
    "radia",
    "tim",
    "yann",
)


@dataclass(frozen=True)
class Sample:
    """A student who does not exist.

    Attributes
    ----------
    student : str
        A name.
    given : dict
        Id of each question or exercise -> ``"right"``, ``""``, ``"error"``, or the mistake: the letter of
        an option, the name of a mutant.
    """

    student: str
    given: dict[str, str]


def list_samples(assignment: Assignment, students: int | None = None) -> list[Sample]:
    """Make up a class: the first has all right, the second nothing, the others each mistake there is.

    Parameters
    ----------
    assignment
        What they answer.
    students
        How many; None for as many as it takes to make each mistake once.

    Returns
    -------
    list of Sample
        The same arguments give the same class.
    """
    mistakes = {item.id: _mistakes(item.id, bool(item.question)) for item in assignment.items}
    most = 2 + max(map(len, mistakes.values()))
    all_given = [dict.fromkeys(mistakes, RIGHT), dict.fromkeys(mistakes, NOTHING)]
    for number in range((students or most) - 2):
        given = {}
        for place, (item_id, wrong) in enumerate(mistakes.items()):
            # once through all mistakes; who comes later makes one in three
            later = number >= most - 2
            turn = number if not later else number + place
            wanted = number < len(wrong) if not later else turn % 3 == 0
            given[item_id] = wrong[turn % len(wrong)] if wanted else RIGHT
        all_given.append(given)
    return [Sample(_name(number), given) for number, given in enumerate(all_given)][:students]


def write_sample(
    name: str, assignment: Assignment, course: Course, sample: Sample, into: Path | None = None
) -> Path:
    """Hand in what a made-up student answers.

    Parameters
    ----------
    name, assignment
        The assignment; it must have been released.
    course
        The course.
    sample
        The student.
    into
        In place of the course's folder of submissions.

    Returns
    -------
    Path
        The notebook.
    """
    notebook = nbformat.read(course.released(name, name), as_version=4)
    answers = [c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("solution")]
    for item, cell in zip(assignment.items, answers, strict=True):
        given = sample.given[item.id]
        cell.source = _answer(item.id, bool(item.question), given, cell.source, sample.student)
    folder = (into or course.submitted()) / sample.student / name
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / f"{name}.ipynb")
    return folder / f"{name}.ipynb"


def make_class(name: str, course_dir: str | Path, students: int | None = None) -> list[Sample]:
    """Release an assignment and hand in for a whole made-up class.

    Parameters
    ----------
    name
        The assignment, one of ``assignments.toml``.
    course_dir
        The course.
    students
        As for `list_samples`.

    Returns
    -------
    list of Sample
        Who handed in what.

    Raises
    ------
    FeatxError
        When there is no such assignment, or one of these names has handed in already.
    """
    course = Course(course_dir)
    assignment = load_assignment(name, course_dir)
    course.release(name)
    samples = list_samples(assignment, students)
    there = [s.student for s in samples if course.submission(s.student, name).exists()]
    if there:
        raise FeatxError(
            f"Expected no submissions of {name} by {', '.join(there)}, but there are some, and nothing of a "
            f"student's is overwritten. Remove them from {course.submitted()}, or use another course."
        )
    for sample in samples:
        write_sample(name, assignment, course, sample)
    return samples


def _mistakes(item_id: str, is_question: bool) -> list[str]:
    if not is_question:
        return [*load_exercise(item_id).mutants, ERROR]
    return list(load_question(item_id).wrong_answers)


def _answer(item_id: str, is_question: bool, given: str, released: str, student: str) -> str:
    if given == NOTHING:
        return released
    if is_question:
        question = load_question(item_id)
        key = question.key if given == RIGHT else given
        return f"{question.answer_name} = {json.dumps(key)}  # {student}"
    exercise = load_exercise(item_id)
    if given == ERROR:
        return exercise.starter.replace(STUB, "return not_defined_anywhere")
    source = exercise.solution if given == RIGHT else exercise.mutant(given)
    return f"{source}\n# {student}"


def _name(number: int) -> str:
    again, place = divmod(number, len(NAMES))
    return NAMES[place] + (f"-{again + 1}" if again else "")
