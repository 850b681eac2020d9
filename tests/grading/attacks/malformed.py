"""Files that are not what they should be: each gets a grade, and the batch goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.grading.attacks.course import ANSWERS, NAME, NONE, Case, cell_of, code, grade_id_of, save

FILE = f"{NAME}.ipynb"


def content(make: Callable[[dict[str, Any]], bytes]) -> Callable[[Path, dict[str, Any]], None]:
    """Return a way to write the notebook's file with these bytes."""

    def write(folder: Path, notebook: dict[str, Any]) -> None:
        (folder / FILE).write_bytes(make(notebook))

    return write


def nothing(folder: Path, notebook: dict[str, Any]) -> None: ...


def named(name: str) -> Callable[[Path, dict[str, Any]], None]:
    return lambda folder, notebook: (folder / name).write_text(json.dumps(notebook)) and None


def link_to_neighbour(folder: Path, notebook: dict[str, Any]) -> None:
    (folder / FILE).symlink_to(folder.parents[1] / "correct" / NAME / FILE)


def link_to_folder(folder: Path, notebook: dict[str, Any]) -> None:
    folder.rmdir()
    folder.symlink_to(folder.parents[1] / "correct" / NAME)


def a_folder(folder: Path, notebook: dict[str, Any]) -> None:
    (folder / FILE).mkdir()


def a_pipe(folder: Path, notebook: dict[str, Any]) -> None:
    os.mkfifo(folder / FILE)


def format_3(notebook: dict[str, Any]) -> bytes:
    cells = [
        {**{k: v for k, v in cell.items() if k != "source"}, "input": cell["source"]}
        for cell in notebook["cells"]
    ]
    return json.dumps({"nbformat": 3, "metadata": {}, "worksheets": [{"cells": cells}]}).encode()


def thirty_megabytes(notebook: dict[str, Any]) -> None:
    picture = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"image/png": "A" * 30_000_000},
    }
    cell_of(notebook, "answer-square")["outputs"] = [picture]


def without(*names: str) -> Callable[[dict[str, Any]], None]:
    def change(notebook: dict[str, Any]) -> None:
        notebook["cells"] = [c for c in notebook["cells"] if grade_id_of(c) not in names]

    return change


def duplicated(notebook: dict[str, Any]) -> None:
    notebook["cells"] = [json.loads(json.dumps(c)) for c in notebook["cells"] for _ in range(2)]


def only_answers(notebook: dict[str, Any]) -> None:
    notebook["cells"] = [
        c for c in notebook["cells"] if (grade_id_of(c) or "").startswith("answer")
    ]


def strange_cells(notebook: dict[str, Any]) -> None:
    strange = [
        None,
        3,
        "cell",
        {"cell_type": "code"},
        {"source": 3},
        {"cell_type": 1, "source": []},
    ]
    notebook["cells"] += [
        *strange,
        code("x = 1", metadata=None),
        code("y = 1", metadata={"nbgrader": 3}),
    ]


def no_metadata(notebook: dict[str, Any]) -> None:
    for cell in notebook["cells"]:
        cell["metadata"] = {}


def no_metadata_and_ids(notebook: dict[str, Any]) -> None:
    no_metadata(notebook)
    for cell in notebook["cells"]:
        del cell["id"]


def strange_files(folder: Path, notebook: dict[str, Any]) -> None:
    save(folder, notebook)
    for name in ("a b.txt", "ü.txt", "-rf", "x" * 200, "new\nline", ".hidden", "timestamp.txt"):
        (folder / name).write_text("no time at all")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")


CASES = [
    Case("no-file", marks=NONE, write=nothing, outcomes={"square": "missing"}, notes="missing"),
    Case("empty-file", marks=NONE, write=content(lambda _: b""), notes="empty"),
    Case(
        "not-json",
        marks=NONE,
        write=content(lambda _: b"def square(x): return x * x"),
        notes="JSON",
    ),
    Case("binary", marks=NONE, write=content(lambda _: bytes(range(256)) * 10), notes="JSON"),
    Case(
        "truncated", marks=NONE, write=content(lambda n: json.dumps(n).encode()[:-50]), notes="JSON"
    ),
    Case("deep-json", marks=NONE, write=content(lambda _: b"[" * 200_000), notes="JSON"),
    Case("json-list", marks=NONE, write=content(lambda _: b"[1, 2]"), notes="no cells"),
    Case("json-number", marks=NONE, write=content(lambda _: b"NaN"), notes="no cells"),
    Case(
        "cells-is-text", marks=NONE, write=content(lambda _: b'{"cells": "all"}'), notes="no cells"
    ),
    Case("format-3", write=content(format_3)),
    Case("misnamed", write=named("attacked (1).ipynb"), notes="was taken for"),
    Case("wrong-extension", marks=NONE, write=named("attacked.ipynb.txt"), notes="missing"),
    Case("link-to-neighbour", marks=NONE, write=link_to_neighbour, notes="link"),
    Case("link-to-folder", marks=NONE, write=link_to_folder, notes="no folder"),
    Case("folder-for-file", marks=NONE, write=a_folder, notes="missing"),
    Case("pipe-for-file", marks=NONE, write=a_pipe, notes="no plain file"),
    Case("thirty-megabytes", change=thirty_megabytes),
    Case(
        "lost-answer",
        change=without("answer-square"),
        marks={"square": 0.0},
        outcomes={"square": "missing"},
    ),
    Case("lost-test", change=without("test-square")),
    Case("lost-tests", change=without(*(f"test-{name}" for name in ANSWERS))),
    Case("lost-setup", change=without("setup")),
    Case("duplicated-cells", change=duplicated),
    Case("only-answers", change=only_answers),
    Case("strange-cells", change=strange_cells),
    Case("lost-metadata", change=no_metadata),
    # the functions are there, but what was given out stands behind them
    Case(
        "lost-metadata-and-ids",
        change=no_metadata_and_ids,
        marks={"first": 0.0, "choice": 0.0, "baseline": 0.0},
    ),
    Case("strange-files", write=strange_files, notes="link"),
    Case("lone-surrogate", {"square": "x = '\udcff'\n" + ANSWERS["square"]}),
    Case("null-character", {"square": "x = '\\0'\n" + ANSWERS["square"]}),
    Case(" odd' name;$(x)", write=save),
]
