"""What a learner sees: `make lab` in a real browser, reports and widgets in both themes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import nbformat
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_lab_opens_on_the_first_lesson(lab: Any, page: Page) -> None:
    assert "/lab/tree/00_start_here.ipynb" in lab.address
    page.goto(lab.address)
    expect(page.locator(".jp-NotebookPanel")).to_be_visible()
    expect(page.locator(".lm-TabBar-tabLabel", has_text="00_start_here.ipynb")).to_be_visible()
    lab.wait_for_idle_kernel(page)
    expect(page.get_by_text("official Jupyter news")).to_be_hidden()  # nothing asks for a network


def test_a_report_reads_well_in_both_themes(
    lab: Any, page: Page, least_contrast: Callable[..., float]
) -> None:
    code = (
        "import featx\n"
        "report = featx.evaluate(['cat'] * 60 + ['dog'] * 40,\n"
        "    ['cat'] * 50 + ['dog'] * 10 + ['cat'] * 5 + ['dog'] * 35, positive='cat')\n"
        "report"
    )
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    cell = nbformat.v4.new_code_cell(code)
    notebook = nbformat.v4.new_notebook(metadata=python, cells=[cell])
    nbformat.write(notebook, lab.folder / "report.ipynb")
    lab.open(page, "report")
    lab.run_all(page)
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
    lab: Any, page: Page, least_contrast: Callable[..., float]
) -> None:
    """They work with the keyboard only, and axe-core finds nothing in either theme."""
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    cells = [nbformat.v4.new_code_cell(source) for source in STUDY.split("\n# ---\n")]
    notebook = nbformat.v4.new_notebook(metadata=python, cells=cells)
    nbformat.write(notebook, lab.folder / "study.ipynb")
    lab.open(page, "study")
    lab.run_all(page)

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
    button = output.get_by_role("button", name="Check")
    expect(button).to_be_focused()
    # Many buttons of a page have this name; what it is about is read after it.
    expect(button).to_have_accessible_description(re.compile("^Check: You want to "))
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
    knew = cards.get_by_role("button", name="I knew it").first
    expect(knew).to_be_visible()
    page.keyboard.press("Tab")
    expect(knew).to_be_focused()
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
