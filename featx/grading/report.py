"""What a teacher reads: a line for each submission, what the class got right, and what it mixed up."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from featx.errors import FeatxError
from featx.grading.grade import Graded, grade
from featx.grading.gradebook import Course
from featx.grading.protocol import Limits
from featx.progress import progress_bar

__all__ = ["as_data", "grade_in_terminal", "read_size"]

_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def read_size(text: str) -> int:
    """Read an amount of memory.

    Parameters
    ----------
    text
        Such as ``"4GiB"``, ``"512M"`` or a number of bytes.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    FeatxError
        When it is none.

    Examples
    --------
    >>> read_size("4GiB"), read_size("512M")
    (4294967296, 536870912)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if match is None or float(match[1]) == 0:
        raise FeatxError(f"Expected an amount of memory such as 4GiB or 512MiB, got {text!r}.")
    return int(float(match[1]) * _UNITS[match[2]])


def grade_in_terminal(
    assignment: str,
    course_dir: Path,
    *,
    students: list[str] | None,
    jobs: int | None,
    sandbox: str,
    timeout: float | None,
    memory: str,
    regrade: bool,
    dry_run: bool,
    report: Path | None,
    console: Console,
) -> str:
    """Grade, show how far it is, and print tables; the options are those of ``featx grade``.

    Returns
    -------
    str
        What is wrong: submissions that could not be graded by a fault that is not theirs. Else empty.
    """
    if sandbox not in ("auto", "bwrap", "none"):
        raise FeatxError(f"Expected auto, bwrap or none for --sandbox, got {sandbox!r}.")
    if timeout is not None and not timeout > 0:
        raise FeatxError(f"Expected seconds above 0 for --timeout, got {timeout:g}.")
    if jobs is not None and jobs < 1:
        raise FeatxError(f"Expected 1 or more for --jobs, got {jobs}.")
    if report is not None and report.suffix != ".json":
        raise FeatxError(f"Expected a .json file for --report, got {report}.")
    course = Course(course_dir)
    seconds = timeout or course.timeout() or Limits().seconds
    limits = Limits(seconds=seconds, memory=read_size(memory))
    number = len(students or []) or course.count_submissions(assignment)
    with progress_bar(f"Grading {assignment}", number, unit="submissions") as step:
        graded = grade(
            assignment,
            course_dir,
            students=students,
            jobs=jobs,
            sandbox=sandbox,  # type: ignore[arg-type]
            limits=limits,
            regrade=regrade,
            dry_run=dry_run,
            tell=lambda said: console.print(escape(said)),
            done=lambda _: step(1),
        )
    if not graded:
        console.print(
            escape(f"Nobody handed in {assignment}: {course.submitted()} has no such folder.")
        )
        return ""
    if dry_run:
        console.print(_changes_table(graded))
    else:
        console.print(_students_table(graded))
        console.print(_questions_table(graded))
    if report is not None:
        text = json.dumps(as_data(assignment, graded), indent=1, ensure_ascii=False)
        report.write_text(text + "\n", encoding="utf-8")
        console.print(escape(f"Wrote {report}"))
    faults = [each for each in graded if each.fault]
    for each in faults:
        console.print(escape(f"{each.student}: {each.fault}"), style="red")
    if not faults:
        return ""
    return (
        f"{len(faults)} of {len(graded)} submissions could not be graded, and their marks were left as they "
        "were. Run the same command again: the others are not run again."
    )


def as_data(assignment: str, graded: list[Graded]) -> dict[str, Any]:
    """Return a whole report as plain data.

    Parameters
    ----------
    assignment
        The assignment.
    graded
        What `featx.grading.grade.grade` returned.

    Returns
    -------
    dict
        ``students``: each with its points, notes and cells; ``questions``: each with its outcomes and the
        misconceptions met.
    """
    return {
        "assignment": assignment,
        "students": [
            {
                "student": each.student,
                "points": each.points,
                "possible": each.possible,
                "seconds": round(each.seconds, 2),
                "fault": each.fault,
                "notes": each.notes,
                "cells": [
                    {"notebook": notebook, "cell": cell}
                    | {k: v for k, v in asdict(score).items() if k != "outputs"}
                    for (notebook, cell), score in each.scores.items()
                ],
            }
            for each in graded
        ],
        "questions": [
            {
                "notebook": notebook,
                "cell": cell,
                "outcomes": dict(outcomes.most_common()),
                "misconceptions": dict(misconceptions.most_common()),
            }
            for (notebook, cell), (outcomes, misconceptions) in _questions(graded).items()
        ],
    }


def _questions(graded: list[Graded]) -> dict[tuple[str, str], tuple[Counter[str], Counter[str]]]:
    """Count for each graded cell the outcomes and the misconceptions."""
    counted: dict[tuple[str, str], tuple[Counter[str], Counter[str]]] = {}
    for each in graded:
        for cell, score in each.scores.items():
            outcomes, misconceptions = counted.setdefault(cell, (Counter(), Counter()))
            outcomes[score.outcome] += 1
            if score.misconception:
                misconceptions[score.misconception] += 1
    return counted


def _students_table(graded: list[Graded]) -> Table:
    table = Table("student", "points", "of", "what stands out")
    for each in graded:
        if each.fault:
            table.add_row(escape(each.student), "-", "-", "not graded: a fault that is not theirs")
            continue
        counts = Counter(score.outcome for score in each.scores.values())
        unusual = [
            f"{n} {name}"
            for name, n in counts.items()
            if name not in ("correct", "partial", "wrong")
        ]
        notes = "; ".join([*unusual, *each.notes[:2]])
        more = f" (and {len(each.notes) - 2} more)" if len(each.notes) > 2 else ""
        table.add_row(
            escape(each.student), f"{each.points:g}", f"{each.possible:g}", escape(notes + more)
        )
    return table


def _questions_table(graded: list[Graded]) -> Table:
    table = Table("question", "right", "partly", "not", "most often mixed up")
    for (_, cell), (outcomes, misconceptions) in _questions(graded).items():
        right, partly = outcomes["correct"], outcomes["partial"]
        often = ", ".join(f"{code} ({n})" for code, n in misconceptions.most_common(2))
        table.add_row(
            escape(cell.removeprefix("test-")),
            str(right),
            str(partly),
            str(outcomes.total() - right - partly),
            escape(often),
        )
    return table


def _changes_table(graded: list[Graded]) -> Table:
    table = Table("student", "cell", "before", "would be")
    for each in graded:
        for (_, cell), (before, now) in each.changes.items():
            was = "-" if before is None else f"{before:g}"
            table.add_row(escape(each.student), escape(cell), was, f"{now:g}")
    return table
