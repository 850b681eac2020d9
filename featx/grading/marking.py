"""What the hidden tests of an assignment call: feedback is printed, the points are returned.

nbgrader takes the value of a test cell's last expression as partial credit. It gives no marks at all
for a cell with an error or with anything on stderr, so these functions never raise and keep stderr
quiet.

Where students got different questions, a test names all of them. Exactly one counts: the first, in the
order of the test, that was attempted. So nobody gains a second try by answering several.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from featx.study.bank import load_question
from featx.study.exercises import load_exercise
from featx.study.verdicts import Verdict

__all__ = ["judge_answers", "judge_observations", "mark_answer", "mark_exercise", "report"]


def mark_answer(
    question_id: str | Sequence[str], namespace: Mapping[str, Any], points: float
) -> float:
    """Mark the answer to a question of the bank.

    Parameters
    ----------
    question_id
        Such as ``"freeze-order"``; the answer is the variable ``answer_freeze_order``. Or several, of which
        each student got one: the first that was attempted counts.
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
    >>> mark_answer(["freeze-order", "few-labels"], {"answer_few_labels": "a"}, points=1)
    ✓ Correct
    Marked: `answer_few_labels`.
    ...
    1 of 1 points
    1.0
    """
    ids = _as_ids(question_id)
    answers = (namespace.get(load_question(each).answer_name) for each in ids)
    return _report(judge_answers(ids, answers), points)


def mark_exercise(
    exercise_id: str | Sequence[str], namespace: Mapping[str, Any], points: float, seed: int = 1
) -> float:
    """Mark a coding exercise.

    Parameters
    ----------
    exercise_id
        Such as ``"freeze-all-but-head"``. Or several, of which each student got one: the first that was
        attempted counts, and the others are not run.
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
    ids = _as_ids(exercise_id)
    seen = (load_exercise(each).observe(namespace, seed) for each in ids)
    return _report(judge_observations(ids, seen, seed), points)


def judge_answers(question_ids: Sequence[str], answers: Iterable[object]) -> Verdict:
    """Judge what a notebook says to a question, or to the one of several that it was given.

    Parameters
    ----------
    question_ids
        The question, or all alternatives.
    answers
        For each, in the same order, the value of its variable; None where there is none. ``"?"`` is no
        attempt.

    Returns
    -------
    Verdict
        On the first that was attempted.
    """
    questions = [load_question(each) for each in question_ids]
    found = (
        (question.mark(answer), answer is not None)
        for question, answer in zip(questions, answers, strict=False)
    )
    return _that_counts([question.answer_name for question in questions], found)


def judge_observations(
    exercise_ids: Sequence[str], observations: Iterable[Mapping[str, Any]], seed: int
) -> Verdict:
    """Judge what was observed of a function, or of the one of several that a notebook was to define.

    Parameters
    ----------
    exercise_ids
        The exercise, or all alternatives.
    observations
        For each, in the same order, what `Exercise.observe` returned; it may end after the first attempt. A
        starter that was left as it is is no attempt.
    seed
        Decided the inputs.

    Returns
    -------
    Verdict
        On the first that was attempted.
    """
    exercises = [load_exercise(each) for each in exercise_ids]
    found = (
        (exercise.judge(observation, seed), "missing" not in observation)
        for exercise, observation in zip(exercises, observations, strict=False)
    )
    return _that_counts([exercise.entry for exercise in exercises], found)


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


def _as_ids(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _that_counts(names: Sequence[str], found: Iterable[tuple[Verdict, bool]]) -> Verdict:
    """Return the verdict on the first attempt; without one, on the starter that is there.

    Each of `found` is a verdict and whether anything of that name is there.
    """
    starter = None
    for name, (verdict, there) in zip(names, found, strict=False):
        if len(names) == 1:
            return verdict
        if verdict.status != "not_attempted":
            return replace(verdict, message=f"Marked: `{name}`.\n{verdict.message}")
        if there:
            starter = starter or verdict
    expected = ", ".join(f"`{name}`" for name in names)
    return starter or Verdict(
        "not_attempted",
        0.0,
        f"Expected one of {expected}, but there is none of them. "
        "Run the cell that defines yours, and keep its name.",
    )


def _report(verdict: Verdict, points: float) -> float:
    text, earned = report(verdict, points)
    print(text, end="")
    return earned
