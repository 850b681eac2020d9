"""Numbers for predicted numbers: errors beside those of the mean, and what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn import metrics as sk

from featx.arrays import as_numpy
from featx.errors import FeatxError
from featx.findings import Finding, Findings, with_overrides
from featx.metrics.explanations import not_enough_data
from featx.metrics.intervals import interval, mean_draws
from featx.metrics.ratings import THRESHOLDS, Rating, rate, verdict
from featx.metrics.reports import RegressionReport

__all__ = ["evaluate_regression"]


def evaluate_regression(
    y_true: Any,
    y_pred: Any,
    *,
    y_train: Any = None,
    train_r2: float | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> RegressionReport:
    """Compute the errors of predicted numbers with scikit-learn, beside those of the mean.

    Parameters
    ----------
    y_true, y_pred
        True and predicted numbers, ``(N,)``, or ``(N, K)`` for K numbers a row.
    y_train
        Numbers of the training set: the mean that is compared with is theirs. By default that of `y_true`.
    train_r2
        R² on the rows trained on, to see overfitting.
    thresholds
        Overrides for `featx.metrics.THRESHOLDS`.

    Returns
    -------
    RegressionReport
        Numbers, intervals, verdict, findings. The verdict goes by the share of the mean's squared error
        that is avoided, which is R² where there is no `y_train`: above 0.8 is good (a convention of this
        course; what is good depends on the field), up to 0.1 is guessing.

    Raises
    ------
    FeatxError
        When lengths differ, there are fewer than two rows, or a number is missing.

    Examples
    --------
    >>> report = evaluate_regression([1.0, 2.0, 3.0, 4.0], [1.1, 1.9, 3.2, 3.8])
    >>> round(report.r2, 2), round(report.mae, 2), report.mean_mse
    (0.98, 0.15, 1.25)
    """
    limits = with_overrides(thresholds, THRESHOLDS)
    true, said = _numbers_of(y_true, "y_true"), _numbers_of(y_pred, "y_pred")
    if true.shape != said.shape:
        raise FeatxError(
            f"Expected one prediction for each true number, got the shapes {true.shape} and {said.shape}. "
            "Check that both are of the same rows."
        )
    if len(true) < 2:
        raise FeatxError("Expected at least two rows, got one. Test on more rows.")
    train = true if y_train is None else _numbers_of(y_train, "y_train")
    if train.shape[1] != true.shape[1]:
        raise FeatxError(
            f"Expected y_train with {true.shape[1]} numbers a row, got {train.shape[1]}. Pass the same ones."
        )
    mean = np.broadcast_to(train.mean(0), true.shape)
    constant = bool((true == true[0]).all(0).any())  # in one column at least
    squared, absolute = ((said - true) ** 2).mean(1), np.abs(said - true).mean(1)
    numbers: dict[str, Any] = {
        "rows": len(true),
        "mse": float(sk.mean_squared_error(true, said)),
        "rmse": float(sk.root_mean_squared_error(true, said)),
        "mae": float(sk.mean_absolute_error(true, said)),
        "r2": None if constant else float(sk.r2_score(true, said)),
        "mean_mse": float(sk.mean_squared_error(true, mean)),
        "mean_mae": float(sk.mean_absolute_error(true, mean)),
        "skill": None,
        "bias": float((said - true).mean()),
    }
    intervals = {
        "mse": interval(mean_draws(squared), numbers["mse"]),
        "mae": interval(mean_draws(absolute), numbers["mae"]),
        "bias": interval(mean_draws((said - true).mean(1)), numbers["bias"]),
    }
    ratings: list[dict[str, Rating]] = [{}, {}, {}]
    if not constant:
        # each column in units of what the mean gets wrong there
        errors = np.stack([(said - true) ** 2, (mean - true) ** 2], 1)
        errors = (errors / errors[:, 1].mean(0)).mean(2)
        draws = mean_draws(errors)
        numbers["skill"] = 1 - float(errors[:, 0].mean())
        intervals["skill"] = interval(1 - draws[:, 0] / draws[:, 1], numbers["skill"])
        ends = [numbers["skill"], *intervals["skill"]]
        ratings = [{"r2": rate(skill > limits["r2_good"], skill, limits)} for skill in ends]
    if train_r2 is not None and not train_r2 <= 1:
        raise FeatxError(f"Expected train_r2 to be a number up to 1, got {train_r2!r}.")
    found = [
        *_about_regression(numbers, intervals, constant, train_r2, limits),
        *_too_few(len(true), limits),
        *not_enough_data({"r2": intervals.get("skill", (0.0, 0.0))}, ratings, len(true)),
    ]
    return RegressionReport(
        **numbers,
        intervals=intervals,
        ratings=dict(ratings[0]),
        verdict=verdict(ratings[0]),
        findings=Findings(found),
        _y_true=true,
        _y_pred=said,
    )


def _too_few(rows: int, limits: Mapping[str, float]) -> Iterator[Finding]:
    """Errors of a handful of rows say nothing, and their interval does not know it."""
    if rows < limits["fewest_rows"]:
        yield Finding(
            "not_enough_data",
            f"{rows} test rows are not enough data to tell.",
            f"Test on {limits['fewest_rows']:g} rows at least.",
            {"rows": rows, "least": limits["fewest_rows"]},
        )


def _numbers_of(values: Any, name: str) -> np.ndarray:
    column = as_numpy(values)
    try:
        column = column.astype(float)
    except (TypeError, ValueError) as error:
        raise FeatxError(
            f"Expected {name} to be numbers, got {column.dtype}. For classes use featx.evaluate."
        ) from error
    if column.ndim not in (1, 2) or 0 in column.shape:
        raise FeatxError(
            f"Expected {name} to be numbers (N,) or (N, K), got the shape {column.shape}. Check how the rows "
            "were chosen."
        )
    strange = np.flatnonzero(~np.isfinite(column).reshape(len(column), -1).all(1))
    if len(strange):
        raise FeatxError(
            f"Expected {name} to be finite, got NaN or infinity in {len(strange)} rows, the first of them "
            f"{strange[0]}. Leave these rows out, or see why they are so."
        )
    return column.reshape(len(column), -1)


def _about_regression(
    numbers: dict[str, Any],
    intervals: Mapping[str, tuple[float, float]],
    constant: bool,
    train_r2: float | None,
    limits: Mapping[str, float],
) -> Iterator[Finding]:
    if constant:
        yield Finding(
            "constant_target",
            "All true numbers, or all of one column, are the same, so R² is not defined.",
            "Test on rows that differ, or leave that column out.",
        )
    skill, mae, bias = numbers["skill"], numbers["mae"], numbers["bias"]
    if skill is not None and skill <= 0:
        yield Finding(
            "no_better_than_mean",
            f"The mean squared error is {numbers['mse']:.3g}; always answering the mean gets "
            f"{numbers['mean_mse']:.3g}.",
            "Check the rows' order and the preprocessing before anything else.",
            {"mse": numbers["mse"], "mean_mse": numbers["mean_mse"]},
        )
    if mae and numbers["rmse"] / mae > limits["large_errors"]:
        yield Finding(
            "few_large_errors",
            f"The root mean squared error ({numbers['rmse']:.3g}) is {numbers['rmse'] / mae:.1f} times the "
            f"mean absolute error ({mae:.3g}): a few rows are far off. (For normal errors it is 1.25.)",
            "Look at the rows with the largest errors.",
            {"rmse": numbers["rmse"], "mae": mae},
        )
    low, high = intervals["bias"]
    if mae and abs(bias) > limits["bias"] * mae and (low > 0 or high < 0):
        yield Finding(
            "biased",
            f"Predictions are {abs(bias):.3g} too {'high' if bias > 0 else 'low'} on average, with a mean "
            f"absolute error of {mae:.3g}.",
            "See whether training and test rows come from the same source.",
            {"bias": bias, "mae": mae},
        )
    r2, rows = numbers["r2"], numbers["rows"]
    if train_r2 is None or r2 is None or skill is None or rows < limits["fewest_rows"]:
        return
    if train_r2 - r2 > limits["overfitting_gap"] and train_r2 > intervals["skill"][1]:
        yield Finding(
            "overfitting",
            f"R² is {train_r2:.3f} on the rows trained on and {r2:.3f} on others.",
            "Regularise more (a smaller C), or train on more rows.",
            {"train_r2": train_r2, "r2": r2},
        )
