"""Each kind of question: what counts as right, what is understood, what is a slip, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from featx.study.bank.questions import UNREADABLE, BugLine, Order, Output, SeveralChoices, Value
from featx.study.practice import as_text
from featx.study.proofs import prove

COMMON: dict[str, Any] = {
    "id": "a-question",
    "lesson": 1,
    "concept": "testing",
    "section": "Idea",
    "difficulty": "easy",
    "prompt": "What?",
    "hint": "Which?",
    "steps": ["One.", "Two."],
    "quick_check": "Run it.",
}


def mistake(answer: object, name: str) -> dict[str, object]:
    return {"answer": answer, "misconception": name, "feedback": f"That is {name}."}


SHAPE = Value(
    **COMMON,
    answer=[4, 512],
    mistakes=[mistake([512, 4], "turned"), mistake([4, 1000], "head-on")],
    otherwise="No.",
    proof="answer = (4, 512)",
)
NUMBER = Value(
    **COMMON,
    answer=0.83,
    tolerance=0.005,
    mistakes=[mistake(0.91, "precision"), mistake(0.5, "guessing")],
    otherwise="No.",
    proof="answer = 50 / 60",
)
COUNT = Value(
    **COMMON,
    answer=25088,
    mistakes=[mistake(512, "pooled"), mistake(3584, "one-side")],
    otherwise="No.",
    proof="answer = 512 * 7 * 7",
)
OUTPUT = Output(
    **COMMON,
    code="print([1, 2], True)",
    answer="[1, 2] True",
    mistakes=[mistake("[1, 2] False", "negated"), mistake("[2, 1] True", "turned")],
    otherwise="No.",
)
ORDER = Order(
    **COMMON,
    pieces=["third", "first", "second"],
    answer="bca",
    also=["cba"],
    mistakes=[mistake("acb", "backwards"), mistake("bac", "swapped")],
    otherwise="No.",
    proof="# right:\nassert [1]\n# backwards:\nassert [1]\n# swapped:\nassert [1]",
)
SEVERAL = SeveralChoices(
    **COMMON,
    options=[
        {"text": "one", "right": True, "feedback": "One holds too."},
        {"text": "two", "misconception": "two", "feedback": "Two does not hold."},
        {"text": "three", "right": True, "feedback": "Three holds too."},
        {"text": "four", "misconception": "four", "feedback": "Four does not hold."},
    ],
    proof="# a:\nassert [1]\n# b:\nassert [1]\n# c:\nassert [1]\n# d:\nassert [1]",
)
BUG = BugLine(
    **COMMON,
    code="a = 1\n\nb = a + 2\nprint(b)",
    options=[
        {"line": 1, "misconception": "first", "feedback": "It is fine."},
        {"line": 3, "right": True},
        {"line": 4, "misconception": "last", "feedback": "It is fine, too."},
    ],
    proof="# line 1:\nassert [1]\n# line 3:\nassert [1]\n# line 4:\nassert [1]",
)
ALL = [SHAPE, NUMBER, COUNT, OUTPUT, ORDER, SEVERAL, BUG]


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        *[
            (SHAPE, each)
            for each in ("(4, 512)", "4x512", "[4,512]", "torch.Size([4, 512])", (4, 512))
        ],
        *[(NUMBER, each) for each in ("0.83", ".83", 0.8333, "83 %", "83.3%", "8.3e-1")],
        *[(COUNT, each) for each in (25088, "25,088", "25088.0")],
        *[(OUTPUT, each) for each in ("[1, 2] True", "[1,2]   true", "`[1, 2] True`")],
        *[(ORDER, each) for each in ("bca", "B, C, A", "b > c > a", "cba", "['b', 'c', 'a']")],
        *[(SEVERAL, each) for each in ("ac", "c, a", "A and C", ["a", "c"])],
        *[(BUG, each) for each in (3, "3", "line 3", "Line 3.")],
    ],
)
def test_what_means_the_right_answer_is_right(question, answer) -> None:
    assert question.mark(answer).status == "correct"


@pytest.mark.parametrize(
    ("question", "answer", "misconception", "score"),
    [
        (SHAPE, "512, 4", "turned", 0),
        (SHAPE, "1, 2", None, 0),
        (NUMBER, "91%", "precision", 0),
        (NUMBER, 0.84, None, 0),
        (OUTPUT, "[1, 2] False", "negated", 0),
        (OUTPUT, "nothing", None, 0),
        (ORDER, "a c b", "backwards", 0),
        (ORDER, "cab", None, 0),
        (SEVERAL, "a", "left-one-out", 0.5),
        (SEVERAL, "abc", "two", 0.5),
        (SEVERAL, "b", "two", 0),
        (SEVERAL, "abcd", "two", 0),
        (BUG, 4, "last", 0),
        (BUG, 2, None, 0),
    ],
)
def test_what_is_wrong_is_understood(question, answer, misconception, score) -> None:
    verdict = question.mark(answer)
    assert verdict.score == score
    assert verdict.status == ("partial" if score else "wrong")
    assert verdict.misconception == misconception
    assert verdict.message.endswith("Think about this: Which?")


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (SHAPE, "four"),
        (NUMBER, "0,83"),
        (NUMBER, "about half"),
        (COUNT, "512 times 49"),
        (ORDER, "ab"),
        (ORDER, "bbca"),
        (SEVERAL, "ax"),
        (BUG, 5),
        (BUG, "b = a + 2"),
    ],
)
def test_a_slip_is_told_from_a_mistake(question, answer) -> None:
    verdict = question.mark(answer)
    assert verdict.misconception == UNREADABLE
    assert verdict.message.startswith("Expected ")
    assert "\n" not in verdict.message


@given(answer=st.text() | st.integers() | st.floats() | st.none() | st.lists(st.integers()))
def test_no_answer_breaks_a_question(answer) -> None:
    for question in ALL:
        verdict = question.mark(answer)
        assert 0 <= verdict.score <= 1
        assert verdict.message


@pytest.mark.parametrize("question", ALL, ids=lambda q: q.kind)
def test_proofs_hold(question) -> None:
    assert prove(question) is None


@pytest.mark.parametrize(
    ("question", "change", "said"),
    [
        (NUMBER, {"proof": "answer = 0.9"}, "Expected the answer '0.83', but the code gives 0.9."),
        (SHAPE, {"proof": "answer = (4, 1000)"}, "but the code gives (4, 1000)"),
        (
            NUMBER,
            {"proof": "x = 1\nanswer = x / 0"},
            "its line 2 (answer = x / 0) stopped with Zero",
        ),
        (NUMBER, {"proof": "raise SystemExit\nanswer = 1"}, "stopped with SystemExit."),
        (
            NUMBER,
            {"proof": "raise ValueError('Expected one of:\\n  a.\\n  b.')\nanswer = 1"},
            "stopped with ValueError: Expected one of: a.",
        ),
        (OUTPUT, {"code": "print([1], True)", "proof": "print([1], True)"}, "gives '[1] True'"),
        (OUTPUT, {"code": "pass", "proof": "pass"}, "gives 'nothing'"),
        (
            SEVERAL,
            {"proof": "# a:\n# b:\nassert [1]\n# c:\nassert [1]\n# d:\nassert [1]"},
            "after '# a:'",
        ),
        (
            BUG,
            {"proof": "# line 1:\nassert [1]\n# line 3:\nassert []\n# line 4:\nassert [1]"},
            "line 4",
        ),
    ],
)
def test_a_key_that_does_not_hold_is_found_out(question, change, said) -> None:
    assert said in str(prove(question.model_copy(update=change)))


@pytest.mark.parametrize(
    ("question", "change", "said"),
    [
        (
            SHAPE,
            {"mistakes": [mistake([4, 512], "x"), mistake([1, 1], "y")]},
            "differs from the right",
        ),
        (NUMBER, {"mistakes": [mistake("a", "x"), mistake(1, "y")]}, "of the same form"),
        (NUMBER, {"mistakes": [mistake(1, "x"), mistake(1, "y")]}, "from the other mistakes"),
        (NUMBER, {"proof": "assert [1]"}, "compute the variable `answer`"),
        (OUTPUT, {"proof": "assert [1]"}, "the code itself is run"),
        (ORDER, {"answer": "bc"}, "of the form that is asked for"),
        (ORDER, {"answer": "abc"}, "not shown in the right order"),
        (ORDER, {"proof": "# right:\nassert [1]"}, "got none for backwards, swapped"),
        (
            SEVERAL,
            {"options": [o.model_dump() for o in SEVERAL.options[1::2]] * 2},
            "differ in their",
        ),
        (BUG, {"code": "a = 1"}, "expected lines of the code (1 to 1), got 3"),
    ],
)
def test_a_question_that_is_not_sound_is_refused(question, change, said) -> None:
    raw = question.model_dump() | change
    if question is OUTPUT and "proof" not in change:
        raw.pop("proof")
    with pytest.raises(ValidationError) as caught:
        type(question)(**raw)
    assert said in str(caught.value)


def test_an_option_is_labelled_in_one_way() -> None:
    """A letter, but nothing before a line of code: its text begins with its number."""
    for question in (SEVERAL, ORDER):
        labels = [f"{question.label(key)} {text}" for key, text in question.shown.items()]
        assert labels[0].startswith("a) ")
        assert as_text(question).splitlines()[-len(labels) :] == [f"  {each}" for each in labels]
    lines = list(BUG.shown.values())
    assert {BUG.label(key) for key in BUG.shown} == {""}
    assert lines[0].startswith("line 1: ")
    assert as_text(BUG).splitlines()[-len(lines) :] == [f"  {each}" for each in lines]


def test_a_bug_is_looked_for_in_numbered_lines() -> None:
    assert BUG.numbered_code.splitlines()[2] == " 3  b = a + 2"
    assert BUG.shown["3"] == "line 3: `b = a + 2`"


def test_an_assert_that_cannot_fail_proves_nothing() -> None:
    proof = "# a:\nassert True\n# b:\nassert [1]\n# c:\nassert [1]\n# d:\nassert [1]"
    assert "after '# a:'" in str(prove(SEVERAL.model_copy(update={"proof": proof})))


@pytest.mark.parametrize(
    ("question", "answer", "kept"),
    [
        (SEVERAL, "C and a", "ac"),
        (SEVERAL, "{'a', 'c'}", "ac"),
        (SEVERAL, "a + c", "ac"),
        (SEVERAL, "all of them", "all of them"),
        (BUG, "Line (3)", "3"),
        (ORDER, "B > c, a", "bca"),
        (NUMBER, " 0.83 ", "0.83"),
    ],
)
def test_each_way_to_write_an_answer_is_the_same_answer(question, answer, kept) -> None:
    assert question.read(answer) == kept
    assert question.mark(answer).status == question.mark(kept).status


def test_percent_is_read_as_percent() -> None:
    assert NUMBER.mark("83 %").status == "correct"
    assert NUMBER.mark("0.83 %").status == "wrong"
