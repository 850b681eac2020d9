"""Show text: as HTML in a notebook, as plain text anywhere else."""

from __future__ import annotations

import html
import re
import sys
from importlib.util import find_spec

from featx.study.verdicts import Verdict

__all__ = [
    "can_show_widgets",
    "code_html",
    "display_again",
    "in_notebook",
    "picture_html",
    "print_text",
    "show",
    "show_verdict",
    "to_html",
    "verdict_html",
]

# The symbol and the words of the headline carry the status; the colour of the edge only repeats it.
_EDGES = {
    "correct": "#1a7f37",
    "partial": "#9a6700",
    "wrong": "#b35900",
    "error": "#b35900",
    "not_attempted": "#57606a",
}


def in_notebook() -> bool:
    """Tell whether a Jupyter kernel runs this code, without importing IPython for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return getattr(shell, "kernel", None) is not None


def can_show_widgets() -> bool:
    """Tell whether ipywidgets can show here."""
    return in_notebook() and find_spec("ipywidgets") is not None


def to_html(text: str) -> str:
    """Turn text with `code` in backquotes and *words* in stars into HTML; the rest is escaped.

    Examples
    --------
    >>> to_html("Call *only* `f(x<1)`.")
    'Call <em>only</em> <code>f(x&lt;1)</code>.'
    """

    def mark(found: re.Match[str]) -> str:
        return f"<code>{found[1]}</code>" if found[1] else f"<em>{found[2]}</em>"

    escaped = html.escape(text.strip(), quote=False)
    return re.sub(r"`([^`]+)`|\*(\w[^*`]*)\*", mark, escaped).replace("\n", "<br>")


def code_html(code: str) -> str:
    """Show code as it is: lines are not broken, long ones scroll."""
    style = 'style="white-space: pre; overflow-x: auto; word-break: normal"'
    return f"<pre {style}><code {style}>{html.escape(code.strip())}</code></pre>"


def picture_html(words: str, picture: str) -> str:
    """Show a picture at an address, with the words for those who do not see it; nothing where none is."""
    alt = html.escape(words.replace("`", ""))
    return f'<img alt="{alt}" src="{picture}">' if picture else ""


def verdict_html(verdict: Verdict, spoken: bool = True) -> str:
    """Draw a verdict as a box; when it is `spoken`, a screen reader reads it as it appears."""
    role = "alert" if spoken else "note"
    return (
        f'<div role="{role}" style="border-left: 4px solid {_EDGES[verdict.status]}; '
        f'padding: 0.4em 0.8em; margin: 0.4em 0"><strong>{html.escape(verdict.headline)}</strong>'
        f"<br>{to_html(verdict.message)}</div>"
    )


def print_text(text: str) -> None:
    """Print a text; a symbol that the console cannot write becomes a question mark."""
    # The words beside the symbols carry the status as well, so nothing is lost.
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(text.encode(encoding, errors="replace").decode(encoding))


def show(text: str, markup: str | None = None) -> None:
    """Show a text; in a notebook as HTML.

    Parameters
    ----------
    text
        Plain text, code in backquotes.
    markup
        The HTML for a notebook; made from `text` when there is none.
    """
    if not in_notebook():
        print_text(text)
        return
    from IPython.display import HTML, display

    display(HTML(markup or f"<div>{to_html(text)}</div>"))


def show_verdict(verdict: Verdict) -> Verdict:
    """Show a verdict and return it."""
    show(str(verdict), verdict_html(verdict))
    _shown_in[id(verdict)] = _execution_count()
    return verdict


# The verdicts that a cell has shown already: id -> the cell's execution count.
_shown_in: dict[int, int | None] = {}


def display_again(verdict: Verdict) -> None:
    """Display a verdict as a cell's last value, unless that same cell has just shown it."""
    if _shown_in.pop(id(verdict), None) != _execution_count():
        show(str(verdict), verdict_html(verdict))


def _execution_count() -> int | None:
    ipython = sys.modules.get("IPython")
    return getattr(ipython.get_ipython() if ipython else None, "execution_count", None)
