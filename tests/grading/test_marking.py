"""What the hidden tests call: it prints feedback, returns points and never raises."""

from __future__ import annotations

import json
import sys

import pytest

from featx.grading.marking import mark_answer, mark_exercise
from featx.study.bank import load_question
from featx.study.exercises import load_exercise
from tests.grading.teacher import namespace_of


def test_right_answer_earns_its_points(capsys: pytest.CaptureFixture[str]) -> None:
    letter = load_question("freeze-order").key
    assert mark_answer("freeze-order", {"answer_freeze_order": letter}, points=2) == 2.0
    assert "2 of 2 points" in capsys.readouterr().out


def test_wrong_answer_gets_its_misconception_and_not_the_right_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    question = load_question("freeze-order")
    wrong = next(letter for letter, option in question.choices.items() if not option.right)
    assert mark_answer("freeze-order", {"answer_freeze_order": wrong}, points=2) == 0.0
    said = capsys.readouterr().out
    assert question.choices[wrong].feedback in said
    assert question.choices[question.key].text not in said


@pytest.mark.parametrize("namespace", [{}, {"answer_freeze_order": None}])
def test_a_missing_answer_is_not_attempted(
    namespace: dict, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mark_answer("freeze-order", namespace, points=1) == 0.0
    assert "Not attempted" in capsys.readouterr().out


def test_partial_credit(capsys: pytest.CaptureFixture[str]) -> None:
    exercise = load_exercise("freeze-all-but-head")
    namespace = namespace_of(exercise.mutant("head-before-freeze"))
    assert mark_exercise(exercise.id, namespace, points=4) == 3.0
    said = capsys.readouterr().out
    assert "the new head is frozen too" in said
    assert "3 of 4 points" in said


def test_the_points_are_a_plain_number_that_nbgrader_can_read() -> None:
    exercise = load_exercise("unfreeze-deeper")
    namespace = namespace_of(exercise.mutant("one-rate-for-all"))
    earned = mark_exercise(exercise.id, namespace, points=1 / 3)
    assert type(earned) is float
    assert 0 <= float(repr(earned)) <= 1 / 3
    assert json.loads(repr(earned)) == earned


@pytest.mark.parametrize(
    "body",
    [
        "return undefined",
        "raise SystemExit",
        "import sys; sys.stderr.write('noise'); return None",
        "import warnings; warnings.warn('noise'); return model",
        "import sys; sys.stderr = None; return None",
    ],
)
def test_nothing_raises_and_stderr_stays_quiet(
    body: str, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace = namespace_of(f"def freeze_all_but_head(model, num_classes):\n    {body}")
    assert mark_exercise("freeze-all-but-head", namespace, points=4) == 0.0
    assert capsys.readouterr().err == ""
    assert sys.stderr is not None
