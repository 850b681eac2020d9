"""The question bank: YAML files beside this module, one for each lesson, validated on loading.

A file holds the ``lesson`` number, its ``questions`` and its flash ``cards``. Every question carries a
*proof*: a Python snippet, run by the tests, that establishes the right option and refutes each wrong
one. Where no code can show the truth, ``no_proof`` says why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from featx.errors import FeatxError, close_matches
from featx.study.bank.questions import AnyQuestion, OneChoice, Question, Slug, Strict, Text

__all__ = [
    "Card",
    "Lesson",
    "OneChoice",
    "Question",
    "list_questions",
    "load_cards",
    "load_lessons",
    "load_question",
    "read_lesson",
]

FOLDER = Path(__file__).parent


class Card(Strict):
    """A flash card."""

    id: Slug | None = None
    front: Text
    back: Text

    @property
    def key(self) -> str:
        """What progress refers to: the id, or a name made of the front where there is none."""
        return self.id or f"card-{hashlib.sha256(self.front.encode()).hexdigest()[:12]}"


class Lesson(Strict):
    """Everything that one file of the bank holds."""

    lesson: int = Field(ge=0, le=12)
    questions: tuple[AnyQuestion, ...] = ()
    cards: tuple[Card, ...] = ()


def read_lesson(path: Path) -> Lesson:
    """Read and validate one file of the bank.

    Parameters
    ----------
    path
        A YAML file.

    Returns
    -------
    Lesson
        Its questions and cards.

    Raises
    ------
    FeatxError
        When the file does not have the expected form: names the file, the question and the field.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise FeatxError(f"{path.name}{line}: expected YAML, but it does not parse.") from error
    if not isinstance(raw, dict):
        raise FeatxError(
            f"{path.name}: expected the keys lesson, questions and cards, got {type(raw).__name__}."
        )
    for question in _records(raw.get("questions")):
        if isinstance(question, dict):
            question.setdefault("lesson", raw.get("lesson"))
            question.setdefault("kind", "one-choice")
    try:
        return Lesson.model_validate(raw)
    except ValidationError as error:
        raise FeatxError(_one_sentence(path, raw, error)) from error


def _records(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _one_sentence(path: Path, raw: Mapping[str, Any], error: ValidationError) -> str:
    """Say where the first fault is, what was expected and what came."""
    fault = error.errors()[0]
    place = list(fault["loc"])
    where = path.name
    if len(place) > 1 and place[0] in ("questions", "cards"):
        record = _records(raw[place[0]])[int(place[1])]
        known = record.get("id") if isinstance(record, dict) else None
        where += f", {known or f'{place[0]}[{place[1]}]'}"
        place = place[2:]
        if place and isinstance(record, dict) and place[0] == record.get("kind"):
            place = place[1:]  # the union of kinds names the kind in each place
    field = ".".join(str(part) for part in place)
    got = "" if fault["type"] in ("missing", "value_error") else f", got {_shorten(fault['input'])}"
    problem = fault["msg"].removeprefix("Value error, ")
    return f"{where}: {field + ': ' if field else ''}{problem}{got}."


def _shorten(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


@cache
def load_lessons() -> tuple[Lesson, ...]:
    """Load the whole bank.

    Returns
    -------
    tuple of Lesson
        In the order of the lessons.

    Raises
    ------
    FeatxError
        When a file is not valid or two questions have the same id.
    """
    lessons = tuple(read_lesson(path) for path in sorted(FOLDER.glob("*.yaml")))
    seen: set[str] = set()
    for question in (q for lesson in lessons for q in lesson.questions):
        if question.id in seen:
            raise FeatxError(f"Expected each question id once, but {question.id!r} is there twice.")
        seen.add(question.id)
    return lessons


def list_questions(lesson: int | None = None) -> list[str]:
    """Name the questions of one lesson, or all.

    Parameters
    ----------
    lesson
        Number of the lesson; None for all.

    Returns
    -------
    list of str
        Their ids, in the order of the bank.

    Examples
    --------
    >>> "freeze-order" in list_questions(lesson=3)
    True
    """
    return [
        question.id
        for loaded in load_lessons()
        for question in loaded.questions
        if lesson is None or question.lesson == lesson
    ]


def load_question(question_id: str) -> Question:
    """Load a question by its id.

    Parameters
    ----------
    question_id
        Such as ``"freeze-order"``; `list_questions` names all.

    Returns
    -------
    Question
        Of its own kind, such as `OneChoice`.

    Raises
    ------
    FeatxError
        When there is no such question.

    Examples
    --------
    >>> load_question("freeze-order").difficulty
    'easy'
    """
    for loaded in load_lessons():
        for question in loaded.questions:
            if question.id == question_id:
                return question
    raise FeatxError(
        f"Expected the id of a question, got {question_id!r}. "
        f"{close_matches(str(question_id), list_questions())}"
    )


def load_cards(lesson: int | None = None) -> list[Card]:
    """Load the flash cards of one lesson, or all.

    Parameters
    ----------
    lesson
        Number of the lesson; None for all.

    Returns
    -------
    list of Card
        In the order of the bank.

    Examples
    --------
    >>> len(load_cards(lesson=1)) >= 6
    True
    """
    return [
        card
        for loaded in load_lessons()
        if lesson is None or loaded.lesson == lesson
        for card in loaded.cards
    ]
