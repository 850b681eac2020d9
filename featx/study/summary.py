"""How far a learner is: by lesson, what is due, what was mixed up most."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from featx.findings import Finding, Findings
from featx.study.bank import list_questions, load_lessons, load_question
from featx.study.deck import answers_that_count, due_items, next_due, tries
from featx.study.exams import report_exam
from featx.study.exercises import list_exercises, load_exercise
from featx.study.record import Answer, Progress
from featx.tables import Sheet, Shown, Table
from featx.wording import counted

__all__ = ["Summary", "earned", "summarise"]


def earned(answers: list[Answer]) -> dict[str, float]:
    """Return the best score ever reached of each item: what was earned is never taken away.

    Parameters
    ----------
    answers
        Some answers.

    Returns
    -------
    dict
        Item -> score, 0 to 1.
    """
    best: dict[str, float] = {}
    for answer in tries(answers):
        best[answer.item] = max(answer.score, best.get(answer.item, 0.0))
    return best


@dataclass(frozen=True, repr=False)
class Summary(Shown):
    """A learner's progress; shows itself.

    Attributes
    ----------
    answers : list of Answer
        Those that count, in their order.
    exams : list of tuple
        Seed, points and number of questions of each exam that was handed in.
    notices : tuple of str
        What went wrong with the file.
    """

    answers: list[Answer]
    exams: list[tuple[int, float, int]]
    notices: tuple[str, ...] = ()

    def sheet(self) -> Sheet:
        """Return everything that is shown, as text."""
        best = earned(self.answers)
        lessons = sorted({each.lesson for each in load_lessons()})
        rows = []
        for lesson in lessons:
            questions, exercises = list_questions(lesson), list_exercises(lesson)
            rows.append(
                (
                    f"{lesson:02d}",
                    _share(sum(best.get(each, 0) == 1 for each in questions), len(questions)),
                    _share(sum(best.get(each, 0) == 1 for each in exercises), len(exercises)),
                )
            )
        tables = [Table("By lesson", ("lesson", "questions right", "exercises solved"), rows)]
        if self.exams:
            exams = [(str(seed), f"{points:g} of {n}") for seed, points, n in self.exams]
            tables.append(Table("Exams", ("exam", "points"), exams))
        right = sum(best.get(each, 0) == 1 for each in [*list_questions(), *list_exercises()])
        everything = len(list_questions()) + len(list_exercises())
        return Sheet(
            f"Your progress: {right} of {everything} done", tables, Findings(self._findings())
        )

    def _findings(self) -> list[Finding]:
        found = [Finding("about-the-file", notice, "") for notice in self.notices]
        due = due_items(self.answers)
        if due:
            found.append(
                Finding(
                    "due",
                    f"{len(due)} due for review.",
                    "Call review() in a notebook, or featx review.",
                    {"due": len(due)},
                )
            )
        elif (then := next_due(self.answers)) is not None:
            days = (then.astimezone().date() - datetime.now().astimezone().date()).days
            when = "today" if days <= 0 else f"in {counted(days, 'day')}"
            found.append(Finding("next-due", f"Nothing is due now; the next review is {when}.", ""))
        mixed = Counter(
            answer.misconception for answer in tries(self.answers) if answer.misconception
        )
        again = [(code, n) for code, n in mixed.most_common(3) if n > 1]
        if again:
            told = ", ".join(f"{str(code).replace('-', ' ')} ({n} times)" for code, n in again)
            found.append(
                Finding("mixed-up", f"You mixed these up more than once: {told}.", "", dict(again))
            )
        best = earned(self.answers)
        open_ = [each for each in list_exercises() if 0 <= best.get(each, -1) < 1]
        if open_:
            names = ", ".join(f"{e} (lesson {load_exercise(e).lesson:02d})" for e in open_[:3])
            found.append(Finding("open-exercises", f"Tried and not solved yet: {names}.", ""))
        missed = [each for each in list_questions() if 0 <= best.get(each, -1) < 1]
        if missed:
            lessons = sorted({load_question(each).lesson for each in missed})
            told = ", ".join(f"{lesson:02d}" for lesson in lessons)
            plural = "s" * (len(lessons) > 1)
            found.append(
                Finding("missed", f"Not right yet: {len(missed)} in lesson{plural} {told}.", "")
            )
        return found


def _share(done: int, of: int) -> str:
    return f"{done} of {of}" if of else "-"


def summarise(progress: Progress) -> Summary:
    """Summarise a learner's progress.

    Parameters
    ----------
    progress
        The record.

    Returns
    -------
    Summary
        It shows itself as text, in a terminal and in a notebook.
    """
    done = progress.handed_in()
    known = set(list_questions())
    reports = [
        report_exam(progress, exam)
        for exam in progress.exams()
        if exam.uid in done and set(exam.questions) <= known
    ]
    return Summary(
        answers_that_count(progress),
        [(report.seed, report.score, len(report.marks)) for report in reports],
        tuple(progress.notices),
    )
