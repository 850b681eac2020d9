"""Every lesson has the same form, and runs from top to bottom with the network cut off."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import nbformat
import pytest
import yaml
from spellchecker import SpellChecker

from featx.study.bank import list_questions, load_cards
from featx.study.exercises import Exercise, list_exercises, load_exercise

LESSONS = sorted((Path(__file__).parents[2] / "lessons").glob("*.ipynb"))
SECTIONS = [
    "Why",
    "Idea",
    "Code",
    "See",
    "Measure",
    "Experiment",
    "Debug",
    "Practice",
    "Review",
    "Test",
    "Take-aways",
]

# What a learner is to write: the line of the lesson, the right one, and what the cell shows then.
SOLUTIONS = Path(__file__).with_name("solutions")


def solved(path: Path) -> tuple[nbformat.NotebookNode, dict[int, str]]:
    """Return a lesson with all its solutions put in, and what the changed cells must show."""
    notebook = nbformat.read(path, as_version=4)
    cells, expected = notebook.cells, {}
    for task in yaml.safe_load((SOLUTIONS / f"{path.stem}.yaml").read_text(encoding="utf-8")):
        (place,) = [i for i, cell in enumerate(cells) if task["line"] in cell.source]
        cells[place].source = cells[place].source.replace(task["line"], task["solution"].rstrip())
        expected[place] = task["shows"]
    for i, exercise in exercise_cells(notebook).items():
        cells[i].source = cells[i].source.replace(exercise.starter.rstrip(), exercise.solution)
        expected[i] = "Correct"
    return notebook, expected


def exercise_cells(notebook: nbformat.NotebookNode) -> dict[int, Exercise]:
    found = {}
    for i, cell in enumerate(notebook.cells):
        call = re.search(r'^check\("([a-z0-9-]+)"', cell.source, re.MULTILINE)
        if cell.cell_type == "code" and call:
            found[i] = load_exercise(call[1])
    return found


def name_of(path: Path) -> str:
    return path.stem


def headings(path: Path) -> list[str]:
    """Return the headings of a notebook, as ``## Why``; lines of code are not among them."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.findall(r"^#+ .*$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)


def links(path: Path) -> list[str]:
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    return re.findall(r"\]\(([^)\s]+)\)", text)


def test_all_lessons_are_there() -> None:
    assert [path.stem[:2] for path in LESSONS] == [f"{number:02d}" for number in range(13)]
    assert {path.stem for path in SOLUTIONS.iterdir()} == {path.stem for path in LESSONS}


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_sections_stand_in_order(path: Path) -> None:
    assert [h.removeprefix("## ") for h in headings(path) if h.startswith("## ")] == SECTIONS
    number = path.stem[:2]
    title = next(h for h in headings(path) if h.startswith("# "))
    assert title.startswith(f"# {number} ")


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_objectives_and_minutes_stand_on_top(path: Path) -> None:
    top = nbformat.read(path, as_version=4).cells[0].source
    _, objectives = top.split("After this lesson you can\n")
    assert len(re.findall(r"^- ", objectives, re.MULTILINE)) >= 3
    assert re.search(r"^\*\*Minutes:\*\* about \d+\.", objectives, re.MULTILINE)


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_take_aways_are_a_list(path: Path) -> None:
    last = nbformat.read(path, as_version=4).cells[-1].source
    assert last.startswith("## Take-aways\n")
    assert len(re.findall(r"^- ", last, re.MULTILINE)) >= 3


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    found = links(path)
    assert found
    for link in found:
        file, _, anchor = link.partition("#")
        target = path.parent / file
        assert target.is_file(), link
        if anchor:  # JupyterLab makes anchors of headings by writing dashes for blanks
            anchors = {h.lstrip("# ").replace(" ", "-") for h in headings(target)}
            assert anchor in anchors, link


def test_start_here_links_every_section_of_every_lesson() -> None:
    start, *others = LESSONS
    wanted = {f"{path.name}#{section}" for path in others for section in SECTIONS[:-1]}
    assert wanted <= set(links(start))


def test_start_here_says_the_minutes_of_each_lesson() -> None:
    start, *others = LESSONS
    text = nbformat.read(start, as_version=4)
    rows = "\n".join(cell.source for cell in text.cells if cell.cell_type == "markdown")
    for path in others:
        top = nbformat.read(path, as_version=4).cells[0].source
        minutes = re.search(r"^\*\*Minutes:\*\* about (\d+)\.", top, re.MULTILINE)
        assert minutes
        assert f"]({path.name}) | {minutes[1]} |" in rows


@pytest.mark.parametrize("place", range(13))
def test_a_lesson_links_the_one_before_and_the_next_above_and_below(place: int) -> None:
    cells = nbformat.read(LESSONS[place], as_version=4).cells
    neighbours = [LESSONS[i].name for i in (place - 1, place + 1) if 0 <= i < len(LESSONS)]
    for cell in (cells[0], cells[-1]):
        assert set(neighbours) <= set(re.findall(r"\]\(([^)\s#]+)\)", cell.source))


@pytest.mark.parametrize("path", LESSONS[1:], ids=name_of)
def test_a_lesson_has_a_knob_two_bugs_and_a_guess_before_results(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells)
    assert re.search(r"^explore\(", text, re.MULTILINE)
    bugs = re.findall(r"^### Bug \d: ", text, re.MULTILINE)
    fixes = yaml.safe_load((SOLUTIONS / f"{path.stem}.yaml").read_text(encoding="utf-8"))
    assert len(bugs) >= 2
    assert sum(task["shows"].startswith("Fixed") for task in fixes) >= len(bugs)
    assert text.count("**Predict") >= 9  # one a section, or nearly


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_words_are_spelled_right(path: Path) -> None:
    """Names and terms that no general dictionary has stand in ``words.txt``."""
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    no_prose = r"```.*?```|`[^`]*`|<code>.*?</code>|<[^>]*>|https?://\S+|\]\([^)]*\)"
    words = re.findall(r"[A-Za-z]{3,}(?:'[a-z]+)?", re.sub(no_prose, " ", text, flags=re.DOTALL))
    ours = set(Path(__file__).with_name("words.txt").read_text(encoding="utf-8").split())
    assert (
        SpellChecker().unknown({word.lower().removesuffix("'s") for word in words} - ours) == set()
    )


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_every_question_and_exercise_of_the_lesson_is_used(path: Path) -> None:
    """An exercise is there word for word as it is in an assignment."""
    notebook = nbformat.read(path, as_version=4)
    lesson = int(path.stem[:2])
    used = exercise_cells(notebook)
    assert sorted(exercise.id for exercise in used.values()) == list_exercises(lesson)
    for i, exercise in used.items():
        assert notebook.cells[i].source.startswith(exercise.starter.rstrip()), exercise.id
        assert notebook.cells[i].source.endswith(f'check("{exercise.id}", {exercise.entry});')
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    if list_questions(lesson):
        assert f"quiz(lesson={lesson})" in code
    if load_cards(lesson):
        assert f"flashcards(lesson={lesson})" in code
    for exercise in used.values():
        assert f'hint("{exercise.id}")' in code
        assert f'solution("{exercise.id}", insist=True)' in code


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_file_is_clean(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(notebook)
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert notebook["metadata"] == {
        "kernelspec": {
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(ids) == len(set(ids))
    for cell in notebook["cells"]:
        assert cell["source"], f"cell {cell['id']} is empty"
        assert cell["metadata"] in ({}, {"jupyter": {"source_hidden": True}})
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_every_picture_is_described(path: Path) -> None:
    """The text after a cell that draws says what the picture shows."""
    cells = nbformat.read(path, as_version=4).cells
    drawing = [
        i
        for i, cell in enumerate(cells)
        if cell.cell_type == "code"
        and re.search(r"plots\.plot_|plt\.subplots|\.plot\(", cell.source)
        and "<img" not in cell.source  # such a cell writes its own alt text
    ]
    assert drawing
    for i in drawing:
        assert re.search(r"\*The picture shows\b", cells[i + 1].source), cells[i].source


@pytest.mark.slow
@pytest.mark.no_network
@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_lesson_runs_offline(path: Path, offline, tmp_path: Path, record_property) -> None:
    """It runs as it is, and with the solutions; what they do not touch comes out the same twice."""
    as_it_is = nbformat.read(path, as_version=4)
    start = time.monotonic()
    first = execute(as_it_is, offline, tmp_path / path.name)
    record_property("seconds", round(time.monotonic() - start, 1))

    notebook, expected = solved(path)
    second = execute(notebook, offline, tmp_path / f"solved_{path.name}")
    for i, (one, other) in enumerate(zip(first, second, strict=True)):
        if i in expected:
            assert expected[i] not in one, as_it_is.cells[i].source
            assert expected[i] in other, f"{as_it_is.cells[i].source}\n{other}"
        else:
            assert one == other, as_it_is.cells[i].source


def execute(notebook: nbformat.NotebookNode, offline, file: Path) -> list[str]:
    """Run a notebook with the network cut off; return what each cell shows, as text."""
    nbformat.write(notebook, file)
    command = ["-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", file]
    # One thread: two that wait for each other are far slower than one where other tests run too.
    done = offline(command, cwd=file.parent, timeout=600, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    shown = []
    for cell in nbformat.read(file, as_version=4).cells:
        outputs = cell.get("outputs", [])
        assert not [o for o in outputs if o.get("name") == "stderr"], outputs
        texts = [o["text"] if o.output_type == "stream" else text_of(o.data) for o in outputs]
        shown.append("".join(texts))  # a kernel may send one print in two pieces
        assert "Warning" not in shown[-1], shown[-1]
    if any("ipywidgets" in cell.source or "quiz(" in cell.source for cell in notebook.cells):
        assert any("VBox(" in text for text in shown)
    return shown


def text_of(data: dict) -> str:
    return data.get("text/html") or data.get("text/plain", "")
