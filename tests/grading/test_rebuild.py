"""Only what is the student's is taken over, whatever they hand in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from featx.grading.rebuild import Instructor, rebuild
from featx.grading.submissions import MOST_CELLS, Cell, Unreadable, read_cells


def nbgrader(grade_id: str, **more) -> dict:
    start = {"grade": False, "solution": False, "locked": False, "task": False, "schema_version": 3}
    return {"nbgrader": {**start, "grade_id": grade_id, **more}}


CELLS = [
    new_markdown_cell("Write `f`.", id="prompt"),
    new_code_cell("import torch", id="setup", metadata=nbgrader("setup", locked=True)),
    new_code_cell("# a place for notes", id="notes"),
    new_code_cell("# YOUR CODE", id="a", metadata=nbgrader("answer", solution=True)),
    new_code_cell(
        "assert f(1)", id="t", metadata=nbgrader("test", grade=True, locked=True, points=2)
    ),
    new_markdown_cell("?", id="m", metadata=nbgrader("essay", grade=True, solution=True, points=3)),
]
INSTRUCTOR = Instructor(
    new_notebook(cells=CELLS),
    {"setup": "import torch", "answer": "# YOUR CODE", "test": "# hidden"},
)
ROLES = ["given", "given", "given", "answer", "test", "manual"]


def sources(submitted: list[Cell] | Unreadable) -> list[str]:
    return [part.node.source for part in rebuild(INSTRUCTOR, submitted).parts]


def test_the_answer_is_set_between_the_instructors_cells() -> None:
    rebuilt = rebuild(INSTRUCTOR, [Cell("def f(x): ...", grade_id="answer")])
    assert [part.role for part in rebuilt.parts] == ROLES
    assert rebuilt.parts[3].node.source == "def f(x): ..."
    assert rebuilt.parts[4].node.source == "assert f(1)"
    assert rebuilt.missing == {"essay"}


def test_what_was_given_out_is_no_answer() -> None:
    assert rebuild(INSTRUCTOR, [Cell("# YOUR CODE\n", grade_id="answer")]).missing == {
        "answer",
        "essay",
    }


def test_changed_tests_and_locked_cells_have_no_effect_and_are_told() -> None:
    rebuilt = rebuild(
        INSTRUCTOR,
        [
            Cell("torch = None", grade_id="setup"),
            Cell("pass", grade_id="test"),
            Cell("ok", grade_id="answer"),
        ],
    )
    assert [p.node.source for p in rebuilt.parts if p.role in ("test", "given")] == [
        cell.source for cell in CELLS[:3] + CELLS[4:5]
    ]
    assert sum("was changed" in note for note in rebuilt.notes) == 2


def test_added_cells_stay_behind_the_cell_that_they_stood_behind() -> None:
    taken = sources(
        [
            Cell("first = 1"),
            Cell("import torch", grade_id="setup"),
            Cell("helper = 2"),
            Cell("f = 3", grade_id="answer"),
            Cell("f = 4"),
            Cell("# hidden", grade_id="test"),
            Cell("last = 5"),
        ]
    )
    assert taken == [
        "first = 1",
        "Write `f`.",
        "import torch",
        "helper = 2",
        "# a place for notes",
        "f = 3",
        "f = 4",
        "assert f(1)",
        "last = 5",
        "?",
    ]


def test_an_unlocked_cell_of_the_instructors_is_the_students_to_change() -> None:
    assert "my notes = 1" in sources([Cell("my notes = 1", cell_id="notes")])


REPEATED = Instructor(
    new_notebook(
        cells=[
            new_markdown_cell("---", id="m1"),
            new_code_cell("", id="a1", metadata=nbgrader("first", solution=True)),
            new_markdown_cell("---", id="m2"),
            new_code_cell("", id="a2", metadata=nbgrader("second", solution=True)),
        ]
    ),
    {"first": "", "second": ""},
)


def of_repeated(*submitted: Cell) -> list[str]:
    rebuilt = rebuild(REPEATED, list(submitted))
    assert not rebuilt.notes
    return [part.node.source for part in rebuilt.parts]


def test_a_cell_without_an_id_that_was_moved_is_no_second_one():
    """Order has no effect; what the instructor set up is not set up again behind the answer."""
    moved = [Cell("answer = 1", grade_id="first"), Cell("items = []")]
    setup = Instructor(
        new_notebook(
            cells=[
                new_code_cell("items = []", id="set-up"),
                new_code_cell("", id="a1", metadata=nbgrader("first", solution=True)),
            ]
        ),
        {"first": ""},
    )
    parts = rebuild(setup, moved).parts
    assert [part.node.source for part in parts] == ["items = []", "answer = 1"]


@pytest.mark.parametrize("ids", [("m1", "m2"), (None, None)], ids=["ids", "no ids"])
def test_of_cells_with_one_text_each_is_itself(ids: tuple[str | None, str | None]) -> None:
    assert of_repeated(
        Cell("---", "markdown", ids[0]),
        Cell("f = 1", grade_id="first"),
        Cell("---", "markdown", ids[1]),
        Cell("h = f"),
        Cell("g = h", grade_id="second"),
    ) == ["---", "f = 1", "---", "h = f", "g = h"]


def test_of_cells_with_one_text_one_may_be_gone() -> None:
    assert of_repeated(
        Cell("f = 1", grade_id="first"),
        Cell("---", "markdown"),
        Cell("h = f"),
        Cell("g = h", grade_id="second"),
    ) == ["---", "f = 1", "---", "h = f", "g = h"]


@pytest.mark.parametrize("ids", [("m1", "m2"), (None, None)], ids=["ids", "no ids"])
def test_a_cell_of_the_students_with_a_text_of_the_instructors_is_added(
    ids: tuple[str | None, str | None],
) -> None:
    assert of_repeated(
        Cell("---", "markdown", ids[0]),
        Cell("---", "markdown"),
        Cell("h = 1"),
        Cell("f = h", grade_id="first"),
        Cell("---", "markdown", ids[1]),
        Cell("---", "markdown", "mine"),
        Cell("i = f"),
        Cell("g = i", grade_id="second"),
    ) == ["---", "---", "h = 1", "f = h", "---", "---", "i = f", "g = i"]


def test_a_split_answer_runs_in_order() -> None:
    halves = [Cell("g = 1", grade_id="answer"), Cell("f = g", grade_id="answer")]
    taken = sources(halves)
    assert taken.index("g = 1") < taken.index("f = g") < taken.index("assert f(1)")


def test_an_answer_without_metadata_is_known_by_its_id() -> None:
    assert "f = 1" in sources([Cell("f = 1", cell_id="a")])


@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_an_answer_that_was_turned_into_text_is_code_again(kind: str) -> None:
    rebuilt = rebuild(INSTRUCTOR, [Cell("f = 1", kind, grade_id="answer")])
    assert rebuilt.parts[3].node.cell_type == "code"
    assert rebuilt.parts[3].node.source == "f = 1"


def test_nothing_readable_is_a_notebook_without_answers() -> None:
    rebuilt = rebuild(INSTRUCTOR, Unreadable("the file is empty"))
    assert [part.role for part in rebuilt.parts] == ROLES
    assert rebuilt.missing == {"answer", "essay"}
    assert "the file is empty" in rebuilt.notes[0]


NAMES = ["answer", "test", "setup", "essay", "unknown", None]
SUBMITTED = st.lists(
    st.builds(
        Cell,
        st.text(max_size=30),
        st.sampled_from(["code", "markdown", "raw"]),
        st.sampled_from(["a", "t", "notes", "prompt", "x", None]),
        st.sampled_from(NAMES),
    ),
    max_size=12,
)


@given(SUBMITTED)
def test_the_instructors_cells_are_always_all_there_in_their_order(submitted: list[Cell]) -> None:
    rebuilt = rebuild(INSTRUCTOR, submitted)
    own = [part for part in rebuilt.parts if part.role != "added"]
    assert [part.role for part in own] == ROLES
    assert [part.node.cell_type for part in own] == [cell.cell_type for cell in CELLS]
    for part, cell in zip(own, CELLS, strict=True):
        if part.role in ("test",) or part.grade_id == "setup":
            assert part.node == cell
        assert part.node.metadata == cell.metadata


@given(SUBMITTED)
def test_no_code_of_the_students_is_lost(submitted: list[Cell]) -> None:
    taken = set(sources(submitted))
    for cell in submitted:
        if cell.grade_id is None and cell.cell_id in ("x", None) and cell.cell_type == "code":
            assert cell.source in taken


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["cells", "source", "cell_type", "metadata", "nbgrader", "grade_id", "id", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(max_examples=300)
@given(JSON)
def test_any_json_is_read_or_refused_and_can_be_rebuilt(value: object) -> None:
    rebuilt = rebuild(INSTRUCTOR, read_cells(json.dumps(value).encode()))
    assert len(rebuilt.parts) >= len(CELLS)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    rebuild(INSTRUCTOR, read_cells(content))


@pytest.mark.parametrize("cells", [MOST_CELLS, MOST_CELLS + 1])
def test_a_notebook_of_very_many_cells_is_not_read(cells):
    """Each costs a little time, and a million of empty ones fit into a small file."""
    read = read_cells(json.dumps({"cells": [{"cell_type": "code", "source": ""}] * cells}).encode())
    assert isinstance(read, Unreadable) == (cells > MOST_CELLS)
