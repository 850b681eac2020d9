"""From what a sandboxed child said to points. Here nothing of the student's runs, and doubt gives none."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from featx.grading.execution import Ran
from featx.grading.marked_cells import Mark, read_mark
from featx.grading.marking import judge_answers, judge_observations, report
from featx.grading.rebuild import Rebuilt
from featx.study.verdicts import Verdict

__all__ = ["OUTCOMES", "Score", "score_test"]

#: What can come of a cell that was graded. Beside these a report counts as ``"infrastructure"`` the cells of
#: submissions that could not be.
OUTCOMES = (
    "correct",
    "partial",
    "wrong",
    "error",
    "timeout",
    "out_of_memory",
    "crashed",
    "tampered",
    "missing",
)

_EXPLAINED = {
    "timeout": "A cell of this question ran longer than is allowed, and was stopped.",
    "out_of_memory": "A cell of this question needed more memory than is allowed, and was stopped.",
    "crashed": "A cell of this question ended the Python process.",
    "tampered": "The test of this question could not fail any more, so it gives no points.",
    "error": "A cell of this question stopped with an error.",
}


@dataclass(frozen=True)
class Score:
    """What a graded cell earned.

    Attributes
    ----------
    points, possible : float
        Earned, and the most that can be.
    outcome : str
        One of `OUTCOMES`.
    outputs : list of dict
        What the test cell shows in the feedback.
    misconception : str or None
        The code of the mistake, where an exercise or question of featx found one.
    notes : tuple of str
        What a teacher should know.
    seconds : float
        That its test took, and the cells that answer it.
    """

    points: float
    possible: float
    outcome: str
    outputs: list[dict[str, Any]]
    misconception: str | None = None
    notes: tuple[str, ...] = ()
    seconds: float = 0.0


def score_test(rebuilt: Rebuilt, place: int, ran: dict[int, Ran]) -> Score:
    """Give points for one test.

    Parameters
    ----------
    rebuilt
        The notebook that was run.
    place
        Where the test stands in it.
    ran
        What came of the cells.

    Returns
    -------
    Score
        Never more than the instructor's points, and 0 for anything but a well-formed reply.
    """
    part = rebuilt.parts[place]
    possible = float(part.node.metadata["nbgrader"]["points"])
    test = ran.get(place, Ran("crashed"))
    mark = read_mark(part.node.source)
    try:
        score = (
            _judge_assertions(test, possible) if mark is None else _judge_mark(test, possible, mark)
        )
    except Exception as error:
        # Only an observation that nobody's observer made can lead to an error here.
        return _none(possible, "tampered", (f"The reply could not be judged: {error!r}.",))
    before = _cells_of_the_question(rebuilt, place)
    seconds = sum(ran[each].seconds for each in (*before, place) if each in ran)
    score = score if score.points else _with_reason(score, rebuilt, before, ran)
    return replace(score, seconds=round(seconds, 3))


def _cells_of_the_question(rebuilt: Rebuilt, place: int) -> list[int]:
    """Return the places of the cells between the test and the one before it, the nearest first."""
    before = []
    for each in range(place - 1, -1, -1):
        if rebuilt.parts[each].role == "test":
            break
        before.append(each)
    return before


def _judge_mark(test: Ran, possible: float, mark: Mark) -> Score:
    """Judge an answer to a question, or what was observed of a function."""
    if not test.reply or test.outcome != "ok":
        return _none(possible, test.outcome)
    if mark.kind == "answer":
        answers = [None if each is None else str(each) for each in test.reply["texts"]]
        verdict = judge_answers(mark.ids, answers)
    else:
        verdict = judge_observations(mark.ids, test.reply["observations"], mark.seed)
    return _from_verdict(verdict, possible, tuple(_changes(test)))


def _from_verdict(verdict: Verdict, possible: float, notes: tuple[str, ...]) -> Score:
    text, points = report(verdict, possible)
    outputs = [{"output_type": "stream", "name": "stdout", "text": text}]
    outcome = "missing" if verdict.status == "not_attempted" else verdict.status
    return Score(points, possible, outcome, outputs, verdict.misconception, notes)


def _judge_assertions(test: Ran, possible: float) -> Score:
    """Judge a test of assertions: passed, failed, or worth the number that it ends with."""
    reply = test.reply
    if test.outcome != "ok":
        outcome = "wrong" if reply.get("error") == "AssertionError" else test.outcome
        return Score(0.0, possible, outcome, test.outputs)
    failed = reply["failed"]
    if not (isinstance(failed, list) and failed and all(each is True for each in failed)):
        return _none(possible, "tampered", ("A control that must fail passed.",))
    notes = tuple(_changes(test))
    try:
        points = possible if reply["value"] is None else float(str(reply["value"]))
    except ValueError:
        points = possible  # as nbgrader has it: a value that is no number is no partial credit
    if not math.isfinite(points) or not 0 <= points <= possible:
        said = f"The test gave {str(reply['value'])[:40]} of {possible:g} points, which counts as none."
        return _none(possible, "tampered", (said,))
    outcome = "correct" if points == possible else "partial" if points else "wrong"
    return Score(points, possible, outcome, test.outputs, notes=notes)


def _changes(test: Ran) -> list[str]:
    """Say which originals the student's code had replaced; the test ran with the originals."""
    changed = [str(name) for name in test.reply.get("changed", [])][:5]
    return (
        [f"Replaced, and put back for the test: {', '.join(map(ascii, changed))}."]
        if changed
        else []
    )


def _with_reason(score: Score, rebuilt: Rebuilt, cells: list[int], ran: dict[int, Ran]) -> Score:
    """For a question without points, say what happened to the cells that were to answer it."""
    outcome = score.outcome
    for place in cells:
        part = rebuilt.parts[place]
        if part.role == "answer" and part.grade_id in rebuilt.missing:
            return replace(score, points=0.0, outcome="missing")
        happened = ran[place].outcome if place in ran else "ok"
        if part.role in ("answer", "added") and happened != "ok" and outcome != "tampered":
            outcome = happened
    if outcome == score.outcome or outcome not in _EXPLAINED:
        return replace(score, points=0.0, outcome=outcome)
    said = {"output_type": "stream", "name": "stdout", "text": f"{_EXPLAINED[outcome]}\n"}
    return replace(score, points=0.0, outcome=outcome, outputs=[said, *score.outputs])


def _none(possible: float, outcome: str, notes: tuple[str, ...] = ()) -> Score:
    text = _EXPLAINED.get(outcome, "The test gave no result.") + f"\n0 of {possible:g} points\n"
    outputs = [{"output_type": "stream", "name": "stdout", "text": text}]
    return Score(0.0, possible, outcome, outputs, notes=notes)
