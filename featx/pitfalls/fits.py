"""Training scores beside validation scores: learned by heart, not learned, stopped too late."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from featx.arrays import as_numpy
from featx.errors import FeatxError
from featx.findings import Finding, Findings, with_overrides
from featx.pitfalls.limits import THRESHOLDS
from featx.wording import first_line

__all__ = ["check_fit"]


def check_fit(
    train_scores: Any,
    val_scores: Any,
    *,
    metric: str = "accuracy",
    guessing: float | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Findings:
    """Compare training and validation scores: one number each, or one for each epoch.

    Parameters
    ----------
    train_scores, val_scores
        Numbers, or sequences ``(epochs,)`` of one length.
    metric : "accuracy" or "loss"
        ``"accuracy"`` stands for any score of 0-1 where more is better.
    guessing
        The accuracy of guessing, for example 0.1 with ten classes of one size. By it "low" is judged; a
        loss is not, and takes none.
    thresholds : dict, optional
        Other values for `featx.pitfalls.THRESHOLDS`.

    Returns
    -------
    Findings
        ``diverged`` (a score is NaN or infinite, or the training loss ends at twice its start),
        ``loss_not_falling``, ``underfitting``, ``overfitting``, ``peaked_early`` (the validation got worse
        after its best epoch), ``validation_above_training``. A difference within three times the noise
        between epochs counts as nothing. Epochs are counted from 1.

    Raises
    ------
    FeatxError
        When the scores are not numbers, not of one length, the metric is unknown, or `guessing` is not
        within 0-1 or stands beside a loss.

    Examples
    --------
    >>> check_fit(0.99, 0.71).codes
    ['overfitting']
    >>> check_fit([0.70, 0.85, 0.95, 0.98, 0.99, 1.0, 1.0], [0.68, 0.80, 0.86, 0.84, 0.80, 0.78, 0.76]).codes
    ['overfitting', 'peaked_early']
    >>> check_fit([0.6, 0.8, 0.9], [0.58, 0.79, 0.88])
    Nothing stands out.
    """
    limit = with_overrides(thresholds, THRESHOLDS)
    if metric not in ("accuracy", "loss"):
        raise FeatxError(
            f"Expected metric to be 'accuracy' or 'loss', got {metric!r}. Any score where more is better is "
            "read as an accuracy."
        )
    if guessing is not None and (not isinstance(guessing, Real) or not 0 <= guessing <= 1):
        raise FeatxError(
            f"Expected guessing to be an accuracy of 0-1, got {guessing!r}. With ten classes of one size it "
            "is 0.1."
        )
    if guessing is not None and metric == "loss":
        raise FeatxError(
            f"Expected no guessing beside metric='loss', got {guessing!r}. A loss is judged by its fall; "
            "give accuracies to compare with guessing."
        )
    scores = [
        _scores(values, name)
        for values, name in ((train_scores, "training"), (val_scores, "validation"))
    ]
    if len(scores[0]) != len(scores[1]):
        raise FeatxError(
            f"Expected as many training as validation scores, got {len(scores[0])} and {len(scores[1])}. "
            "Give one of each for an epoch."
        )
    finite = np.isfinite(scores[0]) & np.isfinite(scores[1])
    if not finite.all():
        epoch = int(np.flatnonzero(~finite)[0])
        at = f" in epoch {epoch + 1} of {len(finite)}" if len(finite) > 1 else ""
        return Findings([_diverged(f"The {metric} is NaN or infinite{at}.", {"epoch": epoch + 1})])
    if metric == "accuracy" and max(s.max() for s in scores) > 1.5:
        raise FeatxError(
            f"Expected accuracies of 0-1, got {max(s.max() for s in scores):g}. Divide per cent by 100, or "
            "say metric='loss'."
        )
    judge = _judge_loss if metric == "loss" else _judge_accuracy
    return Findings(judge(scores[0], scores[1], limit, guessing))


def _scores(values: Any, name: str) -> np.ndarray:
    try:
        scores = np.atleast_1d(as_numpy(values)).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise FeatxError(
            f"Expected {name} scores to be numbers, got {type(values).__name__}: {first_line(error)}. Pass a "
            "number, or one for each epoch."
        ) from error
    if scores.ndim != 1 or not len(scores):
        raise FeatxError(
            f"Expected {name} scores (epochs,), got the shape {scores.shape}. Pass a number, or one for each "
            "epoch."
        )
    return scores


def _diverged(message: str, numbers: dict) -> Finding:
    advice = (
        "Lower the learning rate tenfold, look for bad inputs (check_preprocessing), and clip gradients if "
        "it happens again."
    )
    return Finding("diverged", message, advice, numbers)


def _noise(values: np.ndarray) -> float:
    """Estimate the noise of one epoch from the differences between neighbours, whatever the trend."""
    if len(values) < 4:
        return 0.0
    steps = np.diff(values)
    return float(1.4826 * np.median(np.abs(steps - np.median(steps))) / np.sqrt(2))


def _last(values: np.ndarray) -> float:
    return float(values[-max(1, min(3, len(values) // 4)) :].mean())


def _smooth(values: np.ndarray) -> np.ndarray:
    """Means of three epochs; at both ends of two."""
    if len(values) < 5:
        return values
    padded = np.concatenate([[np.nan], values, [np.nan]])
    return np.nanmean(np.stack([padded[:-2], padded[1:-1], padded[2:]]), 0)


def _judge_accuracy(
    train: np.ndarray, val: np.ndarray, limit: dict, guessing: float | None
) -> list[Finding]:
    t, v = _last(train), _last(val)
    noise = limit["noise"] * max(_noise(train), _noise(val))
    numbers = {"train": t, "validation": v, "gap": t - v}
    found = []
    low = limit["low_accuracy"] if guessing is None else guessing + limit["margin"]
    if t < low and v < low:
        than = "low" if guessing is None else f"hardly above guessing, which scores {guessing:.2f}"
        found.append(
            Finding(
                "underfitting",
                f"Training accuracy is {t:.2f} and validation {v:.2f}: both {than}.",
                "Train longer or with a higher learning rate, unfreeze a deeper stage, or take a stronger "
                "backbone; check the preprocessing first.",
                {**numbers, "low": low},
            )
        )
    if t - v > max(limit["gap"], noise):
        found.append(
            Finding(
                "overfitting",
                f"Training accuracy {t:.2f} is {t - v:.2f} above validation {v:.2f}: the model knows its "
                "training rows, not the task.",
                "Use more data or augmentation, stronger regularisation, fewer trainable parameters, or stop "
                "earlier.",
                {**numbers, "limit": limit["gap"]},
            )
        )
    found += _peaked(val, limit["drop"], noise, 1)
    if v - t > max(limit["ahead"], noise):
        found.append(_val_ahead(f"accuracy {v:.2f} is above training's {t:.2f}", numbers))
    return found


def _judge_loss(
    train: np.ndarray, val: np.ndarray, limit: dict, guessing: float | None
) -> list[Finding]:
    t, v = _last(train), _last(val)
    noise = limit["noise"] * max(_noise(train), _noise(val))
    numbers = {"train": t, "validation": v}
    found = []
    change = {"start": float(train[0]), "end": t}
    if t > 2 * abs(train[0]) and t - train[0] > noise:
        rose = f"The training loss rose from {train[0]:.3g} to {t:.3g}."
        return [_diverged(rose, {**change, "epoch": len(train)})]
    if len(train) >= 5:
        third = max(2, len(train) // 3)
        start, end = float(train[:third].mean()), float(train[-third:].mean())
        if start - end < max(limit["fall"] * abs(start), noise / np.sqrt(third)):
            found.append(
                Finding(
                    "loss_not_falling",
                    f"The training loss is not falling: {start:.3g} over the first {third} epochs, {end:.3g} "
                    f"over the last {third}.",
                    "See that the optimizer holds the trainable parameters (featx.freeze_report), and try "
                    "learning rates ten times higher and lower.",
                    {**change, "first_third": start, "last_third": end},
                )
            )
    if v > limit["loss_ratio"] * t and v - t > max(limit["loss_gap"], noise):
        found.append(
            Finding(
                "overfitting",
                f"The validation loss {v:.3g} is {v / t:.1f} times the training loss {t:.3g}."
                if t > 0
                else f"The validation loss is {v:.3g}, the training loss {t:.3g}.",
                "Use more data or augmentation, stronger regularisation, fewer trainable parameters, or stop "
                "earlier.",
                {**numbers, "limit": limit["loss_ratio"]},
            )
        )
    found += _peaked(val, limit["rise"] * abs(float(_smooth(val).min())), noise, -1)
    if t - v > max(limit["loss_ahead"] * abs(t), noise):
        found.append(_val_ahead(f"loss {v:.3g} is below training's {t:.3g}", numbers))
    return found


def _val_ahead(what: str, numbers: dict) -> Finding:
    return Finding(
        "validation_above_training",
        f"Validation {what}.",
        "Dropout and augmentation do that while training: score the training rows in eval mode without "
        "augmentation. If it stays, look for a leak or an easy validation set with check_split.",
        numbers,
    )


def _peaked(val: np.ndarray, least: float, noise: float, sign: int) -> list[Finding]:
    """Say that the validation is worse at the end than at its best; `sign` is 1 where more is better."""
    smooth = sign * _smooth(val)
    best = int(smooth.argmax())
    lost = float(smooth[best] - smooth[-1])
    if len(val) < 4 or len(val) - 1 - best < 2 or lost <= max(least, noise):
        return []
    near = np.arange(max(0, best - 1), min(len(val), best + 2))
    epoch = int(near[(sign * val[near]).argmax()])
    at_best, at_end = float(val[epoch]), float(sign * smooth[-1])
    return [
        Finding(
            "peaked_early",
            f"Validation was best in epoch {epoch + 1} of {len(val)} ({at_best:.3g}) and is {at_end:.3g} at "
            f"the end, {abs(at_best - at_end):.2g} worse.",
            f"Keep the weights of epoch {epoch + 1}, and stop when validation has not improved for a few "
            "epochs.",
            {"epoch": epoch + 1, "best": at_best, "end": at_end, "lost": abs(at_best - at_end)},
        )
    ]
