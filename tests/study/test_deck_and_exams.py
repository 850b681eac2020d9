"""Review and exam: what is missed comes back; an exam is balanced, repeatable and new each time."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from featx import cli
from featx.errors import FeatxError
from featx.study import exam, practice, progress, quiz
from featx.study.bank import list_questions, load_question
from featx.study.deck import due_items, next_due, schedule
from featx.study.exams import QUOTAS, begin_exam, draw, report_exam
from featx.study.record import Answer, Progress, open_progress

BANK = [load_question(each) for each in list_questions()]
START = datetime(2026, 1, 1, 10, tzinfo=UTC)


def answered(item: str, score: float, minutes: float = 0, place: str = "quiz") -> Answer:
    status = "correct" if score == 1 else "partial" if score else "wrong"
    at = START + timedelta(minutes=minutes)
    return Answer(item=item, score=score, status=status, at=at, place=place)


def test_only_what_was_missed_is_in_the_deck() -> None:
    assert schedule([answered("a", 1), answered("b", 0), answered("c", 0.5)]).keys() == {"b", "c"}
    assert schedule([answered("a", 0, place="check")]) == {}  # code is done again in its lesson
    assert schedule([answered("card", 1, place="card")]).keys() == {"card"}
    assert schedule([answered("a", 0, place="exam:1")]).keys() == {"a"}
    assert next_due([]) is None


def test_a_change_of_mind_in_an_exam_is_no_miss() -> None:
    record, drawn = open_progress(), begin_exam(open_progress(), 1)
    item, other = drawn.questions[:2]
    for score, minutes in ((0, 0), (1, 1)):
        record.record(answered(item, score, minutes, drawn.place))
        record.record(answered(other, score, minutes))  # no exam
    record.hand_in(drawn)
    assert schedule(record.counting()).keys() == {other}


def test_a_right_answer_a_moment_after_the_miss_says_little() -> None:
    missed = [answered("a", 0)]
    assert schedule([*missed, answered("a", 1, 0.05), answered("a", 1, 0.1)]) == schedule(missed)
    assert schedule([*missed, answered("a", 1, 5)]) != schedule(missed)


def test_a_slip_is_no_miss() -> None:
    slip = Answer(item="a", status="wrong", score=0, misconception="no-such-option", at=START)
    assert schedule([slip]) == {}


def test_what_is_missed_comes_back_and_what_is_known_goes_further_away() -> None:
    answers = [answered("a", 0)]
    assert due_items(answers, START) == []
    assert due_items(answers, START + timedelta(minutes=2)) == ["a"]
    gaps = []
    for _ in range(5):
        due = schedule(answers)["a"]
        answers.append(answered("a", 1, (due - START).total_seconds() / 60))
        gaps.append(schedule(answers)["a"] - due)
    assert gaps == sorted(gaps)
    assert gaps[:2] == [timedelta(minutes=10), timedelta(days=1)]
    assert gaps[-1] > timedelta(days=5)
    lesson = (Path(__file__).parents[2] / "lessons" / "12_final_test.ipynb").read_text("utf-8")
    assert "within minutes. Each time" in lesson  # these times, in its words
    assert "it stays away longer: ten minutes," in lesson
    answers.append(answered("a", 0, (schedule(answers)["a"] - START).total_seconds() / 60))
    assert schedule(answers)["a"] - answers[-1].at < timedelta(days=1)


def test_the_longest_overdue_comes_first() -> None:
    answers = [answered("a", 0, 5), answered("b", 0, 1), answered("c", 0, 3)]
    answers.sort(key=lambda answer: answer.at)
    assert due_items(answers) == ["b", "c", "a"]


@given(seed=st.integers(0, 10_000), asked=st.sets(st.sampled_from([q.id for q in BANK])))
def test_an_exam_is_stratified_and_repeats_nothing_while_there_are_others(seed, asked) -> None:
    drawn = draw(seed, BANK, asked)
    assert drawn == draw(seed, BANK, asked)
    assert len(set(drawn)) == 10
    questions = [load_question(each) for each in drawn]
    assert Counter(q.difficulty for q in questions) == QUOTAS
    for level, quota in QUOTAS.items():
        new = [q for q in BANK if q.difficulty == level and q.id not in asked]
        repeated = [q for q in questions if q.difficulty == level and q.id in asked]
        assert len(repeated) == max(0, quota - len(new))


def test_exams_differ_by_seed_and_spread_over_concepts() -> None:
    exams = [draw(seed, BANK) for seed in range(20)]
    assert len({tuple(sorted(each)) for each in exams}) > 15
    for each in exams:
        assert len({load_question(question).concept for question in each}) >= 8


def test_a_bank_that_is_too_small_says_so() -> None:
    with pytest.raises(FeatxError, match=r"at least 3 easy questions .* got 1"):
        draw(1, [q for q in BANK if q.difficulty == "easy"][:1])


def test_a_second_exam_does_not_repeat_the_first() -> None:
    first = exam(1, answers={})
    second = exam(2, answers={})
    assert first is not None
    assert second is not None
    assert not set(first.marks) & set(second.marks)
    assert first.score == second.score == 0


def test_an_exam_that_was_not_handed_in_goes_on(tmp_path: Path) -> None:
    record = Progress(tmp_path / "p.sqlite3")
    begun = begin_exam(record, 5)
    assert begin_exam(record) == begun
    assert begin_exam(record, 5) == begun
    assert begin_exam(record, 6) != begun
    record.hand_in(begun)
    assert begin_exam(record, 5) == begun
    assert begin_exam(record).questions != begun.questions
    with pytest.raises(FeatxError, match="a whole number"):
        begin_exam(record, 2**70)


def test_what_was_handed_in_stays_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    first = exam(4, answers={})
    record, drawn = open_progress(), begin_exam(open_progress(), 4)
    right = load_question(drawn.questions[0])
    record.record(Answer.of(right.id, right.mark(right.key), drawn.place, right.key))
    assert report_exam(record, drawn).score == 0
    again = exam(4, answers={right.id: right.key})
    assert again == first
    assert "was handed in" in capsys.readouterr().out
    assert len(record.exams()) == 1


def test_an_exam_says_nothing_before_it_is_handed_in(capsys: pytest.CaptureFixture[str]) -> None:
    record, drawn = open_progress(), begin_exam(open_progress(), 4)
    asked = next(q for q in map(load_question, drawn.questions) if q.wrong_answers)
    wrong = next(iter(asked.wrong_answers))
    record.record(Answer.of(asked.id, asked.mark(wrong), drawn.place, wrong))
    assert due_items(record.counting(), datetime(2100, 1, 1, tzinfo=UTC)) == []
    practice.solution(asked.id)
    assert "Try it first" in capsys.readouterr().out
    record.hand_in(drawn)
    assert due_items(record.counting(), datetime(2100, 1, 1, tzinfo=UTC)) == [asked.id]


def test_an_answer_that_cannot_be_read_is_not_handed_in() -> None:
    drawn = begin_exam(open_progress(), 4)
    asked = next(q for q in map(load_question, drawn.questions) if q.kind == "one-choice")
    with pytest.raises(FeatxError, match=r"Expected one letter .* Nothing was handed in"):
        exam(4, answers={asked.id: "zz"})
    assert open_progress().handed_in() == {}


def test_the_report_tells_what_to_see_again() -> None:
    drawn = begin_exam(open_progress(), 3)
    wrong = next(each for each in drawn.questions if load_question(each).wrong_answers)
    answers = {each: load_question(each).key for each in drawn.questions}
    answers[wrong] = next(iter(load_question(wrong).wrong_answers))
    left_out = next(each for each in drawn.questions if each != wrong)
    del answers[left_out]
    report = exam(3, answers=answers)
    assert report is not None
    assert report.score == 8
    for missed in map(load_question, (wrong, left_out)):
        assert (missed.lesson, missed.section, missed.concept) in report.see_again
        assert f"See lesson {missed.lesson:02d}, section {missed.section}" in str(report)
    misconception = next(iter(load_question(wrong).wrong_answers.values()))
    assert misconception in report.sheet().findings.codes
    assert "8 of 10 points" in report._repr_html_()
    assert load_question(wrong).hint not in str(report)
    assert report_exam(open_progress(), drawn) == report
    assert "exam  points" in str(progress())


def test_an_answer_to_a_question_that_is_not_in_the_exam() -> None:
    drawn = begin_exam(open_progress(), 4)
    other = next(each for each in list_questions() if each not in drawn.questions)
    with pytest.raises(FeatxError, match="Expected answers to the questions of exam 4"):
        exam(4, answers={other: "a"})


def test_a_seed_is_a_whole_number_of_numpy_too() -> None:
    drawn = begin_exam(open_progress(), np.int64(3))  # pyright: ignore[reportArgumentType]
    assert drawn == begin_exam(open_progress(), 3)
    for seed in (True, 0.5, 2**63, -(2**63) - 1):
        with pytest.raises(FeatxError, match="Expected the seed to be a whole number from"):
            begin_exam(open_progress(), seed)  # pyright: ignore[reportArgumentType]


def test_the_exam_as_text_gives_no_answer_away(capsys: pytest.CaptureFixture[str]) -> None:
    assert exam(7) is None
    said = capsys.readouterr().out
    for each in begin_exam(open_progress(), 7).questions:
        question = load_question(each)
        assert question.prompt in said
        assert question.hint not in said
        assert question.quick_check not in said


def test_due_cards_are_told_at_the_start(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(practice, "_greeted", set())
    open_progress().record(answered("freeze-order", 0))
    quiz("freeze-order")
    assert "1 thing is due for review" in capsys.readouterr().out
    practice.review()
    said = capsys.readouterr().out
    assert load_question("freeze-order").prompt in said
    quiz("freeze-order", answer="a")
    practice.review()
    assert "Nothing is due now" in capsys.readouterr().out


def test_due_cards_are_told_before_jupyterlab_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.lab.serve", lambda *arguments: print("serving"))
    assert CliRunner().invoke(cli.app, ["lab"]).output == "serving\n"
    open_progress().record(answered("freeze-order", 0))
    said = CliRunner().invoke(cli.app, ["lab"]).output
    assert said.startswith("1 thing is due for review")
    assert said.endswith("\nserving\n")


def test_what_was_earned_is_never_taken_away() -> None:
    question = load_question("freeze-order")
    quiz(question.id, answer=question.key)
    quiz(question.id, answer="b")
    quiz(question.id, answer="b")
    summary = progress()
    assert "1 of " in summary.sheet().headline
    assert summary.sheet().findings["mixed-up"].numbers == {"head-before-freeze": 2}
