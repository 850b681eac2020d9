"""The review deck: what was missed comes back, scheduled by ``fsrs``.

The deck is not stored. It is computed from the answers, so it can never disagree with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from fsrs import Card, Rating, Scheduler

from featx.study.bank.questions import UNREADABLE
from featx.study.record import Answer, settled

__all__ = ["due_items", "next_due", "schedule"]

# No fuzzing: the same answers give the same days.
_SCHEDULER = Scheduler(enable_fuzzing=False)


def schedule(answers: Iterable[Answer]) -> dict[str, datetime]:
    """Compute when each item of the deck is due.

    A question joins the deck when it is missed (also in an exam), a flash card when it is first rated.
    Exercises are no part of it: they are done again in their lesson.

    Parameters
    ----------
    answers
        In the order in which they were given.

    Returns
    -------
    dict
        Item -> when it is due, in UTC.

    Examples
    --------
    >>> missed = Answer(item="freeze-order", status="wrong", score=0, at="2026-01-01T10:00Z")
    >>> schedule([missed])["freeze-order"].isoformat()
    '2026-01-01T10:01:00+00:00'
    """
    deck: dict[str, Card] = {}
    for answer in settled(answers):
        if answer.place == "check" or answer.status == "not_attempted":
            continue
        if answer.misconception == UNREADABLE:
            continue  # a slip of the pen
        if answer.item not in deck:
            if answer.score == 1 and answer.place != "card":
                continue
            deck[answer.item] = Card(card_id=len(deck) + 1, due=answer.at.astimezone(UTC))
        deck[answer.item], _ = _SCHEDULER.review_card(
            deck[answer.item], _rating(answer), review_datetime=answer.at.astimezone(UTC)
        )
    return {item: card.due for item, card in deck.items()}


def _rating(answer: Answer) -> Rating:
    if answer.score == 1:
        return Rating.Good
    return Rating.Hard if answer.score else Rating.Again


def due_items(answers: Iterable[Answer], now: datetime | None = None) -> list[str]:
    """Name the items that are due, the longest overdue first.

    Parameters
    ----------
    answers
        In the order in which they were given.
    now
        By default this moment.

    Returns
    -------
    list of str
        Their ids.

    Examples
    --------
    >>> missed = Answer(item="freeze-order", status="wrong", score=0, at="2026-01-01T10:00Z")
    >>> due_items([missed])
    ['freeze-order']
    """
    now = now or datetime.now(UTC)
    deck = schedule(answers)
    return sorted((item for item, due in deck.items() if due <= now), key=lambda item: deck[item])


def next_due(answers: Iterable[Answer]) -> datetime | None:
    """Return when the next item is due, or None when the deck is empty."""
    return min(schedule(answers).values(), default=None)
