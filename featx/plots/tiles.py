"""Pictures of images, of what a layer makes of them, and of features."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from featx.arrays import as_numpy, channels_last
from featx.errors import FeatxError, whole_number
from featx.plots.style import (
    COLOURS,
    HATCHES,
    INK,
    MARKERS,
    described,
    drawing,
    legend_below,
    new_axes,
    some_rows,
    verbatim,
)
from featx.wording import counted

if TYPE_CHECKING:
    from featx.shapes import ShapeTrace

__all__ = ["plot_feature_maps", "plot_features_2d", "plot_images", "plot_shapes"]

_MOST_MAPS = 64
_MOST_PIXELS = 256  # of a feature map's side: no tile is larger on a screen


@drawing
def plot_features_2d(
    points: Any, y: Any, ax: Axes | None = None, title: str = "Features in 2-D"
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
        Without ticks: such coordinates carry no unit. The signs of up to 20 classes are explained below;
        of more classes those names are written that cover no other. Of very many points 20,000 are drawn.

    Raises
    ------
    FeatxError
        When the points are not ``(N, 2)``, or the labels not N.

    Examples
    --------
    >>> points = [[0, 0], [1, 0], [0, 9], [1, 9], [9, 0], [9, 1]]
    >>> plot_features_2d(points, ["cat", "cat", "dog", "dog", "fox", "fox"]).featx_alt_text
    'Features in 2-D: 6 points of 3 classes. Of the classes, cat and fox have the closest middles, dog and
    fox those furthest apart.'
    """
    points, y = as_numpy(points), as_numpy(y)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise FeatxError(
            f"Expected points of the shape (N, 2), got {points.shape}. Bring the features to two "
            "dimensions first: sklearn.decomposition.PCA(2).fit_transform(features.X)."
        )
    if y.shape != (len(points),):
        raise FeatxError(
            f"Expected one label for each of {len(points)} points, got the shape {y.shape}. Pass "
            "features.y, of the same rows."
        )
    ax = new_axes(ax, (5.6, 6), grid=False)
    classes, members = np.unique(y, return_inverse=True)
    rows = some_rows(len(points))
    middles = np.array([np.median(points[members == i], axis=0) for i in range(len(classes))])
    for i, name in enumerate(classes):
        mine = rows[members[rows] == i]
        colour, hollow = COLOURS[i % len(COLOURS)], i // len(MARKERS) % 2 == 1
        ax.scatter(
            *points[mine].T,
            s=24 if len(rows) < 1500 else 14 if len(rows) < 5000 else 8,
            marker=MARKERS[i % len(MARKERS)],
            facecolor="none" if hollow else colour,
            edgecolor=colour if hollow else "none",
            linewidth=0.9 if hollow else 0,
            alpha=0.75,
            rasterized=len(rows) > 2000,
            label=verbatim(name, most=20),
        )
    crowded = len(classes) > 20
    names = [
        ax.annotate(
            verbatim(name, most=20),
            (middle[0], middle[1]),
            (0, 0),
            textcoords="offset points",
            fontsize=8 if crowded else 11,
            weight="bold",
            ha="center",
            va="center",
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
        )
        for name, middle in zip(classes, middles, strict=True)
    ]
    ax.set(xticks=[], yticks=[], title=verbatim(title, most=90))
    ax.spines[:].set(visible=True, color="0.7")
    if not crowded:
        longest = max(len(verbatim(name, most=20)) for name in classes)
        legend_below(
            ax,
            columns=max(1, min(len(classes), 5, 48 // (longest + 5))),
            inside=False,
            markerscale=1.5,
        )
    few = [np.ptp(points[members == i], axis=0).max() == 0 for i in range(len(classes))]
    _part(ax, names, few, drop=crowded)
    return described(
        ax,
        f"{title}: {counted(len(points), 'point')} of "
        f"{counted(len(classes), 'class', 'classes')}.{_apart(classes, middles)}",
    )


def _part(ax: Axes, names: list[Any], few: list[bool], drop: bool) -> None:
    """Move names up or down that would cover another, or all that there is of their class."""
    ax.figure.draw_without_rendering()  # pyright: ignore[reportAttributeAccessIssue]
    points = 72 / ax.figure.dpi
    taken = []
    for name, alone in zip(names, few, strict=True):
        box = name.get_window_extent()
        up, aside = 1.5 * name.get_fontsize(), box.width * points + 6
        rows = (1, -1, 2, -2) if alone else (0, 1, -1, 2, -2)
        places = [(x * aside, y * up) for x in ((0,) if drop else (0, 1, -1)) for y in rows]
        for x, y in places:
            there = box.translated(x / points, y / points)
            if not any(there.overlaps(other) for other in taken):
                name.xyann = (x, y)
                taken.append(there)
                break
        else:
            if drop:
                name.remove()


def _apart(classes: np.ndarray, middles: np.ndarray) -> str:
    """Say which classes lie close together, and which far apart."""
    if len(classes) < 3:
        return ""
    distance = np.linalg.norm(middles[:, None] - middles[None], axis=2)
    i, j = np.triu_indices(len(classes), 1)
    near, far = np.argmin(distance[i, j]), np.argmax(distance[i, j])
    return (
        f" Of the classes, {classes[i[near]]} and {classes[j[near]]} have the closest middles, "
        f"{classes[i[far]]} and {classes[j[far]]} those furthest apart."
    )


@drawing
def plot_images(
    images: Any, titles: Sequence[Any] | None = None, ax: Axes | None = None, columns: int = 10
) -> Axes:
    """Draw small images side by side, with a word above each.

    Parameters
    ----------
    images
        Grey ``(N, H, W)`` or ``(N, 1, H, W)``, or colour ``(N, 3, H, W)``, array or tensor; dark is low.
        They share one scale, from the lowest to the highest value.
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

    Raises
    ------
    FeatxError
        When these are no images, or the titles not N.

    Examples
    --------
    >>> plot_images(np.zeros((2, 8, 8)), ["a", "b"]).featx_alt_text
    '2 images of 8 x 8 pixels: a, b.'
    """
    tiles = as_numpy(images)
    tiles = tiles[:, None] if tiles.ndim == 3 else tiles
    if tiles.ndim != 4 or tiles.shape[1] not in (1, 3) or 0 in tiles.shape:
        raise FeatxError(
            f"Expected images (N, H, W), (N, 1, H, W) or (N, 3, H, W), N from 1, got {tiles.shape}. One "
            "image is image[None]; channels come before height and width."
        )
    titles = _titles(titles, len(tiles), "image")
    tiles = np.moveaxis(tiles.astype(float), 1, -1)
    low, high = tiles.min(), tiles.max()
    colour = tiles.shape[-1] == 3
    tiles = (tiles - low) / max(high - low, 1e-9) if colour else tiles[..., 0]
    count, height, width = tiles.shape[:3]
    grid = _Grid(count, height, width, columns)
    ax = grid.axes(ax, titles)
    for i, tile in enumerate(tiles):
        ax.imshow(
            tile,
            cmap="gray",
            vmin=low,
            vmax=max(high, low + 1e-9),
            extent=grid.extent(i),
            interpolation="nearest" if max(height, width) <= 64 else None,
        )
    grid.finish(ax, titles)
    named = f": {', '.join(titles)}" if titles else ""
    return described(ax, f"{counted(count, 'image')} of {height} x {width} pixels{named}.")


@drawing
def plot_feature_maps(
    maps: Any, ax: Axes | None = None, *, columns: int = 8, titles: Sequence[Any] | None = None
) -> Axes:
    """Draw what each channel of a layer makes of one image.

    Parameters
    ----------
    maps
        ``(C, H, W)``, array or tensor: one image's feature map, such as
        ``featx.layers.feature_map(backbone, images, "layer1")[0]``.
    ax
        Where to draw; by default a new figure.
    columns
        Tiles a row.
    titles
        One for each channel; by default their numbers, from 0.

    Returns
    -------
    matplotlib.axes.Axes
        A tile for each channel, at most the first 64. Each is scaled **alone**, dark where its channel is
        low and bright where it is high, so that weak channels are seen as well as strong ones; a tile
        says nothing on how strong its channel is next to others. A channel that is the same everywhere
        is white with a cross.

    Raises
    ------
    FeatxError
        When the shape is another one, or the titles are not C.

    Examples
    --------
    >>> plot_feature_maps(np.stack([np.eye(4), np.zeros((4, 4))])).featx_alt_text
    'Feature map of 4 x 4 places: all 2 channels, each scaled alone. 1 of them is the same everywhere: 1.'
    """
    tiles = as_numpy(maps)
    if tiles.ndim != 3 or 0 in tiles.shape:
        way_out = (
            "Take one image of it: maps[0]." if tiles.ndim == 4 else "Name a layer that has places."
        )
        raise FeatxError(
            f"Expected the feature map (C, H, W) of one image, got the shape {tiles.shape}. {way_out}"
        )
    channels, height, width = tiles.shape
    titles = _titles(titles, channels, "channel") or [str(i) for i in range(channels)]
    titles = titles[:_MOST_MAPS]
    step = -(-max(height, width) // _MOST_PIXELS)
    tiles = tiles[:_MOST_MAPS, ::step, ::step].astype(float)
    grid = _Grid(len(tiles), height, width, columns)
    ax = grid.axes(ax, titles)
    flat = []
    for i, tile in enumerate(tiles):
        left, right, bottom, top = extent = grid.extent(i)
        edge = {"edgecolor": INK, "facecolor": "none", "linewidth": 0.6}
        if np.isfinite(tile).any() and np.nanmax(tile) > np.nanmin(tile):
            ax.imshow(tile, cmap="gray", extent=extent, interpolation="nearest")
        else:
            flat.append(titles[i])
            ax.plot([left, right], [bottom, top], [left, right], [top, bottom], color="0.5", lw=0.8)
        ax.add_patch(Rectangle((left, top), right - left, bottom - top, **edge))
    grid.finish(ax, titles)
    drawn = f"all {channels}" if channels == len(tiles) else f"the first {len(tiles)} of {channels}"
    words = f"Feature map of {height} x {width} places: {drawn} channels, each scaled alone."
    if flat:
        are = "is" if len(flat) == 1 else "are"
        words += f" {len(flat)} of them {are} the same everywhere: {', '.join(flat)}."
    return described(ax, words)


def _titles(titles: Sequence[Any] | None, count: int, what: str) -> list[str]:
    if titles is None:
        return []
    if len(titles) != count:
        raise FeatxError(
            f"Expected a title for each {what}, {count} in all, got {len(titles)}. Leave them out, or "
            "give one each."
        )
    return [str(title) for title in titles]


class _Grid:
    """Tiles of one size in one pair of Axes, in pixels of a tile."""

    def __init__(self, count: int, height: int, width: int, columns: int) -> None:
        self.columns = min(whole_number(columns, "columns"), count)
        self.rows = -(-count // self.columns)
        self.height, self.width = height, width
        self.across = self.down = 0.0

    def axes(self, ax: Axes | None, titles: Sequence[str]) -> Axes:
        """Return Axes high enough for the tiles, with room for a line of text above each."""
        longest = max((min(len(title), 12) for title in titles), default=0)
        line, ratio = 0.24 if titles else 0.08, self.height / self.width  # inches
        if ax is None:
            tile = max(0.82, 0.085 * longest)
            size = (1.1 * tile * self.columns + 0.1, (tile * ratio + line) * self.rows + 0.1)
            ax = new_axes(None, size, grid=False)
        else:
            ax = new_axes(ax, (1, 1), grid=False)
            box = ax.get_window_extent()
            wide, high = box.width / ax.figure.dpi, box.height / ax.figure.dpi
            tile = min(wide / self.columns / 1.1, (high / self.rows - line) / ratio)
        self.down = self.height * line / (max(tile, 0.1) * ratio)
        self.across = self.width * 0.1
        return ax

    def extent(self, i: int) -> tuple[float, float, float, float]:
        """Return left, right, bottom and top of tile number `i`."""
        left = i % self.columns * (self.width + self.across)
        top = i // self.columns * (self.height + self.down)
        return left, left + self.width, top + self.height, top

    def finish(self, ax: Axes, titles: Sequence[str]) -> None:
        """Write above each tile, and set the limits."""
        for i, title in enumerate(titles):
            left, right, _, top = self.extent(i)
            text = verbatim(title, most=12)
            ax.text(
                (left + right) / 2,
                top - self.down * 0.08,
                text,
                ha="center",
                va="bottom",
                fontsize=8,
            )
        across, down = self.width + self.across, self.height + self.down
        ax.set(
            xlim=(-self.across / 2, self.columns * across - self.across / 2),
            ylim=(self.rows * down - self.down * 0.9, -self.down),
            aspect="equal",
        )
        ax.axis("off")


@drawing
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
        and the shape of one image. Colour and hatching say what kind it is.

    Raises
    ------
    FeatxError
        When `trace` is none.

    Examples
    --------
    >>> from torch import nn
    >>> from featx.shapes import trace_shapes
    >>> model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> plot_shapes(trace_shapes(model, (1, 1, 8, 8))).featx_alt_text
    'The shapes of one image on its way through Sequential: input 1 x 8 x 8, 0 8 x 6 x 6, 1 8 x 1 x 1,
    2 8.'
    """
    if not hasattr(type(trace), "stages"):  # of a model they may be a part
        raise FeatxError(
            f"Expected a trace of shapes, got {type(trace).__name__}. Make one with "
            "featx.trace_shapes(model, (1, 3, 224, 224))."
        )
    steps = [(name, shape[1:]) for name, shape in trace.stages()]
    kinds = [_kind(shape) for _, shape in steps]
    names = [textwrap.fill(name, 26, break_long_words=False) for name, _ in steps]
    size = steps[0][1][-2:] if len(steps[0][1]) == 3 else (1, 1)  # of the image
    sizes = [_channels_and_places(shape, size) for _, shape in steps]
    channels, places = np.array(sizes, dtype=float).T
    widths = 0.8 + 5.2 * np.sqrt(channels / channels.max())
    heights = 0.4 + 2.4 * (places / places.max()) ** 0.25
    heights = np.maximum(heights, [0.8 * (1 + name.count("\n")) for name in names])
    gap = 0.35
    size = (6.4, max(2.4, 0.21 * (sum(heights) + gap * len(steps)) + 0.9))
    ax = new_axes(ax, size, grid=False)
    top, lower = 0.0, None
    for (_, shape), name, kind, height, width in zip(
        steps, names, kinds, heights, widths, strict=True
    ):
        if lower is not None:  # the stream between two blocks
            x = [-lower / 2, lower / 2, width / 2, -width / 2]
            ax.fill(x, [top - gap, top - gap, top, top], color="0.88", linewidth=0)
        at = _KINDS.index(kind)
        ax.barh(
            top + height / 2,
            width,
            height,
            left=-width / 2,
            facecolor=COLOURS[at],
            edgecolor="white",
            linewidth=0,
            hatch=HATCHES[at],
            label=kind if kind not in ax.get_legend_handles_labels()[1] else None,
        )
        ax.text(-3.3, top + height / 2, name, ha="right", va="center", fontsize=9)
        ax.text(3.3, top + height / 2, _by(shape), ha="left", va="center", fontsize=9)
        top, lower = top + height + gap, width
    ax.set(xlim=(-8.3, 6.7), ylim=(top, -0.2))
    ax.axis("off")
    ax.set_title(f"{trace[0].type}: one image on its way")
    legend_below(ax, columns=3)
    words = ", ".join(f"{name} {_by(shape)}" for name, shape in steps)
    return described(ax, f"The shapes of one image on its way through {trace[0].type}: {words}.")


# In the order of the colours and hatches.
_KINDS = ("feature map", "features or scores", "tokens", "one number")


def _kind(shape: tuple[int, ...]) -> str:
    return {0: "one number", 1: "features or scores", 2: "tokens"}.get(len(shape), "feature map")


def _channels_and_places(shape: tuple[int, ...], size: tuple[int, ...]) -> tuple[int, int]:
    """Tell channels from pixels, in a step on the way of an image of height and width `size`."""
    last = len(shape) < 3 or channels_last(shape, size)
    channels = (shape[-1] if last else shape[0]) if shape else 1
    return max(channels, 1), max(math.prod(shape) // max(channels, 1), 1)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"
