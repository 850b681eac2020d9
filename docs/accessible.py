"""HTML for everyone: formulas that screen readers read, and no table heading without words.

Formulas become MathML, which browsers draw by themselves: no script, no fonts, no network.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer, which `html_math_renderer = "mathml"` chooses, and look over each page."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.connect("html-page-context", _empty_headings_are_cells)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(page: HTML5Translator, formula: nodes.math) -> None:
    page.body.append(tex2mathml(formula.astext()))
    raise nodes.SkipNode


def _block(page: HTML5Translator, formula: nodes.math_block) -> None:
    page.body.append(tex2mathml(formula.astext(), as_block=True))
    raise nodes.SkipNode


def _empty_headings_are_cells(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Make a cell of the corner of a table that has headings on two sides."""
    if "body" in context:
        corner = r"<th\b[^>]*>(?:<p></p>)?</th>"
        context["body"] = re.sub(corner, "<td></td>", context["body"])
