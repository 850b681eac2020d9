"""What a reader's eye needs of a page."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator

from tests.helpers import luminance

# For each element with text of its own: its colour and what lies behind it. Where nothing is painted
# behind, the page's own ground shows, which CSS calls Canvas.
_COLOURS = """top => {
  const ground = document.createElement("i");
  ground.style.backgroundColor = "Canvas";
  document.body.append(ground);
  const canvas = getComputedStyle(ground).backgroundColor;
  ground.remove();
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return canvas;
  };
  return [...top.querySelectorAll("*")]
    .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
    .filter(e => !["STYLE", "TITLE"].includes(e.tagName))
    .map(e => [getComputedStyle(e).color, behind(e), getComputedStyle(e).opacity]);
}"""


@pytest.fixture
def least_contrast() -> Callable[[Locator], float]:
    """Return a function that gives the lowest contrast of text in a part of a page (WCAG 2.1, 1.4.3)."""

    def measure(part: Locator) -> float:
        found = part.evaluate(_COLOURS)
        assert found
        return min(_contrast(_rgb(text), _rgb(ground), float(op)) for text, ground, op in found)

    return measure


def _rgb(css: str) -> list[float]:
    """Read ``rgb(0, 0, 0)`` or ``rgba(0, 0, 0, 0.87)``."""
    assert css.startswith("rgb"), css
    return [float(part) for part in css[css.index("(") + 1 : -1].split(",")]


def _contrast(text: list[float], ground: list[float], opacity: float) -> float:
    alpha = opacity * (text[3] if len(text) == 4 else 1)
    seen = [alpha * t + (1 - alpha) * g for t, g in zip(text, ground, strict=False)]
    dark, light = sorted(luminance([part / 255 for part in rgb[:3]]) for rgb in (seen, ground))
    return (light + 0.05) / (dark + 0.05)
