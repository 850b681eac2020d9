"""The question bank: its form, its proofs, and that nothing gives the right option away."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from scipy.stats import binom

from featx.errors import FeatxError
from featx.study.bank import FOLDER, list_questions, load_cards, load_question, read_lesson

QUESTIONS = [load_question(question_id) for question_id in list_questions()]

GOOD = {
    "id": "is-two-more",
    "concept": "counting",
    "difficulty": "easy",
    "prompt": "What is one and one?",
    "options": [
        {
            "text": "one",
            "misconception": "ignores-the-second",
            "feedback": "There are two of them.",
        },
        {"text": "two", "right": True},
        {"text": "three", "misconception": "counts-the-and", "feedback": "The word is no number."},
    ],
    "hint": "How many fingers do you hold up?",
    "steps": ["Take one.", "Add one."],
    "quick_check": "Count.",
    "proof": "# a:\nassert 1 + 1 != 1\n# b:\nassert 1 + 1 == 2\n# c:\nassert 1 + 1 != 3",
}


def write(folder: Path, question: dict, **rest: object) -> Path:
    path = folder / "99_test.yaml"
    path.write_text(yaml.safe_dump({"lesson": 1, "questions": [question], **rest}))
    return path


def test_lesson_one_has_its_questions_and_cards() -> None:
    lesson = [q for q in QUESTIONS if q.lesson == 1]
    assert len(lesson) >= 7
    assert {q.difficulty for q in lesson} == {"easy", "medium", "hard"}
    assert len(load_cards(lesson=1)) >= 6


def test_the_practice_problems_are_there() -> None:
    practice = {
        "purpose-of-pretrained": "easy",
        "freeze-order": "easy",
        "identity-head-shape": "medium",
        "optimizer-holds-frozen": "medium",
        "underfit-frozen": "hard",
    }
    assert {name: load_question(name).difficulty for name in practice} == practice


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.id)
def test_proof_runs(question) -> None:
    assert question.proof or question.no_proof
    if question.proof:
        with torch.random.fork_rng(devices=[]):
            exec(compile(question.proof, f"<proof of {question.id}>", "exec"), {})


@pytest.mark.parametrize("question", [q for q in QUESTIONS if q.proof], ids=lambda q: q.id)
def test_every_option_has_an_assert_in_the_proof(question) -> None:
    for letter in question.letters:
        after = question.proof.split(f"# {letter}:", 1)[1]
        others = [after.find(f"# {other}:") for other in question.letters]
        end = min((place for place in others if place >= 0), default=len(after))
        assert "assert " in after[:end], f"nothing is asserted for option {letter}"


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.id)
def test_feedback(question) -> None:
    for letter, option in question.lettered.items():
        verdict = question.mark(f" {letter.upper()}) ")
        if option.right:
            assert (verdict.status, verdict.score) == ("correct", 1.0)
            assert question.steps[0] in verdict.message
            assert question.quick_check in verdict.message
        else:
            assert (verdict.status, verdict.score) == ("wrong", 0.0)
            assert verdict.misconception == option.misconception
            assert option.feedback in verdict.message
            assert question.hint in verdict.message
            assert question.steps[-1] not in verdict.message


@pytest.mark.parametrize("answer", [None, "", "?", ..., " ? "])
def test_no_answer_is_not_a_wrong_answer(answer) -> None:
    verdict = load_question("freeze-order").mark(answer)
    assert (verdict.status, verdict.score) == ("not_attempted", 0.0)


@pytest.mark.parametrize("answer", ["z", "ab", 1, True, ["a"], "the first"])
def test_no_such_option(answer) -> None:
    verdict = load_question("freeze-order").mark(answer)
    assert (verdict.status, verdict.score) == ("wrong", 0.0)
    assert "one letter of a, b, c, d" in verdict.message


def unlikely(hits: int, chances: list[float]) -> bool:
    """Tell whether so many hits, or more, would come by chance in less than one of twenty banks."""
    return bool(binom.sf(hits - 1, len(chances), sum(chances) / len(chances)) < 0.05)


@pytest.mark.parametrize("extreme", [max, min])
def test_length_does_not_give_the_answer_away(extreme) -> None:
    hits, chances = 0, []
    for question in QUESTIONS:
        lengths = [len(option.text) for option in question.options]
        right = len(question.lettered[question.right_letter].text)
        hits += right == extreme(lengths) and lengths.count(right) == 1
        chances.append(1 / len(lengths))
    assert not unlikely(hits, chances), f"the {extreme.__name__} is right {hits} times"


def test_position_does_not_give_the_answer_away() -> None:
    letters = [question.right_letter for question in QUESTIONS]
    assert set(letters) == {"a", "b", "c", "d"}
    chances = [1 / len(question.options) for question in QUESTIONS]
    for letter in set(letters):
        assert not unlikely(letters.count(letter), chances), letters


def test_good_question_loads(tmp_path: Path) -> None:
    lesson = read_lesson(write(tmp_path, GOOD))
    assert lesson.questions[0].right_letter == "b"
    assert lesson.questions[0].lesson == 1


OPTIONS = GOOD["options"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"difficulty": "so-so"}, "difficulty: Input should be 'easy', 'medium' or 'hard'"),
        ({"hint": "Say two."}, "hint: String should match pattern"),
        ({"steps": ["Add."]}, "steps: Tuple should have at least 2 items"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"kind": "essay"}, "kind: Input should be 'one-choice'"),
        ({"proof": None}, "expected either a proof or no_proof"),
        ({"proof": "# a:\nassert True\n# b:\nassert True"}, "such as '# c:', got none for c"),
        (
            {"options": [OPTIONS[0], {**OPTIONS[1], "right": False}, OPTIONS[2]]},
            "expected a misconception and a feedback for the wrong option 'two'",
        ),
        (
            {"options": [{"text": "zero", "right": True}, *OPTIONS[1:]]},
            "expected exactly one right option, got 2",
        ),
        (
            {"options": [OPTIONS[0], OPTIONS[1], {**OPTIONS[2], "text": "one"}]},
            "expected options that differ in their text",
        ),
        (
            {"options": [{**OPTIONS[0], "misconception": "counts-the-and"}, *OPTIONS[1:]]},
            "expected options that differ in their misconception",
        ),
    ],
)
def test_a_fault_is_named_with_file_and_question(tmp_path: Path, change: dict, said: str) -> None:
    with pytest.raises(FeatxError) as caught:
        read_lesson(write(tmp_path, GOOD | change))
    assert str(caught.value).startswith("99_test.yaml, is-two-more")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lesson: 1\nquestions: [", "bad.yaml, line 2: expected YAML"),
        ("- 1", "bad.yaml: expected the keys lesson, questions and cards, got list"),
        ("lesson: one", "bad.yaml: lesson: Input should be a valid integer"),
        ("lesson: 1\nquestions: [1]", "bad.yaml, questions[0]: "),
        ("lesson: 1\ncards: [{front: x}]", "bad.yaml, cards[0]: back: Field required"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(FeatxError) as caught:
        read_lesson(path)
    assert said in str(caught.value)


def test_unknown_question_lists_close_matches() -> None:
    with pytest.raises(FeatxError, match=r"got 'freeze-oder'. Close matches: freeze-order"):
        load_question("freeze-oder")


def test_files_are_named_after_their_lesson() -> None:
    for path in FOLDER.glob("*.yaml"):
        assert int(path.name[:2]) == read_lesson(path).lesson
