"""The kinds of questions, how each is answered, and how each answer is judged."""

from __future__ import annotations

import re
import string
from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from featx.study.verdicts import Verdict

__all__ = [
    "UNREADABLE",
    "AnyQuestion",
    "BugLine",
    "Choice",
    "LineOption",
    "Mistake",
    "OneChoice",
    "Option",
    "Order",
    "Output",
    "Question",
    "SeveralChoices",
    "Typed",
    "Value",
]

#: The misconception of an answer that has not the expected form. It is a slip, and no mistake to review.
UNREADABLE = "no-such-option"

Text = Annotated[str, Field(min_length=1)]


def _is_slug(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", text):
        raise ValueError(
            f"expected lower-case words with hyphens, such as freeze-order, got {text!r}"
        )
    return text


def _asks(text: str) -> str:
    if not text.endswith("?"):
        raise ValueError(f"expected a question, with a ? at its end, got {text!r}")
    return text


Slug = Annotated[str, AfterValidator(_is_slug)]
Section = Literal["Why", "Idea", "Code", "See", "Measure", "Experiment", "Debug"]


class Strict(BaseModel):
    """A record of the bank: no unknown keys, no changes, no blanks around a text."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class Option(Strict):
    """One possible answer: right, or wrong with the misconception it stands for.

    Where several options are right, a right one has a ``feedback`` too: said when it is left out.
    """

    text: Text
    right: bool = False
    misconception: Slug | None = None
    feedback: Text | None = None

    @model_validator(mode="after")
    def _explains_itself(self) -> Option:
        _explains(self, repr(self.text))
        return self


class LineOption(Strict):
    """A line of the code that may have the bug; otherwise as an `Option`."""

    line: int = Field(ge=1)
    right: bool = False
    misconception: Slug | None = None
    feedback: Text | None = None

    @model_validator(mode="after")
    def _explains_itself(self) -> LineOption:
        _explains(self, f"in line {self.line}")
        return self


def _explains(option: Option | LineOption, name: str) -> None:
    if not option.right and (option.misconception is None or option.feedback is None):
        raise ValueError(f"expected a misconception and a feedback for the wrong option {name}")
    if option.right and option.misconception:
        raise ValueError(f"expected no misconception for the right option {name}")


class Mistake(Strict):
    """A wrong answer that people really give, where the answer is typed in."""

    answer: str | int | float | tuple[int, ...]
    misconception: Slug
    feedback: Text


class Question(Strict, ABC):
    """What questions of every kind have in common.

    Attributes
    ----------
    id : str
        Lower-case words with hyphens; it never changes, since progress and marks refer to it.
    lesson : int
        Number of the lesson, 0 to 12.
    section : str
        Where in the lesson this is taught.
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
    section: Section
    concept: Text
    difficulty: Literal["easy", "medium", "hard"]
    prompt: Text
    code: Text | None = None
    hint: Annotated[str, AfterValidator(_asks)]
    steps: Annotated[tuple[Text, ...], Field(min_length=2)]
    quick_check: Text
    proof: Text | None = None
    no_proof: Text | None = None

    @model_validator(mode="after")
    def _is_settled(self) -> Question:
        if (self.proof is None) == (self.no_proof is None):
            raise ValueError("expected either a proof or no_proof (why no code can settle it)")
        labels = [x for x in self.labels if self.proof and f"# {x}:" not in self.proof]
        if labels:
            raise ValueError(
                f"expected the proof to mark what settles each answer with a comment such as "
                f"'# {labels[0]}:', got none for {', '.join(labels)}"
            )
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

    @property
    def shown(self) -> dict[str, str]:
        """What there is to choose from or to order: key -> text."""
        return {}

    def label(self, key: str) -> str:
        """Return what stands before an option where it is shown; nothing where its text says it."""
        return f"{key})"

    @property
    def labels(self) -> tuple[str, ...]:
        """The comments that the proof must have, such as ``a`` for ``# a:``."""
        return ()

    @property
    @abstractmethod
    def how(self) -> str:
        """How to answer, in one sentence."""

    @property
    @abstractmethod
    def key(self) -> str:
        """The right answer, as a learner writes it."""

    @property
    def right_text(self) -> str:
        """The right answer in words."""
        return self.key

    @property
    def wrong_answers(self) -> dict[str, str]:
        """The wrong answers that are understood: the answer -> its misconception."""
        return {}

    @property
    def numbered_code(self) -> str:
        """The code as it is shown; with line numbers where a line is asked for."""
        return self.code or ""

    def mark(self, answer: object) -> Verdict:
        """Judge an answer; upper case, spaces and brackets do no harm.

        Parameters
        ----------
        answer
            What `how` asks for, as text or as a Python value. None, ``...``, ``""`` and ``"?"`` are
            no answer.

        Returns
        -------
        Verdict
            With the steps when it is right, and with the misconception and the hint when it is wrong.

        Examples
        --------
        >>> from featx.study.bank import load_question
        >>> load_question("freeze-order").mark("?").status
        'not_attempted'
        """
        if answer is None or answer is ... or str(answer).strip() in ("", "?"):
            return Verdict("not_attempted", 0.0, self.how)
        return self._judge(str(answer).strip())

    def read(self, answer: object) -> str:
        """Write an answer as it is kept, so that each way to give it is the same answer.

        Parameters
        ----------
        answer
            As for `mark`.

        Returns
        -------
        str
            Such as ``"ac"`` for ``"(A), c"``; as it is where it cannot be read.
        """
        given = "" if answer is None or answer is ... else str(answer).strip()
        return given if self.mark(given).misconception == UNREADABLE else self._as_kept(given)

    def _as_kept(self, answer: str) -> str:
        return answer

    @abstractmethod
    def _judge(self, answer: str) -> Verdict: ...

    def _right(self) -> Verdict:
        return Verdict("correct", 1.0, self.explanation)

    def _wrong(self, feedback: str, misconception: str | None, score: float = 0.0) -> Verdict:
        message = f"{feedback}\nThink about this: {self.hint}"
        return Verdict("partial" if score else "wrong", score, message, misconception)


def _letters(answer: object) -> str:
    """Leave only the letters of an answer such as ``"(A), c"`` or ``"b and d"``."""
    return re.sub(r"\band\b|[\s()\[\]{}<>'\"`,;.:&+/→-]", "", str(answer).lower())


def _unreadable(expected: str, answer: str) -> Verdict:
    got = answer if len(answer) <= 60 else f"{answer[:60]}…"
    return Verdict("wrong", 0.0, f"Expected {expected}; got {got!r}.", UNREADABLE)


class Choice(Question):
    """A question with options to choose from."""

    options: Annotated[tuple[Option, ...], Field(min_length=3, max_length=6)]

    @model_validator(mode="after")
    def _differ(self) -> Choice:
        for part in ("text", "misconception"):
            values = [getattr(o, part) for o in self.choices.values() if getattr(o, part)]
            if len(set(values)) != len(values):
                raise ValueError(f"expected options that differ in their {part}")
        return self

    @property
    def choices(self) -> dict[str, Option]:
        """Key -> option, in the order shown. The keys are letters."""
        return dict(zip(string.ascii_lowercase, self.options, strict=False))

    @property
    def right_keys(self) -> str:
        """The keys of the right options."""
        return "".join(key for key, option in self.choices.items() if option.right)

    @property
    def shown(self) -> dict[str, str]:
        """The options: key -> text."""
        return {key: option.text for key, option in self.choices.items()}

    @property
    def labels(self) -> tuple[str, ...]:
        """The keys: the proof settles each option."""
        return tuple(self.choices)

    @property
    def key(self) -> str:
        """The right answer, as a learner writes it."""
        return self.right_keys

    @property
    def right_text(self) -> str:
        """The right options in words."""
        return "\n".join(f"{self.label(k)} {o.text}" for k, o in self.choices.items() if o.right)

    @property
    def wrong_answers(self) -> dict[str, str]:
        """The wrong options: key -> misconception."""
        return {k: str(o.misconception) for k, o in self.choices.items() if not o.right}


class OneChoice(Choice):
    """A question with exactly one right option. The answer is the option's letter."""

    kind: Literal["one-choice"] = "one-choice"
    how: ClassVar[str] = "Choose an option and give its letter."  # type: ignore[assignment]

    @model_validator(mode="after")
    def _has_one_answer(self) -> OneChoice:
        if (right := sum(option.right for option in self.options)) != 1:
            raise ValueError(f"expected exactly one right option, got {right}")
        for option in self.options:
            if option.right and option.feedback:
                raise ValueError(f"expected no feedback for the right option {option.text!r}")
        return self

    def _as_kept(self, answer: str) -> str:
        return _letters(answer)

    def _judge(self, answer: str) -> Verdict:
        option = self.choices.get(_letters(answer))
        if option is None:
            return _unreadable(f"one letter of {', '.join(self.choices)}", answer)
        if option.right:
            return self._right()
        return self._wrong(str(option.feedback), option.misconception)


class SeveralChoices(Choice):
    """A question where one or more options are right. The answer is all their letters.

    Each right letter earns its share, each wrong one takes a share away; the score is never below 0.
    """

    kind: Literal["several-choices"] = "several-choices"
    how: ClassVar[str] = (  # type: ignore[assignment]
        "Choose all options that hold and give their letters together, as in ab."
    )

    @model_validator(mode="after")
    def _has_answers(self) -> SeveralChoices:
        right = [option for option in self.options if option.right]
        if not right or len(right) == len(self.options):
            raise ValueError("expected at least one right and one wrong option")
        for option in right:
            if option.feedback is None:
                raise ValueError(
                    f"expected a feedback for {option.text!r}, said when it is left out"
                )
        return self

    def _as_kept(self, answer: str) -> str:
        return "".join(sorted(set(_letters(answer))))

    def _judge(self, answer: str) -> Verdict:
        chosen = set(_letters(answer))
        if not chosen or not chosen <= set(self.choices):
            return _unreadable(f"letters of {', '.join(self.choices)}", answer)
        right = set(self.right_keys)
        if chosen == right:
            return self._right()
        score = max(0.0, (len(chosen & right) - len(chosen - right)) / len(right))
        # What is wrong comes first, then what is missing; one thing at a time.
        first = min(chosen - right or right - chosen)
        return self._wrong(
            f"{self.label(first)} {self.choices[first].feedback}",
            self.choices[first].misconception or "left-one-out",
            score,
        )


class BugLine(Choice):
    """A question for the line of the code that has the bug. The answer is the line's number."""

    kind: Literal["bug-line"] = "bug-line"
    how: ClassVar[str] = "Give the number of the line that has the bug."  # type: ignore[assignment]
    options: Annotated[tuple[LineOption, ...], Field(min_length=3, max_length=6)]  # type: ignore[assignment]

    @model_validator(mode="after")
    def _has_one_line(self) -> BugLine:
        if (right := sum(option.right for option in self.options)) != 1:
            raise ValueError(f"expected exactly one line with the bug, got {right}")
        return self

    @property
    def choices(self) -> dict[str, Option]:
        """Number of the line -> option, in the order of the lines."""
        lines = (self.code or "").splitlines()
        found = {}
        for option in sorted(self.options, key=lambda option: option.line):
            if option.line > len(lines) or not lines[option.line - 1].strip():
                raise ValueError(
                    f"expected lines of the code (1 to {len(lines)}), got {option.line}"
                )
            text = f"line {option.line}: `{lines[option.line - 1].strip()}`"
            found[str(option.line)] = Option(text=text, **option.model_dump(exclude={"line"}))
        return found

    def label(self, key: str) -> str:
        """Return nothing: the text of each option begins with the number of its line."""
        return ""

    @property
    def labels(self) -> tuple[str, ...]:
        """The lines: the proof settles each."""
        return tuple(f"line {number}" for number in self.choices)

    @property
    def right_text(self) -> str:
        """The line with the bug."""
        return self.choices[self.key].text

    @property
    def numbered_code(self) -> str:
        """The code with line numbers."""
        lines = (self.code or "").splitlines()
        return "\n".join(f"{number:>2}  {line}" for number, line in enumerate(lines, 1))

    @property
    def key(self) -> str:
        """The number of the line with the bug."""
        return next(key for key, option in self.choices.items() if option.right)

    def _as_kept(self, answer: str) -> str:
        return _letters(answer).removeprefix("line")

    def _judge(self, answer: str) -> Verdict:
        found = re.fullmatch(r"(?:line)?(\d+)", _letters(answer))
        lines = (self.code or "").splitlines()
        if not found or not 1 <= int(found[1]) <= len(lines):
            return _unreadable(f"the number of a line, 1 to {len(lines)}", answer)
        option = self.choices.get(str(int(found[1])))
        if option is None:
            return self._wrong("That line does what it should.", None)
        return self._right() if option.right else self._wrong(*_said(option))


def _said(option: Option) -> tuple[str, str | None]:
    return str(option.feedback), option.misconception


class Typed(Question):
    """A question whose answer is typed in, with the wrong answers that people really give.

    Attributes
    ----------
    answer
        The right one.
    mistakes : tuple of Mistake
        Wrong answers and what they come from.
    otherwise : str
        Said for every other wrong answer.
    """

    answer: str | int | float | tuple[int, ...]
    mistakes: Annotated[tuple[Mistake, ...], Field(min_length=2)]
    otherwise: Text

    @model_validator(mode="after")
    def _tells_mistakes_apart(self) -> Typed:
        for mistake in self.mistakes:
            verdict = self.mark(_written(mistake.answer))
            if verdict.misconception != mistake.misconception:
                raise ValueError(
                    f"expected a wrong answer of the same form that differs from the right one and from "
                    f"the other mistakes, got {mistake.answer!r}"
                )
        if self.mark(self.key).status != "correct":
            raise ValueError(f"expected an answer of the form that is asked for, got {self.key!r}")
        return self

    @property
    def key(self) -> str:
        """The right answer, as a learner writes it."""
        return _written(self.answer)

    @property
    def wrong_answers(self) -> dict[str, str]:
        """The mistakes: answer -> misconception."""
        return {_written(mistake.answer): mistake.misconception for mistake in self.mistakes}

    def _other(self, same: Mistake | None) -> Verdict:
        if same is None:
            return self._wrong(self.otherwise, None)
        return self._wrong(same.feedback, same.misconception)


def _written(value: str | int | float | tuple[int, ...]) -> str:
    return str(value)


class Value(Typed):
    """A question for a number or a shape. A number may be off by `tolerance`."""

    kind: Literal["value"] = "value"
    answer: int | float | tuple[int, ...]  # type: ignore[assignment]
    tolerance: float = Field(default=0.0, ge=0)

    @model_validator(mode="after")
    def _is_computed(self) -> Value:
        if self.proof and not re.search(r"^answer\b[^=]*=", self.proof, re.MULTILINE):
            raise ValueError("expected the proof to compute the variable `answer`")
        return self

    @property
    def how(self) -> str:
        """How to answer, in one sentence."""
        if isinstance(self.answer, tuple):
            return "Give the shape, such as (2, 3)."
        return "Give a number." if not self.tolerance else "Give a number, such as 0.5."

    def _judge(self, answer: str) -> Verdict:
        shape = isinstance(self.answer, tuple)
        given = _numbers(answer, grouped=not shape)
        if not given or (not shape and len(given) != 1):
            expected = "a shape such as (2, 3)" if shape else "one number, with a decimal point"
            return _unreadable(expected, answer)
        percent = "%" in answer
        if self._same(given, self.answer, percent):
            return self._right()
        return self._other(
            next((m for m in self.mistakes if self._same(given, m.answer, percent)), None)
        )

    def _same(self, given: list[float], wanted: object, percent: bool) -> bool:
        if isinstance(wanted, tuple):
            return given == [float(size) for size in wanted]
        if not isinstance(wanted, int | float):
            return False
        # "91 %" is 0.91; where the wanted number is itself one of percent, it is 91 as well.
        values = [given[0] / 100, *(given if abs(wanted) > 1 else [])] if percent else given
        return any(abs(value - wanted) <= self.tolerance + 1e-9 for value in values)


def _numbers(text: str, grouped: bool) -> list[float]:
    """Read the numbers of a text; grouped: a comma may part thousands, as in 25,088."""
    if grouped:
        text = re.sub(r"(?<=\d),(?=\d{3}(\D|$))", "", text)
    return [float(x) for x in re.findall(r"-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", text.lower())]


class Output(Typed):
    """A question for what a piece of code prints. The code itself is the proof: the tests run it."""

    kind: Literal["output"] = "output"
    how: ClassVar[str] = "Write what the code prints."  # type: ignore[assignment]
    code: Text  # type: ignore[assignment]

    @model_validator(mode="before")
    @classmethod
    def _proves_itself(cls, raw: object) -> object:
        if isinstance(raw, dict) and "code" in raw and raw.get("no_proof") is None:
            if raw.get("proof", raw["code"]) != raw["code"]:
                raise ValueError("expected no proof: the code itself is run")
            return {**raw, "proof": raw["code"]}
        return raw

    def _judge(self, answer: str) -> Verdict:
        given = _squeezed(answer)
        if given == _squeezed(self.key):
            return self._right()
        return self._other(
            next((m for m in self.mistakes if _squeezed(str(m.answer)) == given), None)
        )


def _squeezed(text: str) -> str:
    """Take away what does not matter in a printed line: case, quotes and most blanks."""
    text = re.sub(r"\s+", " ", text.strip().strip("'\"`")).casefold()
    return re.sub(r"\s*([\[\](){},:=])\s*", r"\1", text)


class Order(Typed):
    """A question for the right order of pieces. The answer is their letters in order.

    Attributes
    ----------
    pieces : tuple of str
        In the order shown, which is not the right one.
    also : tuple of str
        Other orders that are right as well.
    """

    kind: Literal["order"] = "order"
    answer: str  # type: ignore[assignment]
    pieces: Annotated[tuple[Text, ...], Field(min_length=3, max_length=8)]
    also: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _is_an_order(self) -> Order:
        shown = "".join(self.shown)
        for order in (self.answer, *self.also):
            if sorted(order) != sorted(shown):
                raise ValueError(f"expected each letter of {shown} once, got {order!r}")
        if shown in (self.answer, *self.also):
            raise ValueError("expected pieces that are not shown in the right order")
        return self

    @property
    def shown(self) -> dict[str, str]:
        """The pieces: letter -> text."""
        return dict(zip(string.ascii_lowercase, self.pieces, strict=False))

    @property
    def labels(self) -> tuple[str, ...]:
        """What the proof settles: the right order and each mistake."""
        return ("right", *(mistake.misconception for mistake in self.mistakes))

    @property
    def how(self) -> str:
        """How to answer, in one sentence."""
        return (
            f"Give all {len(self.pieces)} letters in the right order, as in {''.join(self.shown)}."
        )

    @property
    def right_text(self) -> str:
        """The pieces in the right order."""
        return "\n".join(f"{self.label(letter)} {self.shown[letter]}" for letter in self.answer)

    def _as_kept(self, answer: str) -> str:
        return _letters(answer)

    def _judge(self, answer: str) -> Verdict:
        given = _letters(answer)
        if sorted(given) != sorted(self.shown):
            return _unreadable(f"each letter of {', '.join(self.shown)} once", answer)
        if given in (self.answer, *self.also):
            return self._right()
        return self._other(next((m for m in self.mistakes if m.answer == given), None))


AnyQuestion = Annotated[
    OneChoice | SeveralChoices | BugLine | Value | Output | Order, Field(discriminator="kind")
]
