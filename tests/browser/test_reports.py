"""The page of a report in a real browser: it stands alone, and reads well on light and on dark."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

import featx

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def report_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    ill = rng.random(200) < 0.3
    score = np.clip(0.4 * ill + rng.uniform(0, 0.6, 200), 0, 1)
    report = featx.evaluate(
        np.where(ill, "ill", "well"), y_score=score, positive="ill", cost_fp=1, cost_fn=20
    )
    return report.save(tmp_path_factory.mktemp("report") / "report.html", title="Chest X-rays")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_stands_alone_and_reads_well(
    report_page: Path, page: Page, least_contrast: Callable[[Locator], float], scheme: str
) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: asked.append(message.text))
    page.emulate_media(color_scheme=scheme)  # pyright: ignore[reportArgumentType]
    page.goto(report_page.as_uri())
    expect(page.get_by_role("heading", level=1, name="Chest X-rays")).to_be_visible()
    loaded = [url for url in asked if not url.startswith("data:image/png")]
    assert loaded == [report_page.as_uri()]
    pictures = page.get_by_role("img")
    assert pictures.count() == 4
    for i in range(4):
        assert pictures.nth(i).evaluate("img => img.complete && img.naturalWidth") > 300
        assert len(pictures.nth(i).get_attribute("alt") or "") > 40
    assert least_contrast(page.locator("body")) >= 4.5
    dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert dark == (scheme == "dark")
    width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0, "nothing has to be scrolled sideways"
    shots = os.environ.get("FEATX_SCREENSHOTS")
    if shots:
        page.screenshot(path=f"{shots}/page_{scheme}.png", full_page=True)
