"""What a teacher writes is checked line by line, and then used like the course's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from featx import study
from featx.errors import FeatxError
from featx.study.bank import FOLDER, load_question
from featx.study.checking import check_path
from featx.study.exercises import FOLDER as EXERCISES
from featx.study.exercises import load_exercise

QUESTIONS = """\
lesson: 3
questions:
  - id: my-own
    concept: freezing
    difficulty: easy
    prompt: What is `requires_grad` of a new layer's weight?
    options:
      - text: "False"
        misconception: new-is-frozen
        feedback: A new parameter is made to be trained.
      - text: "True"
        right: true
      - text: None
        misconception: no-value
        feedback: It always has a value.
    hint: Would a new layer learn without your help?
    section: Code
    steps: [Make a layer., Look at its weight.]
    quick_check: Print it.
    proof: |
      from torch import nn
      # a: it is not frozen
      assert nn.Linear(2, 2).weight.requires_grad is not False
      # b: it learns
      assert nn.Linear(2, 2).weight.requires_grad is True
      # c: it has a value
      assert nn.Linear(2, 2).weight.requires_grad is not None
"""

EXERCISE = '''\
"""Exercise: double a number."""

from featx.study.exercises import Exercise
from featx.study.verdicts import Check, weigh


def double(x: int) -> int:
    """Return twice `x`."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


def adds_two(x):
    return x + 2


def squares(x):
    return x * x


def halves(x):
    return x / 2


def observe(function, seed):
    return {"got": function(seed + 5)}


def judge(seen, seed):
    x, got = seed + 5, seen["got"]
    return weigh(
        [
            Check(got != x + 2, 0, "adds-two", "You added two."),
            Check(got != x * x, 0, "squares", "You squared."),
            Check(got != x / 2, 0, "halves", "You halved."),
            Check(got == 2 * x, 1, "not-twice", "That is not twice the number."),
        ],
        praise="Twice it is.",
    )


EXERCISE = Exercise(
    id="double",
    lesson=1,
    title="Double",
    points=1,
    prompt="Double it.",
    hints=("What is twice?", "Multiply."),
    reference=double,
    mutants={"adds-two": adds_two, "squares": squares, "halves": halves},
    visible_test="assert double(4) == 8",
    observer=observe,
    judger=judge,
)
'''


def checked(path: Path) -> tuple[int, list[str]]:
    lines: list[str] = []
    return check_path(path, lines.append), lines


def changed(tmp_path: Path, name: str, text: str, old: str, new: str) -> Path:
    assert old in text
    path = tmp_path / name
    path.write_text(text.replace(old, new, 1))
    return path


def test_what_is_right_is_said_to_be_right(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(QUESTIONS)
    (tmp_path / "double.py").write_text(EXERCISE)
    (tmp_path / "_helper.py").write_text("syntax error")
    found, lines = checked(tmp_path)
    assert found == 0
    assert "1 question and 0 cards, every proof holds." in lines[1]
    assert "the reference earns all, 3 mutants are found out." in lines[0]


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("difficulty: easy", "difficulty: so-so", 5, "my-own: difficulty: Input should be 'easy'"),
        (
            "        feedback: A new parameter is made to be trained.\n",
            "",
            8,
            "wrong option 'False'",
        ),
        ("    quick_check: Print it.\n", "", 3, "quick_check: Field required"),
        ("without your help?", "without you.", 16, "hint: expected a question"),
        (
            "is True",
            "is False",
            3,
            "its line 5 (assert nn.Linear(2, 2).weight.requires_grad is False)",
        ),
        ("# c: it has", "# it has", 3, "got none for c"),
        (
            "id: my-own",
            "id: freeze-order",
            3,
            "expected an id that no other question, card or exercise has",
        ),
        ("    hint:", "    hint: What?\n    hint:", 17, "the key 'hint' once"),
        ("id: my-own", "id: freeze-all-but-head", 3, "no other question, card or exercise"),
        ("    quick_check: Print it.", "    quick_check: 2026-99-99", 1, "expected YAML"),
        ("lesson: 3", "lesson: three", 1, "lesson: Input should be a valid integer"),
        ("questions:", "questions: [", 3, "expected YAML"),
    ],
)
def test_a_fault_in_the_bank_has_its_line(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    path = changed(tmp_path, "mine.yaml", QUESTIONS, old, new)
    found, lines = checked(path)
    assert found == len(lines) >= 1
    assert any(each.startswith(f"{path}:{line}: ") and said in each for each in lines), lines


def test_all_faults_are_said_at_once(tmp_path: Path) -> None:
    text = QUESTIONS.replace("difficulty: easy", "difficulty: so-so").replace(
        "    quick_check: Print it.\n", ""
    )
    (tmp_path / "mine.yaml").write_text(text)
    assert checked(tmp_path / "mine.yaml")[0] == 2


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("    ### BEGIN SOLUTION\n", "", 7, "expected the learner's part"),
        ("return 2 * x", "return 3 * x", 7, "expected all points for the reference"),
        ("return x + 2", "return x + 3", 14, "expected the misconception adds-two, got not-twice"),
        ("return x * x", "return x + x", 18, "expected squares to lose points"),
        (
            '"You halved."',
            '"You squared."',
            22,
            "expected a message of its own, got that of squares",
        ),
        (', "halves": halves', "", 43, "expected at least 3 mutants, got 2"),
        ('("What is twice?", "Multiply.")', '("Multiply.",)', 43, "at least 2 hints, got 1"),
        ('id="double"', 'id="twice"', 43, "expected the id 'double', got 'twice'"),
        ("assert double(4) == 8", "assert double", 43, "expected the starter to fail"),
        ('{"got": function(seed + 5)}', '{"got": {1, 2}}', 7, "not JSON serializable"),
        ("    points=1,\n", "", 43, "missing 1 required positional argument: 'points'"),
        ("def observe(", "def observe(:", 26, "invalid syntax"),
        ("EXERCISE = Exercise", "OTHER = Exercise", 1, "expected the constant EXERCISE"),
    ],
)
def test_a_fault_in_an_exercise_has_its_line(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    path = changed(tmp_path, "double.py", EXERCISE, old, new)
    found, lines = checked(path)
    assert found >= 1
    assert any(each.startswith(f"{path}:{line}: ") and said in each for each in lines), lines


def test_a_file_that_would_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text(QUESTIONS)
    said: list[str] = []
    assert check_path(tmp_path, said.append) == 1
    assert said == [
        f"{tmp_path / 'mine.yml'}:1: expected the ending .yaml, got .yml: no file of that name is read."
    ]


@pytest.mark.parametrize("name", ["nothing.txt", "nowhere.yaml"])
def test_nothing_to_check(tmp_path: Path, name: str) -> None:
    with pytest.raises(FeatxError, match=r"Expected a \.yaml file, a \.py file or a folder"):
        checked(tmp_path / name)
    with pytest.raises(FeatxError, match="found none"):
        checked(tmp_path)


def test_an_exercise_that_the_course_has_already_is_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`study.check` would give the course's one, and never one's own."""
    path = changed(tmp_path, "knn_predict.py", EXERCISE, 'id="double"', 'id="knn-predict"')
    said = "expected an id that no other question, card or exercise has"
    assert checked(path) == (1, [f"{path}:43: {said}, got 'knn-predict'."])
    path = changed(tmp_path, "freeze_order.py", EXERCISE, 'id="double"', 'id="freeze-order"')
    assert checked(path) == (1, [f"{path}:43: {said}, got 'freeze-order'."])
    (own := tmp_path / "own").mkdir()
    (own / "double.py").write_text(EXERCISE)
    monkeypatch.setenv("FEATX_STUDY_PATH", str(own))
    assert checked(own / "double.py")[0] == 0  # it is not a copy of itself
    path = changed(tmp_path, "double.py", EXERCISE, "twice the number", "two times the number")
    assert checked(path) == (1, [f"{path}:43: {said}, got 'double'."])


def test_a_module_that_stops_is_told_in_one_line(tmp_path: Path) -> None:
    text = "import torchvision\n\ntorchvision.models.resnet18().load_state_dict({})\n"
    (path := tmp_path / "stops.py").write_text(text)
    found, lines = checked(path)
    assert found == 1
    assert "\n" not in lines[0]
    assert "RuntimeError: Error(s) in loading state_dict for ResNet: Missing key(s)" in lines[0]
    path = changed(
        tmp_path, "double.py", EXERCISE, "    return weigh(", "    assert x < 0\n    weigh("
    )
    assert f"{path}:14: expected adds-two to lose points, got AssertionError." in checked(path)[1]


def test_the_courses_own_files_pass() -> None:
    assert checked(FOLDER / "04_shapes.yaml")[0] == 0
    assert checked(EXERCISES / "freeze_all_but_head.py")[0] == 0


def test_the_command_names_the_lines_and_exits_with_1(tmp_path: Path) -> None:
    path = changed(tmp_path, "mine.yaml", QUESTIONS, "difficulty: easy", "difficulty: so-so")
    command = [sys.executable, "-m", "featx", "study", "check", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{path}:5: my-own: difficulty")
    assert "1 thing to mend" in done.stderr


def test_ones_own_folder_joins_the_course(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(QUESTIONS)
    (tmp_path / "double.py").write_text(EXERCISE)
    (tmp_path / "_draft.yaml").write_text("not: a question yet")
    monkeypatch.setenv("FEATX_STUDY_PATH", os.pathsep.join([str(tmp_path), ""]))
    assert "my-own" in study.list_questions(lesson=3)
    assert load_question("freeze-order").lesson == 3
    verdict = study.check("double", lambda x: x + 2)
    assert verdict.misconception == "adds-two"
    assert load_exercise("double").lesson == 1
    assert checked(tmp_path)[0] == 0  # an own question is not a copy of itself
    monkeypatch.setenv("FEATX_STUDY_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(FeatxError, match="Expected folders in FEATX_STUDY_PATH"):
        study.list_questions()


def test_the_page_on_writing_ones_own_is_true(tmp_path: Path) -> None:
    page = (Path(study.__file__).parent / "README.md").read_text(encoding="utf-8")
    for language, name in (("yaml", "my_questions.yaml"), ("python", "double.py")):
        block = page.split(f"```{language}\n", 1)[1].split("```", 1)[0]
        (tmp_path / name).write_text(block, encoding="utf-8")
    assert checked(tmp_path)[0] == 0
    for kind in ("one-choice", "several-choices", "bug-line", "value", "output", "order"):
        assert f"`{kind}`" in page
