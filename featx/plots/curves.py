"""Pictures of a score over something that was varied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from featx.errors import FeatxError
from featx.plots.style import (
    COLOURS,
    INK,
    LINES,
    MARKED,
    MARKERS,
    REFERENCE,
    described,
    drawing,
    legend_below,
    new_axes,
    series,
    thinned,
    verbatim,
)
from featx.wording import counted

if TYPE_CHECKING:
    from featx.probes import FewLabelAccuracy

__all__ = ["plot_few_label_accuracy", "plot_learning_curves", "plot_regularisation_path"]

_LOWER_IS_BETTER = ("loss", "error", "mse", "mae", "rmse", "perplexity")


@drawing
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

    Raises
    ------
    FeatxError
        When there are no results.

    Examples
    --------
    >>> from featx.probes import FewLabelAccuracy
    >>> results = {"pixels": FewLabelAccuracy((1, 5), np.array([[0.5, 0.7], [0.8, 0.8]]))}
    >>> plot_few_label_accuracy(results).featx_alt_text
    'Accuracy over the number of labels a class. pixels: 0.60 with 1, 0.80 with 5.'
    """
    if not isinstance(results, Mapping) or not results:
        raise FeatxError(
            "Expected a dict of name -> featx.few_label_accuracy(X, y), one entry for each line, got "
            f"{'an empty one' if isinstance(results, Mapping) else type(results).__name__}. Put the "
            "results in one."
        )
    ax = new_axes(ax, (6.4, 5))
    words = []
    for i, (name, result) in enumerate(results.items()):
        ax.errorbar(
            result.shots,
            result.mean,
            yerr=result.std,
            label=verbatim(name),
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            linestyle=LINES[i % len(LINES)],
            elinewidth=1.2,
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
    if len(ticks) == 1:
        ax.set_xlim(ticks[0] / 2, ticks[0] * 2)
    ax.set(xlabel="labels a class", ylabel="accuracy on all other images", ylim=(0, 1.02))
    ax.set_title("Accuracy over the number of labels")
    legend_below(ax, columns=2 if len(results) > 2 else 1)
    return described(ax, "Accuracy over the number of labels a class. " + " ".join(words))


@drawing
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

    Raises
    ------
    FeatxError
        When `path` is none, or its arrays are not of one length.

    Examples
    --------
    >>> path = {"C": [0.1, 1, 10], "train_score": [0.8, 0.9, 1], "val_score": [0.7, 0.8, 0.6]}
    >>> plot_regularisation_path(path, 1).featx_alt_text
    'Score over regularisation, C from 0.1 to 10. At the picked C = 1: 0.900 on rows trained on, 0.800 on
    rows held out.'
    """
    if not isinstance(path, Mapping):
        raise FeatxError(
            f"Expected a path of scores over C, got {type(path).__name__}. Only a "
            'LinearProbe("path") that is fitted has one: its path_.'
        )
    keys = {"train_score": "trained on", "val_score": "held out"}
    C, *scores = series(
        {key: path.get(key, ()) for key in ("C", *keys)}, "LinearProbe.path_ has them."
    )
    ax = new_axes(ax, (6.4, 4.6))
    for i, (score, label) in enumerate(zip(scores, keys.values(), strict=True)):
        ax.plot(C, score, color=COLOURS[i], marker=MARKERS[i], linestyle=LINES[i], label=label)
    ax.axvline(picked, **REFERENCE, label=f"picked by loss: C = {picked:g}")
    ax.set_xscale("log")
    ax.set(xlabel="C (weaker regularisation to the right)", ylabel="score")
    ax.set_title("Training rows: score over regularisation")
    legend_below(ax, columns=3)
    at = int(np.argmin(np.abs(np.log(C) - np.log(picked))))
    return described(
        ax,
        f"Score over regularisation, C from {C[0]:g} to {C[-1]:g}. At the picked C = {picked:g}: "
        f"{scores[0][at]:.3f} on rows trained on, {scores[1][at]:.3f} on rows held out.",
    )


@drawing
def plot_learning_curves(
    train: Any,
    val: Any,
    ax: Axes | None = None,
    *,
    metric: str = "accuracy",
    steps: Any = None,
) -> Axes:
    """Draw a score on training and on validation data over the epochs, and the gap between them.

    Parameters
    ----------
    train, val
        ``(E,)`` each, one value an epoch. NaN leaves a gap in the line.
    ax
        Where to draw; by default a new figure.
    metric
        What it is. Of ``"loss"``, ``"error"``, ``"mse"``, ``"mae"``, ``"rmse"`` and ``"perplexity"``, or a
        name that ends in one of these, less is better, of all others more.
    steps
        ``(E,)``, ascending: when they were measured, where that was not after each epoch.

    Returns
    -------
    matplotlib.axes.Axes
        The gap is shaded, and its size at the end is written on the right; the best epoch by validation
        is marked.

    Raises
    ------
    FeatxError
        When the arrays are not of one length, or never both a number.

    Examples
    --------
    >>> plot_learning_curves([0.7, 0.9, 1.0], [0.7, 0.8, 0.75]).featx_alt_text
    'accuracy over 3 epochs: training from 0.700 to 1.000, validation from 0.700 to 0.750, best 0.800 at
    epoch 2. At the end training is better by 0.250.'
    """
    advice = "Pass one value an epoch for both, such as [0.7, 0.8, 0.9]."
    train, val = series({"train": train, "val": val}, advice, gaps=True)
    unit = "epoch" if steps is None else "step"
    steps = np.arange(1, len(train) + 1) if steps is None else steps
    at, _ = series({"steps": steps, "train": np.zeros(len(train))}, advice)
    both = np.flatnonzero(np.isfinite(train) & np.isfinite(val))
    if not both.size or (np.diff(at) <= 0).any():
        wrong = "NaN or infinity everywhere" if not both.size else "steps that do not ascend"
        raise FeatxError(
            f"Expected numbers in train and val, at ascending steps, got {wrong}. {advice}"
        )
    sign = -1 if metric.lower().endswith(_LOWER_IS_BETTER) else 1
    first, last = both[0], both[-1]
    seen = np.flatnonzero(np.isfinite(val))
    best = int(seen[np.argmax(sign * val[seen])])
    gap = float(sign * (train[last] - val[last]))

    ax = new_axes(ax, (6.8, 5))
    for i, (label, line) in enumerate((("training", train), ("validation", val))):
        x, y = thinned(at, line) if np.isfinite(line).all() else (at, line)
        ax.plot(
            x,
            y,
            color=COLOURS[i],
            linestyle=LINES[i],
            marker=MARKERS[i] if len(at) <= 25 else None,
            markersize=5,
            label=label,
        )
    x, low, high = thinned(at[both], train[both], val[both])
    ax.fill_between(x, low, high, color="0.92", linewidth=0, zorder=0.5)
    ax.plot(
        [at[best]],
        [val[best]],
        **MARKED,
        label=f"best on validation: {val[best]:.3f} at {unit} {at[best]:g}",
    )
    ax.annotate(
        "",
        (at[last], train[last]),
        (at[last], val[last]),
        arrowprops={"arrowstyle": "<->", "color": INK, "shrinkA": 0, "shrinkB": 0},
        annotation_clip=False,
    )
    ax.annotate(
        f"gap {gap:.3f}",
        (at[last], (train[last] + val[last]) / 2),
        (8, 0),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
    )
    name = verbatim(metric)
    ax.set(xlabel=unit, ylabel=name, title=f"Learning curves: {name}")
    ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    if len(at) == 1:
        ax.set_xticks(at)
    legend_below(ax, columns=3)
    better = f"training is better by {gap:.3f}"
    if abs(gap) < 5e-4:
        better = "both are the same"
    elif gap < 0:
        better = f"validation is better by {-gap:.3f}"
    lost = np.flatnonzero(~np.isfinite(train) | ~np.isfinite(val))
    return described(
        ax,
        f"{metric} over {counted(len(at), unit)}: training from {train[first]:.3f} to {train[last]:.3f}, "
        f"validation from {val[first]:.3f} to {val[last]:.3f}, best {val[best]:.3f} at {unit} "
        f"{at[best]:g}. At the end {better}."
        + (
            f" Not a number {counted(len(lost), 'time')}, first at {unit} {at[lost[0]]:g}."
            if lost.size
            else ""
        ),
    )
