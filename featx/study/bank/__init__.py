"""The question bank: YAML files beside this module, one for each lesson, validated on loading.

A file holds the ``lesson`` number, its ``questions`` and its flash ``cards``. Every question carries a
*proof*: a Python snippet, run by the tests, that establishes the right option and refutes each wrong
one. Where no code can show the truth, ``no_proof`` says why.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from featx.errors import FeatxError, close_matches
from featx.study.verdicts import Verdict

__all__ = [
    "Card",
    "Lesson",
    "OneChoice",
    "Option",
    "Question",
    "list_questions",
    "load_cards",
    "load_lessons",
    "load_question",
    "read_lesson",
]

FOLDER = Path(__file__).parent

Text = Annotated[str, Field(min_length=1)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Option(_Strict):
    """One possible answer: right, or wrong with the misconception it stands for."""

    text: Text
    right: bool = False
    misconception: Slug | None = None
    feedback: Text | None = None

    @model_validator(mode="after")
    def _explains_itself(self) -> Option:
        explained = self.misconception is not None and self.feedback is not None
        if not self.right and not explained:
            raise ValueError(
                f"expected a misconception and a feedback for the wrong option {self.text!r}"
            )
        if self.right and (self.misconception or self.feedback):
            raise ValueError(f"expected no misconception for the right option {self.text!r}")
        return self


class Question(_Strict):
    """What questions of every kind have in common.

    Attributes
    ----------
    id : str
        Lower-case words with hyphens; it never changes, since progress and marks refer to it.
    lesson : int
        Number of the lesson, 0 to 12.
    concept, difficulty, prompt, code
        What is asked, about what, how hard, and an optional piece of code to read.
    hint : str
        A question that leads on; never the answer.
    steps, quick_check
        The solution in steps, and a way to see for yourself that it holds.
    proof, no_proof
        Code that settles the question, or the reason why no code can.
    """

    id: Slug
    lesson: int = Field(ge=0, le=12)
    concept: Text
    difficulty: Literal["easy", "medium", "hard"]
    prompt: Text
    code: Text | None = None
    hint: Annotated[str, Field(pattern=r"\?$")]
    steps: Annotated[tuple[Text, ...], Field(min_length=2)]
    quick_check: Text
    proof: Text | None = None
    no_proof: Text | None = None

    @model_validator(mode="after")
    def _is_settled(self) -> Question:
        if (self.proof is None) == (self.no_proof is None):
            raise ValueError("expected either a proof or no_proof (why no code can settle it)")
        return self

    @property
    def answer_name(self) -> str:
        """The variable that holds the answer in an assignment."""
        return f"answer_{self.id.replace('-', '_')}"

    @property
    def explanation(self) -> str:
        """The solution in numbered steps, and the quick check."""
        steps = "\n".join(f"{number}. {step}" for number, step in enumerate(self.steps, 1))
        return f"{steps}\nCheck it yourself: {self.quick_check}"


class OneChoice(Question):
    """A question with exactly one right option. The answer is the option's letter."""

    kind: Literal["one-choice"] = "one-choice"
    options: Annotated[tuple[Option, ...], Field(min_length=3, max_length=6)]

    @model_validator(mode="after")
    def _has_one_answer(self) -> OneChoice:
        if (right := sum(option.right for option in self.options)) != 1:
            raise ValueError(f"expected exactly one right option, got {right}")
        for part in ("text", "misconception"):
            values = [getattr(o, part) for o in self.options if getattr(o, part)]
            if len(set(values)) != len(values):
                raise ValueError(f"expected options that differ in their {part}")
        unproved = [x for x in self.letters if self.proof and f"# {x}:" not in self.proof]
        if unproved:
            raise ValueError(
                f"expected the proof to mark what settles each option with a comment such as "
                f"'# {unproved[0]}:', got none for {', '.join(unproved)}"
            )
        return self

    @property
    def letters(self) -> str:
        """The letters of the options, ``"abcd"`` for four."""
        return string.ascii_lowercase[: len(self.options)]

    @property
    def lettered(self) -> dict[str, Option]:
        """Letter -> option, in the order shown."""
        return dict(zip(self.letters, self.options, strict=True))

    @property
    def right_letter(self) -> str:
        """The letter of the right option."""
        return next(letter for letter, option in self.lettered.items() if option.right)

    def mark(self, answer: object) -> Verdict:
        """Judge the letter of an option; upper case, spaces and a bracket do no harm.

        Examples
        --------
        >>> load_question("freeze-order").mark("?").status
        'not_attempted'
        """
        if answer is None or answer is ... or str(answer).strip() in ("", "?"):
            return Verdict("not_attempted", 0.0, "Choose an option and give its letter.")
        letter = str(answer).strip().rstrip(").").lower()
        option = self.lettered.get(letter)
        if option is None:
            return Verdict(
                "wrong",
                0.0,
                f"Expected one letter of {', '.join(self.letters)}; got {_shorten(answer)}.",
                "no-such-option",
            )
        if option.right:
            return Verdict("correct", 1.0, self.explanation)
        message = f"{option.feedback}\nThink about this: {self.hint}"
        return Verdict("wrong", 0.0, message, option.misconception)


class Card(_Strict):
    """A flash card."""

    front: Text
    back: Text


class Lesson(_Strict):
    """Everything that one file of the bank holds."""

    lesson: int = Field(ge=0, le=12)
    # A further kind of question joins here, as a union that `kind` tells apart.
    questions: tuple[OneChoice, ...] = ()
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


def load_question(question_id: str) -> OneChoice:
    """Load a question by its id.

    Parameters
    ----------
    question_id
        Such as ``"freeze-order"``; `list_questions` names all.

    Returns
    -------
    OneChoice
        The question.

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
