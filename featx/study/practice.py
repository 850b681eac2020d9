"""What a learner calls: `quiz`, `check`, `hint`, `solution`, `flashcards`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from featx.errors import FeatxError, close_matches
from featx.study.bank import Question, list_questions, load_cards, load_question
from featx.study.exercises import Exercise, list_exercises, load_exercise
from featx.study.showing import (
    can_show_widgets,
    code_html,
    print_text,
    show,
    show_verdict,
    to_html,
    verdict_html,
)
from featx.study.verdicts import Verdict

__all__ = ["check", "flashcards", "hint", "quiz", "solution"]

# Long options wrap beside their radio button instead of being cut off.
_STYLE = (
    "<style>.featx-quiz .widget-radio-box label {display: flex; flex-direction: row-reverse; "
    "justify-content: flex-end; gap: 0.5em; height: auto; white-space: normal; line-height: 1.4; "
    "margin: 0.3em 0} .featx-quiz .widget-radio-box input {flex: none; margin: 0.2em 0}</style>"
)

# How many hints of each id were shown in this session.
_hints_shown: dict[str, int] = {}


def check(
    exercise_id: str, answer: Callable[..., Any] | Mapping[str, Any], *, seed: int = 0
) -> Verdict:
    """Check a solution of a coding exercise, and show what is right and what is missing.

    Parameters
    ----------
    exercise_id
        Such as ``"freeze-all-but-head"``.
    answer
        The function, or a namespace that holds it, such as ``globals()``.
    seed
        Decides the inputs of the check.

    Returns
    -------
    Verdict
        Status, score and message. An error inside the function becomes a verdict too.

    Raises
    ------
    FeatxError
        When there is no such exercise, or `answer` is neither a function nor a namespace.

    Examples
    --------
    >>> def freeze_all_but_head(model, num_classes):
    ...     for parameter in model.parameters():
    ...         parameter.requires_grad = False
    ...     return model
    >>> check("freeze-all-but-head", freeze_all_but_head)  # doctest: +ELLIPSIS
    ◐ Partly right (38% of the points)
    `model.fc` is still the old head for ImageNet's 1000 classes. ...
    Right already: the backbone is frozen.
    <Verdict partial, score 0.38, misconception='head-not-replaced'>
    """
    exercise = load_exercise(exercise_id)
    if isinstance(answer, Mapping):
        namespace = answer
    elif callable(answer):
        namespace = {exercise.entry: answer}
    else:
        raise FeatxError(
            f"Expected the function {exercise.entry} or globals(), got {type(answer).__name__}. "
            f'Write check("{exercise_id}", {exercise.entry}), without calling it.'
        )
    return show_verdict(exercise.judge(exercise.observe(namespace, seed), seed))


def quiz(
    question_id: str | None = None, *, lesson: int | None = None, answer: str | None = None
) -> Verdict | None:
    """Ask a question, or all questions of a lesson.

    In a notebook this shows radio buttons, a *Check* button and a place for the feedback; all of it
    can be used with the keyboard alone. Elsewhere it prints the question; give the `answer` to have it
    checked.

    Parameters
    ----------
    question_id
        Such as ``"freeze-order"``.
    lesson
        Number of a lesson, in the place of `question_id`.
    answer
        The letter of an option: check it at once and show no buttons.

    Returns
    -------
    Verdict or None
        The verdict when `answer` is given.

    Raises
    ------
    FeatxError
        When the question or the lesson is unknown, or both or none are given.

    Examples
    --------
    >>> quiz("freeze-order", answer="?")
    ○ Not attempted yet
    Choose an option and give its letter.
    <Verdict not_attempted, score 0.00>
    """
    if (question_id is None) == (lesson is None):
        raise FeatxError(
            'Expected one question or one lesson: quiz("freeze-order") or quiz(lesson=1).'
        )
    if lesson is not None:
        if answer is not None:
            raise FeatxError(
                'Expected one question with an answer: quiz("freeze-order", answer="b").'
            )
        questions = list_questions(lesson)
        if not questions:
            raise FeatxError(f"Expected a lesson with questions, but lesson {lesson} has none.")
        for each in questions:
            _ask(load_question(each))
        return None
    question = load_question(str(question_id))
    if answer is not None:
        return show_verdict(question.mark(answer))
    _ask(question)
    return None


def hint(item_id: str) -> None:
    """Show the next hint of a question or exercise; each call goes one step further.

    Parameters
    ----------
    item_id
        The id of a question or an exercise.

    Raises
    ------
    FeatxError
        When there is no such question or exercise.

    Examples
    --------
    >>> hint("freeze-order")
    Hint 1 of 1: ...
    >>> hint("freeze-order")
    There are no more hints. `solution("freeze-order")` shows the way.
    """
    item = _load(item_id)
    hints = item.hints if isinstance(item, Exercise) else (item.hint,)
    shown = _hints_shown.get(item_id, 0)
    if shown == len(hints):
        show(f'There are no more hints. `solution("{item_id}")` shows the way.')
        return
    _hints_shown[item_id] = shown + 1
    show(f"Hint {shown + 1} of {len(hints)}: {hints[shown]}")


def solution(item_id: str) -> None:
    """Show the solution of a question (in steps) or of an exercise (as code).

    Parameters
    ----------
    item_id
        The id of a question or an exercise.

    Raises
    ------
    FeatxError
        When there is no such question or exercise.

    Examples
    --------
    >>> solution("freeze-all-but-head")
    def freeze_all_but_head(model: nn.Module, num_classes: int) -> nn.Module:
        ...
    """
    item = _load(item_id)
    if isinstance(item, Exercise):
        show(item.solution, code_html(item.solution))
    else:
        show(f"{item.right_text}\n{item.explanation}")


def flashcards(lesson: int) -> None:
    """Show the flash cards of a lesson: think of the answer, then open the card.

    In a notebook a card opens with a click, or with Tab and Enter.

    Parameters
    ----------
    lesson
        Number of the lesson.

    Raises
    ------
    FeatxError
        When the lesson has no cards.

    Examples
    --------
    >>> flashcards(lesson=1)
    1. ...
       -> ...
    """
    cards = load_cards(lesson)
    if not cards:
        raise FeatxError(f"Expected a lesson with flash cards, but lesson {lesson} has none.")
    text = "\n".join(f"{n}. {card.front}\n   -> {card.back}" for n, card in enumerate(cards, 1))
    markup = "".join(
        f"<details><summary>{to_html(card.front)}</summary>"
        f'<p style="margin-left: 1.5em">{to_html(card.back)}</p></details>'
        for card in cards
    )
    show(text, markup)


def _load(item_id: str) -> Question | Exercise:
    if item_id in list_questions():
        return load_question(item_id)
    if item_id in list_exercises():
        return load_exercise(item_id)
    known = [*list_questions(), *list_exercises()]
    raise FeatxError(
        f"Expected the id of a question or an exercise, got {item_id!r}. "
        f"{close_matches(str(item_id), known)}"
    )


def _ask(question: Question) -> None:
    if can_show_widgets():
        _show_widget(question)
    else:
        print_text(_as_text(question))


def _as_text(question: Question) -> str:
    options = [f"  {letter}) {option.text}" for letter, option in question.lettered.items()]
    code = [f"    {line}" for line in (question.code or "").splitlines()]
    call = f'Answer with quiz("{question.id}", answer="{question.letters[0]}").'
    return "\n".join([question.prompt, *code, *options, call, ""])


def _show_widget(question: Question) -> None:
    """Show radio buttons, a button and a feedback region, in the order of the Tab key."""
    import ipywidgets
    from IPython.display import display

    code = code_html(question.code) if question.code else ""
    prompt = ipywidgets.HTML(f"{_STYLE}<p>{to_html(question.prompt)}</p>{code}")
    choice = ipywidgets.RadioButtons(
        options=[
            # a label is plain text: backquotes would only be in the way
            (f"{letter}) {option.text.replace('`', '')}", letter)
            for letter, option in question.lettered.items()
        ],
        value=None,
        layout=ipywidgets.Layout(width="100%"),
    )
    choice.add_class("featx-quiz")
    button = ipywidgets.Button(description="Check", tooltip="Check the chosen option")
    feedback = ipywidgets.HTML()

    def mark(_: object) -> None:
        feedback.value = verdict_html(question.mark(choice.value))

    button.on_click(mark)
    display(ipywidgets.VBox([prompt, choice, button, feedback]))
