"""The linear probe keeps to scikit-learn's conventions; few labels are measured fairly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import featx
from featx.probes import draw_rows


@parametrize_with_checks([featx.LinearProbe()])
def test_linear_probe_is_a_scikit_learn_classifier(estimator, check):
    check(estimator)


def test_linear_probe_does_at_least_as_well_as_logistic_regression(glyphnet_features):
    X, y = glyphnet_features.X, glyphnet_features.y
    kinds = {
        "probe": featx.LinearProbe(),
        "plain": LogisticRegression(max_iter=1000),
        "standardised": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
    }
    accuracy = {
        name: featx.few_label_accuracy(X, y, shots=(1, 10), probe=kind).mean
        for name, kind in kinds.items()
    }
    assert (accuracy["probe"] >= accuracy["plain"] - 0.005).all(), accuracy
    # the claim in LinearProbe's docstring
    assert accuracy["probe"][0] > accuracy["standardised"][0], accuracy


def test_linear_probe_does_not_care_for_the_scale_of_features(glyphnet_features):
    X, y = glyphnet_features.X[:300], glyphnet_features.y[:300]
    same = featx.LinearProbe().fit(X, y).predict_proba(X)
    assert np.allclose(
        featx.LinearProbe().fit(1000 * X + 5, y).predict_proba(1000 * X + 5), same, atol=1e-2
    )


def test_linear_probe_works_in_a_search_and_with_names():
    rng = np.random.default_rng(0)
    y = np.repeat(["cat", "dog"], 30)
    X = rng.normal(size=(60, 5)) + 3 * (y == "dog")[:, None]
    search = GridSearchCV(featx.LinearProbe(), {"C": [0.1, 1.0]}).fit(X, y)
    assert search.best_estimator_.classes_.tolist() == ["cat", "dog"]
    assert cross_val_score(featx.LinearProbe(class_weight="balanced"), X, y).mean() > 0.9


def test_identical_rows_do_not_divide_by_zero():
    probe = featx.LinearProbe().fit(np.ones((4, 3)), [0, 1, 0, 1])
    assert np.allclose(probe.predict_proba(np.ones((1, 3))), 0.5)


def test_one_class_only_is_told():
    with pytest.raises(featx.FeatxError, match="got one class only: 3"):
        featx.LinearProbe().fit(np.eye(4), [3, 3, 3, 3])


@settings(max_examples=25, deadline=None)
@given(per_class=st.integers(1, 5), seed=st.integers(0, 1000))
def test_draws_are_balanced_distinct_and_follow_the_seed(per_class, seed):
    y = np.random.default_rng(1).permutation(np.repeat([3, 5, 9], [6, 10, 20]))
    rows = draw_rows(y, per_class, seed)
    assert len(set(rows)) == 3 * per_class
    assert np.bincount(y[rows])[[3, 5, 9]].tolist() == [per_class] * 3
    assert np.array_equal(rows, draw_rows(y, per_class, seed))


def test_few_labels_never_test_on_training_rows():
    """Features that say nothing but the row's own number: only a leak could score above chance."""
    y = np.repeat([0, 1], 100)
    result = featx.few_label_accuracy(np.eye(200), y, shots=(50,), seeds=range(3))
    assert (result.accuracy < 0.6).all()
    assert result.accuracy.shape == (1, 3)
    assert result.mean.shape == result.std.shape == (1,)


@pytest.mark.parametrize("shots", [(0, 5), (5, 6), (100,)])
def test_too_many_or_too_few_shots_are_told(shots):
    with pytest.raises(
        featx.FeatxError, match=r"shots from 1 to 5 \(the rarest class has 6 rows\)"
    ):
        featx.few_label_accuracy(np.eye(16), np.repeat([0, 1], [6, 10]), shots=shots)
