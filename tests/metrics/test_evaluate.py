"""Numbers with a verdict, beside what guessing would score."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as sk

import featx
from featx.metrics import THRESHOLDS, verdict_of


def counts(tp: int, fn: int, fp: int, tn: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels with these counts; class 1 is positive."""
    return np.repeat([1, 1, 0, 0], [tp, fn, fp, tn]), np.repeat([1, 0, 1, 0], [tp, fn, fp, tn])


# --- the worked examples --------------------------------------------------------------------------


def test_cats_against_dogs():
    report = featx.evaluate(*counts(50, 10, 5, 35), positive=1)
    assert (round(report.precision[1], 2), round(report.recall[1], 2)) == (0.91, 0.83)
    assert report.accuracy == 0.85
    assert report.confusion.tolist() == [[35, 5], [10, 50]]
    assert report.majority_accuracy == 0.6
    assert report.verdict == "mixed"  # 0.85 is not above 0.85
    assert report.ratings == {"accuracy": "fair", "precision": "good", "recall": "good"}
    assert not report.settled  # 100 rows cannot tell 0.85 from 0.86
    assert report.headline == "◐ Verdict: mixed, but not enough data to tell"


def test_the_accuracy_paradox():
    report = featx.evaluate(*counts(24, 176, 24, 9776), positive=1)
    assert (report.accuracy, report.recall[1], report.majority_accuracy) == (0.98, 0.12, 0.98)
    assert report.verdict == "bad"
    assert report.settled
    assert report.findings.codes == ["accuracy_paradox"]
    finding = report.findings["accuracy_paradox"]
    assert "recall of 1 is 0.12" in finding.message
    assert "scores 0.98 already" in finding.message
    assert finding.numbers == {
        "accuracy": 0.98,
        "majority_accuracy": 0.98,
        "class": 1,
        "recall": 0.12,
    }


def test_the_paradox_is_seen_though_nobody_named_the_class():
    report = featx.evaluate(*counts(24, 176, 24, 9776))
    assert "accuracy_paradox" in report.findings
    assert report.findings["accuracy_paradox"].numbers["class"] == 1
    few = featx.evaluate(*counts(0, 1, 0, 30))  # one row says nothing about its class
    assert "accuracy_paradox" not in few.findings


@pytest.mark.parametrize("with_scores", [False, True])
def test_a_model_that_guesses_is_bad_on_balanced_classes(with_scores):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        y = np.repeat([0, 1], 500)
        score = rng.uniform(0.3, 0.7, 1000)
        report = featx.evaluate(y, score > 0.5, score if with_scores else None)
        assert report.verdict == "bad"


def test_the_verdict_table():
    good = {"accuracy": 0.86, "precision": 0.82, "recall": 0.81, "log_loss": 0.45}
    assert verdict_of(**good) == "good"
    assert verdict_of(**{**good, "accuracy": 0.85}) == "mixed"  # not above
    assert verdict_of(**{**good, "precision": 0.8}) == "mixed"
    assert verdict_of(**{**good, "log_loss": 0.5}) == "mixed"
    # one good and one bad number
    assert verdict_of(accuracy=0.9, recall=0.3) == "mixed"
    assert verdict_of(accuracy=0.9, log_loss=0.9) == "mixed"
    # the weaker of precision and recall decides
    assert verdict_of(accuracy=0.5, precision=0.9, recall=0.4) == "bad"
    assert verdict_of(accuracy=0.5, log_loss=0.7) == "bad"
    # what does not beat guessing is bad, however good it looks
    assert verdict_of(accuracy=0.98, precision=0.5, recall=0.12, guessing=0.98) == "bad"
    assert verdict_of(log_loss=0.1, guessing_log_loss=0.1) == "bad"
    with pytest.raises(featx.FeatxError, match="recall from 0 to 1, got 12"):
        verdict_of(recall=12)


def test_the_same_numbers_measured_on_rows():
    """About 0.86 / 0.82 / 0.81 with a loss of 0.40, on enough rows to be sure."""
    y_true, y_pred = (np.tile(each, 4) for each in counts(6642, 1558, 1458, 11885))
    right = y_true == y_pred
    sure = np.where(right, 0.72, 1 - 0.58)  # of the true class
    score = np.where(y_true == 1, sure, 1 - sure)
    report = featx.evaluate(y_true, y_pred, score, positive=1)
    shown = [report.accuracy, report.precision[1], report.recall[1], report.log_loss]
    assert np.round(shown, 2).tolist() == [0.86, 0.82, 0.81, 0.4]
    assert report.verdict == "good"
    assert report.settled


def test_thresholds_are_data():
    y = counts(50, 10, 5, 35)
    assert featx.evaluate(*y, thresholds={"accuracy_good": 0.8}).verdict == "good"
    with pytest.raises(
        featx.FeatxError, match=r"got 'acuracy_good'\. Close matches: accuracy_good"
    ):
        featx.evaluate(*y, thresholds={"acuracy_good": 0.8})
    with pytest.raises(featx.FeatxError, match="a number for the threshold 'accuracy_good'"):
        featx.evaluate(*y, thresholds={"accuracy_good": "high"})
    assert THRESHOLDS["accuracy_good"] == 0.85


# --- numbers --------------------------------------------------------------------------------------


@settings(max_examples=40)
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
    for name, value in {"accuracy": report.accuracy, "recall": np.mean(recalls)}.items():
        low, high = report.intervals[name]
        assert 0 <= low <= value <= high <= 1
    json.dumps(report.to_dict(), allow_nan=False)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(8, 60))
def test_names_and_order_of_the_classes_change_no_number(seed, num_classes, rows):
    rng = np.random.default_rng(seed)
    y_true, y_pred = rng.integers(0, num_classes, (2, rows))
    y_true[:2] = 0, 1
    score = rng.dirichlet(np.ones(num_classes), rows)
    names = np.array(["b", "d", "a", "c"])
    numbers = featx.evaluate(y_true, y_pred, score, labels=range(num_classes))
    by_name = featx.evaluate(
        names[y_true], names[y_pred], score, labels=names[:num_classes].tolist()
    )
    back = range(num_classes)[::-1]
    reversed_ = featx.evaluate(y_true, y_pred, score[:, ::-1], labels=back)
    for name in ("accuracy", "mcc", "log_loss", "roc_auc", "average_precision", "verdict", "skill"):
        value = getattr(numbers, name)
        assert getattr(by_name, name) == pytest.approx(value)
        if not (num_classes == 2 and name == "average_precision"):  # of the second class
            assert getattr(reversed_, name) == pytest.approx(value)
    assert by_name.recall == numbers.recall == reversed_.recall[::-1]


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


def test_areas_of_many_classes_are_means_of_each_against_the_rest():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 200)
    score = softmax(rng.normal(size=(200, 4)) + 2 * np.eye(4)[y], axis=1)
    report = featx.evaluate(y, y_score=score)
    assert report.roc_auc == pytest.approx(sk.roc_auc_score(y, score, multi_class="ovr"))
    areas = [sk.average_precision_score(y == c, score[:, c]) for c in range(4)]
    assert report.average_precision == pytest.approx(np.mean(areas))
    of_two = featx.evaluate(y, y_score=score, positive=2)
    assert of_two.average_precision == pytest.approx(areas[2])
    assert of_two.roc_auc == pytest.approx(sk.roc_auc_score(y == 2, score[:, 2]))


def test_predictions_scores_logits_and_margins_are_understood():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 300)
    logits = rng.normal(size=(300, 3)) + 2 * np.eye(3)[y]
    by_hand = featx.evaluate(y, logits.argmax(1), softmax(logits, axis=1))
    from_logits = featx.evaluate(y, y_score=logits, score_type="logit")
    tensor = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
    from_tensors = featx.evaluate(torch.tensor(y), y_score=tensor, score_type="logit")
    margins = featx.evaluate(y, y_score=logits, score_type="margin")
    for report in (from_logits, from_tensors, margins):
        assert report.accuracy == by_hand.accuracy
        assert report.confusion.tolist() == by_hand.confusion.tolist()
    assert from_logits.log_loss == pytest.approx(by_hand.log_loss)
    assert from_tensors.log_loss == pytest.approx(by_hand.log_loss, rel=1e-5)
    assert margins.log_loss is margins.confidence is None
    binary = y > 0
    one_logit = logits[:, 1] - logits[:, 0]
    report = featx.evaluate(binary, y_score=one_logit, score_type="logit", positive=True)
    two_logits = np.stack([np.zeros(300), one_logit], 1)
    two = featx.evaluate(binary, y_score=two_logits, score_type="logit", positive=True)
    assert report.log_loss == pytest.approx(two.log_loss)
    assert report.confusion.tolist() == two.confusion.tolist()
    margin = featx.evaluate(binary, y_score=one_logit, score_type="margin", positive=True)
    assert margin.confusion.tolist() == report.confusion.tolist()
    assert margin.roc_auc == pytest.approx(report.roc_auc)


def test_labels_of_every_kind():
    pandas_like = np.array(["cat", "dog", "cat"], dtype=object)
    assert featx.evaluate(pandas_like, ["cat", "dog", "dog"]).labels == ["cat", "dog"]
    assert featx.evaluate([True, False], [True, True], positive=True).recall == [0.0, 1.0]
    assert featx.evaluate([1.0, 0.0], [1, 0]).labels == [0, 1]
    assert featx.evaluate(np.array([[1], [0]]), [1, 0]).accuracy == 1
    assert featx.evaluate(np.array([1, 0], np.uint8), torch.tensor([1, 1])).accuracy == 0.5


def test_the_majority_comes_from_the_training_set():
    report = featx.evaluate([0, 0, 1], [0, 0, 1], y_train=[1, 1, 1, 0])
    assert report.majority_label == 1
    assert report.majority_accuracy == pytest.approx(1 / 3)
    assert report.skill == 1  # of what equal odds get wrong


def test_skill_is_the_share_of_guessings_errors_that_is_avoided():
    assert featx.evaluate(*counts(50, 10, 5, 35)).skill == pytest.approx((0.85 - 0.6) / 0.4)
    assert featx.evaluate(*counts(0, 10, 0, 90)).skill == 0


def test_a_loss_that_is_low_only_because_the_class_is_rare_is_bad():
    rng = np.random.default_rng(0)
    fraud = np.arange(10_000) < 200
    report = featx.evaluate(fraud, y_score=np.full(10_000, 0.02) * rng.uniform(0.9, 1.1, 10_000))
    assert report.log_loss < 0.1 < THRESHOLDS["loss_good"]
    assert report.ratings["log_loss"] == "bad"
    assert report.verdict == "bad"


# --- not enough data ------------------------------------------------------------------------------


def test_few_rows_are_not_enough_to_tell():
    few = featx.evaluate(*counts(9, 1, 1, 9))
    many = featx.evaluate(*counts(900, 100, 100, 900))
    assert few.verdict == many.verdict == "good"
    assert (few.settled, many.settled) == (False, True)
    assert few.findings["not_enough_data"].numbers["worst"] == "mixed"
    assert "not enough data to tell" in few.headline
    assert many.headline == "✓ Verdict: good"


def test_ten_right_out_of_ten_prove_little():
    """The plain bootstrap would give an interval from 1 to 1."""
    report = featx.evaluate(*counts(5, 0, 0, 5))
    low, high = report.intervals["accuracy"]
    assert low < 0.85 < high == 1
    assert not report.settled


def test_every_number_that_decides_has_an_interval():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 100)
    score = rng.dirichlet(np.ones(3), 100)
    report = featx.evaluate(y, y_score=score)
    assert list(report.intervals) == list(report.ratings)
    assert list(report.ratings) == ["accuracy", "precision", "recall", "log_loss"]
    assert [len(report.class_intervals[name]) for name in ("precision", "recall")] == [3, 3]
    again = featx.evaluate(y, y_score=score)
    assert again.intervals == report.intervals
    assert again.class_intervals == report.class_intervals


# --- findings -------------------------------------------------------------------------------------


def test_always_the_same_answer():
    y = np.repeat([0, 1], 500)
    always = featx.evaluate(y, np.zeros(1000, int))
    assert always.verdict == "bad"
    assert set(always.findings.codes) == {"no_better_than_majority", "class_never_predicted"}
    assert always.findings["class_never_predicted"].numbers == {"classes": [1]}


def test_accuracy_below_the_majority_may_still_find_what_is_rare():
    report = featx.evaluate(*counts(180, 20, 600, 9200), positive=1)
    assert report.accuracy < report.majority_accuracy
    assert "judge by recall" in report.findings["no_better_than_majority"].advice


def test_one_class_tells_nothing():
    report = featx.evaluate([1, 1], [1, 1], [0.9, 0.8], labels=[0, 1])
    assert report.verdict == "mixed"
    assert report.findings.codes == ["one_class_only"]
    assert report.ratings == {}
    assert report.roc_auc is None


def test_a_class_that_was_never_shown_is_named():
    report = featx.evaluate(["a", "b", "c"], ["a", "b", "b"], y_train=["a", "b", "b"])
    assert report.findings["class_not_trained"].numbers == {"classes": ["c"]}


def test_a_label_that_is_only_predicted_is_named():
    typo = featx.evaluate(["cat", "dog", "cat"], ["Cat", "dog", "Cat"])
    assert typo.findings["class_only_predicted"].numbers == {"classes": ["Cat"]}
    for options in ({"labels": ["Cat", "cat", "dog"]}, {"y_train": ["Cat", "cat", "dog"]}):
        report = featx.evaluate(["cat", "dog", "cat"], ["Cat", "dog", "Cat"], **options)
        assert "class_only_predicted" not in report.findings


def test_of_very_many_classes_the_weakest_are_shown():
    y = np.repeat(np.arange(100), 5)
    said = np.where(y == 71, 72, y)
    report = featx.evaluate(y, said)
    assert "The 30 weakest of 100 classes" in report._repr_html_()
    assert str(report).split("class ")[1].split("\n")[1].startswith("71")
    assert len(report.per_class()) == 100


def test_columns_in_another_order_are_noticed():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 90)
    score = softmax(rng.normal(size=(90, 3)) + 2 * np.eye(3)[y], axis=1)
    right = featx.evaluate(y, score.argmax(1), score)
    wrong = featx.evaluate(y, score.argmax(1), score[:, [1, 0, 2]])
    assert "predictions_not_from_scores" not in right.findings
    assert wrong.findings["predictions_not_from_scores"].numbers["rows"] > 50
    binary = featx.evaluate(y > 0, score[:, 0] < 0.2, 1 - score[:, 0], positive=True)
    assert "predictions_not_from_scores" not in binary.findings  # a threshold of 0.8
    swapped = featx.evaluate(y > 0, score[:, 0] < 0.5, score[:, 0], positive=True)
    assert "predictions_not_from_scores" in swapped.findings


def test_too_good_is_suspicious_and_so_is_a_test_that_is_easier_than_training():
    assert "leakage_suspicion" in featx.evaluate(*counts(100, 0, 0, 100)).findings
    assert "leakage_suspicion" not in featx.evaluate(*counts(10, 0, 0, 10)).findings
    assert "leakage_suspicion" not in featx.evaluate(*counts(95, 5, 5, 95)).findings
    easier = featx.evaluate(*counts(95, 5, 5, 95), train_accuracy=0.7)
    assert "check_split" in easier.findings["leakage_suspicion"].advice


def test_overfitting_is_said_with_both_numbers():
    report = featx.evaluate(*counts(70, 30, 30, 70), train_accuracy=1.0)
    assert report.findings["overfitting"].numbers == {"train_accuracy": 1.0, "accuracy": 0.7}
    assert "overfitting" not in featx.evaluate(*counts(90, 10, 9, 91), train_accuracy=0.95).findings
    # six rows may well be 0.83 of a model that gets 0.95
    assert "overfitting" not in featx.evaluate(*counts(3, 0, 1, 2), train_accuracy=0.95).findings


def test_the_costlier_error_is_named():
    """A missed disease against a false alarm; a good mail thrown away against spam that came through."""
    disease = featx.evaluate(*counts(60, 40, 3, 897), positive=1, cost_fn=50, cost_fp=1)
    said = disease.findings["costly_misses"]
    assert "a miss costs 50 times as much as a false alarm" in said.message
    assert said.advice.startswith("Lower the threshold")
    assert disease.cost == pytest.approx((40 * 50 + 3) / 1000)
    assert disease.guessing_cost == pytest.approx(900 / 1000)  # everyone is called ill
    spam = featx.evaluate(*counts(97, 3, 40, 860), positive=1, cost_fn=1, cost_fp=20)
    assert "a false alarm costs 20 times" in spam.findings["costly_false_alarms"].message
    assert spam.findings["costly_false_alarms"].advice.startswith("Raise the threshold")
    # the frequent error is the cheap one: nothing to say
    fine = featx.evaluate(*counts(97, 3, 40, 860), positive=1, cost_fn=20, cost_fp=1)
    assert not {"costly_misses", "costly_false_alarms"} & set(fine.findings.codes)
    unsaid = featx.evaluate(*counts(97, 3, 40, 860), positive=1)
    assert "Ask which of the two" in unsaid.findings["precision_recall_imbalance"].advice


def test_overconfidence():
    y_true, y_pred = counts(70, 30, 30, 70)
    sure = featx.evaluate(y_true, y_pred, np.where(y_pred, 0.99, 0.01))
    honest = featx.evaluate(y_true, y_pred, np.where(y_pred, 0.7, 0.3))
    assert sure.findings["overconfident"].numbers == {
        "confidence": pytest.approx(0.99),
        "accuracy": 0.7,
    }
    assert "overconfident" not in honest.findings


def test_a_class_that_matters_and_is_not_there_is_not_rated():
    report = featx.evaluate(
        ["a", "b"] * 100, ["a", "b"] * 100, labels=["a", "b", "fraud"], positive="fraud"
    )
    assert "positive_missing" in report.findings
    assert list(report.ratings) == ["accuracy"]


def test_always_answering_the_class_that_matters_is_bad():
    report = featx.evaluate([1] * 900 + [0] * 100, [1] * 1000, positive=1)
    assert (report.precision[1], report.recall[1]) == (0.9, 1.0)
    assert report.verdict == "bad"


def test_a_missed_class_among_many_is_no_paradox():
    y = np.repeat(np.arange(10), 100)
    said = np.where((y == 3) & (np.arange(1000) % 100 < 65), 4, y)
    found = featx.evaluate(y, said, positive=3).findings
    assert "accuracy_paradox" not in found
    assert "already" not in found["class_missed"].message


def test_a_model_that_costs_more_than_a_constant_answer_is_named():
    report = featx.evaluate(*counts(45, 5, 10, 940), positive=1, cost_fp=100, cost_fn=1)
    numbers = report.findings["costlier_than_guessing"].numbers
    assert numbers == {"cost": pytest.approx(1.005), "guessing_cost": pytest.approx(0.05)}


def test_who_makes_no_error_does_not_cost_more_than_guessing():
    report = featx.evaluate([1, 1, 0], [1, 1, 0], positive=1, cost_fp=0, cost_fn=1)
    assert report.cost == report.guessing_cost == 0
    assert "costlier_than_guessing" not in report.findings


def test_logits_rank_where_probabilities_are_rounded_to_one():
    rng = np.random.default_rng(0)
    logits = np.concatenate([rng.uniform(38, 43, 50), rng.uniform(60, 109, 50)])
    y = np.repeat([0, 1], 50)
    two = np.stack([np.zeros(100), logits], 1)
    assert featx.evaluate(y, y_score=logits, score_type="logit").roc_auc == 1
    assert featx.evaluate(y, y_score=two, score_type="logit").roc_auc == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_enough(dtype):
    torch.manual_seed(0)
    score = torch.softmax(torch.randn(100, 5), 1)
    y = torch.arange(100) % 5
    coarse = featx.evaluate(y, y_score=score.to(dtype))
    assert coarse.log_loss == pytest.approx(featx.evaluate(y, y_score=score).log_loss, rel=0.01)


# --- ways to show it ------------------------------------------------------------------------------


def test_a_report_speaks_in_text_html_json_and_picture():
    report = featx.evaluate(*counts(24, 176, 24, 9776), positive=1)
    assert "always answering 0" in str(report)
    assert "0.980" in str(report)
    html = featx.evaluate(["<b>", "c"], ["<b>", "<b>"])._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert "color" not in html  # it takes those of the page, light or dark
    said = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert said["confusion"] == [[9776, 24], [176, 24]]
    assert said["findings"][0]["code"] == "accuracy_paradox"
    assert said["settled"] is True
    assert report.plot("confusion").get_ylabel() == "true class"


def test_pictures_are_drawn_of_what_there_are_numbers_for():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 100)
    score = np.clip(0.5 * y + rng.uniform(0, 0.5, 100), 0, 1)
    report = featx.evaluate(y, y_score=score, positive=1)
    assert [type(ax).__name__ for ax in report.plot()] == ["Axes"] * 3
    for kind in ("confusion", "precision_recall", "roc", "calibration"):
        assert featx.plots.alt_text(report.plot(kind))
    plain = featx.evaluate(y, score > 0.5)
    assert len(plain.plot()) == 1
    with pytest.raises(featx.FeatxError, match="Pass y_score"):
        plain.plot("roc")
    with pytest.raises(featx.FeatxError, match="got 'rocc'"):
        report.plot("rocc")
    many = featx.evaluate(rng.integers(0, 3, 60), y_score=rng.dirichlet(np.ones(3), 60))
    assert len(many.plot()) == 2  # confusion and calibration


def test_the_calibration_of_logits_is_that_of_their_probabilities():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 200)
    logits = rng.normal(size=(200, 2)) + 3 * np.eye(2)[y]
    of_logits = featx.evaluate(y, y_score=logits, score_type="logit")
    of_softmax = featx.evaluate(y, y_score=softmax(logits, 1))
    assert len(of_logits.plot()) == 3
    drawn, expected = (
        [line.get_xydata() for line in report.plot("calibration").lines]
        for report in (of_logits, of_softmax)
    )
    for line, same in zip(drawn, expected, strict=True):
        np.testing.assert_allclose(line, same)


def test_a_page_stands_alone_and_json_is_for_programs(tmp_path):
    y = np.repeat([0, 1], 50)
    report = featx.evaluate(y, y_score=np.linspace(0, 1, 100), positive=1)
    page = report.save(tmp_path / "new" / "report.html", title="Cats & dogs").read_text()
    assert "<h1>Cats &amp; dogs</h1>" in page
    assert page.count("data:image/png;base64,") == 4
    assert "http" not in page
    saved = json.loads(report.save(tmp_path / "report.json").read_text())
    assert saved == report.to_dict()
    with pytest.raises(featx.FeatxError, match=r"ends in .html or .json, got 'report.txt'"):
        report.save(tmp_path / "report.txt")
    (tmp_path / "file").write_text("")
    with pytest.raises(featx.FeatxError, match="Choose another one"):
        report.save(tmp_path / "file" / "report.html")


def test_findings_are_asked_by_code():
    found = featx.evaluate(*counts(24, 176, 24, 9776), positive=1).findings
    assert "accuracy_paradox" in found
    assert "overfitting" not in found
    with pytest.raises(KeyError, match="there are: accuracy_paradox"):
        found["overfitting"]
    assert found[0] in found
    assert isinstance(found[:1], featx.Findings)
    assert found[:1].codes == found.codes[:1]
    assert "<li>" in found._repr_html_()
    assert featx.Findings()._repr_html_() == "<p>Nothing stands out.</p>"


# --- bad input ------------------------------------------------------------------------------------

TWO = [[0.5, 0.5], [0.9, 0.1]]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0, 1], [0]), {}, "got 2 labels and 1 predictions"),
        (([], []), {}, "y_true to hold labels, got none"),
        (([0, 1],), {}, "Pass y_pred or y_score"),
        (([0, 1], [[0.1, 0.9], [0.8, 0.2]]), {}, r"scores\.argmax\(1\)"),
        (([0, 1], [0, 2]), {"labels": [0, 1]}, r"got \[2\] in y_pred"),
        (([0, 1], [0, 1]), {"labels": [0, 1, 1]}, "name each class once"),
        (([0, 1], [0, 1]), {"positive": 5}, r"one of \[0, 1\], got 5"),
        (([1, 1], [1, 1]), {}, "at least two classes, got only 1"),
        (([0, 1], ["0", "1"]), {}, "labels of one kind"),
        (([0, "a"], [0, 1]), {}, "labels of one kind"),
        ((np.array([0, "a"], object), [0, 1]), {}, "names and numbers mixed"),
        ((np.array(["a", None], object), ["a", "b"]), {}, "1 without, the first in row 1"),
        (([0, np.nan], [0, 1]), {}, "1 without, the first in row 1"),
        (([0, np.inf], [0, 1]), {}, "1 without, the first in row 1"),
        (([[0, 1], [1]], [0, 1]), {}, "Join batches first"),
        (([0.5, 1], [0, 1]), {}, "evaluate_regression"),
        (([0, 1], [0, 1]), {"y_train": []}, "y_train"),
        (([0, 1], [0, 1], [0.1, 0.2, 0.3]), {}, "one column a class"),
        (([0, 1], [0, 1], [0.1, np.nan]), {}, "NaN or infinity in 1 rows, the first of them 1"),
        (([0, 1], [0, 1], [[3.0, 1.0], [0.0, 2.0]]), {}, "say score_type='logit'"),
        (
            ([0, 1], [0, 1], [[0.4, 0.4], [0.5, 0.5]]),
            {},
            "the sum 1, got 1 rows.*first 0.8 in row 0",
        ),
        (([0, 1], [0, 1], ["a", "b"]), {}, "Labels belong into y_pred"),
        (([0, 1], [0, 1], TWO), {"score_type": "logits"}, "got 'logits'"),
        (([0, 1], [0, 1], TWO), {"threshold": 0.5}, "no predictions beside a threshold"),
        (([0, 1], None, TWO), {"threshold": "high"}, "a number, got 'high'"),
        (([0, 1, 2], None, np.eye(3)), {"threshold": 0.5}, "two classes for a threshold"),
        (([0, 1], [0, 1]), {"cost_fp": 1}, "both costs.*cost_fn=None"),
        (([0, 1], [0, 1]), {"cost_fp": 1, "cost_fn": 1}, "positive to name the class"),
        (([0, 1], [0, 1]), {"train_accuracy": 97}, "train_accuracy from 0 to 1, got 97"),
    ],
)
def test_wrong_input_is_told(arguments, options, message):
    with pytest.raises(featx.FeatxError, match=message):
        featx.evaluate(*arguments, **options)
