"""What the hidden tests of an assignment call: feedback is printed, the points are returned.

nbgrader takes the value of a test cell's last expression as partial credit. It gives no marks at all
for a cell with an error or with anything on stderr, so these functions never raise and keep stderr
quiet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from featx.study.bank import load_question
from featx.study.exercises import load_exercise
from featx.study.verdicts import Verdict

__all__ = ["mark_answer", "mark_exercise", "report"]


def mark_answer(question_id: str, namespace: Mapping[str, Any], points: float) -> float:
    """Mark the answer to a question of the bank.

    Parameters
    ----------
    question_id
        Such as ``"freeze-order"``; the answer is the variable ``answer_freeze_order``.
    namespace
        The notebook's ``globals()``.
    points
        What a right answer is worth.

    Returns
    -------
    float
        The points earned, 0 to `points`.

    Examples
    --------
    >>> mark_answer("freeze-order", {"answer_freeze_order": "?"}, points=1)
    ○ Not attempted yet
    Choose an option and give its letter.
    0 of 1 points
    0.0
    """
    question = load_question(question_id)
    return _report(question.mark(namespace.get(question.answer_name)), points)


def mark_exercise(
    exercise_id: str, namespace: Mapping[str, Any], points: float, seed: int = 1
) -> float:
    """Mark a coding exercise.

    Parameters
    ----------
    exercise_id
        Such as ``"freeze-all-but-head"``.
    namespace
        The notebook's ``globals()``, which hold the student's function.
    points
        What a complete solution is worth.
    seed
        Decides the inputs; not the seed of `featx.study.check`, so fixed numbers do not pass.

    Returns
    -------
    float
        The points earned, 0 to `points`.

    Examples
    --------
    >>> mark_exercise("freeze-all-but-head", {}, points=4)
    ○ Not attempted yet
    Expected a function `freeze_all_but_head`, but there is no function named ...
    0 of 4 points
    0.0
    """
    exercise = load_exercise(exercise_id)
    return _report(exercise.judge(exercise.observe(namespace, seed), seed), points)


def report(verdict: Verdict, points: float) -> tuple[str, float]:
    """Say what a verdict is worth.

    Parameters
    ----------
    verdict
        On a question or an exercise.
    points
        What a complete answer is worth.

    Returns
    -------
    tuple of str and float
        The feedback for the student, and the points, 0 to `points`.
    """
    share = verdict.score if 0 <= verdict.score <= 1 else 0.0  # not a number is in no range
    # Rounded down to hundredths: a share of thirds must not add up to more than the whole.
    earned = math.floor(share * points * 100 + 1e-9) / 100
    return f"{verdict}\n{earned:g} of {points:g} points\n", earned


def _report(verdict: Verdict, points: float) -> float:
    text, earned = report(verdict, points)
    print(text, end="")
    return earned
