"""Errors of predicted numbers, beside those of the mean."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

import featx


def predicted(noise: float, rows: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=rows)
    return y, y + noise * rng.normal(size=rows)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 3))
def test_numbers_are_scikit_learns(seed, rows, columns):
    y, p = np.random.default_rng(seed).normal(size=(2, rows, columns))
    report = featx.evaluate_regression(y, p)
    assert report.mse == pytest.approx(sk.mean_squared_error(y, p))
    assert report.mae == pytest.approx(sk.mean_absolute_error(y, p))
    assert report.r2 == pytest.approx(sk.r2_score(y, p))
    assert report.skill == pytest.approx(report.r2)  # the mean is that of the same rows
    assert report.mean_mse == pytest.approx(sk.mean_squared_error(y, y * 0 + y.mean(0)))
    low, high = report.intervals["skill"]
    assert low <= report.skill <= high <= 1


def test_verdicts():
    assert featx.evaluate_regression(*predicted(0.2)).headline == "✓ Verdict: good"
    assert featx.evaluate_regression(*predicted(0.7)).verdict == "mixed"
    y, _ = predicted(0)
    guess = featx.evaluate_regression(y, np.full(400, y.mean()))
    assert guess.verdict == "bad"
    assert guess.findings.codes == ["no_better_than_mean"]
    few = featx.evaluate_regression(*predicted(0.42, rows=12))
    assert not few.settled
    assert few.findings["not_enough_data"].numbers["rows"] == 12
    assert featx.evaluate_regression(*predicted(0.7), thresholds={"r2_good": 0.4}).verdict == "good"


def test_the_mean_is_that_of_the_training_set():
    y, p = predicted(0.3)
    shifted = featx.evaluate_regression(y, p, y_train=y + 3)
    assert shifted.mean_mse == pytest.approx(np.mean((y - (y + 3).mean()) ** 2))
    assert shifted.skill > shifted.r2


def test_findings():
    y, p = predicted(0.3)
    far = p.copy()
    far[:3] += 30
    assert featx.evaluate_regression(y, p).findings.codes == []
    assert "few_large_errors" in featx.evaluate_regression(y, far).findings
    assert "too high" in featx.evaluate_regression(y, p + 0.4).findings["biased"].message
    assert "too low" in featx.evaluate_regression(y, p - 0.4).findings["biased"].message
    assert "overfitting" in featx.evaluate_regression(*predicted(0.7), train_r2=0.99).findings
    constant = featx.evaluate_regression([1] * 30, [0, 2, 1] * 10)
    assert (constant.r2, constant.skill, constant.verdict) == (None, None, "mixed")
    assert constant.findings.codes == ["constant_target"]
    perfect = featx.evaluate_regression(y, y)
    assert (perfect.verdict, perfect.mse, perfect.findings.codes) == ("good", 0, [])


def test_a_handful_of_rows_is_never_enough():
    few = featx.evaluate_regression([1, 2], [1.1, 2.1])
    assert (few.verdict, few.settled) == ("good", False)
    assert few.headline.endswith("but not enough data to tell")
    # nor is it overfitting: three rows may well be that far off
    assert (
        "overfitting"
        not in featx.evaluate_regression([1, 2, 3.0], [1.5, 2, 2.5], train_r2=0.95).findings
    )
    with pytest.raises(featx.FeatxError, match="train_r2"):
        featx.evaluate_regression([1, 2], [1, 2], train_r2=float("nan"))


def test_it_speaks_in_text_html_json_picture_and_page(tmp_path):
    y, p = predicted(0.3)
    report = featx.evaluate_regression(torch.tensor(y), torch.tensor(p, requires_grad=True))
    assert "always answering the mean" in str(report)
    assert "<table>" in report._repr_html_()
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["verdict"] == "good"
    assert featx.plots.alt_text(report.plot())
    assert report.save(tmp_path / "r.html").read_text().count("data:image/png") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], [1.0]), "the shapes"),
        (([], []), r"got the shape \(0,\)"),
        (([1.0], [1.0]), "at least two rows"),
        (([1.0, np.nan], [1.0, 2.0]), "NaN or infinity in 1 rows, the first of them 1"),
        ((["a", "b"], [1.0, 2.0]), "For classes use featx.evaluate"),
        ((np.ones((2, 2, 2)), np.ones((2, 2, 2))), r"\(N,\) or \(N, K\)"),
    ],
)
def test_wrong_input_is_told(arguments, message):
    with pytest.raises(featx.FeatxError, match=message):
        featx.evaluate_regression(*arguments)
    with pytest.raises(featx.FeatxError, match="y_train with 1 numbers a row, got 2"):
        featx.evaluate_regression([1.0, 2.0], [1.0, 2.0], y_train=np.ones((3, 2)))
