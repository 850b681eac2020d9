"""The widgets, pressed as a learner does: every kind of question, a card, an exam."""

from __future__ import annotations

import pytest

from featx.study.bank import Card, list_questions, load_question
from featx.study.record import open_progress
from featx.study.widgets import card_box, exam_box, question_box

KINDS = {load_question(each).kind: load_question(each) for each in list_questions()}


def give(field, answer: str) -> None:
    """Put an answer into the input of any kind."""
    boxes = getattr(field, "children", None)
    if boxes:
        for letter, box in zip("abcdef", boxes, strict=False):
            box.value = letter in answer
    else:
        field.value = answer


def closed(field) -> bool:
    return all(widget.disabled for widget in getattr(field, "children", None) or [field])


def test_there_is_a_question_of_every_kind() -> None:
    assert KINDS.keys() == {
        "one-choice", "several-choices", "bug-line", "value", "output", "order"
    }  # fmt: skip


@pytest.mark.parametrize("question", KINDS.values(), ids=lambda q: q.kind)
def test_a_question_is_answered_checked_and_there_again(question) -> None:
    asked: list[str] = []

    def mark(answer: str):
        asked.append(answer)
        return question.mark(answer)

    prompt, field, button, feedback = question_box(question, mark).children
    typed = question.kind in ("value", "output", "order")
    assert (question.how.split(",")[0] in prompt.value) == typed  # a button says itself what to do
    assert feedback.value == ""
    button.click()
    assert "Not attempted" in feedback.value
    wrong = next(iter(question.wrong_answers))
    give(field, wrong)
    button.click()
    assert "Not right yet" in feedback.value
    give(field, question.key)
    button.click()
    assert "✓ Correct" in feedback.value
    assert 'role="alert"' in feedback.value
    assert asked == ["", wrong, question.key]

    again = question_box(question, mark, given=wrong).children
    assert "Your last answer" in again[3].value
    assert "Not right yet" in again[3].value
    again[2].click()
    assert asked[-1] == wrong


def test_a_button_says_to_which_question_or_card_it_belongs() -> None:
    long = KINDS["one-choice"]
    check = question_box(long, long.mark).children[2]
    assert check.description == "Check"
    prompt = " ".join(long.prompt.replace("`", "").split())
    assert prompt.startswith(check.tooltip.removeprefix("Check: ").removesuffix(" …"))
    assert 20 < len(check.tooltip) < 120
    _, turn, _, rating, _ = card_box(Card(front="What does `fc` do?", back="B"), str).children
    assert [button.tooltip for button in (turn, *rating.children)] == [
        "Show the answer: What does fc do?",
        "I knew it: What does fc do?",
        "I did not: What does fc do?",
    ]


def test_what_the_learner_should_know_is_said_beside_the_feedback() -> None:
    question = KINDS["one-choice"]
    news = [["The disk is full."], []]
    box = question_box(question, question.mark, news=lambda: news.pop(0)).children
    box[2].click()
    assert "The disk is full." in box[3].value
    box[2].click()
    assert "The disk is full." not in box[3].value


def test_an_earlier_answer_that_no_longer_fits_does_no_harm() -> None:
    for question in KINDS.values():
        question_box(question, question.mark, given="no such thing")


def test_a_card_is_turned_and_rated() -> None:
    rated: list[bool] = []

    def rate(known: bool) -> str:
        rated.append(known)
        return "Thank you."

    front, turn, back, rating, said = card_box(Card(front="F?", back="B <b>"), rate).children
    assert "F?" in front.value
    assert back.value == ""
    assert rating.layout.display == "none"
    turn.click()
    assert "B &lt;b&gt;" in back.value
    for button in rating.children:
        button.click()
    assert rated == [True, False]
    assert "Thank you." in said.value


def test_an_exam_keeps_answers_as_they_are_given_and_warns_before_it_ends() -> None:
    questions = [*KINDS.values()]
    kept: dict[str, str] = {}
    given = {questions[0].id: questions[0].key}
    box = exam_box(
        "Exam", questions, given, lambda q, a: kept.update({q.id: a}), lambda: "the report"
    )
    *parts, button, report = box.children
    fields = parts[2::2]
    assert fields[0].value == questions[0].key
    assert kept == {}
    for question, field in list(zip(questions, fields, strict=True))[1:-1]:
        give(field, question.key)
        assert kept[question.id] == question.key
    button.click()
    assert f"1 of {len(questions)} have no answer yet" in report.value
    assert not button.disabled
    assert not any(closed(field) for field in fields)
    button.click()
    assert "the report" in report.value
    assert button.disabled
    assert all(closed(field) for field in fields)
    assert all(
        question.hint not in part.value
        for question, part in zip(questions, parts[1::2], strict=True)
    )
    assert open_progress().answers() == []  # what keeps them is the caller's
