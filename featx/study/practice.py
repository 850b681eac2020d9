"""What a learner calls: `quiz`, `check`, `hint`, `solution`, `flashcards`, `review`, `exam`, `progress`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from featx.errors import FeatxError, close_matches
from featx.study.bank import Card, Question, list_questions, load_cards, load_question
from featx.study.deck import due_items
from featx.study.exams import ExamReport, begin_exam, exam_place, given_answers, report_exam
from featx.study.exercises import Exercise, list_exercises, load_exercise
from featx.study.record import Answer, DrawnExam, Progress, open_progress
from featx.study.showing import (
    can_show_widgets,
    code_html,
    print_text,
    show,
    show_verdict,
    to_html,
)
from featx.study.summary import Summary, summarise, what_is_due
from featx.study.verdicts import Verdict

__all__ = [
    "check",
    "exam",
    "flashcards",
    "hint",
    "progress",
    "quiz",
    "review",
    "solution",
]

# How many hints of each id were shown in this session.
_hints_shown: dict[str, int] = {}

# Said once in a session: what is due, and each notice about the file.
_told: set[str] = set()


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
    verdict = show_verdict(exercise.judge(exercise.observe(namespace, seed), seed))
    _keep(Answer.of(exercise_id, verdict, "check"))
    return verdict


def quiz(
    question_id: str | None = None, *, lesson: int | None = None, answer: object = None
) -> Verdict | None:
    """Ask a question, or all questions of a lesson.

    In a notebook this shows the options, a *Check* button and a place for the feedback; all of it can
    be used with the keyboard alone (Tab moves, Space chooses). The last answer is there again after a
    restart. Elsewhere it prints the question; give the `answer` to have it checked.

    Parameters
    ----------
    question_id
        Such as ``"freeze-order"``.
    lesson
        Number of a lesson, in the place of `question_id`.
    answer
        What the question asks for, such as the letter of an option: check it at once and show no
        buttons.

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
        verdict = show_verdict(question.mark(answer))
        _keep(Answer.of(question.id, verdict, "quiz", answer))
        return verdict
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


def solution(item_id: str, *, insist: bool = False) -> None:
    """Show the solution of a question (in steps) or of an exercise (as code), after a try.

    Parameters
    ----------
    item_id
        The id of a question or an exercise.
    insist
        Show it without a try.

    Raises
    ------
    FeatxError
        When there is no such question or exercise.

    Examples
    --------
    >>> solution("freeze-all-but-head", insist=True)
    def freeze_all_but_head(model: nn.Module, num_classes: int) -> nn.Module:
        ...
    """
    item = _load(item_id)
    tries = [a for a in open_progress().answers(item_id) if a.status != "not_attempted"]
    if not tries and not insist:
        call = "check" if isinstance(item, Exercise) else "quiz"
        show(
            f'Try it first: one learns most from a try, a wrong one too. `hint("{item_id}")` helps, and '
            f'`{call}("{item_id}"'
            f"{', ' + item.entry if isinstance(item, Exercise) else ''})` checks it. To see the solution all "
            f'the same: `solution("{item_id}", insist=True)`.'
        )
        return
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
    if can_show_widgets():
        for card in cards:
            _show_card(card)
        return
    text = "\n".join(f"{n}. {card.front}\n   -> {card.back}" for n, card in enumerate(cards, 1))
    markup = "".join(
        f"<details><summary>{to_html(card.front)}</summary>"
        f'<p style="margin-left: 1.5em">{to_html(card.back)}</p></details>'
        for card in cards
    )
    show(text, markup)


def review(limit: int = 10) -> None:
    """Ask again what was missed and is due now: questions and flash cards.

    Parameters
    ----------
    limit
        How many at most.

    Examples
    --------
    >>> review(limit=0)
    Nothing is due now. What you miss comes back here, when it is due.
    """
    due = due_items(open_progress().answers())
    cards = {card.key: card for card in load_cards()}
    known = [item for item in due if item in cards or item in list_questions()]
    for item in known[:limit]:
        if item not in cards:
            _ask(load_question(item), fresh=True)
        elif can_show_widgets():
            _show_card(cards[item])
        else:
            print_text(f"{cards[item].front}\n   -> {cards[item].back}\n")
    if not known[:limit]:
        show("Nothing is due now. What you miss comes back here, when it is due.")
    elif len(known) > limit:
        show(f"{len(known) - limit} more are due: call `review()` again.")


def exam(
    seed: int | None = None, *, answers: Mapping[str, object] | None = None
) -> ExamReport | None:
    """Take an exam: ten questions of three difficulties, no hints, a report at the end.

    An exam that was begun and not handed in goes on, also after a restart. A second exam does not repeat
    the questions of the first.

    Parameters
    ----------
    seed
        Decides the draw: the same seed and the same past give the same ten. By default one is drawn.
    answers
        Question id -> answer: hand in at once and show no widgets.

    Returns
    -------
    ExamReport or None
        The report when `answers` are given.

    Raises
    ------
    FeatxError
        When `answers` names a question that is not in the exam.
    """
    record = open_progress()
    drawn = begin_exam(record, seed)
    questions = [load_question(each) for each in drawn.questions]
    if answers is not None:
        for unknown in set(answers) - set(drawn.questions):
            raise FeatxError(
                f"Expected answers to the questions of exam {drawn.seed}, got {unknown!r}. "
                f"{close_matches(str(unknown), drawn.questions)}"
            )
        for question in questions:
            if question.id in answers:
                _keep_exam_answer(record, drawn, question, answers[question.id])
        return _hand_in(record, drawn)
    title = f"Exam {drawn.seed}: ten questions, no hints. Your answers are kept as you give them."
    given = {item: str(a.answer) for item, a in given_answers(record, drawn).items()}
    if not can_show_widgets():
        print_text(title)
        for number, question in enumerate(questions, 1):
            print_text(f"{number}. [{question.id}] {as_text(question)}\n   {question.how}\n")
        print_text(f'Hand in with exam({drawn.seed}, answers={{"{questions[0].id}": "…"}}).')
        return None
    from IPython.display import display

    from featx.study.widgets import exam_box

    display(
        exam_box(
            title,
            questions,
            given,
            keep=lambda question, answer: _keep_exam_answer(record, drawn, question, answer),
            hand_in=lambda: _hand_in(record, drawn)._repr_html_(),
        )
    )
    return None


def progress() -> Summary:
    """Show how far you are, what is due, and what you mixed up.

    Returns
    -------
    Summary
        It shows itself.
    """
    return summarise(open_progress())


def _hand_in(record: Progress, drawn: DrawnExam) -> ExamReport:
    record.hand_in(drawn)
    _tell(record)
    return report_exam(record, drawn)


def _keep_exam_answer(
    record: Progress, drawn: DrawnExam, question: Question, answer: object
) -> None:
    record.record(Answer.of(question.id, question.mark(answer), exam_place(drawn), answer))


def _keep(answer: Answer) -> None:
    """Keep an answer; where nothing was answered there is nothing to keep."""
    record = open_progress()
    if answer.status != "not_attempted":
        record.record(answer)
    _tell(record)


def _tell(record: Progress, *more: str) -> None:
    for sentence in (*record.notices, *more):
        if sentence and sentence not in _told:
            _told.add(sentence)
            show(sentence)


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


def _ask(question: Question, fresh: bool = False) -> None:
    record = open_progress()
    if not _told:
        _told.add("")  # once in a session
        _tell(record, what_is_due(record))
    if not can_show_widgets():
        call = f'Answer with quiz("{question.id}", answer="…").'
        print_text(f"{as_text(question)}\n{question.how}\n{call}\n")
        return
    from IPython.display import display

    from featx.study.widgets import question_box

    def mark(answer: str) -> Verdict:
        verdict = question.mark(answer)
        _keep(Answer.of(question.id, verdict, "quiz", answer))
        return verdict

    earlier = [] if fresh else record.answers(question.id, "quiz")
    display(question_box(question, mark, earlier[-1].answer if earlier else None))


def _show_card(card: Card) -> None:
    from IPython.display import display

    from featx.study.widgets import card_box

    display(card_box(card, lambda known: rate_card(card, known)))


def rate_card(card: Card, known: bool) -> str:
    """Keep whether a flash card was known; return a sentence about when it comes back."""
    verdict = Verdict("correct", 1.0, "") if known else Verdict("wrong", 0.0, "")
    _keep(Answer.of(card.key, verdict, "card"))
    return "Good: it comes back later." if known else "It comes back soon: `review()`."


def as_text(question: Question) -> str:
    """Lay a question out as plain text: prompt, code, options."""
    code = [f"    {line}" for line in question.numbered_code.splitlines()]
    options = [
        f"  {text}" if key.isdigit() else f"  {key}) {text}" for key, text in question.shown.items()
    ]
    return "\n".join([question.prompt, *code, *options])
