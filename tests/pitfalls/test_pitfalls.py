"""Checks of a fit, of labels, of a batch; a leak shown by running. The split is in test_check_split."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_sample_images
from sklearn.neighbors import KNeighborsClassifier

import featx
from featx.glyphnet.glyphs import Augment
from featx.pitfalls import THRESHOLDS, check_fit, check_imbalance, check_preprocessing, compare_leak

# --- the fit ---


def curve(start: float, end: float, epochs: int, speed: float = 5.0) -> np.ndarray:
    return end + (start - end) * np.exp(-speed * np.arange(epochs) / epochs)


@settings(max_examples=150)
@given(
    st.integers(0, 10_000),
    st.integers(3, 100),
    st.floats(0.0, 0.02),
    st.floats(0.8, 0.95),
    st.floats(0.0, 0.05),
)
def test_a_healthy_noisy_run_yields_nothing(seed, epochs, noise, end, gap):
    rng = np.random.default_rng(seed)
    # bounded noise: the seldom outlier of a normal one is a finding, and rightly
    train = curve(0.5, end, epochs, 8) + rng.uniform(-noise, noise, epochs) / 2
    val = curve(0.5, end - gap, epochs, 8) + rng.uniform(-noise, noise, epochs)
    assert check_fit(train, val).codes == []


@settings(max_examples=150)
@given(st.integers(0, 10_000), st.integers(5, 100), st.floats(0.0, 0.03), st.floats(0.0, 0.3))
def test_a_healthy_noisy_loss_yields_nothing(seed, epochs, noise, gap):
    rng = np.random.default_rng(seed)
    train = curve(2.3, 0.4, epochs, 8) * (1 + rng.uniform(-noise, noise, epochs))
    val = curve(2.3, 0.4 * (1 + gap), epochs, 8) * (1 + rng.uniform(-noise, noise, epochs))
    assert check_fit(train, val, metric="loss").codes == []


def test_single_numbers():
    assert check_fit(0.90, 0.86).codes == []
    assert check_fit(0.99, 0.71).codes == ["overfitting"]
    assert check_fit(0.52, 0.50).codes == ["underfitting"]
    assert check_fit(0.80, 0.90).codes == ["validation_above_training"]
    assert check_fit(0.45, 0.44, guessing=0.1).codes == []  # of ten classes: well above guessing
    assert check_fit(0.68, 0.66, guessing=0.6).codes == ["underfitting"]
    assert check_fit(0.1, 0.9, metric="loss").codes == ["overfitting"]
    assert check_fit(0.30, 0.33, metric="loss").codes == []
    assert check_fit(torch.tensor(0.9), np.float32(0.88)).codes == []


def test_overfitting_and_the_epoch_to_keep():
    rng = np.random.default_rng(0)
    train = curve(0.5, 1.0, 40) + 0.005 * rng.normal(size=40)
    val = np.concatenate([np.linspace(0.5, 0.85, 12), np.linspace(0.85, 0.70, 28)])
    found = check_fit(train.clip(0, 1), val + 0.005 * rng.normal(size=40))
    assert found.codes == ["overfitting", "peaked_early"]
    peak = found["peaked_early"].numbers
    assert 10 <= peak["epoch"] <= 14
    assert 0.12 < peak["lost"] < 0.18
    assert f"epoch {peak['epoch']} of 40" in found["peaked_early"].message
    assert f"epoch {peak['epoch']}," in found["peaked_early"].advice


def test_a_loss_that_rises_again():
    val = np.concatenate([np.linspace(2.0, 0.5, 15), np.linspace(0.5, 1.1, 25)])
    found = check_fit(curve(2.0, 0.05, 40), val, metric="loss")
    assert found.codes == ["overfitting", "peaked_early"]
    assert 14 <= found["peaked_early"].numbers["epoch"] <= 17


def test_a_loss_that_does_not_fall():
    rng = np.random.default_rng(0)
    flat = 2.303 + 0.01 * rng.normal(size=30)
    assert check_fit(flat, flat + 0.01, metric="loss").codes == ["loss_not_falling"]
    assert check_fit(curve(2.3, 1.5, 30), curve(2.3, 1.6, 30), metric="loss").codes == []


def test_divergence():
    assert check_fit([2.0, 1.0, np.nan], [2.0, 1.1, 1.0], metric="loss").codes == ["diverged"]
    found = check_fit([2.0, np.inf, 1.0], [2.0, 1.1, np.nan], metric="loss")["diverged"]
    assert found.numbers["epoch"] == 2
    assert "epoch 2 of 3" in found.message
    rising = np.geomspace(1.0, 50.0, 10)
    assert check_fit(rising, rising, metric="loss").codes == ["diverged"]
    assert check_fit(float("nan"), 0.5).codes == ["diverged"]


def test_losses_that_still_have_their_graph_are_read():
    weight = torch.ones(1, requires_grad=True)
    train = [(weight * 0.1).sum(), (weight * 0.09).sum()]
    assert check_fit(train, [0.9, 0.9], metric="loss").codes == ["overfitting"]
    assert check_fit(tuple(train), train, metric="loss").codes == []


def test_a_gap_within_the_noise_between_epochs_is_no_overfitting():
    noisy = 0.70 + 0.12 * np.array([0, 1, -1, 1, 0, -1, 1, 0])
    assert check_fit(np.full(8, 0.90), noisy).codes == []
    steady = np.full(8, noisy[-2:].mean())
    assert check_fit(np.full(8, 0.90), steady).codes == ["overfitting"]


def test_how_far_a_loss_may_lie_below_trainings_is_a_limit_of_its_own():
    train, val = curve(2.3, 0.6, 30), curve(2.3, 0.4, 30)
    assert check_fit(train, val, metric="loss", thresholds={"loss_ahead": 0.9}).codes == []
    codes = check_fit(train, val, metric="loss", thresholds={"rise": 0.9}).codes
    assert codes == ["validation_above_training"]


def test_validation_above_training():
    train, val = curve(2.3, 0.6, 30), curve(2.3, 0.4, 30)
    assert check_fit(train, val, metric="loss").codes == ["validation_above_training"]


@pytest.mark.parametrize(
    ("arguments", "more", "match"),
    [
        (([0.1, 0.2], [0.1]), {}, "as many training as validation scores, got 2 and 1"),
        ((0.9, 0.8), {"metric": "acc"}, "'accuracy' or 'loss', got 'acc'"),
        ((90.0, 85.0), {}, "Divide per cent by 100"),
        (("good", 0.8), {}, "training scores to be numbers"),
        (([], []), {}, r"got the shape \(0,\)"),
        (([[0.1]], [0.1]), {}, r"got the shape \(1, 1\)"),
        ((0.9, 0.8), {"thresholds": {"gapp": 1}}, "Close matches: gap"),
        ((0.9, 0.8), {"guessing": 10}, "guessing to be an accuracy of 0-1, got 10"),
        ((0.9, 0.8), {"guessing": -0.1}, "guessing to be an accuracy of 0-1, got -0.1"),
        ((0.9, 0.8), {"guessing": float("nan")}, "guessing to be an accuracy of 0-1, got nan"),
        ((0.9, 0.8), {"guessing": "0.1"}, "guessing to be an accuracy of 0-1, got '0.1'"),
        ((0.9, 0.8), {"guessing": 0.1, "metric": "loss"}, "no guessing beside metric='loss'"),
    ],
)
def test_wrong_scores(arguments, more, match):
    with pytest.raises(featx.FeatxError, match=match):
        check_fit(*arguments, **more)


def test_thresholds_can_be_set_without_changing_the_module():
    before = dict(THRESHOLDS)
    assert check_fit(0.99, 0.71, thresholds={"gap": 0.5}).codes == []
    assert before == THRESHOLDS


# --- the labels ---


def test_fraud():
    found = check_imbalance(["mail"] * 9800 + ["fraud"] * 200)
    assert found.codes == ["imbalance"]
    numbers = found["imbalance"].numbers
    assert (numbers["majority"], numbers["majority_accuracy"], numbers["ratio"]) == (
        "mail",
        0.98,
        49,
    )
    assert "accuracy of 0.98" in found["imbalance"].message


def test_rare_and_missing_classes():
    found = check_imbalance([0] * 10 + [1] * 9 + [2] * 12, labels=[0, 1, 2, 3])
    assert found.codes == ["missing_class", "rare_class"]
    assert found["missing_class"].numbers["labels"] == [3]
    assert found["rare_class"].numbers["counts"] == {1: 9}
    assert check_imbalance([5, 5, 5] * 10).codes == ["one_class"]
    json.dumps(found.to_dict())


def test_digits_are_balanced(digits):
    assert check_imbalance(digits.labels, labels=range(10)).codes == []


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=200), st.integers(0, 100))
def test_the_order_of_labels_does_not_matter(y, seed):
    shuffled = np.random.default_rng(seed).permutation(y)
    assert check_imbalance(y).codes == check_imbalance(shuffled).codes


@pytest.mark.parametrize(
    ("y", "labels", "match"),
    [
        ([], None, "labels, got none"),
        ([[1, 0]], None, r"got the shape \(1, 2\)"),
        ([0.5, 1.5], None, "For numbers use"),
        ([0, 1, 7], [0, 1], "got 7"),
    ],
)
def test_wrong_labels(y, labels, match):
    with pytest.raises(featx.FeatxError, match=match):
        check_imbalance(y, labels=labels)


# --- the preprocessing ---

PHOTO_NETS = ["resnet18", "vit_b_16", "inception_v3", "efficientnet_b0", "swin_t"]


def crops(which: str, count: int = 16, size: int = 160, seed: int = 0) -> torch.Tensor:
    """Crops of scikit-learn's photographs: a temple under a sky, and a red flower."""
    rng = np.random.default_rng(seed)
    photos = load_sample_images().images
    photos = {"china": photos[:1], "flower": photos[1:], "both": photos}[which]
    out = []
    for i in range(count):
        photo = photos[i % len(photos)]
        y, x = (int(rng.integers(side - size)) for side in photo.shape[:2])
        out.append(photo[y : y + size, x : x + size])
    return torch.from_numpy(np.stack(out)).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def glyphnet():
    return featx.load_backbone("glyphnet")


@pytest.fixture(scope="module")
def resnet():
    return featx.load_backbone("resnet18", weights=None)


def norm(x: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    shape = (1, -1, 1, 1)
    return (x - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)


IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.slow
@pytest.mark.parametrize("name", PHOTO_NETS)
def test_right_batches_of_photographs_give_nothing(name):
    backbone = featx.load_backbone(name, weights=None)
    for which in ("both", "china", "flower"):
        for size in (64, 160, 300):
            for images in (crops(which, size=size), crops(which, size=size) / 255):
                assert check_preprocessing(backbone, backbone.preprocess(images)).codes == []


@pytest.mark.slow
def test_right_batches_for_timm_give_nothing():
    pytest.importorskip("timm")
    backbone = featx.load_backbone("timm/vit_tiny_patch16_224", weights=None)
    x = backbone.preprocess(crops("both"))
    assert check_preprocessing(backbone, x).codes == []
    wrong = norm(crops("both", size=224) / 255, *IMAGENET)
    assert check_preprocessing(backbone, wrong).codes == ["other_normalisation"]


def test_right_batches_of_ink_give_nothing(glyphnet, digits, letters):
    drawn = Augment(*letters, 0).batch(64, turned=False)[0].clamp(0, 1)
    for images in (digits.images[:16], digits.images, letters[0][:200, None], drawn):
        assert check_preprocessing(glyphnet, glyphnet.preprocess(images)).codes == []


MISTAKES = {
    "not_scaled": lambda x: x,
    "not_normalised": lambda x: x / 255,
    "normalised_twice": lambda x: norm(norm(x / 255, *IMAGENET), *IMAGENET),
    "other_normalisation": lambda x: x / 127.5 - 1,
    "channel_order": lambda x: norm(x / 255, *IMAGENET).flip(1),
    "channels_last": lambda x: norm(x / 255, *IMAGENET).permute(0, 2, 3, 1),
    "wrong_size": lambda x: norm(x / 255, *IMAGENET)[:, :, :200],
    "wrong_channels": lambda x: norm(x / 255, *IMAGENET)[:, :1],
    "unusual_statistics": lambda x: norm(x * 0.0, *IMAGENET),
    "out_of_range": lambda x: norm(x / 255, *IMAGENET) * 5,
}


@pytest.mark.parametrize("which", ["both", "china", "flower"])
@pytest.mark.parametrize("code", MISTAKES)
def test_each_mistake_with_photographs_has_its_name(resnet, code, which):
    batch = MISTAKES[code](crops(which, size=224, seed=1))
    found = check_preprocessing(resnet, batch)
    assert found.codes == [code]
    assert found[0].message.endswith(".")
    json.dumps(found.to_dict())


@pytest.mark.parametrize(
    ("code", "mistake"),
    [
        ("not_scaled", lambda x: x * 255),
        ("not_scaled", lambda x: (x * 255 - 0.3) / 0.35),
        ("not_normalised", lambda x: x),
        ("normalised_twice", lambda x: ((x - 0.3) / 0.35 - 0.3) / 0.35),
        ("other_normalisation", lambda x: x * 2 - 1),
        ("other_normalisation", lambda x: (x - 0.1307) / 0.3081),
        ("other_normalisation", lambda x: (x - 0.485) / 0.229),
        ("unusual_statistics", lambda x: (1 - x - 0.3) / 0.35),
        ("unusual_statistics", lambda x: (x * 0 - 0.3) / 0.35),
        ("channels_last", lambda x: ((x - 0.3) / 0.35).permute(0, 2, 3, 1)),
        ("wrong_channels", lambda x: ((x - 0.3) / 0.35).expand(-1, 3, -1, -1)),
        ("wrong_size", lambda x: ((x - 0.3) / 0.35)[:, :, ::2, ::2]),
    ],
)
def test_each_mistake_with_ink_has_its_name(glyphnet, digits, code, mistake):
    images = glyphnet.preprocess(digits.images[:64]) * 0.35 + 0.3  # 32 x 32, pixels of 0-1
    assert check_preprocessing(glyphnet, mistake(images.clamp(0, 1))).codes == [code]


def test_caffe_is_another_normalisation(resnet):
    x = crops("both", size=224).float()
    for bgr in (x.flip(1), x):
        caffe = bgr - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
        found = check_preprocessing(resnet, caffe)
        assert found.codes == ["other_normalisation"]
        assert "Caffe" in found[0].message


def test_channel_order_is_certain_or_a_suspicion(resnet):
    certain = check_preprocessing(resnet, MISTAKES["channel_order"](crops("both", size=224)))
    assert certain["channel_order"].numbers["certain"] is True
    before = resnet.preprocess(
        crops("flower", size=300).flip(1)
    )  # exchanged first, normalised as RGB
    suspicion = check_preprocessing(resnet, before)
    assert suspicion["channel_order"].numbers["certain"] is False
    assert "suspicion" in suspicion[0].advice
    assert check_preprocessing(resnet, before[:4]).codes == []  # too few to judge


def test_a_users_own_backbone():
    from torch import nn

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    plain = featx.Backbone.from_module(model, lambda x: x, name="plain")
    images = crops("both", size=50) / 255
    assert check_preprocessing(plain, images).codes == []  # any size, pixels of 0-1
    assert check_preprocessing(plain, crops("both")).codes == ["not_scaled"]
    assert check_preprocessing(plain, images * 2 - 1).codes == ["other_normalisation"]
    constant = featx.Backbone.from_module(model, lambda x: x * 0, name="constant")
    with pytest.raises(featx.FeatxError, match="white brighter than black"):
        check_preprocessing(constant, images)


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (torch.zeros(3, 32, 32), r"Write x\[None\] for one image"),
        (torch.zeros(0, 1, 32, 32), "got the shape"),
        (torch.full((1, 1, 32, 32), torch.nan), "a NaN or an infinity"),
        (np.zeros((1, 1, 32, 32), "U1"), "of numbers"),
    ],
)
def test_wrong_batches(glyphnet, x, match):
    with pytest.raises(featx.FeatxError, match=match):
        check_preprocessing(glyphnet, x)


def test_a_model_is_no_backbone(glyphnet):
    with pytest.raises(featx.FeatxError, match=r"Expected a Backbone, got GlyphNet"):
        check_preprocessing(glyphnet.model, torch.zeros(1, 1, 32, 32))


# --- the leak ---


@pytest.mark.parametrize("seed", range(3))
def test_selecting_before_the_split_predicts_the_toss_of_a_coin(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(50, 5000)), rng.permutation(np.arange(50) % 2)
    compared = compare_leak(X, y, step="select", seed=seed)
    assert abs(compared.honest.mean() - 0.5) < 0.2
    assert compared.leaking.mean() > 0.9
    assert compared.findings.codes == ["leak_inflates"]
    assert compared.gap == pytest.approx(compared.leaking.mean() - compared.honest.mean())


def test_scaling_before_the_split_hardly_shows():
    X, y = load_breast_cancer(return_X_y=True)
    compared = compare_leak(X, y, step="scale")
    assert compared.findings.codes == ["leak_within_noise"]
    assert abs(compared.gap) < 0.01
    assert compared.honest.mean() > 0.95


def test_what_it_shows_and_gives():
    rng = np.random.default_rng(0)
    X, y = torch.from_numpy(rng.normal(size=(60, 30))), ["a", "b", "c"] * 20
    one = compare_leak(X, y, step="select", num_selected=5, folds=4, seed=3)
    two = compare_leak(X, y, step="select", num_selected=5, folds=4, seed=3)
    assert (one.honest == two.honest).all()
    assert one.honest.shape == one.leaking.shape == (4,)
    assert "honest" in str(one)
    assert "fold 4" in one._repr_html_()
    json.dumps(one.to_dict())
    near = compare_leak(X, y, classifier=KNeighborsClassifier(3))
    assert not np.array_equal(near.honest, compare_leak(X, y).honest)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"step": "pca"}, "'scale' or 'select', got 'pca'"),
        ({"folds": 30}, "at least 30 rows each"),
        ({"step": "select", "num_selected": 9}, "from 1 to the 4 features"),
        ({"y": [0, 1]}, "one label for each of the 40 rows"),
        ({"X": np.full((40, 4), np.nan)}, "a NaN or an infinity in row 0"),
    ],
)
def test_wrong_comparisons(more, match):
    arguments = {"X": np.random.default_rng(0).normal(size=(40, 4)), "y": np.arange(40) % 2, **more}
    with pytest.raises(featx.FeatxError, match=match):
        compare_leak(**arguments)


def test_a_loss_that_explodes_is_seen_after_three_epochs():
    assert check_fit([0.5, 5, 50], [0.6, 6, 60], metric="loss").codes == ["diverged"]


def test_labels_that_are_missing_are_told_by_each_check():
    with pytest.raises(featx.FeatxError, match="1 without, the first in row 2"):
        check_imbalance(np.array(["a", "b", None], object))
    with pytest.raises(featx.FeatxError, match="1 without"):
        compare_leak(np.ones((3, 2)), [0, 1, np.nan])
    with pytest.raises(featx.FeatxError, match="folds to be a whole number from 2, got 1"):
        compare_leak(np.ones((4, 2)), [0, 1, 0, 1], folds=1)
