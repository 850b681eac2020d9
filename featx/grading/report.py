"""What a teacher reads: a line for each student, what the class got right, and what it mixed up."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from html import escape
from statistics import mean, median
from typing import Any

from featx.findings import Finding, Findings
from featx.grading.grade import Graded
from featx.pages import page
from featx.tables import Sheet, Table, sheet_html
from featx.wording import counted

__all__ = ["as_data", "as_page", "changes_table", "in_a_line", "summarise"]

#: Of the notes on a submission so many stand in the table; the report has all.
FEW = 2


@dataclass
class _Question:
    """What a class made of one graded cell."""

    outcomes: Counter[str] = field(default_factory=Counter)
    misconceptions: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)


def summarise(assignment: str, graded: list[Graded]) -> Sheet:
    """Return what is shown of a class: a headline, a table of students, one of questions, what stands out.

    Parameters
    ----------
    assignment
        The assignment.
    graded
        What `featx.grading.grade.grade` returned; at least one.
    """
    fine = [each for each in graded if not each.fault]
    headline = f"{assignment}: {counted(len(graded), 'submission')}"
    if fine:
        headline += (
            f", on average {mean(g.points for g in fine):.1f} of {fine[0].possible:g} points"
        )
    return Sheet(headline, [_students(graded), _questions_table(graded)], _findings(graded))


def in_a_line(graded: Graded) -> str:
    """Say what one submission earned, and what it had before."""
    if graded.fault:
        return f"{graded.student}: not graded. {graded.fault}"
    had = [points for points in graded.was.values() if points is not None]
    before = f" (before: {sum(had):g})" if had else ""
    return f"{graded.student}: {graded.points:g} of {graded.possible:g} points{before}"


def as_page(assignment: str, graded: list[Graded]) -> str:
    """Return the report as one page of HTML that stands alone, with every note on every submission."""
    notes = "".join(
        f"<h3>{escape(each.student)}</h3><ul>"
        + "".join(f"<li>{escape(note)}</li>" for note in each.notes)
        + "</ul>"
        for each in graded
        if each.notes
    )
    body = sheet_html(summarise(assignment, graded))
    return page(f"Grades of {assignment}", body + (f"<h2>Notes</h2>{notes}" if notes else ""))


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
        ``students``: each with its points, notes and cells; ``questions``: each with its outcomes, the
        misconceptions met and the median seconds.
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
                "outcomes": dict(each.outcomes.most_common()),
                "misconceptions": dict(each.misconceptions.most_common()),
                "seconds": round(median(each.seconds), 3),
            }
            for (notebook, cell), each in _questions(graded).items()
        ],
    }


def changes_table(graded: list[Graded]) -> Table:
    """Return which marks would change: before and after."""
    rows = [
        (each.student, cell, "-" if before is None else f"{before:g}", f"{now:g}")
        for each in graded
        for (_, cell), (before, now) in each.changes.items()
    ]
    return Table("What would change", ("student", "cell", "before", "would be"), rows)


def _students(graded: list[Graded]) -> Table:
    rows = []
    for each in graded:
        if each.fault:
            rows.append((each.student, "-", "-", f"not graded (infrastructure): {each.fault}"))
            continue
        counts = Counter(score.outcome for score in each.scores.values())
        usual = ("correct", "partial", "wrong")
        unusual = [f"{n} {outcome}" for outcome, n in counts.items() if outcome not in usual]
        more = [f"and {len(each.notes) - FEW} more"] if len(each.notes) > FEW else []
        said = "; ".join([*unusual, *each.notes[:FEW], *more])
        rows.append((each.student, f"{each.points:g}", f"{each.possible:g}", said))
    return Table("Students", ("student", "points", "of", "what stands out"), rows)


def _questions_table(graded: list[Graded]) -> Table:
    rows = []
    for (_, cell), each in _questions(graded).items():
        right, partly = each.outcomes["correct"], each.outcomes["partial"]
        often = ", ".join(f"{code} ({n})" for code, n in each.misconceptions.most_common(2))
        rest = each.outcomes.total() - right - partly - each.outcomes["infrastructure"]
        seconds = f"{median(each.seconds):.1f}"
        name = cell.removeprefix("test-")
        rows.append((name, str(right), str(partly), str(rest), seconds, often))
    header = ("question", "right", "partly", "not", "seconds", "most often mixed up")
    return Table("Questions", header, rows)


def _questions(graded: list[Graded]) -> dict[tuple[str, str], _Question]:
    """Count for each graded cell the outcomes and the misconceptions."""
    questions: dict[tuple[str, str], _Question] = {}
    faults = sum(bool(each.fault) for each in graded)
    for each in graded:
        for cell, score in each.scores.items() if not each.fault else ():
            question = questions.setdefault(cell, _Question())
            question.outcomes[score.outcome] += 1
            question.seconds.append(score.seconds)
            if score.misconception:
                question.misconceptions[score.misconception] += 1
    for question in questions.values():
        # whom a fault of ours left without a grade, all questions of theirs
        question.outcomes.update({"infrastructure": faults} if faults else {})
    return questions


def _findings(graded: list[Graded]) -> Findings:
    """Say which submissions a teacher should look at, and why."""

    def with_outcome(*outcomes: str) -> list[str]:
        return [g.student for g in graded if outcomes_of(g) & set(outcomes)]

    def outcomes_of(each: Graded) -> set[str]:
        return {score.outcome for score in each.scores.values()}

    kinds = {
        "tampered": (
            with_outcome("tampered"),
            "made a test pass that must fail",
            "Read what they handed in before you speak with them.",
        ),
        "stopped": (
            with_outcome("timeout", "out_of_memory", "crashed"),
            "had a cell that ran too long, took too much memory or ended the process",
            "If many have the same one, look at the question, or raise --timeout.",
        ),
        "unreadable": (
            [each.student for each in graded if each.unreadable],
            "handed in a notebook that cannot be read",
            "Ask them to hand in again.",
        ),
    }
    return Findings(
        Finding(code, f"{len(who)} {what}: {', '.join(who[:10])}.", advice, {"students": who})
        for code, (who, what, advice) in kinds.items()
        if who
    )
