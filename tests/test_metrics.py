"""Numbers with a verdict, beside what guessing would score."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

import featx
from featx.metrics import THRESHOLDS


def counts(tp: int, fn: int, fp: int, tn: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels with these counts; class 1 is positive."""
    return np.repeat([1, 1, 0, 0], [tp, fn, fp, tn]), np.repeat([1, 0, 1, 0], [tp, fn, fp, tn])


def test_cats_against_dogs():
    report = featx.evaluate(*counts(50, 10, 5, 35), positive=1)
    assert (round(report.precision[1], 2), round(report.recall[1], 2)) == (0.91, 0.83)
    assert report.accuracy == 0.85
    assert report.confusion.tolist() == [[35, 5], [10, 50]]
    assert report.majority_accuracy == 0.6
    assert report.verdict == "mixed"  # 0.85 is not above 0.85


def test_the_accuracy_paradox():
    report = featx.evaluate(*counts(24, 176, 24, 9776), positive=1)
    assert (report.accuracy, report.recall[1], report.majority_accuracy) == (0.98, 0.12, 0.98)
    assert report.verdict == "bad"
    assert [finding.code for finding in report.findings] == ["accuracy_paradox"]
    assert "recall of 1 is 0.12" in report.findings[0].message
    assert "scores 0.98 already" in report.findings[0].message


def test_verdicts():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 500)
    guess = featx.evaluate(y, rng.integers(0, 2, 1000))
    assert guess.verdict == "bad"
    always = featx.evaluate(y, np.zeros(1000, int))
    assert always.verdict == "bad"
    assert {f.code for f in always.findings} == {"no_better_than_majority", "class_never_predicted"}
    y_true, y_pred = counts(45, 5, 5, 45)
    assert featx.evaluate(y_true, y_pred).verdict == "good"
    unsure = np.where(y_pred == 1, 0.55, 0.45)  # right, but with a log loss above 0.5
    assert featx.evaluate(y_true, y_pred, unsure).verdict == "mixed"
    sure = np.where(y_pred == 1, 0.9, 0.1)
    assert featx.evaluate(y_true, y_pred, sure).verdict == "good"


def test_thresholds_are_data():
    y = counts(50, 10, 5, 35)
    assert featx.evaluate(*y, thresholds={"accuracy_good": 0.8}).verdict == "good"
    with pytest.raises(featx.FeatxError, match=r"got \['acuracy_good'\]"):
        featx.evaluate(*y, thresholds={"acuracy_good": 0.8})
    assert THRESHOLDS["accuracy_good"] == 0.85


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=60))
def test_numbers_are_scikit_learns(pairs):
    y_true, y_pred = np.array(pairs).T
    report = featx.evaluate(y_true, y_pred, labels=range(4))
    assert report.accuracy == pytest.approx(sk.accuracy_score(y_true, y_pred))
    assert report.confusion.sum() == len(pairs)
    assert np.trace(report.confusion) == round(report.accuracy * len(pairs))
    assert report.support == np.bincount(y_true, minlength=4).tolist()
    assert report.f1 == pytest.approx(
        sk.f1_score(y_true, y_pred, labels=range(4), average=None, zero_division=0).tolist()
    )
    recalls = [r for r, n in zip(report.recall, report.support, strict=True) if n]
    assert report.balanced_accuracy == pytest.approx(np.mean(recalls))
    assert report.majority_accuracy == max(report.support) / len(pairs)


def test_scores_add_loss_and_areas():
    y_true, y_pred = ["a", "b", "b", "a"], ["a", "b", "a", "a"]
    score = np.array([0.1, 0.9, 0.4, 0.2])
    report = featx.evaluate(y_true, y_pred, score, positive="b")
    two_columns = featx.evaluate(y_true, y_pred, np.stack([1 - score, score], 1), positive="b")
    assert report.log_loss == two_columns.log_loss == pytest.approx(sk.log_loss(y_true, score))
    assert report.roc_auc == 1.0
    flipped = featx.evaluate(y_true, y_pred, 1 - score, positive="a")
    assert flipped.log_loss == pytest.approx(report.log_loss)
    assert flipped.average_precision == 1.0


def test_the_majority_comes_from_the_training_set():
    report = featx.evaluate([0, 0, 1], [0, 0, 1], y_train=[1, 1, 1, 0])
    assert report.majority_label == 1
    assert report.majority_accuracy == pytest.approx(1 / 3)


def test_a_report_speaks_in_text_html_json_and_picture():
    report = featx.evaluate(*counts(24, 176, 24, 9776), positive=1)
    assert "always answering 0" in str(report)
    assert "0.980" in str(report)
    html = featx.evaluate(["<b>", "c"], ["<b>", "<b>"])._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert json.loads(json.dumps(report.to_dict()))["confusion"] == [[9776, 24], [176, 24]]
    assert report.plot().get_ylabel() == "true class"


def test_one_class_tells_nothing():
    report = featx.evaluate([1, 1], [1, 1], labels=[0, 1])
    assert report.verdict == "mixed"
    assert [finding.code for finding in report.findings] == ["one_class_only"]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0, 1], [0]), {}, "got 2 labels and 1 predictions"),
        (([], []), {}, "got 0 labels"),
        (([0, 1], [[0.1, 0.9], [0.8, 0.2]]), {}, r"scores\.argmax\(1\)"),
        (([0, 1], [0, 2]), {"labels": [0, 1]}, r"got \[2\]"),
        (([0, 1], [0, 1]), {"positive": 5}, r"got \[5\]"),
        (([1, 1], [1, 1]), {}, "at least two classes"),
        (([0, 1], ["0", "1"]), {}, "labels of one kind"),
        (([0, 1], [0, 1]), {"y_train": []}, "y_train"),
        (([0, 1], [0, 1], [0.1, 0.2, 0.3]), {}, "one column a class"),
        (([0, 1], [0, 1], [0.1, np.nan]), {}, "Apply softmax"),
        (([0, 1], [0, 1], [[3.0, 1.0], [0.0, 2.0]]), {}, "Apply softmax"),
    ],
)
def test_wrong_input_is_told(arguments, options, message):
    with pytest.raises(featx.FeatxError, match=message):
        featx.evaluate(*arguments, **options)
