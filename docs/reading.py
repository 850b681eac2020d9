"""What `quiz`, `check`, `explore` and their kin show on a page that has no kernel behind it.

An IPython extension: `book.py` loads it into the kernel of each lesson before the first cell runs. The
lesson's own calls then give plain HTML: answers fold out, and a knob has all its positions with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from html import escape
from typing import Any

from IPython.display import HTML, display
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from featx import study
from featx.study import practice
from featx.study.bank import Question, load_question, questions_of
from featx.study.bank.questions import Choice, Typed
from featx.study.exams import begin_exam
from featx.study.exercises import load_exercise
from featx.study.exploring import every_state, is_scale
from featx.study.record import open_progress
from featx.study.showing import picture_html, to_html


def load_ipython_extension(shell: object) -> None:
    """Put what can be read in the place of what must be pressed."""
    # cards, review and progress then write HTML themselves
    practice.can_show_widgets = lambda: False
    for call in (check, exam, explore, quiz):
        setattr(study, call.__name__, call)


def quiz(question_id: str | None = None, *, lesson: int | None = None) -> None:
    """Show a question, or those of a lesson, each with its answer folded away."""
    _ask([question_id] if question_id else questions_of(lesson))


def exam(seed: int | None = None) -> None:
    """Show the questions of an exam, each with its answer folded away."""
    _ask(begin_exam(open_progress(), seed).questions)


def check(exercise_id: str, answer: Callable[..., Any]) -> None:
    """Show a test to try, the hints and the solution of an exercise, all folded away."""
    exercise = load_exercise(exercise_id)
    hints = [
        fold(f"Hint {number}", f"<p>{to_html(hint)}</p>")
        for number, hint in enumerate(exercise.hints, 1)
    ]
    _show(
        "<p>In the notebook your answer is checked here, at once. On this page:</p>",
        fold("A test to try it with", code(exercise.visible_test)),
        *hints,
        fold("Solution", code(exercise.solution)),
    )


def explore(state: Callable[..., Any], **controls: Sequence[Any]) -> None:
    """Show the knobs in their first position; `static/book.js` moves them, for all is computed."""
    order = {name: sorted(of) if is_scale(of) else list(of) for name, of in controls.items()}
    places = {
        " ".join(str(of.index(at)) for of, at in zip(order.values(), values, strict=True)): (
            f"<p>{to_html(words)}</p>{picture_html(words, picture)}"
        )
        for values, (words, picture) in every_state(state, controls).items()
    }
    first = ", ".join(
        f"{_spaced(name)} <strong>{escape(str(of[0]))}</strong>" for name, of in controls.items()
    )
    _show(
        f'<div class="knob"><p class="still">The knobs of the notebook stand at: {first}.</p>',
        *(_control(name, of, of.index(controls[name][0])) for name, of in order.items()),
        f'<div role="status">{next(iter(places.values()))}</div>',
        *(f'<template data-at="{at}">{shown}</template>' for at, shown in places.items()),
        "</div>",
    )


def _control(name: str, values: list[Any], at: int) -> str:
    """Return a slider for numbers, and a list to choose from for words; the value is the place."""
    if is_scale(values):
        words = escape(json.dumps([str(value) for value in values]))
        moved = (
            f'<input type="range" min="0" max="{len(values) - 1}" value="{at}" data-words="{words}" '
            f'aria-valuetext="{values[at]}"> <output>{values[at]}</output>'
        )
    else:
        options = "".join(
            f'<option value="{place}"{" selected" if place == at else ""}>{escape(str(value))}</option>'
            for place, value in enumerate(values)
        )
        moved = f"<select>{options}</select>"
    return f'<p class="moved" hidden><label>{_spaced(name)} {moved}</label></p>'


def _spaced(name: str) -> str:
    return escape(name.replace("_", " "))


def fold(summary: str, inside: str) -> str:
    """Return HTML that a click, or Enter, unfolds."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"


def code(source: str) -> str:
    """Return code in the colours of the page; the keyboard can scroll it where it is too wide."""
    lines = highlight(source.strip(), PythonLexer(), HtmlFormatter(nowrap=True))
    return f'<div class="highlight"><pre tabindex="0">{lines}</pre></div>'


def question_html(question: Question, number: int) -> str:
    """Return a question with what there is to choose from, its hint and its answer."""
    listing = code(question.numbered_code) if question.code else ""
    options = "".join(
        f"<li><strong>{question.label(key)}</strong> {to_html(text)}</li>"
        if question.label(key)
        else f"<li>{to_html(text)}</li>"
        for key, text in question.shown.items()
    )
    why = "".join(
        f"<li><strong>{to_html(given)}</strong>: {to_html(said)}</li>"
        for given, said in _wrong(question)
    )
    steps = "".join(f"<li>{to_html(step)}</li>" for step in question.steps)
    answer = (
        f"<p><strong>{to_html(question.right_text)}</strong></p><ol>{steps}</ol>"
        f"<p>Check it yourself: {to_html(question.quick_check)}</p>"
        f"<p>Other answers, and the thought that leads there:</p><ul>{why}</ul>"
    )
    return (
        f'<section class="question" aria-label="Question {number}">'
        f"<p><strong>{number}.</strong> {to_html(question.prompt)}</p>{listing}"
        f"{f'<ul>{options}</ul>' if options else ''}<p><em>{to_html(question.how)}</em></p>"
        f"{fold('Hint', f'<p>{to_html(question.hint)}</p>')}{fold('Answer', answer)}</section>"
    )


def _wrong(question: Question) -> Iterable[tuple[str, str]]:
    """Return the wrong answers and what is said to each."""
    if isinstance(question, Choice):
        for key, option in question.choices.items():
            if not option.right:
                yield question.label(key) or f"line {key}", str(option.feedback)
    elif isinstance(question, Typed):
        for mistake in question.mistakes:
            yield str(mistake.answer), mistake.feedback
        yield "anything else", question.otherwise


def _ask(questions: Iterable[str]) -> None:
    _show(*(question_html(load_question(each), n) for n, each in enumerate(questions, 1)))


def _show(*parts: str) -> None:
    display(HTML(f'<div class="featx-study">{"".join(parts)}</div>'))
