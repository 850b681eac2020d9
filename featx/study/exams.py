"""The exam: ten questions drawn by seed, no hints, and a report on each concept."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from featx.errors import FeatxError, whole_number
from featx.findings import Finding, Findings
from featx.study.bank import list_questions, load_question
from featx.study.bank.questions import Question
from featx.study.record import Answer, DrawnExam, Progress
from featx.tables import Sheet, Shown, Table

__all__ = ["ExamReport", "begin_exam", "draw", "given_answers", "report_exam"]

#: How many questions of each difficulty an exam has.
QUOTAS = {"easy": 3, "medium": 4, "hard": 3}


def draw(seed: int, questions: Sequence[Question], asked_before: Iterable[str] = ()) -> list[str]:
    """Draw ten questions: 3 easy, 4 medium, 3 hard, of as many concepts and lessons as there are.

    Parameters
    ----------
    seed
        The same seed, bank and past give the same ten.
    questions
        To draw from.
    asked_before
        Ids of earlier exams, as often as they came. They come again only when nothing else is left.

    Returns
    -------
    list of str
        Their ids, the easy ones first.

    Raises
    ------
    FeatxError
        When there are fewer questions of a difficulty than are to be drawn.

    Examples
    --------
    >>> from featx.study.bank import list_questions, load_question
    >>> bank = [load_question(each) for each in list_questions()]
    >>> first = draw(1, bank)
    >>> len(set(first)), first == draw(1, bank)
    (10, True)
    """
    asked = Counter(asked_before)
    luck = random.Random(seed)
    shuffled = luck.sample(list(questions), len(questions))
    concepts: Counter[str] = Counter()
    lessons: Counter[int] = Counter()
    drawn: list[str] = []
    for difficulty, quota in QUOTAS.items():
        left = [question for question in shuffled if question.difficulty == difficulty]
        if len(left) < quota:
            raise FeatxError(
                f"Expected at least {quota} {difficulty} questions to draw an exam from, got {len(left)}."
            )
        for _ in range(quota):
            best = min(
                left, key=lambda q: (asked[q.id], concepts[q.concept], lessons[q.lesson])
            )  # min takes the first of equals, and the shuffle decides which that is
            left.remove(best)
            concepts[best.concept] += 1
            lessons[best.lesson] += 1
            drawn.append(best.id)
    return drawn


def begin_exam(progress: Progress, seed: int | None = None) -> DrawnExam:
    """Go on with the exam that was begun, or draw a new one.

    Parameters
    ----------
    progress
        Where it is kept.
    seed
        Of the draw. An exam of this seed is drawn once, and is the same ever after, also when it was
        handed in. None goes on with any exam that is not handed in, or draws a seed.

    Returns
    -------
    DrawnExam
        The exam.

    Raises
    ------
    FeatxError
        When the seed is no whole number of 64 bits, or the bank has too few questions.
    """
    if seed is not None:
        advice = "Give one of at most 18 digits, or leave it out to have one drawn."
        seed = whole_number(seed, "the seed", -(2**63), 2**63 - 1, advice=advice)
    exams, done = progress.exams(), progress.handed_in()
    known = set(list_questions())
    for exam in reversed(exams):
        wanted = exam.uid not in done if seed is None else exam.seed == seed
        if wanted and set(exam.questions) <= known:
            return exam
    seed = random.SystemRandom().randrange(10_000) if seed is None else seed
    asked = [question for exam in exams for question in exam.questions]
    bank = [load_question(each) for each in list_questions()]
    exam = DrawnExam(seed=seed, questions=tuple(draw(seed, bank, asked)))
    progress.record_exam(exam)
    return exam


def given_answers(progress: Progress, exam: DrawnExam) -> dict[str, Answer]:
    """Return the answers of an exam: the last ones that were given before it was handed in.

    Parameters
    ----------
    progress
        Where they are kept.
    exam
        The exam.

    Returns
    -------
    dict
        Question id -> answer; missing where there is none.
    """
    end = progress.handed_in().get(exam.uid)
    last = {
        answer.item: answer
        for answer in progress.answers(place=exam.place)
        if end is None or answer.at <= end
    }
    return {item: answer for item, answer in last.items() if answer.status != "not_attempted"}


@dataclass(frozen=True, repr=False)
class ExamReport(Shown):
    """How an exam went, concept by concept, and what to see again.

    Attributes
    ----------
    seed : int
        Of the draw.
    marks : dict
        Question id -> the share of its point that was earned, 0 to 1.
    answers : dict
        Question id -> what was answered; missing where nothing was.
    """

    seed: int
    marks: dict[str, float]
    answers: dict[str, str]

    @property
    def score(self) -> float:
        """The points, one a question."""
        return sum(self.marks.values())

    @property
    def see_again(self) -> list[tuple[int, str, str]]:
        """Lesson, section and concept of what was not fully right, in the order of the lessons."""
        missed = [load_question(each) for each, mark in self.marks.items() if mark < 1]
        return sorted({(q.lesson, q.section, q.concept) for q in missed})

    def sheet(self) -> Sheet:
        """Return everything that is shown, as text."""
        questions = [load_question(each) for each in self.marks]
        by_concept: dict[tuple[int, str], list[Question]] = {}
        for question in sorted(questions, key=lambda q: q.lesson):
            by_concept.setdefault((question.lesson, question.concept), []).append(question)
        concepts = [
            (
                concept,
                str(lesson),
                f"{sum(self.marks[q.id] for q in group):g} of {len(group)}",
                ", ".join(dict.fromkeys(q.section for q in group if self.marks[q.id] < 1)) or "-",
            )
            for (lesson, concept), group in by_concept.items()
        ]
        levels = [
            (level, f"{sum(self.marks[q.id] for q in group):g} of {len(group)}")
            for level in QUOTAS
            if (group := [q for q in questions if q.difficulty == level])
        ]
        return Sheet(
            f"Exam {self.seed}: {self.score:g} of {len(self.marks)} points",
            [
                Table("By concept", ("concept", "lesson", "right", "see again"), concepts),
                Table("By difficulty", ("difficulty", "right"), levels),
            ],
            Findings([self._finding(q) for q in questions if self.marks[q.id] < 1]),
        )

    def _finding(self, question: Question) -> Finding:
        answer = self.answers.get(question.id)
        said = question.mark(answer)
        why = said.message.split("\n")[0] if answer else "It was not answered."
        return Finding(
            code=said.misconception or "not-right",
            message=f"{question.concept}: {_one_line(question.prompt)} You answered "
            f"{answer or 'nothing'}. {why}",
            advice=f"See lesson {question.lesson:02d}, section {question.section}, again.",
            numbers={},
        )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def report_exam(progress: Progress, exam: DrawnExam) -> ExamReport:
    """Report on an exam; a question that was not answered earned nothing.

    Parameters
    ----------
    progress
        Where its answers are.
    exam
        The exam.

    Returns
    -------
    ExamReport
        The report.
    """
    given = given_answers(progress, exam)
    return ExamReport(
        exam.seed,
        {each: given[each].score if each in given else 0.0 for each in exam.questions},
        {each: str(given[each].answer) for each in exam.questions if each in given},
    )
