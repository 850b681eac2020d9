"""Pictures of how good predictions are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, PrecisionRecallDisplay, RocCurveDisplay

from featx.arrays import as_numpy
from featx.errors import FeatxError
from featx.plots.style import (
    COLOURS,
    INK,
    LINES,
    MARKED,
    REFERENCE,
    described,
    drawing,
    legend_below,
    new_axes,
    series,
    short,
    some_rows,
    thinned,
    verbatim,
)
from featx.wording import counted

if TYPE_CHECKING:
    from featx.metrics import ThresholdChoice

__all__ = [
    "plot_confusion",
    "plot_precision_recall",
    "plot_predictions",
    "plot_reliability",
    "plot_roc",
    "plot_threshold_sweep",
]

_SMALLEST = 8.0  # points of a letter that is read without effort
_USUAL: dict[str, Any] = {
    **MARKED,
    "marker": "o",
    "markersize": 8,
    "color": "white",
    "markeredgewidth": 1.6,
}
_UNIT: dict[str, Any] = {"xlim": (-0.03, 1.03), "ylim": (-0.03, 1.03)}
_GUESSING = {**REFERENCE, "linewidth": 1.6}


@drawing
def plot_confusion(
    confusion: Any,
    labels: Sequence[Any],
    ax: Axes | None = None,
    *,
    title: str = "Confusion matrix",
) -> Axes:
    """Draw how often each class was taken for each class.

    Parameters
    ----------
    confusion
        ``(C, C)`` counts: rows are true classes, columns predicted ones.
    labels
        The C classes in that order.
    ax
        Where to draw; by default a new figure that grows with C.
    title
        What stands above it.

    Returns
    -------
    matplotlib.axes.Axes
        The darker a cell, the larger its share of the **true class**, on a scale of square roots, so that
        rare classes and rare mistakes are seen. The counts are written in the cells where they fit (those
        of 0 only for few classes), else a bar explains the colours.

    Raises
    ------
    FeatxError
        When the counts are not ``(C, C)``, or the labels not C.

    Examples
    --------
    >>> ax = plot_confusion([[50, 10], [5, 35]], ["cat", "dog"])
    >>> ax.featx_alt_text
    "Confusion matrix of 2 classes: 85 of 100 rows are right (85 %). 'cat': 50 of 60 found, 10 taken for
    'dog'. 'dog': 35 of 40 found, 5 taken for 'cat'."
    """
    counts = as_numpy(confusion)
    classes = len(labels)
    if counts.shape != (classes, classes) or not classes or counts.dtype.kind not in "iuf":
        raise FeatxError(
            f"Expected counts (C, C) and C labels, C from 1, got the shape {counts.shape} and {classes} "
            "labels. sklearn.metrics.confusion_matrix(y_true, y_pred, labels=labels) gives them."
        )
    if not np.isfinite(counts).all() or counts.min() < 0:
        raise FeatxError(
            "Expected counts from 0, got negative numbers, NaN or infinity. Pass how many rows, no shares "
            "or differences."
        )
    totals = counts.sum(1, keepdims=True)
    share = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    names = [verbatim(label, most=24) for label in labels]
    side, beside = 2.4 + 0.4 * classes, 0.075 * max(map(len, names))
    across = beside if _turned(names, 28.8) else 0.2  # inches
    ax = new_axes(ax, (min(side + beside, 16), min(side + across, 16)), grid=False)
    display = ConfusionMatrixDisplay(share, display_labels=names).plot(
        include_values=False,
        cmap="Blues",
        colorbar=False,
        ax=ax,
        im_kw={"norm": PowerNorm(0.5, 0, 1)},
    )
    ax.spines[:].set(visible=True, color=INK, linewidth=0.8)
    ax.set_aspect("auto")  # constrained layout needs several tries where an aspect is fixed
    ax.set(xlabel="predicted class", ylabel="true class", title=verbatim(title, most=90))
    _fit_names(ax, names)
    if not _write_counts(ax, counts, share):
        bar = ax.figure.colorbar(
            display.im_, ax=ax, fraction=0.046, pad=0.02, ticks=[0, 0.01, 0.05, 0.2, 0.5, 1]
        )
        bar.ax.set_yticklabels(["0", "1 %", "5 %", "20 %", "50 %", "all"])
        bar.set_label("share of the true class")
    right, total = np.trace(counts), counts.sum()
    words = [
        f"{title} of {counted(classes, 'class', 'classes')}: {right:g} of {total:g} rows are right "
        f"({100 * right / max(total, 1):.0f} %)."
    ]
    return described(ax, " ".join([*words, *_confused(counts, labels)]))


def _turned(names: list[str], width: float) -> bool:
    """Say whether names would touch on a line, at so many points for each."""
    return max(map(len, names)) * 5.4 + 6 > width


def _fit_names(ax: Axes, names: list[str]) -> None:
    """Turn the names below when they would touch, and leave some out when even lines would."""
    step = -(-len(names) // 80)  # more were never seen, and would take long to measure
    for _ in range(2):
        ticks = range(0, len(names), step)
        shown = [names[i] for i in ticks]
        ax.set_xticks(ticks, shown, rotation=90)
        ax.set_yticks(ticks, shown)
        cell_width, cell_height = _cell(ax, len(names))
        step = max(step, int(np.ceil(9.5 / min(cell_width, cell_height))))
    if not _turned(names, cell_width * step):
        ax.tick_params(axis="x", rotation=0)
    if min(cell_width, cell_height) * step < 12:
        ax.tick_params(labelsize=_SMALLEST)
    if len(names) > 30:
        ax.tick_params(length=0)


def _cell(ax: Axes, classes: int) -> tuple[float, float]:
    """Return width and height of a cell in points."""
    ax.figure.draw_without_rendering()  # pyright: ignore[reportAttributeAccessIssue]
    box = ax.get_window_extent()
    points = 72 / ax.figure.dpi / classes
    return box.width * points, box.height * points


def _write_counts(ax: Axes, counts: np.ndarray, share: np.ndarray) -> bool:
    """Write the counts in the cells, and say whether they fit."""
    form = "{:.0f}" if np.array_equal(counts, np.rint(counts)) else "{:.3g}"
    longest = max(len(form.format(count)) for count in np.unique(counts))
    width, height = _cell(ax, len(counts))
    size = min(width / (0.64 * longest + 0.4), height / 1.4, 12)
    if size < _SMALLEST:
        return False
    for i, j in np.argwhere(counts > (0 if len(counts) > 6 else -1)):
        ink = "white" if share[i, j] ** 0.5 > 0.6 else INK
        ax.text(j, i, form.format(counts[i, j]), ha="center", va="center", color=ink, fontsize=size)
    return True


def _confused(counts: np.ndarray, labels: Sequence[Any]) -> list[str]:
    found, totals = np.diag(counts), counts.sum(1)
    wrong = counts - np.diag(found)
    if len(counts) <= 10:
        return [
            f"'{label}': {hits:g} of {total:g} found"
            + "".join(
                f", {row[j]:g} taken for '{labels[j]}'"
                for j in np.argsort(-row, kind="stable")[:2]
                if row[j]
            )
            + "."
            for label, total, hits, row in zip(labels, totals, found, wrong, strict=True)
        ]
    worst = np.argsort(-wrong, axis=None, kind="stable")[:5]
    pairs = [np.unravel_index(at, wrong.shape) for at in worst]
    mistakes = [
        f"'{labels[i]}' for '{labels[j]}' ({wrong[i, j]:g})" for i, j in pairs if wrong[i, j]
    ]
    there = np.flatnonzero(totals)
    least = there[np.argsort(found[there] / totals[there], kind="stable")[:3]]
    seldom = [f"'{labels[i]}' ({found[i]:g} of {totals[i]:g})" for i in least]
    return [
        *([f"Most often taken: {', '.join(mistakes)}."] if mistakes else []),
        *([f"Found least: {', '.join(seldom)}."] if mistakes else []),
    ]


@drawing
def plot_precision_recall(
    precision: Any,
    recall: Any,
    ax: Axes | None = None,
    *,
    average_precision: float | None = None,
    prevalence: float | None = None,
    choice: ThresholdChoice | None = None,
) -> Axes:
    """Draw precision over recall, for all thresholds.

    Parameters
    ----------
    precision, recall
        ``(T,)`` each, from `sklearn.metrics.precision_recall_curve`.
    ax
        Where to draw; by default a new figure.
    average_precision
        Is written in the legend.
    prevalence
        The share of the positives: the precision of guessing, drawn as a line.
    choice
        From `featx.choose_threshold`: is marked.

    Returns
    -------
    matplotlib.axes.Axes
        The curve in steps, as average precision adds it up.

    Raises
    ------
    FeatxError
        When the arrays are not of one length.

    Examples
    --------
    >>> ax = plot_precision_recall([0.5, 0.8, 1, 1], [1, 0.8, 0.5, 0], average_precision=0.87)
    >>> ax.featx_alt_text
    'Precision over recall, average precision 0.87. The best precision with a recall of at least 0.5 is
    1.00, of 0.8 is 0.80, of 0.95 is 0.50.'
    """
    precision, recall = series(
        {"precision": precision, "recall": recall},
        "sklearn.metrics.precision_recall_curve(y_true, y_score) gives both.",
    )
    if recall[0] < recall[-1]:  # scikit-learn's steps go from high recall to low
        precision, recall = precision[::-1], recall[::-1]
    ax = new_axes(ax, (5.6, 5.6))
    thin_recall, thin_precision = thinned(recall, precision)
    line = PrecisionRecallDisplay(precision=thin_precision, recall=thin_recall).plot(ax=ax).line_
    name = "average precision"
    _restyled(line, "each threshold", name, average_precision)
    words = f"Precision over recall{_given(name, average_precision)}."
    if prevalence is not None:
        ax.axhline(prevalence, **_GUESSING, label=f"guessing: precision {prevalence:.2f}")
        words += f" Guessing has a precision of {prevalence:.2f} at any recall."
    best = [
        f"of {'at least ' if i == 0 else ''}{floor:g} is {precision[recall >= floor].max():.2f}"
        for i, floor in enumerate((0.5, 0.8, 0.95))
        if recall.max() >= floor
    ]
    if best:
        words += f" The best precision with a recall {', '.join(best)}."
    if choice is not None:
        words += _mark(ax, choice, (choice.recall, choice.precision), (recall, precision))
    ax.set(
        aspect="auto",
        **_UNIT,
        xlabel="recall (found among the positives)",
        ylabel="precision (right among the found)",
        title="Precision over recall",
    )
    legend_below(ax)
    return described(ax, words)


@drawing
def plot_roc(
    fpr: Any,
    tpr: Any,
    ax: Axes | None = None,
    *,
    roc_auc: float | None = None,
    choice: ThresholdChoice | None = None,
) -> Axes:
    """Draw the share of the positives that is found over the share of false alarms, for all thresholds.

    Parameters
    ----------
    fpr, tpr
        ``(T,)`` each: false and true positive rate, from `sklearn.metrics.roc_curve`.
    ax
        Where to draw; by default a new figure.
    roc_auc
        The area below; is written in the legend.
    choice
        From `featx.choose_threshold`: is marked.

    Returns
    -------
    matplotlib.axes.Axes
        With the diagonal, on which guessing lies.

    Raises
    ------
    FeatxError
        When the arrays are not of one length.

    Examples
    --------
    >>> plot_roc([0, 0, 0.2, 1], [0, 0.7, 0.9, 1], roc_auc=0.92).featx_alt_text
    'True positive rate (recall) over false positive rate, ROC-AUC 0.92; guessing lies on the diagonal
    (0.50). It is 0.70 where the false positive rate is at most 0.01, 0.70 at 0.1, 0.90 at 0.2.'
    """
    fpr, tpr = series(
        {"fpr": fpr, "tpr": tpr}, "sklearn.metrics.roc_curve(y_true, y_score) gives both."
    )
    ax = new_axes(ax, (5.6, 5.6))
    thin_fpr, thin_tpr = thinned(fpr, tpr)
    line = RocCurveDisplay(fpr=thin_fpr, tpr=thin_tpr).plot(ax=ax).line_
    _restyled(line, "each threshold", "ROC-AUC", roc_auc)
    ax.plot([0, 1], [0, 1], **_GUESSING, label="guessing: ROC-AUC 0.50")
    found = [
        f"{tpr[fpr <= most].max():.2f} "
        f"{'where the false positive rate is at most' if i == 0 else 'at'} {most:g}"
        for i, most in enumerate((0.01, 0.1, 0.2))
        if fpr.min() <= most
    ]
    words = (
        f"True positive rate (recall) over false positive rate{_given('ROC-AUC', roc_auc)}; guessing lies "
        "on the diagonal (0.50)."
    )
    if found:
        words += f" It is {', '.join(found)}."
    if choice is not None:
        words += _mark(ax, choice, (choice.false_positive_rate, choice.recall), (fpr, tpr))
    ax.set(
        aspect="auto",
        **_UNIT,
        xlabel="false positive rate (false alarms)",
        ylabel="true positive rate (recall)",
        title="ROC: found over false alarms",
    )
    legend_below(ax)
    return described(ax, words)


def _given(name: str, value: float | None) -> str:
    return "" if value is None else f", {name} {value:.2f}"


def _restyled(line: Any, label: str, name: str, value: float | None) -> None:
    """Bring a line of scikit-learn's to the one style."""
    line.set(color=COLOURS[0], linewidth=2.2, linestyle="-", alpha=1, zorder=3)
    line.set_label(label if value is None else f"{label}: {name} {value:.2f}")


def _mark(
    ax: Axes,
    choice: ThresholdChoice,
    at: tuple[float, float],
    curve: tuple[np.ndarray, np.ndarray],
) -> str:
    """Mark the chosen threshold, and return it in words."""
    what = f"precision {choice.precision:.2f}, recall {choice.recall:.2f}"
    beside = np.hypot(curve[0] - at[0], curve[1] - at[1]).min() > 0.005
    where = " where it was chosen" if beside else ""  # on other rows than the curve's
    ax.plot(
        *[[value] for value in at],
        **MARKED,
        label=f"threshold {choice.threshold:.3g}: {what}{where}",
    )
    return f" The chosen threshold {choice.threshold:.3g} has {what}{where}."


@drawing
def plot_threshold_sweep(choice: ThresholdChoice, ax: Axes | None = None) -> Axes:
    """Draw what each threshold would give, the chosen one marked.

    Parameters
    ----------
    choice
        From `featx.choose_threshold`.
    ax
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        Where it was chosen by cost: what the misses cost, what the false alarms cost, and their sum.
        Where it was chosen by a floor: precision and recall, and the floor. Of a few extreme scores only
        those near the others are in the picture.

    Raises
    ------
    FeatxError
        When `choice` is none, or holds no sweep.

    Examples
    --------
    >>> import featx
    >>> choice = featx.choose_threshold([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], cost_fp=1, cost_fn=5)
    >>> plot_threshold_sweep(choice).featx_alt_text
    'Mean cost a row over the threshold, from 0.1 to 0.8. At the chosen threshold 0.225 it is 0.25: misses
    0, false alarms 0.25. The lowest threshold costs 0.5, the highest 2.5. The usual 0.5 costs 1.25.'
    """
    by_cost = getattr(choice, "floor", None) is None
    names = ("cost_fn", "cost_fp", "cost") if by_cost else ("precision", "recall")
    advice = "featx.choose_threshold gives a choice with its sweep."
    sweep = getattr(choice, "sweep", None) or {}
    missing = [name for name in ("threshold", *names) if name not in sweep]
    if missing:
        raise FeatxError(
            f"Expected a choice whose sweep has {missing[0]!r}, got {type(choice).__name__}. {advice}"
        )
    at, *lines = series({name: sweep[name] for name in ("threshold", *names)}, advice)
    ax = new_axes(ax, (6.8, 5.2))
    low, high = _window(at, choice.threshold)
    inside = (at > low) & (at < high)
    kept = inside | np.r_[False, inside[:-1]]  # a step ends at the next threshold
    kept[-1] |= at[-1] <= high
    thin_at, *thin = thinned(at[kept], *(line[kept] for line in lines))
    thin_at = np.clip(np.r_[low, thin_at, high], low, high)  # beyond all scores nothing changes
    thin = [np.r_[line[0], line, line[-1]] for line in thin]
    values: list[Any] = [choice.cost] if by_cost else [choice.precision, choice.recall]
    draw = _draw_costs if by_cost else _draw_floor
    words = draw(ax, choice, thin_at, thin)
    ax.axvline(choice.threshold, color=INK, linewidth=1, linestyle=(0, (1, 2)))
    text = f"chosen threshold {choice.threshold:.3g}: {words}"
    ax.plot([choice.threshold] * len(values), values, **MARKED, label=text)
    ax.set_xlim(low, high)
    ax.set_xlabel("threshold: positive from this score on")
    legend_below(ax)
    span = f"over the threshold, from {at[0]:.3g} to {at[-1]:.3g}."
    if by_cost:
        total = lines[-1]
        usual = choice.usual
        beside = f" The usual {usual['threshold']:g} costs {usual['cost']:.3g}." if usual else ""
        return described(
            ax,
            f"Mean cost a row {span} At the chosen threshold {choice.threshold:.3g} it is "
            f"{choice.cost:.3g}: {words.partition(': ')[2]}. The lowest threshold costs {total[0]:.3g}, the "
            f"highest {total[-1]:.3g}.{beside}",
        )
    name, floor = choice.floor  # pyright: ignore[reportGeneralTypeIssues]
    return described(
        ax,
        f"Precision and recall {span} The {name} must be at least {floor:g}. At the chosen threshold "
        f"{choice.threshold:.3g}: {words}.",
    )


def _window(at: np.ndarray, chosen: float) -> tuple[float, float]:
    """Return the limits of the picture: all thresholds, but for the few that lie far out."""
    low, high = at.min(), at.max()
    inner_low, inner_high = np.quantile(at, [0.01, 0.99])
    span = inner_high - inner_low
    if span and high - low > 10 * span:
        low, high = max(low, inner_low - span), min(high, inner_high + span)
    low, high = min(low, chosen), max(high, chosen)
    return _widened(low, high, 0.03)


def _widened(low: float, high: float, share: float) -> tuple[float, float]:
    """Return limits with a margin, also where there is but one value, up to rounding."""
    size = max(abs(low), abs(high)) or 1
    margin = share * (high - low) if high - low > 1e-9 * size else 0.1 * size
    return low - margin, high + margin


def _draw_costs(ax: Axes, choice: Any, at: np.ndarray, costs: list[np.ndarray]) -> str:
    names = ("misses", "false alarms", "both together")
    looks = (
        {"color": COLOURS[1], "linestyle": LINES[1]},
        {"color": COLOURS[0], "linestyle": LINES[2]},
        {"color": "black", "linewidth": 2.6},
    )
    for name, look, cost in zip(names, looks, costs, strict=True):
        ax.plot(at, cost, drawstyle="steps-pre", label=name, **look)
    ax.set(ylabel="mean cost a row", title="What each threshold costs")
    ax.set_ylim(bottom=-0.03 * costs[-1].max())
    usual = choice.usual
    if usual and at[0] <= usual["threshold"] <= at[-1] and usual["threshold"] != choice.threshold:
        label = f"usual threshold {usual['threshold']:g}: {usual['cost']:.3g} a row"
        ax.plot([usual["threshold"]], [usual["cost"]], **_USUAL, label=label)
    here = int(np.searchsorted(choice.sweep["threshold"], choice.threshold))
    misses, alarms = (
        float(np.asarray(choice.sweep[name])[min(here, len(choice.sweep[name]) - 1)])
        for name in ("cost_fn", "cost_fp")
    )
    return f"{choice.cost:.3g} a row: misses {misses:.3g}, false alarms {alarms:.3g}"


def _draw_floor(ax: Axes, choice: Any, at: np.ndarray, lines: list[np.ndarray]) -> str:
    name, floor = choice.floor
    for i, (kind, line) in enumerate(zip(("precision", "recall"), lines, strict=True)):
        look = {"color": COLOURS[i], "linestyle": LINES[2 * i]}
        ax.plot(at, line, drawstyle="steps-pre", label=kind, **look)
    ax.axhline(floor, **REFERENCE, label=f"floor: {name} of at least {floor:g}")
    ax.set(ylabel="precision, recall", ylim=(-0.03, 1.04), title="What each threshold gives")
    return f"precision {choice.precision:.2f}, recall {choice.recall:.2f}"


@drawing
def plot_reliability(
    predicted: Any, observed: Any, ax: Axes | None = None, *, counts: Any = None
) -> Axes:
    """Draw how often it was so over how probable it was said to be.

    Parameters
    ----------
    predicted
        ``(B,)``: mean predicted probability in each bin.
    observed
        ``(B,)``: the share of the rows in it where it was so. `sklearn.calibration.calibration_curve`
        gives ``observed, predicted``, in this order.
    ax
        Where to draw; by default a new figure.
    counts
        ``(B,)``: rows in each bin, drawn as bars below.

    Returns
    -------
    matplotlib.axes.Axes
        Above the diagonal it happens more often than was said (underconfident), below it less often
        (overconfident).

    Raises
    ------
    FeatxError
        When the arrays are not of one length.

    Examples
    --------
    >>> plot_reliability([0.1, 0.9], [0.1, 0.6], counts=[30, 10]).featx_alt_text
    'Observed share over predicted probability in 2 bins: said 0.10, seen 0.10 (30 rows); said 0.90, seen
    0.60 (10 rows). Overconfident on the whole: says 0.30 on average, 0.23 is seen.'
    """
    given = {} if counts is None else {"counts": counts}
    predicted, observed, *rows = series(
        {"predicted": predicted, "observed": observed, **given},
        "sklearn.calibration.calibration_curve(y_true, probability) gives observed and predicted.",
    )
    ax = new_axes(ax, (5.8, 5.6))
    ax.plot([0, 1], [0, 1], **_GUESSING, label="as often as it says")
    display = CalibrationDisplay(observed, predicted, predicted).plot(ax=ax, ref_line=False)
    display.line_.set(
        color=COLOURS[0],
        marker="o",
        linestyle="-",
        label="seen in each bin",
        zorder=3,
    )
    ax.fill_between(predicted, predicted, observed, color=COLOURS[0], alpha=0.15, linewidth=0)
    bottom = -0.03
    if rows and rows[0].max() > 0:
        bottom = -0.3
        _draw_counts(ax, predicted, rows[0])
    ax.set(
        xlim=(-0.03, 1.03),
        ylim=(bottom, 1.03),
        yticks=np.linspace(0, 1, 6),
        xlabel="mean predicted probability",
        ylabel="observed share",
        title="Is it as often right as it says?",
    )
    legend_below(ax)
    return described(ax, _reliable(predicted, observed, rows[0] if rows else None))


def _draw_counts(ax: Axes, predicted: np.ndarray, counts: np.ndarray) -> None:
    """Draw how many rows are in each bin, below 0, so that no bar is under a line."""
    ax.axhline(0, color=INK, linewidth=0.8)
    gaps = np.diff(np.unique(predicted))
    narrowest = float(gaps.min()) if gaps.size else 0.1
    width = float(np.clip(0.8 * narrowest, 0.008, 0.07))
    ax.bar(
        predicted,
        0.15 * counts / counts.max(),
        bottom=-0.28,
        width=width,
        color="0.6",
        edgecolor=INK,
        linewidth=0.6,
        hatch="///",
        label=f"rows in the bin ({short(counts.sum())} in all)",
    )
    if narrowest > 0.07 and len(counts) <= 12:
        for x, count in zip(predicted, counts, strict=True):
            y = -0.28 + 0.15 * count / counts.max() + 0.015
            ax.text(x, y, short(count), ha="center", va="bottom", fontsize=_SMALLEST)


def _reliable(predicted: np.ndarray, observed: np.ndarray, counts: np.ndarray | None) -> str:
    shown = np.arange(len(predicted))
    if len(shown) > 12:
        shown = shown[np.argsort(-np.abs(observed - predicted), kind="stable")[:5]]
    parts = [
        f"said {predicted[i]:.2f}, seen {observed[i]:.2f}"
        + ("" if counts is None else f" ({counts[i]:g} rows)")
        for i in shown
    ]
    weights = counts if counts is not None and counts.sum() > 0 else np.ones(len(predicted))
    said, seen = np.average(predicted, weights=weights), np.average(observed, weights=weights)
    kind = (
        "Well calibrated"
        if abs(said - seen) < 0.02
        else "Overconfident"
        if said > seen
        else "Underconfident"
    )
    return (
        f"Observed share over predicted probability in {counted(len(predicted), 'bin')}"
        f"{', those furthest off' if len(shown) < len(predicted) else ''}: {'; '.join(parts)}. "
        f"{kind} on the whole: says {said:.2f} on average, {seen:.2f} is seen."
    )


@drawing
def plot_predictions(y_true: Any, y_pred: Any, ax: Axes | None = None) -> Axes:
    """Draw predicted numbers over true ones.

    Parameters
    ----------
    y_true, y_pred
        ``(N,)`` each.
    ax
        Where to draw; by default a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        On the diagonal the prediction is right; the level line is what always answering the mean gives.
        Of very many rows 20,000 are drawn.

    Raises
    ------
    FeatxError
        When the arrays are not of one length.

    Examples
    --------
    >>> plot_predictions([1, 2, 3, 4], [1.5, 2, 2.5, 4]).featx_alt_text
    'Predicted over true numbers of 4 rows: true 1 to 4, predicted 1.5 to 4. Half of the predictions are
    within 0.25 of the truth, 9 of 10 within 0.5. Always answering the mean gives 2.5.'
    """
    y_true, y_pred = series(
        {"y_true": y_true, "y_pred": y_pred},
        "Several numbers a row are drawn one by one: y_true[:, 0], y_pred[:, 0].",
    )
    # Not scikit-learn's PredictionErrorDisplay: it has the true numbers upwards.
    ax = new_axes(ax, (5.6, 5.6))
    low, high = min(y_true.min(), y_pred.min()), max(y_true.max(), y_pred.max())
    limits = _widened(low, high, 0.05)
    rows, mean = some_rows(len(y_true)), y_true.mean()
    drawn = f" ({len(rows):,} of {len(y_true):,})" if len(rows) < len(y_true) else ""
    ax.plot(
        y_true[rows],
        y_pred[rows],
        linestyle="none",
        marker="o",
        markersize=5 if len(rows) < 500 else 3,
        color=COLOURS[0],
        alpha=0.6 if len(rows) < 500 else 0.35,
        markeredgewidth=0,
        rasterized=len(rows) > 2000,
        label=f"a row{drawn}",
    )
    ax.plot(limits, limits, color=INK, linewidth=1.6, label="right")
    ax.axhline(mean, **_GUESSING, label=f"always answering the mean, {mean:.3g}")
    ax.set(
        xlim=limits,
        ylim=limits,
        xlabel="true",
        ylabel="predicted",
        title="Predicted over true",
    )
    legend_below(ax)
    half, most = np.quantile(np.abs(y_pred - y_true), [0.5, 0.9])
    return described(
        ax,
        f"Predicted over true numbers of {counted(len(y_true), 'row')}: true {y_true.min():.3g} to "
        f"{y_true.max():.3g}, predicted {y_pred.min():.3g} to {y_pred.max():.3g}. Half of the predictions "
        f"are within {half:.3g} "
        f"of the truth, 9 of 10 within {most:.3g}. Always answering the mean gives {mean:.3g}.",
    )
