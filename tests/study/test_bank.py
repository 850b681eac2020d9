"""The question bank: its form, its proofs, and that nothing gives the right option away."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml
from scipy.stats import binom

from featx.errors import FeatxError
from featx.study.bank import FOLDER, list_questions, load_cards, load_question, read_lesson
from featx.study.proofs import prove

QUESTIONS = [load_question(question_id) for question_id in list_questions()]
CHOICES = [q for q in QUESTIONS if q.kind in ("one-choice", "bug-line")]

GOOD = {
    "id": "is-two-more",
    "concept": "counting",
    "section": "Idea",
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


LESSONS = range(1, 12)


@pytest.mark.parametrize("lesson", LESSONS)
def test_each_lesson_has_its_questions_and_cards(lesson: int) -> None:
    questions = [q for q in QUESTIONS if q.lesson == lesson]
    assert len(questions) >= 8
    assert {q.difficulty for q in questions} == {"easy", "medium", "hard"}
    assert len({q.kind for q in questions}) >= 4
    assert len(load_cards(lesson=lesson)) >= 6


def test_the_bank_is_as_large_and_as_hard_as_promised() -> None:
    assert len(QUESTIONS) >= 100
    by_difficulty = Counter(q.difficulty for q in QUESTIONS)
    assert min(by_difficulty[level] for level in ("easy", "medium", "hard")) >= 25
    kinds = {"one-choice", "several-choices", "value", "output", "bug-line", "order"}
    assert {q.kind for q in QUESTIONS} == kinds
    assert sum(q.no_proof is not None for q in QUESTIONS) <= len(QUESTIONS) / 5


def test_the_practice_problems_are_there() -> None:
    practice = {
        "purpose-of-pretrained": "easy",
        "freeze-order": "easy",
        "identity-head-shape": "medium",
        "optimizer-holds-frozen": "medium",
        "underfit-frozen": "hard",
    }
    assert {name: load_question(name).difficulty for name in practice} == practice


per_question = pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q.id)


@per_question
def test_proof_holds(question) -> None:
    assert prove(question) is None


@per_question
def test_the_right_answer_is_right_and_explained(question) -> None:
    verdict = question.mark(f" {question.key.upper()} ")
    assert (verdict.status, verdict.score) == ("correct", 1.0)
    assert question.steps[0] in verdict.message
    assert question.quick_check in verdict.message


@per_question
def test_every_wrong_answer_is_understood(question) -> None:
    assert len(question.wrong_answers) >= (1 if question.kind == "several-choices" else 2)
    said = set()
    for answer, misconception in question.wrong_answers.items():
        verdict = question.mark(answer)
        assert (verdict.status, verdict.score) == ("wrong", 0.0)
        assert verdict.misconception == misconception
        assert question.hint in verdict.message
        assert question.steps[-1] not in verdict.message
        said.add(verdict.message)
    assert len(said) == len(question.wrong_answers)


@pytest.mark.parametrize(
    "question", [q for q in QUESTIONS if q.kind == "several-choices"], ids=lambda q: q.id
)
def test_of_several_each_that_is_left_out_is_told(question) -> None:
    right = question.key
    for left_out in right if len(right) > 1 else "":
        verdict = question.mark(right.replace(left_out, ""))
        assert verdict.status == "partial"
        assert verdict.score == pytest.approx((len(right) - 1) / len(right))
        assert question.choices[left_out].feedback in verdict.message
    everything = question.mark("".join(question.choices))
    assert everything.score < 1
    assert everything.misconception in question.wrong_answers.values()


@pytest.mark.parametrize("answer", [None, "", "?", ..., " ? "])
def test_no_answer_is_not_a_wrong_answer(answer) -> None:
    verdict = load_question("freeze-order").mark(answer)
    assert (verdict.status, verdict.score) == ("not_attempted", 0.0)


@pytest.mark.parametrize("answer", ["z", "ab", 1, True, ["a", "b"], "the first"])
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
    for question in CHOICES:
        lengths = [len(text) for text in question.shown.values()]
        right = len(question.shown[question.key])
        hits += right == extreme(lengths) and lengths.count(right) == 1
        chances.append(1 / len(lengths))
    assert not unlikely(hits, chances), f"the {extreme.__name__} is right {hits} times"


def test_position_does_not_give_the_answer_away() -> None:
    places = [list(question.shown).index(question.key) for question in CHOICES]
    assert set(places) >= {0, 1, 2, 3}
    for place in set(places):
        chances = [
            1 / len(question.options) for question in CHOICES if place < len(question.options)
        ]
        assert not unlikely(places.count(place), chances), (place, places)


def test_good_question_loads(tmp_path: Path) -> None:
    lesson = read_lesson(write(tmp_path, GOOD))
    assert lesson.questions[0].key == "b"
    assert lesson.questions[0].lesson == 1


OPTIONS = GOOD["options"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"difficulty": "so-so"}, "difficulty: Input should be 'easy', 'medium' or 'hard'"),
        ({"hint": "Say two."}, "hint: expected a question"),
        ({"steps": ["Add."]}, "steps: Tuple should have at least 2 items"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        ({"kind": "essay"}, "does not match any of the expected tags: 'one-choice'"),
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
