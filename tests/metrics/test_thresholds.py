"""A threshold by cost or by a floor, chosen on validation rows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

import featx


def scores(seed: int, rows: int = 600, share: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores that tell something about them."""
    rng = np.random.default_rng(seed)
    y = rng.random(rows) < share
    y[:2] = True, False
    return y, expit(rng.normal(np.where(y, 1, -1.5), 1))


def cost_at(y: np.ndarray, score: np.ndarray, threshold: float, fp: float, fn: float) -> float:
    said = score >= threshold
    return float((fp * (said & ~y) + fn * (~said & y)).mean())


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.1, 50), st.floats(0.1, 50), st.booleans())
def test_no_threshold_costs_less(seed, cost_fp, cost_fn, coarse):
    y, score = scores(seed, rows=60)
    score = score.round(1) if coarse else score  # many rows of the same score
    choice = featx.choose_threshold(y, score, positive=True, cost_fp=cost_fp, cost_fn=cost_fn)
    tried = [cost_at(y, score, t, cost_fp, cost_fn) for t in [*score, -1, 2]]
    assert choice.cost == pytest.approx(min(tried))
    assert choice.cost == pytest.approx(cost_at(y, score, choice.threshold, cost_fp, cost_fn))


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.05, 1), st.booleans())
def test_a_floor_on_recall_holds_at_the_best_precision(seed, floor, coarse):
    y, score = scores(seed, rows=60)
    score = score.round(1) if coarse else score
    choice = featx.choose_threshold(y, score, positive=True, min_recall=floor)
    tried = [(score >= t) for t in score]
    best = max((y & s).sum() / s.sum() for s in tried if (y & s).sum() / y.sum() >= floor)
    assert choice.recall >= floor
    assert choice.precision == pytest.approx(best)


def test_a_floor_on_precision_holds_at_the_best_recall_or_is_out_of_reach():
    y, score = scores(0)
    choice = featx.choose_threshold(y, score, positive=True, min_precision=0.9)
    reached = [
        (y & (score >= t)).sum() / y.sum()
        for t in score
        if (y & (score >= t)).sum() / (score >= t).sum() >= 0.9
    ]
    assert choice.precision >= 0.9
    assert choice.recall == max(reached)
    with pytest.raises(
        featx.FeatxError, match=r"precision of at least 0.9, but .* reach 0\.\d+ at most"
    ):
        featx.choose_threshold(y, np.where(y, 0.6, 0.6), positive=True, min_precision=0.9)


def test_the_two_stories():
    """A missed disease costs more than a false alarm; a lost mail more than spam that came through."""
    y, score = scores(1)
    disease = featx.choose_threshold(y, score, positive=True, cost_fp=1, cost_fn=20)
    spam = featx.choose_threshold(y, score, positive=True, cost_fp=20, cost_fn=1)
    assert disease.threshold < 0.5 < spam.threshold
    assert disease.recall > disease.usual["recall"] > spam.recall
    assert spam.precision > spam.usual["precision"] > disease.precision
    assert disease.cost < disease.usual["cost"]
    assert "a missed True costs 20 and a false alarm 1" in disease.rule


def test_an_error_that_costs_nothing_is_not_avoided():
    y, score = scores(2)
    never = featx.choose_threshold(y, score, positive=True, cost_fp=1, cost_fn=0)
    always = featx.choose_threshold(y, score, positive=True, cost_fp=0, cost_fn=1)
    assert (never.false_positives, never.cost) == (0, 0)
    assert (always.false_negatives, always.cost) == (0, 0)
    assert np.isfinite([never.threshold, always.threshold]).all()
    json.dumps(never.to_dict(), allow_nan=False)


def test_it_lies_between_two_scores():
    """Scores that go through float32 fall on the same side."""
    y, score = scores(3)
    choice = featx.choose_threshold(y, score, positive=True, min_recall=0.9)
    assert choice.threshold not in score
    assert np.array_equal(choice.predict(score), choice.predict(score.astype(np.float32)))
    assert choice.predict(score).dtype == bool
    assert (y & choice.predict(score)).sum() / y.sum() == choice.recall


def test_names_logits_margins_and_two_columns():
    y, score = scores(4)
    logit = np.log(score / (1 - score))
    options = {"cost_fp": 1, "cost_fn": 5}
    by_probability = featx.choose_threshold(y, score, positive=True, **options)
    by_logit = featx.choose_threshold(y, logit, positive=True, score_type="logit", **options)
    assert by_logit.threshold == pytest.approx(by_probability.threshold)
    by_margin = featx.choose_threshold(y, logit, positive=True, score_type="margin", **options)
    assert by_margin.cost == by_probability.cost
    assert by_margin.usual["threshold"] == 0
    names = np.where(y, "ham", "spam")
    ham = featx.choose_threshold(names, score, positive="ham", **options)
    assert ham.threshold == by_probability.threshold
    assert set(ham.predict(score)) == {"ham", "spam"}
    columns = featx.choose_threshold(
        names, np.stack([score, 1 - score], 1), positive="ham", **options
    )
    assert columns.threshold == pytest.approx(ham.threshold)
    assert columns.positive == "ham"


# --- chosen on one set, tested on another ---------------------------------------------------------


def test_choosing_on_the_test_set_is_a_finding():
    (y_val, val), (y_test, test) = scores(5), scores(6)
    choice = featx.choose_threshold(y_val, val, positive=True, min_recall=0.9)
    honest = featx.evaluate(y_test, y_score=test, threshold=choice)
    assert honest.threshold == choice.threshold
    assert honest.positive is True
    assert honest.confusion[1, 1] == (y_test & (test >= choice.threshold)).sum()
    assert "threshold_chosen_on_test" not in honest.findings
    shuffled = np.random.default_rng(0).permutation(len(val))
    for rows in (slice(None), shuffled):
        report = featx.evaluate(y_val[rows], y_score=val[rows], threshold=choice)
        assert report.findings["threshold_chosen_on_test"].numbers == {"reused": 600, "rows": 600}
    mixed = featx.evaluate(
        np.concatenate([y_test[:300], y_val[:300]]),
        y_score=np.concatenate([test[:300], val[:300]]),
        threshold=choice,
    )
    assert mixed.findings["threshold_chosen_on_test"].numbers["reused"] == 300


def test_equal_scores_by_chance_are_not_the_same_rows():
    """A kNN probe of five votes has six scores: other rows have them, too."""
    y_val, val = scores(7)
    y_test, test = scores(8)
    choice = featx.choose_threshold(y_val, (val * 5).round() / 5, positive=True, min_recall=0.9)
    report = featx.evaluate(y_test, y_score=(test * 5).round() / 5, threshold=choice)
    assert "threshold_chosen_on_test" not in report.findings


def test_a_number_is_a_threshold_too():
    y, score = scores(9)
    report = featx.evaluate(y, y_score=score, positive=True, threshold=0.2)
    assert report.confusion[1, 1] == (y & (score >= 0.2)).sum()
    assert report.threshold == 0.2


def test_a_floor_that_few_rows_cannot_promise_is_said():
    few = featx.choose_threshold(*scores(10, rows=60), positive=True, min_recall=0.9)
    assert few.findings["floor_not_certain"].numbers["rows"] < 30
    assert few.interval[0] < 0.9 < few.interval[1]
    sure = featx.choose_threshold([0] * 300 + [1] * 300, [0.1] * 300 + [0.9] * 300, min_recall=0.9)
    assert sure.findings.codes == []


def test_scores_that_are_no_probabilities_are_named():
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, 5000)
    y = rng.random(5000) < p
    calibrated = featx.choose_threshold(y, p, positive=True, cost_fp=1, cost_fn=3)
    assert calibrated.threshold == pytest.approx(0.25, abs=0.04)  # Elkan, equation 2
    assert calibrated.findings.codes == []
    squeezed = featx.choose_threshold(y, 0.4 + 0.2 * p, positive=True, cost_fp=1, cost_fn=3)
    assert squeezed.findings["scores_not_calibrated"].numbers["theory"] == 0.25


def test_of_equal_thresholds_the_one_with_fewer_errors_is_taken():
    choice = featx.choose_threshold(
        [0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.5, 0.8, 0.9], min_precision=0.3
    )
    assert (choice.recall, choice.precision, choice.false_positives) == (1, 1, 0)


@pytest.mark.parametrize("top", [0.5, 1.0])
def test_no_positive_answer_is_a_choice_also_where_many_rows_share_the_highest_score(top):
    y, score = [0, 0, 0, 1, 0, 0], [0.1, 0.2, 0.3, top, top, top]
    choice = featx.choose_threshold(y, score, cost_fp=100, cost_fn=1)
    assert (choice.false_positives, choice.cost) == (0, pytest.approx(1 / 6))
    assert "no row" in choice.findings["one_answer"].message
    everyone = featx.choose_threshold(y, score, cost_fp=0, cost_fn=1, positive=1)
    assert "one_answer" not in everyone.findings  # 0.1 to 0.3 stay negative
    noise = featx.choose_threshold([1, 0, 1, 0], [0.1, 0.2, 0.3, 0.4], min_recall=1.0)
    assert "every row" in noise.findings["one_answer"].message


def test_a_choice_is_for_one_class_and_one_kind_of_scores():
    y, score = scores(12)
    names = np.where(y, "a", "b")
    choice = featx.choose_threshold(names, score, positive="a", min_recall=0.9)
    with pytest.raises(featx.FeatxError, match="positive='a', for which the threshold was chosen"):
        featx.evaluate(names, y_score=score, positive="b", threshold=choice)
    margin = featx.choose_threshold(
        y, score - 0.5, positive=True, score_type="margin", min_recall=0.9
    )
    with pytest.raises(featx.FeatxError, match="type 'margin', on which the threshold"):
        featx.evaluate(y, y_score=score, threshold=margin)
    assert np.array_equal(choice.predict(np.stack([score, 1 - score], 1)), choice.predict(score))
    with pytest.raises(featx.FeatxError, match="NaN"):
        choice.predict([np.nan])
    only_b = featx.evaluate(["b"] * 5, y_score=[0.1] * 5, threshold=choice)
    assert "positive_missing" in only_b.findings


def test_scores_the_wrong_way_round_are_noticed():
    y, score = scores(13)
    names = np.where(y, "fraud", "ok")  # "ok" is the second class, and so the default
    report = featx.evaluate(names, y_score=score)
    assert "positive='fraud'" in report.findings["scores_reversed"].advice
    choice = featx.choose_threshold(names, score, min_recall=0.9)
    assert "scores_reversed" in choice.findings
    assert "scores_reversed" not in featx.evaluate(names, y_score=score, positive="fraud").findings


# --- ways to show it, bad input -------------------------------------------------------------------


def test_a_choice_speaks_in_text_html_json_and_picture():
    choice = featx.choose_threshold(*scores(11), positive=True, cost_fp=1, cost_fn=20)
    assert "usual: 0.5" in str(choice)
    assert "<table>" in choice._repr_html_()
    said = json.loads(json.dumps(choice.to_dict(), allow_nan=False))
    assert said["threshold"] == float(choice) == choice.threshold
    assert said["costs"] == [1, 20]
    assert featx.plots.alt_text(choice.plot())


COSTS = {"cost_fp": 1, "cost_fn": 1}


def test_one_number_is_no_scores_to_predict_from():
    choice = featx.choose_threshold([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], **COSTS)
    with pytest.raises(featx.FeatxError, match=r"scores \(N,\) or \(N, 2\), got one number"):
        choice.predict(0.7)


@pytest.mark.parametrize(
    ("y", "score", "options", "message"),
    [
        ([0, 1], [0.1, 0.9], {}, "one thing to choose by.*none of them"),
        ([0, 1], [0.1, 0.9], {**COSTS, "min_recall": 0.9}, "got several"),
        ([0, 1], [0.1, 0.9], {"cost_fp": 1}, "cost_fn=None"),
        ([0, 1], [0.1, 0.9], {"cost_fp": 1, "cost_fn": -1}, "numbers from 0, got cost_fn=-1"),
        ([0, 1], [0.1, 0.9], {"cost_fp": 0, "cost_fn": 0}, "got 0 for both"),
        ([0, 1], [0.1, 0.9], {"min_recall": 90}, "min_recall above 0 and up to 1, got 90"),
        ([0, 1], [0.1, 0.9], {"min_precision": 0}, "min_precision above 0"),
        ([0, 1, 2], np.eye(3), COSTS, "labels of two classes, got 3"),
        ([1, 1], [0.1, 0.9], COSTS, "at least two classes"),
        ([0, 1], [0.1], COSTS, "y_score of the shape"),
        ([0, 1], [0.1, 1.9], COSTS, "score_type='logit'"),
    ],
)
def test_wrong_input_is_told(y, score, options, message):
    with pytest.raises(featx.FeatxError, match=message):
        featx.choose_threshold(y, score, **options)
