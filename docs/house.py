"""Draw the house: which module may import which, from the import rules in `pyproject.toml`.

    python docs/house.py

writes `docs/pictures/house.svg`; a test says when it no longer follows the rules.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "pictures" / "house.svg"

LETTER, PADDING, GAP = 7.4, 11, 8  # pixels: a letter's width, beside a name, between two boxes
STOREY, BOX = 40, 28  # pixels: from one storey to the next, and the height of a box
LEFT, TOP = 150, 16
# The names stand black on white and on this blue; the dashed edge says the same without colour.
CORE = 'fill="#dcebf7" stroke="#24597f"'
AROUND = 'fill="#ffffff" stroke="#555555" stroke-dasharray="5 3"'


def storeys() -> tuple[list[list[str]], set[str]]:
    """Return the modules of each storey, from the top, and those of the core."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers, core = contracts["tool"]["importlinter"]["contracts"]
    names = [layer.split(" | ") for layer in layers["layers"]]
    return names, {module.removeprefix("featx.") for module in core["source_modules"]}


def draw() -> str:
    """Return the picture as SVG."""
    names, core = storeys()
    shapes, width = [], 0.0
    for row, storey in enumerate(names):
        x, y = float(LEFT), TOP + row * STOREY
        for name in storey:
            wide = LETTER * len(name) + 2 * PADDING
            look = CORE if name in core else AROUND
            shapes += [
                f'<rect x="{x:.0f}" y="{y}" width="{wide:.0f}" height="{BOX}" rx="4" {look}/>',
                f'<text x="{x + wide / 2:.0f}" y="{y + 19}" text-anchor="middle">{name}</text>',
            ]
            x += wide + GAP
        width = max(width, x)
    bottom = TOP + len(names) * STOREY - (STOREY - BOX)
    middle = LEFT - 28
    arrow = (
        f'<path d="M{middle} {TOP}V{bottom}m-6-10 6 10 6-10" fill="none" stroke="#333" '
        f'stroke-width="2"/><text x="{middle - 12}" y="{TOP + 19}" text-anchor="end">imports run</text>'
        f'<text x="{middle - 12}" y="{TOP + 37}" text-anchor="end">downwards</text>'
    )
    key = "".join(
        f'<rect x="{x}" y="{bottom + 22}" width="26" height="18" rx="4" {look}/>'
        f'<text x="{x + 34}" y="{bottom + 36}">{words}</text>'
        for x, look, words in (
            (LEFT, CORE, "the core: knows no Jupyter, no nbgrader, no ipywidgets"),
            (LEFT + 400, AROUND, "around it: may use them"),
        )
    )
    wide, high = max(width, LEFT + 600) + 8, bottom + 56
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:.0f} {high}" '
        f'width="{wide:.0f}" height="{high}" font-family="system-ui, sans-serif" font-size="13">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{arrow}\n'
        + "\n".join(shapes)
        + f"\n{key}\n</svg>\n"
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
