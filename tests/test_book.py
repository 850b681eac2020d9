"""What stops the building of the book is one sentence. (tests/browser/test_book.py reads the book itself.)"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


@pytest.fixture
def book(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``docs/book.py``, with a folder of lessons that is empty yet."""
    monkeypatch.syspath_prepend(root / "docs")
    import book

    (tmp_path / "lessons").mkdir()
    monkeypatch.setattr(book, "ROOT", tmp_path)
    return book


def write_lesson(folder: Path, name: str, code: str) -> Path:
    cells = [new_markdown_cell("# A lesson\n\nIts text."), new_code_cell(code)]
    path = folder / "lessons" / name
    nbformat.write(new_notebook(cells=cells), path)
    return path


#: A process of its own, for nbclient leaves loops and sockets open in it; its paths and limit are the test's.
BUILD = """
import sys
from pathlib import Path
import book
book.ROOT, book.LIMIT = Path(sys.argv[1]), int(sys.argv[2])
sys.exit(book.main(["--out", f"{sys.argv[1]}/out", "--jobs", "1"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "code", "said"),
    [
        (1, "import time; time.sleep(60)", "to end within 1 s, but one did not. Try --jobs 1"),
        (120, "import os; os._exit(1)", "its kernel failed: Kernel died. If memory was short"),
        (120, "1 / 0", "a cell raised an error. Mend the cell:"),
    ],
    ids=["too long", "kernel died", "error"],
)
def test_a_lesson_that_stops_is_named(root, book, tmp_path, limit, code, said):
    write_lesson(tmp_path, "04_heads.ipynb", code)
    done = subprocess.run(
        [sys.executable, "-c", BUILD, tmp_path, str(limit)],
        cwd=root / "docs",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert re.search(rf"^Expected .*04_heads\.ipynb .*{re.escape(said)}", done.stderr, re.MULTILINE)
    assert "Traceback (most recent call last):\n" not in done.stderr
    assert list((tmp_path / "out" / "executed").iterdir()) == []


def test_a_lesson_that_is_not_there(book, tmp_path, capsys):
    write_lesson(tmp_path, "00_start.ipynb", "1")
    write_lesson(tmp_path, "04_heads.ipynb", "1")
    assert book.main(["--out", str(tmp_path / "out"), "--lessons", "00", "99"]) == 2
    assert "Expected some of 00 04 for --lessons, got 99." in capsys.readouterr().err
    assert book.main(["--out", str(tmp_path / "out"), "--jobs", "0"]) == 2
    assert "Expected --jobs to be a whole number from 1, got 0." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_that_a_page_links_from_below_is_laid_out_and_stays(book, tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "scale.md").write_text("[The license](../LICENSE)")
    (tmp_path / "LICENSE").write_text("BSD")
    monkeypatch.setattr(book, "PAGES", {"docs/scale.md": "docs/scale.md"})
    for _ in range(2):
        book.lay_out(tmp_path / "source", {})
        assert (tmp_path / "source" / "LICENSE").read_text() == "BSD"


def test_what_the_hash_of_a_lesson_leaves_out_no_lesson_uses(book, root):
    """That nothing below them imports it either, import-linter holds."""
    for path in (root / "lessons").glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            code = cell.source if cell.cell_type == "code" else ""
            assert not re.search(rf"\b({'|'.join(book.UNSEEN)})\b", code), path


def test_every_package_that_a_lesson_imports_is_in_its_hash(book, root, tmp_path, monkeypatch):
    code = [
        ast.parse(cell.source)
        for path in (root / "lessons").glob("*.ipynb")
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code" and "%" not in cell.source[:1]
    ]
    nodes = [node for tree in code for node in ast.walk(tree)]
    names = {alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names}
    names |= {str(n.module) for n in nodes if isinstance(n, ast.ImportFrom)}
    known = importlib.metadata.packages_distributions()
    used = {known[top][0].lower() for name in names if (top := name.partition(".")[0]) in known}
    assert "pillow" in used
    assert used - {"featx"} <= {*book.PACKAGES}
    found = {book._surroundings()}
    for each in book.PACKAGES:
        newer = dict.fromkeys(book.PACKAGES, "1") | {each: "2"}
        monkeypatch.setattr(book, "version", newer.__getitem__)
        found.add(book._surroundings())
    assert len(found) == 1 + len(book.PACKAGES)


def test_an_output_is_made_anew_where_what_it_depends_on_has_changed(book, tmp_path):
    (tmp_path / "docs").mkdir()
    files = [tmp_path / "featx" / name for name in ("study/bank/a.yaml", "grading/b.py", "c.py")]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("1")
    found = [book._surroundings()]
    for file in files:
        file.write_text("2")
        found.append(book._surroundings())
    _, bank, grading, other = found
    assert len({*found}) == 3
    assert bank == grading != other
