"""What a learner calls: `quiz`, `check`, `hint`, `solution`, `flashcards`, `review`, `exam`, `progress`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from featx.errors import FeatxError, whole_number
from featx.study import REVIEW_LIMIT
from featx.study.bank import (
    Card,
    Question,
    list_questions,
    load_cards,
    load_question,
    questions_of,
)
from featx.study.bank.questions import UNREADABLE
from featx.study.deck import answers_that_count, due_items, tries, what_is_due
from featx.study.exams import ExamReport, begin_exam, given_answers, report_exam
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
from featx.study.summary import Summary, summarise
from featx.study.verdicts import Verdict, card_verdict
from featx.wording import close_matches

__all__ = [
    "check",
    "exam",
    "flashcards",
    "hint",
    "progress",
    "quiz",
    "rate_card",
    "review",
    "solution",
]

# How many hints of each id were shown in this session.
_hints_shown: dict[str, int] = {}

# The files of which was said in this session what is due.
_greeted: set[Path] = set()


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
    _tell(_keep(Answer.of(exercise_id, verdict, "check")).news())
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
        for each in questions_of(lesson):
            _ask(load_question(each))
        return None
    if isinstance(question_id, int):
        raise FeatxError(
            f"Expected the id of a question, got {question_id}. A lesson is asked with "
            f"quiz(lesson={question_id})."
        )
    question = load_question(str(question_id))
    if answer is not None:
        verdict = show_verdict(question.mark(answer))
        _tell(_keep(Answer.of(question.id, verdict, "quiz", question.read(answer))).news())
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
    tried = tries(each for each in open_progress().counting() if each.item == item_id)
    if not tried and not insist:
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


def review(limit: int = REVIEW_LIMIT) -> None:
    """Ask again what was missed and is due now: questions and flash cards.

    Parameters
    ----------
    limit
        How many at most.

    Raises
    ------
    FeatxError
        When the limit is no whole number from 1.

    Examples
    --------
    >>> review()
    Nothing is due now. What you miss comes back here, when it is due.
    """
    limit = whole_number(limit, "limit")
    due = due_items(answers_that_count(open_progress()))
    cards = {card.key: card for card in load_cards()}
    for item in due[:limit]:
        if item not in cards:
            _ask(load_question(item), fresh=True)
        elif can_show_widgets():
            _show_card(cards[item])
        else:
            print_text(f"{cards[item].front}\n   -> {cards[item].back}")
            print_text(f'   Did you know it? rate_card("{item}", known=True) or known=False.\n')
    if not due:
        show("Nothing is due now. What you miss comes back here, when it is due.")
    elif len(due) > limit:
        show(f"{len(due) - limit} more are due: call `review()` again.")


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
        An exam that was handed in shows its report again.
    answers
        Question id -> answer: hand in at once and show no widgets.

    Returns
    -------
    ExamReport or None
        The report when `answers` are given.

    Raises
    ------
    FeatxError
        When `answers` names a question that is not in the exam, an answer cannot be read, or the seed is
        no whole number.
    """
    record = open_progress()
    drawn = begin_exam(record, seed)
    if drawn.uid in record.handed_in():
        print_text(f"Exam {drawn.seed} was handed in; this is its report. `exam()` begins another.")
        return report_exam(record, drawn)
    questions = [load_question(each) for each in drawn.questions]
    if answers is not None:
        for unknown in set(answers) - set(drawn.questions):
            raise FeatxError(
                f"Expected answers to the questions of exam {drawn.seed}, got {unknown!r}. "
                f"{close_matches(str(unknown), drawn.questions)}"
            )
        given = {question: answers[question.id] for question in questions if question.id in answers}
        for question, answer in given.items():
            verdict = question.mark(answer)
            if verdict.misconception == UNREADABLE:
                raise FeatxError(f"{question.id}: {verdict.message} Nothing was handed in.")
        for question, answer in given.items():
            _keep_exam_answer(record, drawn, question, answer)
        report = _hand_in(record, drawn)
        _tell(record.news())
        return report
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
            news=record.news,
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
    return report_exam(record, drawn)


def _keep_exam_answer(
    record: Progress, drawn: DrawnExam, question: Question, answer: object
) -> None:
    verdict = question.mark(answer)
    record.record(Answer.of(question.id, verdict, drawn.place, question.read(answer)))


def _keep(answer: Answer) -> Progress:
    """Keep an answer; where nothing was answered there is nothing to keep."""
    record = open_progress()
    if answer.status != "not_attempted":
        record.record(answer)
    return record


def _tell(sentences: Iterable[str]) -> None:
    for sentence in sentences:
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
    if record.path not in _greeted:
        _greeted.add(record.path)
        _tell([due] if (due := what_is_due(record)) else [])
    _tell(record.news())
    if not can_show_widgets():
        call = f'Answer with quiz("{question.id}", answer="…").'
        print_text(f"{as_text(question)}\n{question.how}\n{call}\n")
        return
    from IPython.display import display

    from featx.study.widgets import question_box

    def mark(answer: str) -> Verdict:
        verdict = question.mark(answer)
        _keep(Answer.of(question.id, verdict, "quiz", question.read(answer)))
        return verdict

    earlier = [] if fresh else record.answers(question.id, "quiz")
    given = earlier[-1].answer if earlier else None
    display(question_box(question, mark, given, record.news))


def _show_card(card: Card) -> None:
    from IPython.display import display

    from featx.study.widgets import card_box

    def rate(known: bool) -> str:
        return " ".join([_rate(card.key, known), *open_progress().news()])

    display(card_box(card, rate))


def rate_card(card_key: str, *, known: bool) -> None:
    """Say whether you knew a flash card; it comes back accordingly.

    Parameters
    ----------
    card_key
        As `review` prints it.
    known
        Whether you knew the answer.

    Raises
    ------
    FeatxError
        When there is no such card.
    """
    keys = [card.key for card in load_cards()]
    if card_key not in keys:
        raise FeatxError(
            f"Expected the key of a flash card, got {card_key!r}. {close_matches(str(card_key), keys)}"
        )
    show(_rate(card_key, known))
    _tell(open_progress().news())


def _rate(card_key: str, known: bool) -> str:
    """Keep whether a flash card was known; return a sentence about when it comes back."""
    _keep(Answer.of(card_key, card_verdict(known), "card"))
    return "Good: it comes back later." if known else "It comes back soon: `review()`."


def as_text(question: Question) -> str:
    """Lay a question out as plain text.

    Parameters
    ----------
    question
        The question.

    Returns
    -------
    str
        Prompt, code and options.
    """
    code = [f"    {line}" for line in question.numbered_code.splitlines()]
    options = [
        f"  {f'{question.label(key)} {text}'.lstrip()}" for key, text in question.shown.items()
    ]
    return "\n".join([question.prompt, *code, *options])
