"""The question bank: YAML files beside this module, one for each lesson, validated on loading.

A file holds the ``lesson`` number, its ``questions`` and its flash ``cards``. Every question carries a
*proof*: a Python snippet, run by the tests, that establishes the right option and refutes each wrong
one. Where no code can show the truth, ``no_proof`` says why.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from featx.errors import FeatxError
from featx.study.bank.questions import AnyQuestion, OneChoice, Question, Slug, Strict, Text
from featx.study.folders import own_folders
from featx.wording import close_matches

__all__ = [
    "FOLDER",
    "Card",
    "Fault",
    "Lesson",
    "OneChoice",
    "Question",
    "bank_files",
    "examine_lesson",
    "line_of",
    "list_questions",
    "load_cards",
    "load_lessons",
    "load_question",
    "questions_of",
    "read_lesson",
]

FOLDER = Path(__file__).parent

# Written in C, where PyYAML was built with it: the bank loads in a tenth of the time.
_FAST_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
    lesson, faults = examine_lesson(path)
    if lesson is None:
        raise FeatxError(f"{path.name}{faults[0].place}: {faults[0].message}")
    return lesson


@dataclass(frozen=True)
class Fault:
    """Something that is missing or wrong.

    Attributes
    ----------
    line : int
        Where, counted from 1.
    place : str
        Of what, such as ``", freeze-order"``; may be empty.
    message : str
        What was expected and what came.
    """

    line: int
    place: str
    message: str


def examine_lesson(path: Path) -> tuple[Lesson | None, list[Fault]]:
    """Read one file of the bank and say everything that is wrong with its form.

    Parameters
    ----------
    path
        A YAML file.

    Returns
    -------
    lesson : Lesson or None
        None when there are faults.
    faults : list of Fault
        In the order of the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
        raw, root = _parse(text)
    except (OSError, UnicodeDecodeError) as error:
        return None, [Fault(1, "", f"expected a text file in UTF-8, but: {error}.")]
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        return None, [
            Fault(line, f", line {line}" if mark else "", "expected YAML, but it does not parse.")
        ]
    if doubled := _doubled_keys(root):
        return None, doubled
    if root is None or not isinstance(raw, dict):
        got = type(raw).__name__
        return None, [Fault(1, "", f"expected the keys lesson, questions and cards, got {got}.")]
    for question in _records(raw.get("questions")):
        if isinstance(question, dict):
            question.setdefault("lesson", raw.get("lesson"))
            question.setdefault("kind", "one-choice")
    try:
        return Lesson.model_validate(raw), []
    except ValidationError as error:
        return None, [_fault(raw, root, fault) for fault in error.errors()]


def _parse(text: str) -> tuple[Any, yaml.Node | None]:
    """Return what a YAML text says, and its nodes, which know their lines."""
    try:
        return _parse_with(_FAST_LOADER, text)
    except yaml.YAMLError:
        return _parse_with(yaml.SafeLoader, text)  # which knows better where the mistake is


def _parse_with(kind: Any, text: str) -> tuple[Any, yaml.Node | None]:
    loader = kind(text)
    try:
        root = loader.get_single_node()
        return (None if root is None else loader.construct_document(root)), root
    finally:
        loader.dispose()


def _doubled_keys(node: yaml.Node | None) -> list[Fault]:
    """Find keys that stand twice in one record: YAML takes the last one and says nothing."""
    if isinstance(node, yaml.SequenceNode):
        return [fault for each in node.value for fault in _doubled_keys(each)]
    if not isinstance(node, yaml.MappingNode):
        return []
    found: list[Fault] = []
    seen: set[str] = set()
    for key, value in node.value:
        if key.value in seen:
            line = key.start_mark.line + 1
            found.append(
                Fault(line, "", f"expected the key {key.value!r} once, it stands there twice.")
            )
        seen.add(key.value)
        found += _doubled_keys(value)
    return found


def line_of(path: Path, question_id: str) -> int:
    """Return the line of a file on which a question begins."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if re.fullmatch(rf"\s*-?\s*id:\s*['\"]?{re.escape(question_id)}['\"]?\s*(#.*)?", line):
            return number
    return 1


def _records(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _fault(raw: Mapping[str, Any], root: yaml.Node, fault: Mapping[str, Any]) -> Fault:
    """Say in one sentence what was expected and what came, and find the line."""
    loc = list(fault["loc"])
    where = ""
    place = loc
    if len(loc) > 1 and loc[0] in ("questions", "cards"):
        record = _records(raw[loc[0]])[int(loc[1])]
        known = record.get("id") if isinstance(record, dict) else None
        where = f", {known or f'{loc[0]}[{loc[1]}]'}"
        place = loc[2:]
        if place and isinstance(record, dict) and place[0] == record.get("kind"):
            place = place[1:]  # the union of kinds names the kind in each place
            loc = [*loc[:2], *place]
    field = ".".join(str(part) for part in place)
    got = "" if fault["type"] in ("missing", "value_error") else f", got {_shorten(fault['input'])}"
    problem = fault["msg"].removeprefix("Value error, ")
    return Fault(_line(root, loc), where, f"{field + ': ' if field else ''}{problem}{got}.")


def _line(node: yaml.Node, loc: Sequence[str | int]) -> int:
    """Return the line of what stands at a place of the file, or of the nearest thing around it."""
    line = node.start_mark.line + 1
    for part in loc:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == part:
                    line, node = key.start_mark.line + 1, value
                    break
            else:
                return line
        else:
            return line
    return line


def _shorten(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def load_lessons() -> tuple[Lesson, ...]:
    """Load the whole bank: the files beside this module, and those of a teacher's own folders.

    Returns
    -------
    tuple of Lesson
        In the order of the lessons.

    Raises
    ------
    FeatxError
        When a file is not valid or two questions have the same id.
    """
    return _load((FOLDER, *own_folders()))


def bank_files(folders: Iterable[Path]) -> list[Path]:
    """Return the files of questions in these folders, but drafts, whose names begin with ``_``."""
    files = [file for folder in folders for file in sorted(folder.glob("*.yaml"))]
    return [file for file in files if not file.name.startswith("_")]


@cache
def _load(folders: tuple[Path, ...]) -> tuple[Lesson, ...]:
    paths = bank_files(folders)
    lessons = tuple(sorted(map(read_lesson, paths), key=lambda lesson: lesson.lesson))
    seen: set[str] = set()
    # Progress refers to questions and cards by their ids alone.
    for key in (
        *(question.id for lesson in lessons for question in lesson.questions),
        *(card.key for lesson in lessons for card in lesson.cards),
    ):
        if key in seen:
            raise FeatxError(
                f"Expected each id of a question or a card once, but {key!r} is there twice."
            )
        seen.add(key)
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


def questions_of(lesson: int | None) -> list[str]:
    """Name the questions of one lesson, or all, as `list_questions` does.

    Parameters
    ----------
    lesson
        Number of the lesson; None for all.

    Returns
    -------
    list of str
        Their ids, at least one.

    Raises
    ------
    FeatxError
        When the lesson has none.
    """
    questions = list_questions(lesson)
    if not questions:
        known = sorted({each.lesson for each in load_lessons() if each.questions})
        raise FeatxError(
            f"Expected a lesson with questions, but lesson {lesson} has none. There are questions for the "
            f"lessons {', '.join(map(str, known))}."
        )
    return questions


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
