"""A learner's first minutes: `make lab`, a real browser, the lesson run from top to bottom."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import URLError

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

LESSONS = Path(__file__).parents[2] / "lessons"

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def lab(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Run `make lab` on a copy of the lessons; yield the address that it prints, and the folder."""
    folder = tmp_path_factory.mktemp("lessons")
    log = folder.parent / "lab.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        "make",
        "lab",
        f"VENV={sys.prefix}",
        f"PORT={port}",
        f"LAB_FLAGS=--folder {folder} --no-browser --expose-app-in-browser",
    ]
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    # as on a first start: no tabs or settings of an earlier session
    env["FEATX_DATA_DIR"] = str(folder.parent / "progress")
    env["JUPYTERLAB_WORKSPACES_DIR"] = str(folder.parent / "workspaces")
    env["JUPYTERLAB_SETTINGS_DIR"] = str(folder.parent / "settings")
    with log.open("w") as out:
        server = subprocess.Popen(
            command, cwd=root, stdout=out, stderr=out, env=env, start_new_session=True
        )
    try:
        yield _printed_address(server, log, port), folder
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _printed_address(server: subprocess.Popen, log: Path, port: int) -> str:
    """Wait until the server prints its address, as a learner without a browser would read it."""
    pattern = re.compile(rf"http://(?:localhost|127\.0\.0\.1):{port}/lab\S*token=\w+")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        found = pattern.search(log.read_text())
        # it is printed a moment before the server listens
        with contextlib.suppress(URLError):
            if found and urllib.request.urlopen(found.group()).status == 200:
                return found.group()
        time.sleep(0.5)
    raise AssertionError(f"make lab printed no address:\n{log.read_text()}")


def test_lab_opens_on_the_first_lesson(lab: tuple[str, Path], page: Page) -> None:
    address, _ = lab
    assert "/lab/tree/00_start_here.ipynb" in address
    page.goto(address)
    expect(page.locator(".jp-NotebookPanel")).to_be_visible()
    expect(page.locator(".lm-TabBar-tabLabel", has_text="00_start_here.ipynb")).to_be_visible()
    _wait_for_idle_kernel(page)
    expect(page.get_by_text("official Jupyter news")).to_be_hidden()  # nothing asks for a network


@pytest.mark.parametrize("lesson", [path.stem for path in sorted(LESSONS.glob("*.ipynb"))])
def test_lesson_runs_in_the_browser(lab: tuple[str, Path], page: Page, lesson: str) -> None:
    """It runs to its end without an error; its knob and its questions answer to keys alone."""
    address, folder = lab
    page.goto(address.replace("00_start_here", lesson) + "&reset")  # close the other lesson's tab
    page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell").first.wait_for()
    _wait_for_idle_kernel(page)
    _run_all(page)

    notebook = folder / f"{lesson}.ipynb"
    deadline = time.monotonic() + 600  # a busy machine is not a fault of the lesson
    while True:
        _save(page)
        cells = json.loads(notebook.read_text())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        outputs = [output for cell in code for output in cell["outputs"]]
        wrong = [o for o in outputs if o["output_type"] == "error" or o.get("name") == "stderr"]
        assert not wrong, wrong
        if all(cell["execution_count"] for cell in code):
            break
        assert time.monotonic() < deadline, f"{lesson} did not run to its end"
        page.wait_for_timeout(1000)
    assert outputs

    shots = os.environ.get("FEATX_SCREENSHOTS")  # a folder, to look at what a learner sees
    for call, use in {"explore(": _turn_the_knob, "quiz(": _ask_for_a_verdict}.items():
        for place, cell in enumerate(cells):
            if re.search(rf"^{re.escape(call)}", "".join(cell["source"]), re.MULTILINE):
                use(_shown(page, place))
                if shots:
                    page.screenshot(path=f"{shots}/{lesson}_{call[:-1]}.png")
    _stop_kernels(page)


def _shown(page: Page, place: int) -> Locator:
    """Scroll to a cell, for JupyterLab keeps only what is in sight, and return its outputs."""
    notebook = "window.jupyterapp.shell.currentWidget.content"
    page.evaluate(f"place => {notebook}.scrollToItem(place, 'start')", place)
    cell = page.locator(f'.jp-Cell[data-windowed-list-index="{place}"]')
    output = cell.locator(".jp-OutputArea").last
    output.scroll_into_view_if_needed()
    return output


def _turn_the_knob(output: Locator) -> None:
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


def _ask_for_a_verdict(output: Locator) -> None:
    """Press the first button by keys alone: it asks for an answer, or judges one."""
    output.get_by_role("button", name="Check").first.focus()
    output.page.keyboard.press("Enter")
    expect(output.get_by_role("alert").first).to_be_visible()


def _stop_kernels(page: Page) -> None:
    """Each kernel holds torch in memory; thirteen of them are too many for a small machine."""
    page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")


def test_a_report_reads_well_in_both_themes(
    lab: tuple[str, Path], page: Page, least_contrast: Callable[..., float]
) -> None:
    address, folder = lab
    code = (
        "import featx\n"
        "report = featx.evaluate(['cat'] * 60 + ['dog'] * 40,\n"
        "    ['cat'] * 50 + ['dog'] * 10 + ['cat'] * 5 + ['dog'] * 35, positive='cat')\n"
        "report"
    )
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    cell = nbformat.v4.new_code_cell(code)
    notebook = nbformat.v4.new_notebook(metadata=python, cells=[cell])
    nbformat.write(notebook, folder / "report.ipynb")
    page.goto(address.replace("00_start_here", "report") + "&reset")
    _wait_for_idle_kernel(page)
    _run_all(page)
    output = page.locator(".jp-RenderedHTMLCommon", has_text="Verdict: mixed")
    expect(output).to_be_visible()
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme
        )
        kind = "false" if theme.endswith("Dark") else "true"
        expect(page.locator("body")).to_have_attribute("data-jp-theme-light", kind)
        assert least_contrast(output) >= 4.5, theme
        shots = os.environ.get("FEATX_SCREENSHOTS")
        if shots:
            page.screenshot(path=f"{shots}/report_{theme.split()[1]}.png")


# One question of each kind; a card, an exam and the progress stand in the same notebook.
STUDY = """\
from featx.study import check, exam, flashcards, progress, quiz
from featx.study.bank import list_questions, load_question
kinds = {load_question(each).kind: each for each in list_questions()}
for each in kinds.values():
    quiz(each)
# ---
quiz("freeze-order")
# ---
quiz(kinds["several-choices"])
# ---
quiz(kinds["value"])
# ---
flashcards(lesson=1)
# ---
exam(seed=1)
# ---
check("freeze-all-but-head", lambda model, num_classes: model)
# ---
progress()"""


def test_the_study_widgets_are_for_everyone(
    lab: tuple[str, Path], page: Page, least_contrast: Callable[..., float]
) -> None:
    """They work with the keyboard only, and axe-core finds nothing in either theme."""
    address, folder = lab
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    cells = [nbformat.v4.new_code_cell(source) for source in STUDY.split("\n# ---\n")]
    notebook = nbformat.v4.new_notebook(metadata=python, cells=cells)
    nbformat.write(notebook, folder / "study.ipynb")
    page.goto(address.replace("00_start_here", "study") + "&reset")
    _wait_for_idle_kernel(page)
    _run_all(page)

    def output_of(call: str) -> Locator:
        return page.locator(".jp-Cell", has_text=call).locator(".jp-OutputArea").last

    output = output_of('quiz("freeze-order")')
    options = output.get_by_role("radio")
    expect(options).to_have_count(4)
    expect(page.get_by_text("Your progress:")).to_be_attached()

    # Tab moves, Space chooses, Enter on the button checks: the focus goes in this order.
    options.first.focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(options.nth(1)).to_be_checked()
    for _ in range(3):
        page.keyboard.press("Tab")
    expect(output.get_by_role("button", name="Check")).to_be_focused()
    page.keyboard.press("Enter")
    expect(output.get_by_role("alert")).to_contain_text("Not right yet")

    several = output_of('quiz(kinds["several-choices"])')
    boxes = several.get_by_role("checkbox")
    boxes.first.focus()
    page.keyboard.press("Space")
    expect(boxes.first).to_be_checked()
    for _ in range(boxes.count()):
        page.keyboard.press("Tab")
    expect(several.get_by_role("button", name="Check")).to_be_focused()
    page.keyboard.press("Enter")
    expect(several.get_by_role("alert")).to_be_visible()

    value = output_of('quiz(kinds["value"])')
    value.get_by_role("textbox", name="Answer").focus()
    page.keyboard.type("-1")
    page.keyboard.press("Tab")
    expect(value.get_by_role("button", name="Check")).to_be_focused()
    page.keyboard.press("Enter")
    expect(value.get_by_role("alert")).to_contain_text("Not right yet")

    cards = output_of("flashcards(lesson=1)")
    cards.get_by_role("button", name="Show the answer").first.focus()
    page.keyboard.press("Enter")
    expect(cards.get_by_role("alert")).to_be_visible()
    page.keyboard.press("Tab")
    expect(cards.get_by_role("button", name="I knew it").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(cards.get_by_role("alert")).to_have_count(2)

    paper = output_of("exam(seed=1)")
    paper.get_by_role("button", name="Hand in").focus()
    page.keyboard.press("Enter")
    expect(paper.get_by_role("alert")).to_contain_text("10 of 10 have no answer yet")
    page.keyboard.press("Enter")
    expect(paper.get_by_role("alert")).to_contain_text("See lesson")

    # Every kind of input is there to be audited, and the exam and the cards too.
    shown = page.locator(".jp-OutputArea-output")
    for kind in ("radio", "checkbox", "textbox"):
        expect(shown.get_by_role(kind).first).to_be_attached()
    for name in ("Show the answer", "Hand in"):
        expect(shown.get_by_role("button", name=name).first).to_be_attached()

    # The audit is of what featx shows: JupyterLab's own frame is not ours.
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", theme
        )
        kind = "false" if theme.endswith("Dark") else "true"
        expect(page.locator("body")).to_have_attribute("data-jp-theme-light", kind)
        audit = Axe().run(page, context=".jp-OutputArea-output")
        assert audit.violations_count == 0, audit.generate_report()
        assert least_contrast(output) >= 4.5, theme
        shots = os.environ.get("FEATX_SCREENSHOTS")
        if shots:
            shown_as = {"quiz": output, "several": several, "value": value, "paper": paper}
            for name, each in shown_as.items():
                each.screenshot(path=f"{shots}/{name}_{theme.split()[1]}.png")


def _wait_for_idle_kernel(page: Page) -> None:
    # The status bar, not the notebook's own circle: that one looks idle before there is a kernel.
    status = page.locator("#jp-main-statusbar").get_by_text("Python 3 (ipykernel) | Idle")
    expect(status).to_be_visible(timeout=180_000)


def _run_all(page: Page) -> None:
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def _save(page: Page) -> None:
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
