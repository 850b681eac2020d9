"""Every picture: draws what others computed, computes nothing, never calls ``plt.show``.

Each function draws into `ax` (or a new figure), returns its Axes, and leaves a description in words for
those who cannot see it, which `alt_text` returns. Colours are told apart by the colour-blind
(Okabe and Ito, 2008), and lines by markers as well, so that a grey print still reads.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from featx.errors import FeatxError

if TYPE_CHECKING:
    from featx.probes import FewLabelAccuracy
    from featx.shapes import ShapeTrace

__all__ = [
    "alt_text",
    "plot_features_2d",
    "plot_few_label_accuracy",
    "plot_images",
    "plot_regularisation_path",
    "plot_shapes",
]

# Okabe and Ito's palette, darkest first; https://jfly.uni-koeln.de/color/
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
_MARKERS = "osD^vP*X"


def alt_text(ax: Axes) -> str:
    """Return what a picture shows, in words.

    Parameters
    ----------
    ax
        Axes that a function of this module returned.

    Returns
    -------
    str
        One or a few sentences; empty for Axes that are not from here.

    Examples
    --------
    >>> import numpy as np
    >>> alt_text(plot_images(np.zeros((3, 8, 8)), ["a", "b", "c"]))
    '3 images of 8 x 8 pixels: a, b, c.'
    """
    return getattr(ax, "featx_alt_text", "")


def plot_few_label_accuracy(
    results: Mapping[str, FewLabelAccuracy], ax: Axes | None = None
) -> Axes:
    """Draw test accuracy over the number of labels a class, one line for each kind of features.

    Parameters
    ----------
    results
        What to call each line, and its accuracies from `featx.few_label_accuracy`.
    ax
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        Mean over the seeds as lines, the spread (one standard deviation) as bars.
    """
    ax = _axes(ax, (6.4, 4.4))
    words = []
    for i, (name, result) in enumerate(results.items()):
        ax.errorbar(
            result.shots,
            result.mean,
            yerr=result.std,
            label=name,
            color=_COLOURS[i % len(_COLOURS)],
            marker=_MARKERS[i % len(_MARKERS)],
            capsize=3,
        )
        points = ", ".join(
            f"{mean:.2f} with {shot}" for shot, mean in zip(result.shots, result.mean, strict=True)
        )
        words.append(f"{name}: {points}.")
    ticks = sorted({shot for result in results.values() for shot in result.shots})
    ax.set_xscale("log")
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.minorticks_off()
    ax.set(xlabel="labels a class", ylabel="accuracy on all other images", ylim=(0, 1))
    ax.set_title("Accuracy over the number of labels")
    ax.grid(alpha=0.3)
    ax.legend(loc="lower right")
    return _described(ax, "Accuracy over the number of labels a class. " + " ".join(words))


def plot_features_2d(
    points: np.ndarray, y: np.ndarray, ax: Axes | None = None, title: str = "Features in 2-D"
) -> Axes:
    """Draw features that were brought to two dimensions, one colour and one sign for each class.

    Parameters
    ----------
    points
        ``(N, 2)``, for example from scikit-learn's `TSNE` or `PCA`.
    y
        Labels ``(N,)``; they are written at the middle (median) of their points.
    ax
        Where to draw; by default a new figure.
    title
        What the points are.

    Returns
    -------
    matplotlib.axes.Axes
        Without ticks: such coordinates carry no unit.
    """
    ax = _axes(ax, (5.2, 5.2))
    if np.ndim(points) != 2 or np.shape(points)[1] != 2:
        raise FeatxError(
            f"Expected points of the shape (N, 2), got {np.shape(points)}. Bring the features to two "
            "dimensions first: sklearn.decomposition.PCA(2).fit_transform(features.X)."
        )
    classes = np.unique(y)
    colours = plt.get_cmap("tab10")
    for i, c in enumerate(classes):
        mine = points[y == c]
        ax.scatter(*mine.T, s=7, color=colours(i % 10), alpha=0.7, linewidths=0)
        x_middle, y_middle = np.median(mine, axis=0)
        ax.text(
            x_middle,
            y_middle,
            str(c),
            fontsize=13,
            weight="bold",
            ha="center",
            va="center",
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
        )
    ax.set(xticks=[], yticks=[], title=title)
    return _described(ax, f"{title}: {len(points)} points of {len(classes)} classes.")


def plot_regularisation_path(
    path: Mapping[str, np.ndarray], picked: float, ax: Axes | None = None
) -> Axes:
    """Draw the score on training rows and on rows held out from them, over `C`.

    Parameters
    ----------
    path
        `LinearProbe.path_`: ``"C"``, ``"train_score"`` and ``"val_score"``, each ``(L,)``.
    picked
        The `C` that was taken.
    ax
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        Strong regularisation on the left.
    """
    ax = _axes(ax, (6.4, 4))
    for i, (key, label) in enumerate(
        {"train_score": "trained on", "val_score": "held out"}.items()
    ):
        ax.plot(path["C"], path[key], color=_COLOURS[i], marker=_MARKERS[i], label=label)
    ax.axvline(picked, color="0.4", linestyle="--", label=f"picked by loss: C = {picked:g}")
    ax.set_xscale("log")
    ax.set(xlabel="C (weaker regularisation to the right)", ylabel="score")
    ax.set_title("Training rows: score over regularisation")
    ax.grid(alpha=0.3)
    ax.legend()
    at = int(np.argmin(np.abs(np.log(path["C"]) - np.log(picked))))
    return _described(
        ax,
        f"Score over regularisation, C from {path['C'][0]:g} to {path['C'][-1]:g}. At the picked C = "
        f"{picked:g}: {path['train_score'][at]:.3f} on rows trained on, {path['val_score'][at]:.3f} on rows "
        "held out.",
    )


def plot_images(
    images: Any, titles: Sequence[Any] | None = None, ax: Axes | None = None, columns: int = 10
) -> Axes:
    """Draw small grey images side by side, with a word above each.

    Parameters
    ----------
    images
        ``(N, H, W)`` or ``(N, 1, H, W)``, array or tensor; dark is low.
    titles
        One for each image.
    ax
        Where to draw; by default a new figure.
    columns
        Images a row.

    Returns
    -------
    matplotlib.axes.Axes
        One picture, the images as tiles in it.
    """
    tiles = np.asarray(images, dtype=float)
    tiles = tiles[:, 0] if tiles.ndim == 4 else tiles
    count, height, width = tiles.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    ax = _axes(ax, (columns * 0.9, rows * 1.1))
    gap = max(1, height // 3)
    for i, tile in enumerate(tiles):
        left, top = (i % columns) * (width + gap), (i // columns) * (height + gap)
        ax.imshow(
            tile,
            cmap="gray",
            vmin=tiles.min(),
            vmax=max(tiles.max(), tiles.min() + 1e-9),
            extent=(left, left + width, top + height, top),
        )
        if titles is not None:
            ax.text(left + width / 2, top - gap / 6, str(titles[i]), ha="center", va="bottom")
    ax.set(
        xlim=(-gap / 2, columns * (width + gap) - gap / 2),
        ylim=(rows * (height + gap) - gap / 2, -gap),
        aspect="equal",
    )
    ax.axis("off")
    named = f": {', '.join(map(str, titles))}" if titles is not None else ""
    return _described(ax, f"{count} images of {height} x {width} pixels{named}.")


def plot_shapes(trace: ShapeTrace, ax: Axes | None = None) -> Axes:
    """Draw the steps of a shape trace as a stream of shapes, from the input down to the output.

    Parameters
    ----------
    trace
        What `featx.trace_shapes` returned.
    ax
        Where to draw; by default a new figure, as high as the steps need.

    Returns
    -------
    matplotlib.axes.Axes
        A block for each step: the wider, the more channels or features; the higher, the more places
        (pixels, tokens), both on a scale that brings large and small together. Beside it its name
        and the shape of one image.
    """
    steps = [(name, shape[1:]) for name, shape in trace.stages()]
    kinds = [_kind(shape) for _, shape in steps]
    names = [textwrap.fill(name, 26, break_long_words=False) for name, _ in steps]
    channels, places = np.array([_channels_and_places(shape) for _, shape in steps], dtype=float).T
    widths = 0.8 + 5.2 * np.sqrt(channels / channels.max())
    heights = 0.4 + 2.4 * (places / places.max()) ** 0.25
    heights = np.maximum(heights, [0.8 * (1 + name.count("\n")) for name in names])
    gap = 0.35
    ax = _axes(ax, (6.4, max(2.4, 0.21 * (sum(heights) + gap * len(steps)) + 0.9)))
    top, lower = 0.0, None
    for (_, shape), name, kind, height, width in zip(
        steps, names, kinds, heights, widths, strict=True
    ):
        if lower is not None:  # the stream between two blocks
            x = [-lower / 2, lower / 2, width / 2, -width / 2]
            ax.fill(x, [top - gap, top - gap, top, top], color="0.88", linewidth=0)
        ax.barh(
            top + height / 2,
            width,
            height,
            left=-width / 2,
            color=_COLOURS[_KINDS.index(kind)],
            label=kind if kind not in ax.get_legend_handles_labels()[1] else None,
        )
        ax.text(-3.3, top + height / 2, name, ha="right", va="center", fontsize=9)
        ax.text(3.3, top + height / 2, _by(shape), ha="left", va="center", fontsize=9)
        top, lower = top + height + gap, width
    ax.set(xlim=(-8.3, 6.7), ylim=(top, -0.2))
    ax.axis("off")
    ax.set_title(f"{trace[0].type}: one image on its way")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, frameon=False, fontsize=9)
    words = ", ".join(f"{name} {_by(shape)}" for name, shape in steps)
    return _described(ax, f"The shapes of one image on its way through {trace[0].type}: {words}.")


# In the order of the colours.
_KINDS = ("feature map", "features or scores", "tokens", "one number")


def _kind(shape: tuple[int, ...]) -> str:
    return {0: "one number", 1: "features or scores", 2: "tokens"}.get(len(shape), "feature map")


def _channels_and_places(shape: tuple[int, ...]) -> tuple[int, int]:
    """Tell channels from pixels: they are last for tokens, and where the others are a square."""
    last = len(shape) < 3 or (shape[0] == shape[1] != shape[2])
    channels = (shape[-1] if last else shape[0]) if shape else 1
    return max(channels, 1), max(math.prod(shape) // max(channels, 1), 1)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"


def _axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    return plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def _described(ax: Axes, words: str) -> Axes:
    ax.featx_alt_text = words  # pyright: ignore[reportAttributeAccessIssue]
    return ax
