"""A page of HTML that stands alone: its pictures are inside, nothing is loaded from anywhere."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a page without pictures needs no matplotlib
    from matplotlib.axes import Axes

from featx.errors import FeatxError
from featx.files import write_atomically

__all__ = ["figure_axes", "page", "picture", "report_kind", "write_report"]

# Light and dark as the reader's system is set; pictures keep their white ground on both.
_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 }
caption { text-align: left; font-weight: bold }
th, td { padding: .2rem .8rem; border-bottom: 1px solid; border-color: color-mix(in srgb, currentColor 25%,
  transparent); text-align: left; vertical-align: top }
img { max-width: 100%; background: white; border-radius: 4px }
figure { margin: 1.5rem 0 } figcaption { opacity: .8 }
"""


def page(title: str, body: str) -> str:
    """Return a whole page.

    Parameters
    ----------
    title
        Text: its heading.
    body
        HTML.

    Examples
    --------
    >>> page("Cats & dogs", "<p>…</p>").count("<h1>Cats &amp; dogs</h1>")
    1
    """
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>"
        f"{body}</body></html>"
    )


def picture(heading: str, ax: Axes, words: str) -> str:
    """Return a picture as HTML, with a heading above and its words below.

    Parameters
    ----------
    heading, words
        Text. The words say what the picture shows, for those who cannot see it.
    ax
        Where it was drawn; its whole figure is taken.
    """
    figure = ax.get_figure(root=True)
    assert figure is not None
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120, facecolor="white")
    data = base64.b64encode(png.getvalue()).decode()
    return (
        f"<h2>{escape(heading)}</h2><figure><img alt='{escape(words, quote=True)}' "
        f"src='data:image/png;base64,{data}'><figcaption>{escape(words)}</figcaption></figure>"
    )


def figure_axes(width: float, height: float) -> Axes:
    """Return Axes of a figure of their own, in inches, that no pyplot knows: nothing stays open."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained").subplots()


def report_kind(path: Path) -> str:
    """Return ``"html"`` or ``"json"``, by the end of the file's name.

    Raises
    ------
    FeatxError
        When it ends in something else.
    """
    kinds = {".html": "html", ".htm": "html", ".json": "json"}
    if path.suffix.lower() not in kinds:
        raise FeatxError(
            f"Expected a file name that ends in .html or .json, got {path.name!r}. The first is a page with "
            "pictures, the second is for programs."
        )
    return kinds[path.suffix.lower()]


def write_report(path: Path, text: str) -> Path:
    """Write a report, whole or not at all; make its folder where it is missing.

    Raises
    ------
    FeatxError
        When it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # a file name may hold what is no text
        write_atomically(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise FeatxError(
            f"Expected a file to write the report to, got {path}: {error.strerror}. Choose another one."
        ) from error
    return path
