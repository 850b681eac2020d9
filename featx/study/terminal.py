"""Quiz, review and exam in a terminal: the same bank and the same progress as in a notebook."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text

from featx.errors import FeatxError, ProblemFound
from featx.study.bank import Card, Question, load_cards, load_question, questions_of
from featx.study.bank.questions import UNREADABLE, BugLine
from featx.study.deck import answers_that_count, due_items, next_due, what_is_due
from featx.study.exams import begin_exam, given_answers, report_exam
from featx.study.record import Answer, Progress
from featx.study.verdicts import Verdict, card_verdict

__all__ = ["run_exam", "run_quiz", "run_review", "until_stopped"]

_STYLES = {"correct": "green", "partial": "yellow", "wrong": "dark_orange"}


class _Stop(Exception):
    """The learner has had enough."""


def run_quiz(
    console: Console, progress: Progress, question_id: str | None, lesson: int | None
) -> None:
    """Ask one question, those of a lesson, or all that are not right yet.

    Parameters
    ----------
    console
        Where it is asked; answers are read from it.
    progress
        Where the answers are kept.
    question_id, lesson
        What to ask; neither asks all that were not answered right so far.

    Raises
    ------
    FeatxError
        When there is no such question, or the lesson has none.
    """
    if question_id is not None and lesson is not None:
        raise FeatxError("Expected a question or a lesson, got both: leave out one of the two.")
    if question_id is not None:
        wanted = [load_question(question_id).id]
    else:
        right = {answer.item for answer in progress.counting() if answer.score == 1}
        wanted = [each for each in questions_of(lesson) if each not in right]
        if not wanted:
            console.print("You have answered all of these right. featx review keeps them fresh.")
            return
    if due := what_is_due(progress):
        _say(console, due)
    _ask_all(console, progress, (load_question(each) for each in wanted), len(wanted))


def run_review(console: Console, progress: Progress, limit: int) -> None:
    """Ask what is due: questions that were missed, and flash cards.

    Parameters
    ----------
    console, progress
        As in `run_quiz`.
    limit
        How many at most.
    """
    answers = answers_that_count(progress)
    cards = {card.key: card for card in load_cards()}
    due = due_items(answers)
    if not due:
        then = next_due(answers)
        when = f" The next is due on {then.astimezone():%d %B, %H:%M}." if then else ""
        console.print(f"Nothing is due now.{when} What you miss in featx quiz comes back here.")
        return
    asked = due[:limit]
    items = (cards.get(item) or load_question(item) for item in asked)
    _ask_all(console, progress, items, len(asked))
    if len(due) > limit:
        console.print(f"{len(due) - limit} more are due: featx review", highlight=False)


def run_exam(console: Console, progress: Progress, seed: int | None) -> None:
    """Take an exam: ten questions, no hints, then the report.

    Parameters
    ----------
    console, progress
        As in `run_quiz`.
    seed
        Of the draw; None goes on with an exam that was not handed in, or draws one.
    """
    exam = begin_exam(progress, seed)
    if exam.uid in progress.handed_in():
        console.print(f"Exam {exam.seed} was handed in; this is its report.", highlight=False)
        console.print(report_exam(progress, exam))
        return
    given = given_answers(progress, exam)
    console.print(
        f"Exam {exam.seed}: ten questions, no hints. Enter alone skips, q stops; the same command goes on.",
        highlight=False,
    )
    for number, each in enumerate(exam.questions, 1):
        if each in given:
            continue
        question = load_question(each)
        _show_question(console, question, f"{number} of {len(exam.questions)}")
        while True:
            answer = _read(console)
            verdict = question.mark(answer)
            if answer == "?":
                _say(console, "There are no hints in an exam.")
            elif verdict.misconception == UNREADABLE:
                _say(console, verdict.message)
            else:
                break
        if answer:
            progress.record(Answer.of(each, verdict, exam.place, question.read(answer)))
            _notices(console, progress)
    left = len(exam.questions) - len(given_answers(progress, exam))
    if left:
        console.print(f"{left} without an answer. Hand in all the same? (y or n)", highlight=False)
        if _read(console).lower() not in ("y", "yes"):
            raise _Stop
    progress.hand_in(exam)
    console.print(report_exam(progress, exam))


def _ask_all(
    console: Console, progress: Progress, items: Iterable[Question | Card], total: int
) -> None:
    console.print("? gives a hint, Enter alone goes on, q stops.", style="dim", highlight=False)
    right = 0
    for number, item in enumerate(items, 1):
        place = f"{number} of {total}"
        ask = _ask_card if isinstance(item, Card) else _ask_question
        right += ask(console, progress, item, place)  # type: ignore[arg-type]
    console.print(f"{right} of {total} right.", style="bold", highlight=False)


def _ask_question(console: Console, progress: Progress, question: Question, place: str) -> bool:
    """Ask until it is right or given up; what counts as right is the first try."""
    _show_question(console, question, place)
    tries = 0
    while answer := _read(console):
        if answer == "?":
            _say(console, f"Hint: {question.hint}")
            continue
        verdict = question.mark(answer)
        _show_verdict(console, verdict)
        progress.record(Answer.of(question.id, verdict, "quiz", question.read(answer)))
        _notices(console, progress)
        tries += verdict.misconception != UNREADABLE
        if verdict.status == "correct":
            return tries == 1
    return False


def _ask_card(console: Console, progress: Progress, card: Card, place: str) -> bool:
    console.rule(place, align="left")
    _say(console, card.front)
    console.print("Enter shows the answer.", style="dim")
    _read(console)
    _say(console, card.back)
    console.print("Did you know it? (y or n)", style="dim", highlight=False)
    while (said := _read(console).lower()) not in ("", "y", "yes", "n", "no"):
        console.print("y, n, or Enter alone to go on.", style="dim", highlight=False)
    if not said:
        return False
    known = said in ("y", "yes")
    progress.record(Answer.of(card.key, card_verdict(known), "card"))
    _notices(console, progress)
    return known


def _show_question(console: Console, question: Question, place: str) -> None:
    console.rule(f"{place} · lesson {question.lesson:02d} · {question.difficulty}", align="left")
    _say(console, question.prompt)
    if question.code:
        numbers = isinstance(question, BugLine)
        code = Syntax(question.code, "python", theme="ansi_light", line_numbers=numbers)
        console.print(Padding(code, (1, 2)))
    for key, text in question.shown.items():
        label = question.label(key)
        console.print(Text(f"  {label} " if label else "  ", style="bold") + _inline(text))
    console.print(question.how, style="dim", highlight=False)


def _show_verdict(console: Console, verdict: Verdict) -> None:
    console.print(Text(verdict.headline, style=f"bold {_STYLES.get(verdict.status, '')}".strip()))
    _say(console, verdict.message)


def _say(console: Console, text: str) -> None:
    console.print(_inline(text))


def _inline(text: str) -> Text:
    """Turn `code` in backquotes bold; everything else stays as it is."""
    drawn = Text()
    for number, part in enumerate(re.split(r"`([^`]+)`", text)):
        drawn.append(part, style="bold cyan" if number % 2 else "")
    return drawn


def _read(console: Console) -> str:
    try:
        answer = console.input("> ").strip()
    except EOFError:
        raise _Stop from None
    if answer.lower() in ("q", "quit", "exit"):
        raise _Stop
    return answer


def _notices(console: Console, progress: Progress) -> None:
    for notice in progress.news():
        console.print(notice, style="red", markup=False, highlight=False)


def until_stopped(
    run: Callable[..., None], console: Console, progress: Progress, *arguments: object
) -> bool:
    """Run one of the above; what was answered is kept when it is stopped.

    Parameters
    ----------
    run
        `run_quiz`, `run_review` or `run_exam`.
    console, progress, *arguments
        What it takes.

    Returns
    -------
    bool
        False when it was stopped by Ctrl-C; True when it came to its end or the learner wrote ``q``.

    Raises
    ------
    ProblemFound
        When answers could not be saved.
    """
    interrupted = False
    try:
        run(console, progress, *arguments)
    except _Stop:
        console.print(_stopped(progress))
    except KeyboardInterrupt:
        console.print(f"\n{_stopped(progress)}")
        interrupted = True
    _notices(console, progress)
    if progress.unsaved:  # the session ends here, and with it what is only in memory
        raise ProblemFound(
            f"Expected to save all your answers, but {progress.unsaved} could not be written to "
            f"{progress.path}. Make room or give write access there, then answer them again."
        )
    return not interrupted


def _stopped(progress: Progress) -> str:
    return "Stopped." if progress.unsaved else "Stopped. All your answers are kept."
