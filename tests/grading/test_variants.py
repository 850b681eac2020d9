"""Variants: each student's own selection, of equal value, marked right by nbgrader and by `featx grade`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbgrader.api import Gradebook

from featx.errors import FeatxError
from featx.grading.assignments import (
    Assignment,
    build_assignment,
    load_assignment,
    make_notebook,
)
from featx.grading.grade import grade
from featx.grading.gradebook import Course
from featx.grading.marked_cells import Mark, depends_on, read_mark
from featx.grading.marking import mark_answer, mark_exercise
from featx.grading.variants import build_variants, draw_variant, read_students
from featx.study.bank import load_question
from featx.study.exercises import STUB, load_exercise
from tests.grading.teacher import namespace_of, python

COURSE = Path(__file__).parents[2] / "autograders"
PS1 = load_assignment("ps1", COURSE)
SLOTS = [item for item in PS1.items if len(item.ids) > 1]

QUESTIONS = ("random-weights-control", "size-of-probe")
EXERCISES = ("lead-over-pixels", "majority-baseline")
#: Two slots, and an item that all get.
TOML = f"""
[small]
title = "Small"
minutes = 10
items = [
    {{ question = {list(QUESTIONS)}, points = 2 }},
    {{ question = "few-labels", points = 1 }},
    {{ exercise = {list(EXERCISES)}, points = 3 }},
]
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def course(tmp_path: Path) -> Path:
    folder = tmp_path / "course"
    folder.mkdir()
    (folder / "assignments.toml").write_text(TOML)
    shutil.copy(COURSE / "nbgrader_config.py", folder)
    return folder


def read(path: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def grade_ids(notebook: nbformat.NotebookNode) -> list[str]:
    return [c.metadata.nbgrader.grade_id for c in notebook.cells if "nbgrader" in c.metadata]


def points_of(notebook: nbformat.NotebookNode) -> list[float]:
    named = [cell.metadata.get("nbgrader", {}) for cell in notebook.cells]
    return [each["points"] for each in named if "points" in each]


def test_ps1_has_alternatives() -> None:
    assert [item.id for item in SLOTS] == ["random-weights-control", "scrambled-pixels"]


STUDENTS = st.text(st.characters(codec="utf-8"), min_size=1)


@settings(max_examples=25)
@given(STUDENTS, st.integers(0, 3))
def test_a_variant_is_repeatable_and_of_the_same_value(student: str, seed: int) -> None:
    chosen = draw_variant("ps1", PS1, student, seed)
    assert chosen == draw_variant("ps1", PS1, student, seed)
    assert all(each in item.ids for each, item in zip(chosen, PS1.items, strict=True))
    notebook = make_notebook(PS1, chosen)
    first = make_notebook(PS1, [item.id for item in PS1.items])
    assert points_of(notebook) == points_of(first) == [item.points for item in PS1.items]
    assert grade_ids(notebook) == grade_ids(first)
    assert [cell.id for cell in notebook.cells] == [cell.id for cell in first.cells]
    # what is graded is one and the same
    tests = [c.source for c in notebook.cells if c.id.startswith("test-")]
    assert tests == [c.source for c in first.cells if c.id.startswith("test-")]


@settings(max_examples=100)
@given(STUDENTS, st.permutations(SLOTS[0].ids), st.integers(0, 3))
def test_the_order_of_the_alternatives_makes_no_difference(
    student: str, ids: Sequence[str], seed: int
) -> None:
    one = Assignment.model_validate(
        {"title": "T", "minutes": 1, "items": [{"question": ids, "points": 1}]}
    )
    other = one.model_copy(update={"items": SLOTS[:1]})
    assert draw_variant("ps1", one, student, seed) == draw_variant("ps1", other, student, seed)


def draws(seed: int = 0, assignment: Assignment = PS1, name: str = "ps1") -> list[tuple[str, ...]]:
    return [draw_variant(name, assignment, f"s{number}", seed) for number in range(1200)]


def test_all_alternatives_are_drawn_equally_often_and_independently() -> None:
    places = [place for place, item in enumerate(PS1.items) if len(item.ids) > 1]
    together = Counter(tuple(chosen[place] for place in places) for chosen in draws())
    assert len(together) == 6
    assert all(150 <= number <= 250 for number in together.values())  # 200 each, within 4 sigma


def test_another_seed_or_assignment_draws_anew() -> None:
    for others in (draws(seed=1), draws(name="ps2")):
        same = sum(a == b for a, b in zip(draws(), others, strict=True))
        assert 140 <= same <= 260  # a sixth of 1200 by chance


def test_one_more_alternative_changes_only_what_those_get_who_get_it() -> None:
    items = list(PS1.items)
    place = items.index(SLOTS[0])
    items[place] = SLOTS[0].model_copy(update={"question": (*SLOTS[0].ids, "numbers-that-learn")})
    more = PS1.model_copy(update={"items": tuple(items)})
    changed = [(a, b) for a, b in zip(draws(), draws(assignment=more), strict=True) if a != b]
    assert 240 <= len(changed) <= 360
    assert {after[place] for _, after in changed} == {"numbers-that-learn"}


def test_no_student_depends_on_another(course: Path) -> None:
    together = build_variants("small", course, ["ada", "alan", "grace"])
    texts = {path: path.read_bytes() for path in together}
    assert build_variants("small", course, ["grace", "ada", "ada"]) == [together[2], together[0]]
    assert {path: path.read_bytes() for path in together} == texts
    assert together[0] == course / "variants/ada/small/small.ipynb"


def test_what_is_handed_out_has_no_solution_and_no_test(course: Path) -> None:
    seen = set()
    for path in build_variants("small", course, [f"s{number}" for number in range(12)]):
        text = path.read_text(encoding="utf-8")
        assert "SOLUTION" not in text
        assert "HIDDEN" not in text
        assert "mark_" not in text
        cells = {cell.id: cell for cell in read(path).cells}
        question = next(q for q in map(load_question, QUESTIONS) if q.answer_name in text)
        exercise = next(
            e for e in map(load_exercise, EXERCISES) if e.entry in cells["answer-slot-3"].source
        )
        seen.add((question.id, exercise.id))
        assert cells["answer-slot-1"].source == f'{question.answer_name} = "?"\n{STUB}'
        assert question.prompt in cells["question-slot-1"].source
        assert cells["answer-slot-3"].source == exercise.starter
        assert exercise.prompt in cells["exercise-slot-3"].source
        assert exercise.visible_test in cells["try-slot-3"].source
        for name in ("question-slot-1", "exercise-slot-3", "try-slot-3"):
            assert cells[name].metadata == {"deletable": False, "editable": False}
        # nothing of the alternatives that the student did not get
        for other in {*QUESTIONS, *EXERCISES} - {question.id, exercise.id}:
            assert other not in text
            assert other.replace("-", "_") not in text
    assert len(seen) == 4


@pytest.mark.parametrize("given", [each for item in SLOTS for each in item.ids])
def test_marks_of_each_question(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    ids = next(item.ids for item in SLOTS if given in item.ids)
    question = load_question(given)
    assert mark_answer(list(ids), {question.answer_name: question.key}, points=2) == 2.0
    assert f"Marked: `{question.answer_name}`." in capsys.readouterr().out
    assert mark_answer(list(ids), {question.answer_name: "?"}, points=2) == 0.0
    said = capsys.readouterr().out
    assert "Not attempted" in said
    assert question.how in said
    for answer in question.wrong_answers:
        assert mark_answer(list(ids), {question.answer_name: answer}, points=2) == 0.0
        assert question.mark(answer).message in capsys.readouterr().out


@pytest.mark.parametrize("given", EXERCISES)
def test_marks_of_each_exercise(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    exercise = load_exercise(given)
    ids = list(EXERCISES)
    assert mark_exercise(ids, namespace_of(exercise.solution), points=3) == 3.0
    assert f"Marked: `{exercise.entry}`." in capsys.readouterr().out
    assert mark_exercise(ids, namespace_of(exercise.starter), points=3) == 0.0
    assert f"Write `{exercise.entry}`" in capsys.readouterr().out
    for misconception in exercise.mutants:
        namespace = namespace_of(exercise.mutant(misconception))
        verdict = exercise.judge(exercise.observe(namespace, 1), 1)
        assert verdict.misconception == misconception
        assert mark_exercise(ids, namespace, points=3) == pytest.approx(3 * verdict.score, abs=0.01)
        assert verdict.message in capsys.readouterr().out


def test_answering_several_is_no_second_try(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = map(load_question, QUESTIONS)
    wrong = next(iter(first.wrong_answers))
    both = {second.answer_name: second.key, first.answer_name: wrong}
    assert mark_answer(QUESTIONS, both, points=1) == 0.0
    assert f"Marked: `{first.answer_name}`." in capsys.readouterr().out
    # what is no attempt does not stand in the way
    for blank in ("?", "", " ? ", None, ...):
        both[first.answer_name] = blank
        assert mark_answer(QUESTIONS, both, points=1) == 1.0
    first, second = map(load_exercise, EXERCISES)
    mutant = first.mutant(next(iter(first.mutants)))
    assert mark_exercise(EXERCISES, namespace_of(f"{mutant}\n{second.solution}"), points=3) < 3.0
    for blank in (first.starter, f"{first.entry} = None"):
        names = namespace_of(f"{blank}\n{second.solution}")
        assert mark_exercise(EXERCISES, names, points=3) == 3.0


def test_nothing_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert mark_answer(QUESTIONS, {}, points=1) == 0.0
    names = ", ".join(f"`{load_question(each).answer_name}`" for each in QUESTIONS)
    assert f"Expected one of {names}, but there is none" in capsys.readouterr().out
    assert mark_exercise(EXERCISES, {}, points=1) == 0.0
    assert "Expected one of `lead_over_pixels`, `majority_" in capsys.readouterr().out


def test_the_grader_reads_what_the_builder_writes(course: Path) -> None:
    notebook = read(build_assignment("small", course))
    tests = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade")]
    marks = [read_mark(cell.source) for cell in tests]
    assert marks == [
        Mark("answer", QUESTIONS, 2.0),
        Mark("answer", ("few-labels",), 1.0),
        Mark("exercise", EXERCISES, 3.0),
    ]
    for mark in marks:
        assert mark is not None
        for each in mark.ids:
            assert depends_on(Mark(mark.kind, (each,), 1.0)) in depends_on(mark)


@pytest.mark.parametrize("ids", ["[]", '["a", 1]', '["a", b]', "[*a]", '("a", "b")', 'f"a"', "1"])
def test_other_calls_are_not_ours(ids: str) -> None:
    call = f"from featx.grading.marking import mark_answer\nmark_answer({ids}, globals(), points=1)"
    assert read_mark(call) is None


def test_students_are_read(tmp_path: Path) -> None:
    path = tmp_path / "class.txt"
    path.write_text("\ufeffada\n\n alan \nada\n", encoding="utf-8")
    assert read_students(str(path)) == ["ada", "alan"]
    path = tmp_path / "class.csv"
    path.write_text("first_name,id,email\nAda,al1,x@y\nAlan,at2,\n")
    assert read_students(str(path)) == ["al1", "at2"]
    assert read_students("ada") == ["ada"]
    with pytest.raises(FeatxError, match=r"got none in ' ,'. Name a file"):
        read_students(" ,")
    with pytest.raises(FeatxError, match=r"nosuch.txt cannot be read \(No such file"):
        read_students(str(tmp_path / "nosuch.txt"))


def test_faults_are_named(course: Path, tmp_path: Path) -> None:
    with pytest.raises(FeatxError, match=r"which names a folder, got '\.\./up'\. An id has no"):
        build_variants("small", course, ["ada", "../up"])
    with pytest.raises(FeatxError, match="no slash and no comma"):
        build_variants("small", course, ["1,Ada,Lovelace"])
    with pytest.raises(FeatxError, match="submitted, which nbgrader uses for its own"):
        build_variants("small", course, ["ada"], course / "submitted")
    (tmp_path / "file").write_text("")
    with pytest.raises(FeatxError, match=r"cannot be written .* Choose another folder with --out"):
        build_variants("small", course, ["ada"], tmp_path / "file")
    with pytest.raises(FeatxError, match=r"but no item of ps2 has any\. Name several"):
        build_variants("ps2", COURSE, ["ada"], tmp_path / "out")
    assert not (course / "variants").exists()


def test_the_command(command: Run, course: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build = ("assignment", "build", "small", "--course-dir", course)
    given = ("--students", "ada,alan", "--out", out)
    done = command(*build, "--variant-by", "student", *given)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Wrote {course / 'source/small/small.ipynb'}" in done.stdout
    assert f"Wrote 2 notebooks, the first: {out / 'ada/small/small.ipynb'}" in done.stdout
    assert command("assignment", "check", "small", "--course-dir", course).returncode == 0
    for arguments, said in [
        (("--variant-by", "group"), "Expected --variant-by student, got 'group'"),
        (given, "Expected --variant-by student beside --students, --out and --seed"),
        (("--seed", "0"), "Expected --variant-by student beside"),
        (("--variant-by", "student"), "has none. Name them: --students"),
        (("--variant-by", "student", "--students", ","), "Expected the ids of students"),
    ]:
        done = command(*build, *arguments)
        assert done.returncode == 2, arguments
        assert said in " ".join(done.stderr.split()), arguments
        assert done.stderr.count("\n") == 1, arguments


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # about nbgrader's own code
def test_students_come_from_the_gradebook(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # nbgrader calls alembic by its bare name
    tools = str(Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([tools, os.environ["PATH"]]))
    with Gradebook(Course(course).directory.db_url, "featx") as book:
        for name in ("bea", "ada"):
            book.add_student(name)
    paths = build_variants("small", course, seed=3)
    assert [path.relative_to(course).parts[1] for path in paths] == ["ada", "bea"]


#: What some students hand in, and the alternatives that they were given.
HANDED_IN = [
    ("right", (QUESTIONS[1], EXERCISES[1])),
    ("right", (QUESTIONS[0], EXERCISES[1])),
    ("wrong", (QUESTIONS[1], EXERCISES[1])),
    ("blank", (QUESTIONS[1], EXERCISES[0])),
]
DESERVED = {"right": [2.0, 1.0, 3.0], "blank": [0.0, 0.0, 0.0]}


def answer(path: Path, chosen: tuple[str, ...], how: str) -> nbformat.NotebookNode:
    notebook = read(path)
    question, common, exercise = (
        load_question(chosen[0]),
        load_question(chosen[1]),
        load_exercise(chosen[2]),
    )
    sources = {
        "right": [
            f'{question.answer_name} = "{question.key}"',
            f'{common.answer_name} = "{common.key}"',
            exercise.solution,
        ],
        "wrong": [
            f'{question.answer_name} = "{next(iter(question.wrong_answers))}"',
            f'{common.answer_name} = "{next(iter(common.wrong_answers))}"',
            exercise.mutant(next(iter(exercise.mutants))),
        ],
    }
    answers = [cell for cell in notebook.cells if cell.id.startswith("answer-")]
    for cell, source in zip(answers, sources.get(how, [c.source for c in answers]), strict=True):
        cell.source = source
    return notebook


@pytest.mark.slow
def test_nbgrader_and_featx_give_what_is_deserved(course: Path, tmp_path: Path, bwrap: str) -> None:
    assignment = load_assignment("small", course)
    build_assignment("small", course)
    Course(course).release("small")
    numbers = (f"s{number}" for number in count())
    students = {}
    for how, pair in HANDED_IN:
        student = next(s for s in numbers if draw_variant("small", assignment, s)[::2] == pair)
        students[student] = how
    deserved = {}
    for path in build_variants("small", course, students):
        student = path.relative_to(course).parts[1]
        how, chosen = students[student], draw_variant("small", assignment, student)
        notebook = answer(path, chosen, how)
        folder = course / "submitted" / student / "small"
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / "small.ipynb")
        if how == "wrong":
            exercise = load_exercise(chosen[2])
            seen = exercise.observe(namespace_of(exercise.mutant(next(iter(exercise.mutants)))), 1)
            deserved[student] = [0.0, 0.0, 3 * exercise.judge(seen, 1).score]
        else:
            deserved[student] = DESERVED[how]

    # who has the first of all gets what nbgrader itself would hand out
    numbers = (f"t{number}" for number in count())
    first = (QUESTIONS[0], EXERCISES[0])
    student = next(s for s in numbers if draw_variant("small", assignment, s)[::2] == first)
    (default,) = build_variants("small", course, [student], tmp_path / "out")
    assert read(default).cells == read(course / "release/small/small.ipynb").cells

    other = tmp_path / "other"
    shutil.copytree(course, other)
    done = python(course, "-m", "nbgrader", "autograde", "small")
    assert "does not exist in the database" not in done.stderr
    changed = re.findall(r"for cell (\S+) has changed", done.stderr)
    assert all(cell.startswith("test-") for cell in changed)  # they get their hidden tests
    graded = grade("small", other, jobs=1)
    assert [each.fault for each in graded] == [""] * len(students)
    assert [note for each in graded for note in each.notes] == []

    for folder in (course, other):
        recorded = Course(folder).marks("small")
        assert set(recorded) == set(students)
        for student, marks in recorded.items():
            earned = [marks["small", f"test-{name}"] for name in ("slot-1", "few-labels", "slot-3")]
            assert earned == pytest.approx(deserved[student], abs=0.01), (folder, student)
            check_shown(folder / "autograded" / student / "small/small.ipynb", student, assignment)
    outcomes = {
        each.student: {cell: score.outcome for (_, cell), score in each.scores.items()}
        for each in graded
    }
    for student, how in students.items():
        assert outcomes[student]["test-slot-1"] == {"right": "correct", "blank": "missing"}.get(
            how, "wrong"
        )


def check_shown(path: Path, student: str, assignment: Assignment) -> None:
    """Check that a graded notebook shows the student's own prompts, each once."""
    chosen = draw_variant("small", assignment, student)
    sources = [cell.source for cell in read(path).cells]
    shown = "\n".join(source for source in sources if source.startswith("#"))
    assert re.findall(r"^## (\d)\.", shown, re.M) == ["1", "2", "3"]
    assert load_question(chosen[0]).prompt in shown
    assert load_exercise(chosen[2]).prompt in shown
    assert sum(source.startswith("# Try it") for source in sources) == 1
    assert load_exercise(chosen[2]).visible_test in "\n".join(sources)
