"""The linear probe keeps to scikit-learn's conventions; few labels are measured fairly."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import ConvergenceWarning, SkipTestWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

import featx
from featx import probes
from featx.errors import FeatxError
from featx.probes import draw_rows

PROBES = [
    featx.LinearProbe(),
    featx.LinearProbe(task="regression"),
    featx.KNNProbe(n_neighbors=3),
]


NOT_SO_EXACT = {
    "check_sample_weight_equivalence_on_dense_data": "compares fits to nine decimals; the solver stops at "
    "tol, and where float64's loss shows no more gain. See test_weights_count_like_repeated_rows."
}


@parametrize_with_checks(
    PROBES,
    expected_failed_checks=lambda e: (
        NOT_SO_EXACT if isinstance(e, featx.LinearProbe) and e.task == "classification" else {}
    ),
)
def test_probes_keep_to_scikit_learns_conventions(estimator, check):
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


@pytest.mark.parametrize("shots", [(0, 5), (5, 6), (100,), ()])
def test_too_many_or_too_few_shots_are_told(shots):
    with pytest.raises(
        featx.FeatxError, match=r"shots from 1 to 5 \(the rarest class has 6 rows\)"
    ):
        featx.few_label_accuracy(np.eye(16), np.repeat([0, 1], [6, 10]), shots=shots)


def test_labels_may_be_tensors_of_any_kind():
    X, y = _blobs(2, 40)
    few = featx.few_label_accuracy(torch.tensor(X, requires_grad=True), torch.tensor(y), shots=(3,))
    assert np.array_equal(few.accuracy, featx.few_label_accuracy(X, y, shots=(3,)).accuracy)
    halves = torch.tensor(y, dtype=torch.bfloat16)
    probe = featx.LinearProbe(task="regression").fit(X, halves)
    assert np.array_equal(
        probe.coef_, featx.LinearProbe(task="regression").fit(X, y.astype("f4")).coef_
    )
    with pytest.raises(featx.FeatxError, match="0 labels"):
        featx.few_label_accuracy(X, [])


def _scaled(probe, X):
    return (X.astype(float) - probe.mean_) / probe.scale_


def _blobs(classes, rows, width=8, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    return rng.normal(size=(classes, width))[y] * 2 + rng.normal(size=(rows, width)), y


HARD = {
    "few rows": _blobs(5, 10, 40),
    "two rows": (np.array([[0.0, 1, 2], [3, 1, 0]]), np.array([0, 1])),
    "two classes": _blobs(2, 60),
    "a hundred classes": _blobs(100, 300, 12),
    "constant columns": (np.pad(_blobs(3, 60)[0], ((0, 0), (0, 4)), constant_values=7), _blobs(3, 60)[1]),
    "ill-conditioned": (_blobs(4, 200)[0] * np.logspace(0, -5, 8), _blobs(4, 200)[1]),
}  # fmt: skip


@pytest.mark.parametrize("C", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("case", HARD)
def test_coefficients_are_those_of_logistic_regression(case, C):
    X, y = HARD[case]
    probe = featx.LinearProbe(C, tol=1e-4).fit(X, y)
    Z = _scaled(probe, X)
    with warnings.catch_warnings():  # the reference, not ours, may find a flat end
        warnings.simplefilter("ignore")
        exact = LogisticRegression(C=C, tol=1e-10, max_iter=10_000, solver="newton-cg").fit(Z, y)
    assert probe.coef_.shape == exact.coef_.shape
    assert np.linalg.norm(probe.coef_ - exact.coef_) <= 1e-3 * np.linalg.norm(exact.coef_)
    assert np.allclose(probe.predict_proba(X), exact.predict_proba(Z), atol=1e-3)
    # what the attributes say is what the probe computes
    logits = np.squeeze(Z @ probe.coef_.T + probe.intercept_)
    assert np.allclose(probe.decision_function(X), logits, atol=1e-6)


@pytest.mark.parametrize("alpha", [1e-4, 1.0, 1e4])
def test_a_regression_is_ridge_regression(alpha):
    X, _ = _blobs(3, 50)
    Y = X[:, :2] * [1, 100] + 5
    probe = featx.LinearProbe(1 / alpha, task="regression").fit(X, Y)
    exact = Ridge(alpha=alpha).fit(_scaled(probe, X), Y)
    assert np.allclose(probe.coef_, exact.coef_, rtol=1e-3, atol=1e-3 * np.abs(exact.coef_).max())
    assert probe.score(X, Y) == pytest.approx(exact.score(_scaled(probe, X), Y), abs=1e-4)
    assert is_regressor(probe)
    assert is_classifier(featx.LinearProbe())
    assert not hasattr(probe, "predict_proba")


def test_class_weights_are_those_of_logistic_regression():
    X, y = _blobs(3, 90)
    X, y = X[25:], np.where(y == 2, 1, y)[25:]
    for weight in ("balanced", {0: 5.0}):
        probe = featx.LinearProbe(class_weight=weight).fit(X, y)
        exact = LogisticRegression(class_weight=weight, tol=1e-8).fit(_scaled(probe, X), y)
        assert np.allclose(probe.coef_, exact.coef_, rtol=1e-2)
    assert not np.allclose(featx.LinearProbe().fit(X, y).coef_, exact.coef_, rtol=1e-2)


def test_tensors_and_memory_maps_give_what_arrays_give(tmp_path):
    X, y = _blobs(3, 60)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for kind in (featx.LinearProbe(), featx.KNNProbe()):
        expected = clone(kind).fit(X, y).predict_proba(X)
        for other in (torch.from_numpy(X), mapped):
            got = clone(kind).fit(other, y).predict_proba(other)
            assert isinstance(got, np.ndarray)
            assert np.allclose(got, expected, atol=1e-8)
    assert featx.LinearProbe().fit(torch.from_numpy(X), torch.from_numpy(y)).score(X, y) > 0.8


def test_features_too_many_for_float64_give_the_same(monkeypatch):
    X, y = _blobs(4, 300)
    exact = featx.LinearProbe("path", random_state=0).fit(X, y)
    monkeypatch.setattr("featx.descent.EXACT_CELLS", 0)  # float32 …
    monkeypatch.setattr("featx.descent.CELLS_AT_ONCE", 200)  # … in many blocks
    monkeypatch.setattr("featx.descent.BASIS_SIZE", 2)  # … and on the features' own axes
    large = featx.LinearProbe("path", random_state=0).fit(X, y)
    assert large.C_ == exact.C_
    assert np.allclose(large.predict_proba(X), exact.predict_proba(X), atol=1e-2)
    assert np.allclose(large.path_["val_loss"], exact.path_["val_loss"], rtol=2e-2, atol=5e-3)


def _uneven(size, count=300):
    """Three classes with one row that is `size` times as long as the others."""
    rng = np.random.default_rng(0)
    y = np.r_[np.arange(3), rng.integers(0, 3, count - 3)]
    X = rng.normal(size=(count, 20)) + 0.3 * rng.normal(size=(3, 20))[y]
    X[5] *= size
    return X, y


def test_float32_goes_on_while_its_gradient_knows_the_way(monkeypatch):
    """One long row sets the scale, so that all others change the loss in its last digits only."""
    X, y = _uneven(1e4)
    exact = featx.LinearProbe(tol=1e-6).fit(X, y).coef_
    monkeypatch.setattr("featx.descent.EXACT_CELLS", 0)
    coef = featx.LinearProbe().fit(X, y).coef_
    assert np.linalg.norm(coef - exact) <= 2e-3 * np.linalg.norm(exact)


def test_a_row_without_weight_may_be_of_any_size():
    X, y = _uneven(1)
    weight = np.ones(len(y))
    weight[0] = 0
    expected = featx.LinearProbe().fit(X, y, weight)
    X[0] = 1e10
    probe = featx.LinearProbe().fit(X, y, weight)
    assert probe.scale_ == pytest.approx(expected.scale_, rel=1e-4)
    assert np.allclose(probe.coef_, expected.coef_, rtol=1e-2, atol=1e-3)


def test_few_rows_of_which_one_is_long_are_fitted():
    """Beside it the others span nothing but rounding, and are what there is to learn."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 5
    X = rng.normal(size=(60, 300)) + 0.5 * rng.normal(size=(5, 300))[y]
    X[7] *= 1e7
    probe = featx.LinearProbe(1e4).fit(X, y)
    exact = LogisticRegression(C=1e4, tol=1e-10, max_iter=10_000, solver="newton-cg")
    exact.fit(_scaled(probe, X), y)
    assert np.linalg.norm(probe.coef_ - exact.coef_) <= 2e-2 * np.linalg.norm(exact.coef_)


def test_the_path_measures_what_cold_fits_measure():
    X, y = _blobs(3, 90)
    folds = StratifiedKFold(4, shuffle=True, random_state=0)
    probe = featx.LinearProbe("path", cv=folds).fit(X, y)
    cold = [cross_val_score(featx.LinearProbe(C), X, y, cv=folds).mean() for C in probe.path_["C"]]
    loss = [
        -cross_val_score(featx.LinearProbe(C), X, y, cv=folds, scoring="neg_log_loss").mean()
        for C in probe.path_["C"]
    ]
    assert np.allclose(probe.path_["val_score"], cold, atol=0.012)  # one row on the border
    assert np.allclose(probe.path_["val_loss"], loss, rtol=5e-2)
    near = np.flatnonzero(loss <= 1.1 * np.min(loss))
    assert np.allclose(probe.path_["val_loss"][near], np.array(loss)[near], rtol=4e-2)
    assert loss[list(probe.path_["C"]).index(probe.C_)] <= 1.02 * np.min(loss)


@pytest.mark.parametrize("kind", ["classes", "two classes", "regression"])
def test_the_path_ends_where_a_fit_with_its_c_ends(kind):
    """Where it begins, at what the folds found, changes nothing but the way."""
    X, y = _blobs(2 if kind == "two classes" else 3, 90)
    task = "regression" if kind == "regression" else "classification"
    path = featx.LinearProbe("path", task=task, tol=1e-7).fit(X + 100, y)
    plain = featx.LinearProbe(path.C_, task=task, tol=1e-7).fit(X + 100, y)
    # at the largest C of the path float64 rounds off what is left
    assert np.allclose(path.coef_, plain.coef_, rtol=1e-4, atol=1e-4)
    assert np.allclose(path.intercept_, plain.intercept_, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["classes", "two classes", "regression"])
def test_the_last_fit_begins_where_the_folds_ended(kind, monkeypatch):
    """In its own units: those of a fold with other rows are others."""
    made = []

    class Seen(probes.Descent):
        def __init__(self, *given, **named):
            super().__init__(*given, **named)
            self.began = self.W.mean(0), self.b.mean(0)
            made.append(self)

    monkeypatch.setattr(probes, "Descent", Seen)
    monkeypatch.setattr(probes, "PATH", np.array([1.0]))
    monkeypatch.setattr(probes, "CELLS_AT_ONCE", 1)  # the folds go one after the other
    X, y = _blobs(2 if kind == "two classes" else 3, 90)
    X[60:] = 3 * X[60:] + 5
    folds = [(list(range(60)), list(range(60, 90))), (np.arange(90) < 70, np.arange(90) >= 70)]
    task = "regression" if kind == "regression" else "classification"
    featx.LinearProbe("path", task=task, cv=folds).fit(X, y)
    first, second, last = made
    assert first.rows.scale != pytest.approx(last.rows.scale, rel=0.1)

    def outputs(fit, W, b):
        x = (torch.from_numpy(X).double() - fit.rows.mean) / fit.rows.scale
        return x @ W.double().T + b.double()

    there = outputs(first, first.W[0], first.b[0])
    assert torch.allclose(outputs(last, *last.began), there, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(outputs(second, second.W[0], second.b[0]), there, rtol=1e-2)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_picked_c_beats_the_worst_and_never_sees_a_test_row(task):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(160, 60))
    signal = X[:, 0] + X[:, 1] + rng.normal(size=160)
    y = signal > 0 if task == "classification" else signal
    probe = featx.LinearProbe("path", task=task, random_state=0).fit(X[:80], y[:80])
    fixed = [
        featx.LinearProbe(C, task=task).fit(X[:80], y[:80]).score(X[80:], y[80:])
        for C in probe.path_["C"]
    ]
    assert probe.score(X[80:], y[80:]) > min(fixed) + 0.03
    # rows that fit does not get change nothing; neither does a row of weight 0
    again = featx.LinearProbe("path", task=task, random_state=0)
    assert np.array_equal(again.fit(X[:80], y[:80]).path_["val_loss"], probe.path_["val_loss"])


def test_labels_that_mean_nothing_get_the_strongest_regularisation():
    """Were a row scored by a model that saw it, the weakest would look best."""
    rng = np.random.default_rng(0)
    probe = featx.LinearProbe("path", random_state=0).fit(
        rng.normal(size=(60, 100)), np.arange(60) % 2
    )
    assert probe.C_ <= 1e-2
    assert probe.path_["train_score"][-1] == 1
    assert probe.path_["val_score"][-1] < 0.75


def test_a_class_with_one_row_is_always_trained_on():
    X = np.repeat([[0.0, 0], [9, 0], [0, 9], [9, 9]], [10, 10, 10, 1], axis=0)
    y = np.repeat([0, 1, 2, 9], [10, 10, 10, 1])
    probe = featx.LinearProbe("path").fit(X, y)
    assert probe.classes_.tolist() == [0, 1, 2, 9]
    assert probe.path_["val_score"].max() == 1  # held out, its row would be wrong in any case
    X, y = _blobs(40, 40)  # so many classes look like a regression, and nothing warns of it
    lonely = featx.LinearProbe("path").fit(X, y)
    assert lonely.C_ == 1
    assert lonely.path_ is None


def test_a_search_over_c_and_a_pickle_work():
    X, y = _blobs(3, 60)
    for task in ("classification", "regression"):
        search = GridSearchCV(featx.LinearProbe(task=task), {"C": [1e-3, 1, "path"]}).fit(X, y)
        again = pickle.loads(pickle.dumps(search.best_estimator_))
        assert np.array_equal(again.predict(X), search.predict(X))
    knn = featx.KNNProbe(5).fit(torch.from_numpy(X), y)
    assert np.array_equal(pickle.loads(pickle.dumps(knn)).predict(X), knn.predict(X))


def test_too_few_steps_are_told():
    with pytest.warns(ConvergenceWarning, match="Raise max_iter"):
        featx.LinearProbe(max_iter=2).fit(*_blobs(3, 60))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"C": 0}, "Expected C to be a number above 0"),
        ({"C": "best"}, "or \"path\", got 'best'"),
        ({"task": "ranking"}, "Expected task to be"),
        ({"class_weight": "equal"}, "Expected class_weight to be"),
        ({"class_weight": "balanced", "task": "regression"}, "Expected no class_weight"),
        ({"max_iter": 0}, "Expected max_iter"),
        ({"tol": 0}, "Expected tol"),
    ],
)
def test_wrong_parameters_are_told(parameters, words):
    with pytest.raises(featx.FeatxError, match=words):
        featx.LinearProbe(**parameters).fit(*_blobs(3, 30))


@pytest.mark.parametrize("probe", [featx.LinearProbe(), featx.KNNProbe(3)])
@pytest.mark.parametrize("kind", [np.asarray, torch.tensor])
def test_wrong_features_are_told_in_a_sentence(probe, kind):
    X, y = _blobs(3, 30)
    wrong = {"NaN": np.where(X > 0, np.nan, X), "infinity": X + np.inf}
    for word, values in wrong.items():
        with pytest.raises(featx.FeatxError, match=word):
            clone(probe).fit(kind(values), y)
    with pytest.raises(featx.FeatxError, match="inconsistent numbers of samples"):
        clone(probe).fit(kind(X), y[:-1])
    with pytest.raises(featx.FeatxError, match="expecting 8 features"):
        clone(probe).fit(kind(X), y).predict(kind(X[:, :4]))
    with pytest.raises(featx.FeatxError, match="Reshape your data"):
        clone(probe).fit(kind(X[:, 0]), y)


@pytest.mark.parametrize("block", [2**22, 64])
def test_knn_with_equal_votes_is_scikit_learns(glyphnet_features, monkeypatch, block):
    monkeypatch.setattr("featx.descent.CELLS_AT_ONCE", block * 256)
    X, y = glyphnet_features.X, glyphnet_features.y
    ours = featx.KNNProbe(7, temperature=np.inf).fit(X[:500], y[:500])
    theirs = KNeighborsClassifier(7, metric="cosine").fit(X[:500], y[:500])
    assert np.allclose(ours.predict_proba(X[500:900]), theirs.predict_proba(X[500:900]), atol=1e-5)


def test_knn_votes_by_temperature():
    X, y = np.array([[1.0, 0], [0.6, 0.8], [0.6, 0.8]]), [0, 1, 1]
    cosine = np.array([1, 0.6, 0.6])
    for temperature in (0.07, 1.0):
        votes = np.exp(cosine / temperature)
        p = featx.KNNProbe(3, temperature=temperature).fit(X, y).predict_proba([[2.0, 0]])
        assert p[0, 0] == pytest.approx(votes[0] / votes.sum())


def test_knn_with_more_neighbours_than_rows_warns_and_asks_all():
    with pytest.warns(UserWarning, match="4 training rows"):
        probe = featx.KNNProbe(20).fit(np.eye(4), [0, 0, 1, 1])
    assert probe.n_neighbors_ == 4
    assert np.allclose(probe.predict_proba(np.zeros((1, 4))), 0.5)  # no direction, no opinion


@pytest.mark.parametrize("parameters", [{"n_neighbors": 0}, {"temperature": 0.0}])
def test_knn_tells_wrong_parameters(parameters):
    with pytest.raises(featx.FeatxError, match="Expected"):
        featx.KNNProbe(**parameters).fit(*_blobs(3, 30))


def test_a_search_goes_over_backbones_too(digits):
    images, y = digits.images[:150].numpy(), digits.labels[:150].numpy()
    pipeline = make_pipeline(featx.FeatureExtractor(), featx.LinearProbe())
    torch.manual_seed(0)
    search = GridSearchCV(pipeline, {"featureextractor__weights": ["default", None]}, cv=2)
    assert search.fit(images, y).best_params_ == {"featureextractor__weights": "default"}


def test_extractor_and_probe_make_a_pipeline(digits, glyphnet_features):
    images, y = digits.images[:120].numpy(), digits.labels[:120].numpy()
    extractor = featx.FeatureExtractor().fit(images)
    assert np.allclose(extractor.transform(images), glyphnet_features.X[:120], atol=1e-4)
    assert extractor.get_feature_names_out()[[0, -1]].tolist() == ["glyphnet0", "glyphnet255"]
    pipeline = make_pipeline(featx.FeatureExtractor(), featx.LinearProbe())
    assert cross_val_score(pipeline, images, y, cv=2).min() > 0.8
    search = GridSearchCV(pipeline, {"linearprobe__C": [1e-3, 1]}, cv=2).fit(images, y)
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert np.array_equal(again.predict(images), search.predict(images))
    assert clone(extractor).set_output(transform="default").fit_transform(images[:2]).shape == (
        2,
        256,
    )
    with pytest.raises(featx.FeatxError, match="at least one image"):
        featx.FeatureExtractor().fit(images[:0])


def test_extractor_takes_a_loaded_backbone_and_layers(digits):
    images = digits.images[:3].numpy()
    backbone = featx.load_backbone("glyphnet")
    extractor = clone(featx.FeatureExtractor(backbone, layers="layer2", pooling="mean")).fit(images)
    assert extractor.transform(images).shape == (3, len(extractor.get_feature_names_out()))


def test_extractor_gives_a_row_for_each_image_or_none_at_all(tmp_path):
    paths = [str(tmp_path / f"{name}.png") for name in ("first", "broken", "last")]
    for path in paths:
        Image.new("L", (8, 8)).save(path)
    extractor = featx.FeatureExtractor().fit(paths)
    Path(paths[1]).write_bytes(b"no image")
    with pytest.raises(featx.FeatxError, match=r"broken\.png"):
        extractor.transform(paths)
    assert len(extractor.transform(paths[::2])) == 2


def test_extractor_takes_a_backbone_that_takes_one_size_only():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(28 * 28, 5), torch.nn.ReLU())
    backbone = featx.Backbone.from_module(
        model, lambda x: x, layer="", in_channels=1, num_features=5
    )
    images = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    for layers in (None, "1"):
        extractor = featx.FeatureExtractor(backbone, layers=layers).fit(images)
        assert extractor.transform(images).shape == (3, len(extractor.get_feature_names_out()))


def test_extractor_keeps_to_scikit_learns_conventions():
    # The checks that feed tables of numbers do not apply: its tags say that it takes images, and
    # scikit-learn leaves them out with a warning. What is left is that it can be cloned.
    with pytest.warns(SkipTestWarning, match="three_d_array=True"):
        results = check_estimator(featx.FeatureExtractor())
    assert [result["status"] for result in results] == ["passed"]


def test_weights_count_like_repeated_rows():
    X, y = _blobs(3, 40)
    times = np.arange(40) // 3 % 3
    weighted = featx.LinearProbe(tol=1e-9).fit(X, y, sample_weight=times)
    repeated = featx.LinearProbe(tol=1e-9).fit(X.repeat(times, 0), y.repeat(times))
    assert np.allclose(weighted.coef_, repeated.coef_, rtol=1e-4, atol=1e-6)
    assert not np.allclose(weighted.coef_, featx.LinearProbe().fit(X, y).coef_, rtol=1e-2)
    with pytest.raises(featx.FeatxError, match="non-zero"):
        featx.LinearProbe().fit(X, y, sample_weight=np.zeros(40))


def test_rows_that_do_not_count_are_in_no_fold():
    X, y = _blobs(3, 60)
    weight = (np.arange(60) < 45).astype(float)
    for task in ("classification", "regression"):
        probe = featx.LinearProbe("path", task=task, random_state=0)
        some = clone(probe).fit(X, y, weight)
        assert np.allclose(some.path_["val_loss"], probe.fit(X[:45], y[:45]).path_["val_loss"])
    with pytest.raises(FeatxError, match="Expected rows to hold out in each fold, got none"):
        featx.LinearProbe("path", cv=[(np.arange(60), [])]).fit(X, y)
    names = np.array(["ant", "bee", "cat"])[y]
    lists = [(rows.tolist(), others.tolist()) for rows, others in StratifiedKFold(3).split(X, y)]
    featx.LinearProbe("path", cv=lists).fit(X, names)
    without_bees = [
        (np.arange(30), np.arange(30, 60)),
        (np.flatnonzero(y != 1), np.flatnonzero(y == 1)),
    ]
    with pytest.raises(FeatxError, match=r"every class .* got none of class bee in fold 1"):
        featx.LinearProbe("path", cv=without_bees).fit(X, names)


def test_weights_and_features_that_give_no_loss_are_told():
    X, y = _blobs(3, 60)
    for weights in ({0: -9.0}, {0: 0.0, 1: 0.0, 2: 0.0}):
        for C in (1.0, "path"):
            with pytest.raises(FeatxError, match="to be 0 or more, and above 0 for some row"):
                featx.LinearProbe(C, class_weight=weights).fit(X, y)
    with pytest.raises(FeatxError, match="squares can be added up"):
        featx.LinearProbe().fit(X * 1e155, y)
    assert np.all(featx.LinearProbe(C=1e-310).fit(X, y).coef_ == 0)


def test_a_column_of_labels_is_scored_row_by_row():
    X, y = _blobs(3, 60)
    probe = featx.LinearProbe().fit(X, y)
    assert probe.score(X, y[:, None]) == probe.score(X, y)
    with pytest.raises(FeatxError, match="inconsistent numbers"):
        probe.score(X, y[:-1])


def test_a_fold_that_can_be_told_apart_does_not_stop_the_walk():
    """Its loss becomes flat, and its gradient small long before it has arrived."""
    rng = np.random.default_rng(0)
    rng.normal(size=(60, 5))
    y = np.arange(60) % 3
    X = rng.normal(size=(60, 5)) + y[:, None] * 0.7
    folds = StratifiedKFold(3)
    probe = featx.LinearProbe("path", cv=folds).fit(X, y)
    exact = []
    for C in probe.path_["C"]:
        losses = []
        for train, test in folds.split(X, y):
            Z = (X - X[train].mean(0)) / np.sqrt(X[train].var(0).sum() / 64)
            other = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-9, max_iter=1000)
            losses.append(log_loss(y[test], other.fit(Z[train], y[train]).predict_proba(Z[test])))
        exact.append(np.mean(losses))
    assert probe.path_["C"][np.argmin(exact)] == probe.C_
    assert probe.path_["val_loss"][-1] > 2 * min(exact)


@pytest.mark.parametrize("progress", [True, False])
def test_a_long_path_says_how_far_it_is(monkeypatch, capsys, progress):
    monkeypatch.setattr("featx.progress.LOG_EVERY", 0.0)
    featx.LinearProbe("path", progress=progress).fit(*_blobs(3, 60))
    told = capsys.readouterr().err.splitlines()
    assert len(told) == (17 if progress else 0)
    if progress:
        assert told[-1].startswith("path: 17 of 17 values of C, 100%")
