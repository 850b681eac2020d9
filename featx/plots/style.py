"""The one style of all pictures, and the small things that each of them needs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.transforms import ScaledTranslation

from featx.arrays import as_numpy
from featx.errors import FeatxError

__all__ = [
    "COLOURS",
    "HATCHES",
    "INK",
    "LINES",
    "MARKED",
    "MARKERS",
    "REFERENCE",
    "alt_text",
    "described",
    "drawing",
    "legend_below",
    "new_axes",
    "series",
    "short",
    "some_rows",
    "thinned",
    "verbatim",
]

# Okabe and Ito's palette without its yellow, which is too pale on white; https://jfly.uni-koeln.de/color/
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
# Of each of these there are as many as are told apart without colour.
MARKERS = "osD^vP*X"
LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (9, 3)))
HATCHES = ("", "///", "...", "xxx")

INK = "0.15"
_GRID = "0.88"

#: What is chosen, best or otherwise to be seen first.
MARKED: dict[str, Any] = {
    "marker": "*",
    "markersize": 16,
    "color": "#E69F00",
    "markeredgecolor": "black",
    "linestyle": "none",
    "zorder": 5,
}
#: What to compare with: guessing, perfection, a floor.
REFERENCE: dict[str, Any] = {"color": "0.4", "linestyle": (0, (4, 3)), "linewidth": 1.3}

_STYLE: dict[str, Any] = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "lines.linewidth": 2,
    "lines.markersize": 6,
    "hatch.linewidth": 0.8,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.08,
}
# Not a matter of style: a user's fonts hold the script that their class names are written in.
_USERS = ("figure.dpi", "font.family", "font.sans-serif", "font.serif", "font.monospace")

_MOST_POINTS = 2000  # of a line; a screen shows no more
_MOST_ROWS = 20_000  # of a cloud of points

P = ParamSpec("P")


def drawing(draw: Callable[P, Axes]) -> Callable[P, Axes]:
    """Let a function draw in the one style, and leave the user's rcParams as they were."""

    @functools.wraps(draw)
    def in_style(*args: P.args, **kwargs: P.kwargs) -> Axes:
        users = {name: mpl.rcParams[name] for name in _USERS}
        interactive = mpl.is_interactive()
        try:
            with style.context(["default", users, _STYLE]):
                axes = draw(*args, **kwargs)
                # The first figure of a session loads the backend. In a notebook it turns interactive mode
                # on, which must outlive the style: else no later figure is shown.
                interactive = mpl.is_interactive()
                return axes
        finally:
            mpl.interactive(interactive)

    return in_style


def new_axes(ax: Axes | None, size: tuple[float, float], grid: bool = True) -> Axes:
    """Return `ax` brought to the one style, or Axes of a new figure of `size` inches.

    The whole figure gets a white ground, which stays when it is saved with another one: dark ink on a
    dark page cannot be read.
    """
    if ax is None:
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    else:  # it was made in the user's style
        ax.set_facecolor("white")
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set(color=INK, linewidth=0.8, visible=True)
        ax.tick_params("both", which="both", colors=INK, labelsize=9, direction="out")
        ax.tick_params("both", which="both", top=False, right=False)
        for words, points in ((ax.title, 11), (ax.xaxis.label, 10), (ax.yaxis.label, 10)):
            words.set(color=INK, fontsize=points, fontweight="normal")
        ax.set_axisbelow(True)
    if grid:
        ax.grid(True, which="major", color=_GRID, linewidth=0.8, linestyle="-")
    else:
        ax.grid(False)
    figure = _figure(ax)
    figure.set_facecolor("white")
    if not any(artist.get_gid() == "featx-ground" for artist in figure.artists):
        ground = Rectangle(
            (-0.5, -0.5), 2, 2, transform=figure.transFigure, color="white", zorder=-1000
        )
        ground.set(gid="featx-ground", in_layout=False)
        figure.add_artist(ground)
    return ax


def _figure(ax: Axes) -> Any:
    """Return the figure itself, also of Axes in a subfigure."""
    figure: Any = ax.figure
    while figure.figure is not figure:
        figure = figure.figure
    return figure


def legend_below(ax: Axes, columns: int = 1, inside: bool = True, **look: Any) -> None:
    """Explain the signs below the Axes, where they hide nothing, in at most so many columns.

    In a figure without a layout engine, which would not make room there, they are explained `inside`, or
    not at all.
    """
    handles, labels = ax.get_legend_handles_labels()
    look = {"labelcolor": INK, **look}
    if _figure(ax).get_layout_engine() is None:
        if inside:
            ax.legend(handles, labels, loc="best", framealpha=0.9, **look)
        return
    width = 72 * ax.get_window_extent().width / _figure(ax).dpi
    needs = [5.2 * len(label) + 40 for label in labels]  # points
    if columns < len(labels) or sum(needs) > width:
        columns = min(columns, max(1, int(width / max(needs))))
    points = -8 if not ax.axison else -40 if ax.get_xlabel() else -14  # below ticks and label
    lower = ScaledTranslation(0, points / 72, _figure(ax).dpi_scale_trans)
    ax.legend(
        handles,
        labels,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=ax.transAxes + lower,
        borderaxespad=0,
        ncols=columns,
        frameon=False,
        **look,
    )


def described(ax: Axes, words: str) -> Axes:
    """Leave a description with `ax`, for `alt_text`."""
    ax.featx_alt_text = words  # pyright: ignore[reportAttributeAccessIssue]
    return ax


def alt_text(ax: Axes) -> str:
    """Return what a picture shows, in words.

    Parameters
    ----------
    ax
        Axes that a function of `featx.plots` returned.

    Returns
    -------
    str
        One or a few sentences with the numbers that a look at it would give; empty for Axes that are
        not from there.

    Examples
    --------
    >>> import numpy as np
    >>> from featx.plots import plot_images
    >>> alt_text(plot_images(np.zeros((3, 8, 8)), ["a", "b", "c"]))
    '3 images of 8 x 8 pixels: a, b, c.'
    """
    return getattr(ax, "featx_alt_text", "")


def verbatim(name: Any, most: int = 40) -> str:
    r"""Write a name as it is: matplotlib takes ``$`` for mathematics, and hides what begins with ``_``.

    Examples
    --------
    >>> verbatim("$5 to $9"), verbatim("_raw"), verbatim("a very long name of a class", most=12)
    ('\\$5 to \\$9', ' _raw', 'a very…lass')
    """
    text = " ".join(str(name).split())
    if len(text) > most:  # both ends: names of one kind often differ in the last letters only
        tail = most // 3
        text = f"{text[: most - 1 - tail].rstrip()}…{text[-tail:].lstrip()}"
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def short(count: float) -> str:
    """Write a number of rows in at most four places or so.

    Examples
    --------
    >>> short(980), short(12_345), short(4_000_000)
    ('980', '12.3k', '4M')
    """
    if count < 10_000:
        return f"{count:.4g}"
    return f"{count / 1e3:.3g}k" if count < 999_500 else f"{count / 1e6:.3g}M"


def series(values: Mapping[str, Any], advice: str, gaps: bool = False) -> list[np.ndarray]:
    """Return arrays of floats of one length, ``(T,)`` each, or say which is not.

    Parameters
    ----------
    values
        Name -> what should become an array.
    advice
        Where such arrays come from: the end of the message.
    gaps
        Whether NaN and infinity may be among them.

    Raises
    ------
    FeatxError
        When one is no array ``(T,)`` of numbers with T from 1, or the lengths differ.
    """
    arrays = {}
    for name, value in values.items():
        try:
            arrays[name] = as_numpy(value).astype(float)
        except (TypeError, ValueError) as error:
            raise FeatxError(f"Expected {name} as an array of numbers (T,). {advice}") from error
    shapes = {name: array.shape for name, array in arrays.items()}
    first = next(iter(shapes.values()))
    if any(len(shape) != 1 or shape != first or not shape[0] for shape in shapes.values()):
        got = " and ".join(f"{name} {shape}" for name, shape in shapes.items())
        of_one = " of one length" if len(shapes) > 1 else ""
        raise FeatxError(f"Expected arrays (T,){of_one}, T from 1, got {got}. {advice}")
    for name, array in arrays.items():
        if not gaps and not np.isfinite(array).all():
            raise FeatxError(f"Expected finite numbers in {name}, got NaN or infinity. {advice}")
    return list(arrays.values())


def thinned(x: np.ndarray, *ys: np.ndarray) -> list[np.ndarray]:
    """Leave out the points of long lines that no eye could see.

    Parameters
    ----------
    x
        ``(T,)``.
    *ys
        ``(T,)`` each: lines over `x`.

    Returns
    -------
    list of numpy.ndarray
        `x` and `ys` at the points that lie more than a thousandth of the picture from the one before,
        or from the one after. Short lines come back as they are.

    Examples
    --------
    >>> x = np.linspace(0, 1, 1_000_000)
    >>> len(thinned(x, x**2)[0]) < 4000
    True
    """
    lines = [x, *ys]
    if len(x) <= _MOST_POINTS:
        return lines
    moves = np.zeros(len(x) - 1, dtype=bool)
    for line in lines:
        low, high = line.min(), line.max()
        if high > low:
            moves |= np.diff(((line - low) * (999 / (high - low))).astype(int)) != 0
    kept = np.r_[True, moves] | np.r_[moves, True]
    return [line[kept] for line in lines]


def some_rows(count: int) -> np.ndarray:
    """Return the rows to draw of a cloud of `count` points: all, or so many as an eye takes in."""
    rows = np.arange(count)
    if count > _MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, _MOST_ROWS, replace=False))
    return rows
