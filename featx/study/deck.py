"""The review deck: what was missed comes back, scheduled by ``fsrs``.

The deck is not stored. It is computed from the answers, so it can never disagree with them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from fsrs import Card, Rating, Scheduler

from featx.study.bank import list_questions, load_cards
from featx.study.bank.questions import UNREADABLE
from featx.study.record import Answer, Progress

__all__ = ["answers_that_count", "due_items", "next_due", "schedule", "tries", "what_is_due"]

# No fuzzing: the same answers give the same days.
_SCHEDULER = Scheduler(enable_fuzzing=False)


def answers_that_count(progress: Progress) -> list[Answer]:
    """Return the answers that count, of the questions and cards that are in the bank today.

    Those to exercises are among them; see `Progress.counting` for what counts.

    Parameters
    ----------
    progress
        The record.

    Returns
    -------
    list of Answer
        In their order.
    """
    known = {*list_questions(), *(card.key for card in load_cards())}
    return [a for a in progress.counting() if a.place == "check" or a.item in known]


def tries(answers: Iterable[Answer]) -> list[Answer]:
    """Leave out what was no try: an empty answer, and a slip of the pen that could not be read.

    Parameters
    ----------
    answers
        Some answers.

    Returns
    -------
    list of Answer
        In the same order.
    """
    return [
        answer
        for answer in answers
        if answer.status != "not_attempted" and answer.misconception != UNREADABLE
    ]


def schedule(answers: Iterable[Answer]) -> dict[str, datetime]:
    """Compute when each item of the deck is due.

    A question joins the deck when it is missed (also in an exam), a flash card when it is first rated.
    Exercises are no part of it: they are done again in their lesson. A right answer before the item is
    due changes nothing: a moment after the answer was shown it says little.

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
    for answer in tries(answers):
        if answer.place == "check":
            continue
        if answer.item not in deck:
            if answer.score == 1 and answer.place != "card":
                continue
            deck[answer.item] = Card(card_id=len(deck) + 1, due=answer.at.astimezone(UTC))
        elif answer.score == 1 and answer.at < deck[answer.item].due:
            continue
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


def what_is_due(progress: Progress) -> str:
    """Say in one sentence how much is due for review; empty when nothing is."""
    due = len(due_items(answers_that_count(progress)))
    if not due:
        return ""
    things = "1 thing is" if due == 1 else f"{due} things are"
    return f"{things} due for review: `review()` in a notebook, or `featx review`."


def next_due(answers: Iterable[Answer]) -> datetime | None:
    """Return when the next item is due.

    Parameters
    ----------
    answers
        In the order in which they were given.

    Returns
    -------
    datetime.datetime or None
        In UTC; None when the deck is empty.
    """
    return min(schedule(answers).values(), default=None)
