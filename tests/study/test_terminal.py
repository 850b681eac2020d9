"""Quiz, review, exam and progress in a terminal: typed answers, real commands, one progress."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from featx.study import review
from featx.study.bank import list_questions, load_cards, load_question
from featx.study.deck import what_is_due
from featx.study.exams import begin_exam
from featx.study.record import Answer, open_progress


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stdout.split())


def flat(text: str) -> str:
    return " ".join(text.replace("`", "").split())


def test_quiz_asks_hints_explains_and_keeps_in_a_process_of_its_own() -> None:
    question = load_question("freeze-order")
    done = subprocess.run(
        [sys.executable, "-m", "featx", "quiz", "freeze-order"],
        input="?\nz\nb\na\n",
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert done.returncode == 0, done.stderr
    assert flat(question.hint) in said(done)
    assert "Expected one letter of a, b, c, d; got 'z'" in said(done)
    assert flat(question.choices["b"].feedback) in said(done)
    assert flat(question.steps[0]) in said(done)
    assert "0 of 1 right." in said(done)  # the first try counts
    assert [a.answer for a in open_progress().answers()] == ["z", "b", "a"]


def test_quiz_of_a_lesson_leaves_out_what_is_right_already(command) -> None:
    questions = list_questions(lesson=4)
    typed = "".join(load_question(each).key + "\n" for each in questions)
    done = command("quiz", "--lesson", "4", typed=typed)
    assert f"{len(questions)} of {len(questions)} right." in said(done)
    assert "You have answered all of these right" in said(command("quiz", "--lesson", "4"))


def test_the_end_of_the_input_and_q_stop_and_keep(command) -> None:
    done = command("quiz", typed="a\n")
    assert done.returncode == 0
    assert "Stopped. All your answers are kept." in said(done)
    assert "Stopped. All your answers are kept." in said(command("quiz", typed="q\n"))
    assert len(open_progress().answers()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["quiz", "freeze-oder"], "Close matches: freeze-order"),
        (["quiz", "--lesson", "12"], "lesson 12 has none"),
        (["quiz", "freeze-order", "--lesson", "3"], "got both"),
        (["progress", "--export", "a", "--reset"], "got more than one"),
        (["exam", "--seed", "99999999999999999999"], "a whole number"),
        (["quiz", "--lesson", "99"], "There are questions for the lessons 1, 2,"),
        (["progress", "--import", "/nowhere.json"], "No such file"),
        (["progress", "--export", "/nowhere/x.json"], "Name another file"),
    ],
)
def test_wrong_use_is_one_sentence(command, arguments: list[str], sentence: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert sentence in " ".join(done.stderr.split())
    assert done.stderr.count("\n") == 1


def test_review_brings_back_what_was_missed_and_cards(command) -> None:
    assert "Nothing is due now." in said(command("review"))
    card = load_cards(lesson=1)[0]
    for item, place in (("freeze-order", "quiz"), (card.key, "card")):
        open_progress().record(
            Answer(item=item, place=place, status="wrong", score=0, at="2026-01-01T00:00Z")
        )
    skipped = command(
        "review", typed="\n\n\n"
    )  # Enter alone goes on, and says nothing of what is known
    assert "0 of 2 right." in said(skipped)
    assert len(open_progress().answers()) == 2
    done = command("review", typed="a\n\nwhat\ny\n")
    assert done.returncode == 0, done.stderr
    for text in (load_question("freeze-order").prompt, card.front, card.back):
        assert flat(text) in said(done)
    assert "2 of 2 right." in said(done)
    assert "Nothing is due now. The next is due on" in said(command("review"))


def test_a_review_is_as_long_here_as_in_a_notebook(command, capsys) -> None:
    for item in list_questions()[:12]:
        open_progress().record(
            Answer(item=item, place="quiz", status="wrong", score=0, at="2026-01-01T00:00Z")
        )
    here = said(command("review", typed="\n" * 12))
    assert "0 of 10 right." in here
    assert "2 more are due: featx review" in here
    review()
    assert "2 more are due: call `review()` again." in capsys.readouterr().out
    assert "0 of 12 right." in said(command("review", "--limit", "12", typed="\n" * 12))


def test_what_the_bank_has_no_more_is_not_due(command) -> None:
    for item in ("freeze-order", "gone-from-the-bank"):
        open_progress().record(
            Answer(item=item, place="quiz", status="wrong", score=0, at="2026-01-01T00:00Z")
        )
    assert flat(what_is_due(open_progress())) in said(command("quiz", typed="q\n"))
    assert what_is_due(open_progress()).startswith("1 thing is due for review")


def test_exam_goes_on_where_it_stopped_and_ends_in_a_report(command) -> None:
    exam = begin_exam(open_progress(), 3)
    first = load_question(exam.questions[0]).key
    begun = command("exam", "--seed", "3", typed=f"?\n{first}\nq\n")
    assert "no hints in an exam" in said(begun)
    assert "Stopped. All your answers are kept." in said(begun)
    assert open_progress().exams() == [exam]
    left = [load_question(each).key for each in exam.questions[1:]]
    done = command("exam", typed="\n".join(left) + "\n")
    assert done.returncode == 0, done.stderr
    assert "Exam 3:" in said(done)
    assert "of 10 points" in said(done)
    assert "By concept" in said(done)
    for each in exam.questions:
        assert flat(load_question(each).hint) not in said(done)
    assert open_progress().handed_in().keys() == {exam.uid}
    assert "Exam 3 was handed in" in said(command("exam", "--seed", "3"))
    assert "of 10" in said(command("progress"))


def test_progress_goes_out_and_in(command, tmp_path: Path) -> None:
    command("quiz", "freeze-order", typed="a\n")
    file = tmp_path / "mine.json"
    assert "Wrote 1 answer to" in said(command("progress", "--export", str(file)))
    assert json.loads(file.read_text())["answers"][0]["item"] == "freeze-order"
    assert "The old file is kept" in said(command("progress", "--reset"))
    assert "0 of" in said(command("progress"))
    assert "1 new answers" in said(command("progress", "--import", str(file)))
    assert "Your progress: 1 of" in said(command("progress"))


def test_what_could_not_be_saved_is_not_said_to_be_kept(
    command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("FEATX_DATA_DIR", str(blocked))
    done = command("quiz", "freeze-order", typed="b\nq\n")
    assert done.returncode == 1
    assert "All your answers are kept" not in said(done)
    assert "1 could not be written to" in " ".join(done.stderr.split())
