"""Questions, flash cards and exams as ipywidgets; the Tab key goes through them in their order."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import shorten
from typing import Any

import ipywidgets

from featx.study.bank import Card
from featx.study.bank.questions import BugLine, OneChoice, Question, SeveralChoices
from featx.study.showing import code_html, to_html, verdict_html
from featx.study.verdicts import Verdict

__all__ = ["card_box", "exam_box", "question_box"]

# Long options wrap beside their button instead of being cut off.
_STYLE = (
    "<style>.featx-quiz .widget-radio-box label {display: flex; flex-direction: row-reverse; "
    "justify-content: flex-end; gap: 0.5em; height: auto; white-space: normal; line-height: 1.4; "
    "margin: 0.3em 0} .featx-quiz .widget-radio-box input {flex: none; margin: 0.2em 0} "
    ".featx-quiz.widget-checkbox, .featx-quiz .widget-label-basic {height: auto; white-space: normal; "
    "line-height: 1.4} .featx-quiz .widget-label-basic {overflow: visible; align-items: flex-start}"
    "</style>"
)


class _Input:
    """Where the answer is given: `widget` shows it, `answer` reads and sets it."""

    def __init__(self, question: Question, number: int | None = None) -> None:
        self._question = question
        full = ipywidgets.Layout(width="100%")
        # a label is plain text: backquotes would only be in the way
        labels = [f"{question.label(key)} {text}".lstrip() for key, text in _plain(question)]
        self._boxes: dict[str, Any] = {}
        if isinstance(question, OneChoice | BugLine):
            options = list(zip(labels, question.shown, strict=True))
            self.widget: Any = ipywidgets.RadioButtons(options=options, value=None, layout=full)
        elif isinstance(question, SeveralChoices):
            self._boxes = {
                key: ipywidgets.Checkbox(description=label, indent=False, layout=full)
                for key, label in zip(question.shown, labels, strict=True)
            }
            for box in self._boxes.values():
                box.add_class("featx-quiz")
            self.widget = ipywidgets.VBox([*self._boxes.values()])
        else:
            name = "Answer" if number is None else f"Answer {number}"
            # As a whole, not key by key: half a number is no answer.
            self.widget = ipywidgets.Text(description=name, continuous_update=False)
        self.widget.add_class("featx-quiz")

    @property
    def answer(self) -> str:
        if self._boxes:
            return "".join(key for key, box in self._boxes.items() if box.value)
        return self.widget.value or ""

    @answer.setter
    def answer(self, given: str) -> None:
        given = self._question.read(given)
        for key, box in self._boxes.items():
            box.value = key in given
        if not self._boxes:
            known = getattr(self.widget, "options", None)
            if known is None or given in [value for _, value in known]:
                self.widget.value = given

    def close(self) -> None:
        """Let nothing be changed any more."""
        for widget in self._boxes.values() or [self.widget]:
            widget.disabled = True

    def observe(self, changed: Callable[[], None]) -> None:
        for widget in self._boxes.values() or [self.widget]:
            widget.observe(lambda _: changed(), names="value")


def _plain(question: Question) -> list[tuple[str, str]]:
    return [(key, text.replace("`", "")) for key, text in question.shown.items()]


def _button(does: str, text: str) -> Any:
    """Make a button whose description names the question or card, for a page has many that do the same.

    The tooltip is all that ipywidgets lets one say. A group of radio buttons takes not even that.
    """
    about = shorten(text.replace("`", ""), 100, placeholder=" …")
    return ipywidgets.Button(description=does, tooltip=f"{does}: {about}")


def _prompt(question: Question, number: str = "") -> Any:
    code = code_html(question.numbered_code) if question.code else ""
    rest = ""
    # Buttons and boxes say themselves how they are used.
    if not isinstance(question, OneChoice | BugLine | SeveralChoices):
        items = "".join(f"<li>{to_html(text)}</li>" for text in question.shown.values())
        pieces = f'<ol type="a" style="list-style: lower-alpha">{items}</ol>' if items else ""
        rest = f"{pieces}<p><em>{to_html(question.how)}</em></p>"
    return ipywidgets.HTML(f"{_STYLE}<p>{number}{to_html(question.prompt)}</p>{code}{rest}")


def question_box(
    question: Question,
    mark: Callable[[str], Verdict],
    given: str | None = None,
    news: Callable[[], list[str]] = list,
) -> Any:
    """Build a question with its input, a *Check* button and a place for the feedback.

    Parameters
    ----------
    question
        The question.
    mark
        Called with the answer when *Check* is pressed.
    given
        The last answer of an earlier session: it is there again, with its feedback.
    news
        Asked after each answer for what the learner should know, such as a full disk.

    Returns
    -------
    ipywidgets.VBox
        Prompt, input, button, feedback.
    """
    field = _Input(question)
    button = _button("Check", question.prompt)
    feedback = ipywidgets.HTML()
    if given is not None:
        field.answer = given
        earlier = question.mark(given)
        if earlier.status != "not_attempted":
            feedback.value = f"<p>Your last answer:</p>{verdict_html(earlier, spoken=False)}"

    def check(_: object) -> None:
        feedback.value = verdict_html(mark(field.answer)) + _alert(news())

    button.on_click(check)
    return ipywidgets.VBox([_prompt(question), field.widget, button, feedback])


def _alert(sentences: list[str]) -> str:
    return "".join(f'<div role="alert">{to_html(each)}</div>' for each in sentences)


def card_box(card: Card, rate: Callable[[bool], str]) -> Any:
    """Build a flash card: its front, a button that turns it, and two that rate oneself.

    Parameters
    ----------
    card
        The card.
    rate
        Called with whether the answer was known; returns a sentence to show.

    Returns
    -------
    ipywidgets.VBox
        Front, turn button, back, rating.
    """
    front = ipywidgets.HTML(f"<p>{to_html(card.front)}</p>")
    turn = _button("Show the answer", card.front)
    back = ipywidgets.HTML()
    knew = _button("I knew it", card.front)
    missed = _button("I did not", card.front)
    rating = ipywidgets.HBox([knew, missed], layout=ipywidgets.Layout(display="none"))
    said = ipywidgets.HTML()

    def show(_: object) -> None:
        # First the buttons: who hears the answer and presses Tab must find them.
        rating.layout.display = ""
        # The answer is not only shown but read aloud.
        back.value = f'<div role="alert" style="margin-left: 1.5em">{to_html(card.back)}</div>'

    def rated(known: bool) -> Callable[[object], None]:
        def press(_: object) -> None:
            said.value = _alert([rate(known)])

        return press

    turn.on_click(show)
    knew.on_click(rated(True))
    missed.on_click(rated(False))
    return ipywidgets.VBox([front, turn, back, rating, said])


def exam_box(
    title: str,
    questions: list[Question],
    given: dict[str, str],
    keep: Callable[[Question, str], None],
    hand_in: Callable[[], str],
    news: Callable[[], list[str]] = list,
) -> Any:
    """Build an exam: all questions, no hints, one button at the end.

    Parameters
    ----------
    title
        Shown on top.
    questions
        In their order.
    given
        Question id -> answer, of an earlier session.
    keep
        Called with each answer as it is given.
    hand_in
        Called when the exam is handed in; returns the report as HTML.
    news
        Asked after each answer for what the learner should know, such as a full disk.

    Returns
    -------
    ipywidgets.VBox
        The exam.
    """
    parts: list[Any] = [ipywidgets.HTML(f"<p><strong>{to_html(title)}</strong></p>")]
    fields: list[_Input] = []
    report = ipywidgets.HTML()

    def kept(question: Question, field: _Input) -> None:
        keep(question, field.answer)
        if told := news():
            report.value = _alert(told)

    for number, question in enumerate(questions, 1):
        field = _Input(question, number)
        field.answer = given.get(question.id, "")
        field.observe(lambda question=question, field=field: kept(question, field))
        fields.append(field)
        parts += [_prompt(question, f"<strong>{number}.</strong> "), field.widget]
    button = ipywidgets.Button(description="Hand in", tooltip="Hand in the exam and see the report")

    def press(_: object) -> None:
        left = sum(not field.answer for field in fields)
        if left and button.description == "Hand in":
            button.description = "Hand in as it is"
            report.value = _alert([f"{left} of {len(fields)} have no answer yet."])
            return
        button.disabled = True
        for field in fields:
            field.close()
        report.value = f'<div role="alert">{hand_in()}</div>{_alert(news())}'

    button.on_click(press)
    return ipywidgets.VBox([*parts, button, report])
