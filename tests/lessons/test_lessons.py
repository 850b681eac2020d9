"""Every lesson has the same form, and runs from top to bottom with the network cut off."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from playwright.sync_api import Locator, Page, expect
from spellchecker import SpellChecker
from torch import nn

import featx
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
        and re.search(r"plots\.plot_|plt\.subplots|Figure\(|\.plot\(", cell.source)
    ]
    assert drawing
    for i in drawing:
        assert re.search(r"\*The picture shows\b", cells[i + 1].source), cells[i].source


def test_the_program_of_the_capstone_takes_names_of_several_words(tmp_path: Path) -> None:
    """A learner's own folders may be named ``golden retriever``; the cell compares word by word."""
    (lesson,) = (path for path in LESSONS if path.stem == "11_capstone")
    cells = nbformat.read(lesson, as_version=4).cells
    (cell,) = (each.source for each in cells if "program.write_text(" in each.source)
    images = featx.datasets.load_digits().images[:4]
    backbone = featx.load_backbone("glyphnet")
    names = ["golden retriever", "fox terrier"]
    head = nn.Linear(backbone.num_features, 2)
    saved = {
        "backbone": backbone.name,
        "weights_id": backbone.weights_id,
        "class_names": names,
        "head": head.state_dict(),
        "threshold": None,
    }
    torch.save(saved, tmp_path / "model.pt")
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image[0].numpy()).save(path)
    features = featx.extract(backbone, paths, progress=False).X[:]
    with torch.inference_mode():
        expected = head(torch.from_numpy(features)).softmax(1).numpy()
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        exec(
            cell,
            {
                "results": tmp_path,
                "model_file": tmp_path / "model.pt",
                "test": np.arange(4),
                "paths": paths,
                "expected": expected,
                "saved": saved,
                "answers_of": lambda scores, _: [names[i] for i in scores.argmax(1)],
                "np": np,
                "subprocess": subprocess,
                "sys": sys,
            },
        )
    assert shown.getvalue() == "4 answers, as in this notebook: 1.00\n"


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.no_network
@pytest.mark.parametrize("path", LESSONS, ids=name_of)
def test_lesson_runs(path: Path, lab: Any, page: Page, offline, tmp_path: Path) -> None:
    """In JupyterLab as it is, and offline with the solutions; all else comes out the same twice."""
    as_it_is = run_in_the_lab(path.stem, lab, page)
    notebook, expected = solved(path)
    with_solutions = run_offline(notebook, offline, tmp_path / path.name)
    for i, (one, other) in enumerate(zip(as_it_is, with_solutions, strict=True)):
        source = notebook.cells[i].source
        if i in expected:
            assert expected[i] not in one, source
            assert expected[i] in other, f"{source}\n{other}"
        else:
            assert one == other, source


def run_in_the_lab(name: str, lab: Any, page: Page) -> list[str]:
    """Run a lesson in the browser, use its knob and its questions by keys; return what cells show."""
    lab.open(page, name)
    lab.run_all(page)
    deadline = time.monotonic() + 600  # a busy machine is not a fault of the lesson
    cells: list[Any] = []
    while not cells or any(c.cell_type == "code" and not c.execution_count for c in cells):
        assert time.monotonic() < deadline, f"{name} did not run to its end"
        page.wait_for_timeout(2000)
        lab.save(page)
        cells = nbformat.read(lab.folder / f"{name}.ipynb", as_version=4).cells
        errors = [o for c in cells for o in c.get("outputs", []) if o.output_type == "error"]
        assert not errors, errors
    shots = os.environ.get("FEATX_SCREENSHOTS")  # a folder, to look at what a learner sees
    for call, use in {"explore(": turn_the_knob, "quiz(": ask_for_a_verdict}.items():
        for place, cell in enumerate(cells):
            if re.search(rf"^{re.escape(call)}", cell.source, re.MULTILINE):
                use(scrolled_to(page, place))
                if shots:
                    page.screenshot(path=f"{shots}/{name}_{call[:-1]}.png")
    lab.stop_kernels(page)
    return [text_of(cell) for cell in cells]


def scrolled_to(page: Page, place: int) -> Locator:
    """Scroll to a cell, for JupyterLab keeps only what is in sight, and return its outputs."""
    notebook = "window.jupyterapp.shell.currentWidget.content"
    page.evaluate(f"place => {notebook}.scrollToItem(place, 'start')", place)
    cell = page.locator(f'.jp-Cell[data-windowed-list-index="{place}"]')
    output = cell.locator(".jp-OutputArea").last
    output.scroll_into_view_if_needed()
    return output


def turn_the_knob(output: Locator) -> None:
    """Move the first control by keys alone: what is shown follows."""
    status = output.get_by_role("status")
    before = status.inner_text()
    knob = output.get_by_role("slider").or_(output.get_by_role("radio")).first
    knob.focus()
    if knob.get_attribute("role") == "slider":
        at_end = knob.get_attribute("aria-valuenow") == knob.get_attribute("aria-valuemax")
        knob.press("ArrowLeft" if at_end else "ArrowRight")
    else:
        knob.press("Tab")
        output.page.keyboard.press("Space")
    expect(status).not_to_have_text(before)


def ask_for_a_verdict(output: Locator) -> None:
    """Press the first button by keys alone: it asks for an answer, or judges one."""
    output.get_by_role("button", name="Check").first.focus()
    output.page.keyboard.press("Enter")
    expect(output.get_by_role("alert").first).to_be_visible()


def run_offline(notebook: nbformat.NotebookNode, offline, file: Path) -> list[str]:
    """Run a notebook with the network cut off; return what each cell shows, as text."""
    nbformat.write(notebook, file)
    command = ["-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", file]
    # One thread: two that wait for each other are far slower than one where other tests run too.
    done = offline(command, cwd=file.parent, timeout=600, env={"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    return [text_of(cell) for cell in nbformat.read(file, as_version=4).cells]


def text_of(cell: nbformat.NotebookNode) -> str:
    """Return what a cell shows; there is no warning in it, and a widget where one is made."""
    outputs = cell.get("outputs", [])
    assert not [o for o in outputs if o.get("name") == "stderr"], outputs
    texts = [
        o.text
        if o.output_type == "stream"
        else o.data.get("text/html") or o.data.get("text/plain", "")
        for o in outputs
    ]
    text = "".join(texts)  # a kernel may send one print in two pieces
    assert "Warning" not in text, text
    if cell.cell_type == "code" and re.search(r"^(explore|quiz|exam)\(", cell.source, re.MULTILINE):
        assert "VBox(" in text
    return text
