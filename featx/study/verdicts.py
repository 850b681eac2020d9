"""What is said about one answer: a status, a score and a message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Check", "Status", "Verdict", "card_verdict", "weigh"]

Status = Literal["not_attempted", "correct", "partial", "wrong", "error"]

# A symbol and words, so that no status is told by colour alone.
_HEADLINES: dict[Status, str] = {
    "not_attempted": "○ Not attempted yet",
    "correct": "✓ Correct",
    "partial": "◐ Partly right",
    "wrong": "✗ Not right yet",
    "error": "! Your code stopped with an error",
}


@dataclass(frozen=True)
class Verdict:
    """The outcome of one question or exercise.

    Attributes
    ----------
    status : str
        ``"not_attempted"``, ``"correct"``, ``"partial"``, ``"wrong"`` or ``"error"``.
    score : float
        The share of the points that was earned, 0 to 1.
    message : str
        What was done, what was expected, why, and where to look. Code stands in backquotes.
    misconception : str or None
        The code of the mistake, such as ``"head-before-freeze"``; the same code means the same
        mistake in questions and in exercises.
    """

    status: Status
    score: float
    message: str
    misconception: str | None = None

    @property
    def headline(self) -> str:
        """The status as a symbol and words."""
        if self.status == "partial":
            return f"{_HEADLINES['partial']} ({self.score:.0%} of the points)"
        return _HEADLINES[self.status]

    def __str__(self) -> str:
        return f"{self.headline}\n{self.message}"

    def __repr__(self) -> str:
        named = f", misconception={self.misconception!r}" if self.misconception else ""
        return f"<Verdict {self.status}, score {self.score:.2f}{named}>"

    def _ipython_display_(self) -> None:
        # A cell that ends in check(...) has shown the verdict already.
        from featx.study.showing import display_again

        display_again(self)


def card_verdict(known: bool) -> Verdict:
    """Return the verdict on a flash card, which is the learner's own.

    Parameters
    ----------
    known
        Whether the answer was known.

    Returns
    -------
    Verdict
        Correct or wrong, with nothing to say.
    """
    return Verdict("correct", 1.0, "") if known else Verdict("wrong", 0.0, "")


@dataclass(frozen=True)
class Check:
    """One thing that an exercise asks for, and what to say where it is missing.

    Attributes
    ----------
    passed : bool
        Whether the answer has it.
    weight : float
        Its share of the points. A check of weight 0 only explains *why* a later one fails.
    misconception : str
        The code of the mistake that a failure stands for.
    message : str
        Said when this is the first check that fails.
    right : str
        Said when it passes and another fails: what is right already.
    """

    passed: bool
    weight: float
    misconception: str
    message: str
    right: str = ""


def weigh(checks: Sequence[Check], praise: str) -> Verdict:
    """Turn checks, the root causes first, into one verdict.

    Parameters
    ----------
    checks
        In the order in which a teacher would mention them: the first that fails gives the message.
    praise
        The message when all points are earned.

    Returns
    -------
    Verdict
        Its score is the weight of the passed checks over the weight of all.

    Examples
    --------
    >>> verdict = weigh(
    ...     [
    ...         Check(True, 1, "no-head", "There is no head.", right="the head is new"),
    ...         Check(False, 3, "not-frozen", "The backbone still learns."),
    ...     ],
    ...     praise="All is right.",
    ... )
    >>> verdict
    <Verdict partial, score 0.25, misconception='not-frozen'>
    >>> print(verdict.message)
    The backbone still learns.
    Right already: the head is new.
    """
    score = sum(c.weight for c in checks if c.passed) / sum(c.weight for c in checks)
    if score == 1:
        return Verdict("correct", 1.0, praise)
    first = next(c for c in checks if not c.passed)
    right = "; ".join(c.right for c in checks if c.passed and c.right and c.weight)
    message = f"{first.message}\nRight already: {right}." if right else first.message
    return Verdict("partial" if score else "wrong", score, message, first.misconception)
