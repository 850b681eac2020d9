"""Copies across a split: made-up ones, with known answers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import featx
from featx.features import Features
from featx.pitfalls import THRESHOLDS, check_split, duplicates
from featx.pitfalls.duplicates import (
    FeatureSearch,
    LookSearch,
    find_near,
    looks_of,
    nearest,
    same_rows,
)


def nothing(_: int) -> None:
    pass


@pytest.fixture(scope="module")
def bench(root: Path):
    """The script that measures: its made-up copies are these tests', too."""
    spec = importlib.util.spec_from_file_location("bench_duplicates", root / "bench/duplicates.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- what is promised ---


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "letters", "photos"])
def test_copies_are_found_with_images(bench, name: str):
    found = bench.measure(name, 0, with_images=True)
    assert found.pop("exact") >= 0.99
    # 1 % is the aim. Of 540 images 6 are more than that, and 0.6 % are expected.
    assert found.pop("false alarms") <= 0.0125
    least = {  # what falls short of 0.9 is said in the docstring
        # of 8 x 8 pixels: one row and one column cut, the rest made 8 x 8 again, or one coarse JPEG block
        "digits": {"cut and resized": 0.25, "cut by a step": 0.75, "JPEG 50": 0.65},
        "photos": {"JPEG 50": 0.75},  # of plain sky nothing is left
    }
    for kind, share in least.get(name, {}).items():
        assert found.pop(kind) >= share, kind
    assert min(found.values()) >= 0.9, found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "letters"])
def test_false_alarms_are_below_one_per_cent_over_seeds(bench, name: str):
    rates = []
    for seed in (2, 3):
        train, test, *_ = bench.made_up(name, seed)
        search = LookSearch(looks_of(train, nothing))
        looks = looks_of(test, nothing)
        near = find_near(
            search,
            looks,
            false_alarms=THRESHOLDS["false_alarms"],
            calibration_rows=int(THRESHOLDS["calibration_rows"]),
        )
        rates.append(len(near.rows) / len(test))
    assert np.mean(rates) <= 0.01, rates


@pytest.mark.slow
def test_features_alone_find_what_the_docstring_says(bench):
    found = bench.measure("digits", 0, with_images=False)
    assert found["exact"] >= 0.99
    assert found["false alarms"] <= 0.01
    assert found["darker, x 0.75"] >= 0.9
    assert max(found[kind] for kind in ("mirrored", "shifted by a step", "JPEG 75")) <= 0.2


# --- exact copies ---


def rows(seed: int, count: int = 60, width: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


@settings(max_examples=30)
@given(
    st.integers(0, 1000),
    st.integers(1, 80),
    st.integers(1, 12),
    st.sampled_from([1e-30, 1.0, 1e30]),
    st.sampled_from([0.0, 100.0]),
)
def test_a_set_holds_all_of_its_own_rows(seed, count, width, scale, offset):
    X = (rows(seed, count, width) + np.float32(offset)) * np.float32(scale)
    X[0] = 0  # a row without a direction
    pairs = same_rows(X, X, 1e-5, nothing)
    assert {(row, row) for row in range(count)} <= set(map(tuple, pairs.tolist()))


def test_rounding_is_no_difference_and_more_is():
    X = rows(0)
    test = np.stack([X[3] * (1 + 1e-6), X[4] * (1 + 1e-3), X[5]])
    assert same_rows(X, test, 1e-5, nothing).tolist() == [[3, 0], [5, 2]]


def test_all_copies_of_a_row_are_named():
    X = rows(0)
    X[10:15] = X[3]
    pairs = same_rows(X, X[3:4], 1e-5, nothing)
    assert sorted(pairs[:, 0].tolist()) == [3, 10, 11, 12, 13, 14]


def test_features_of_another_batch_are_the_same(digits, glyphnet_features):
    backbone = featx.load_backbone("glyphnet")
    again = featx.extract(backbone, digits.images[:200], batch_size=37, progress=False).X
    found = check_split(glyphnet_features, again)["exact_duplicates"].numbers
    assert found["rows"] == 200
    assert {(row, row) for row in range(200)} <= set(map(tuple, found["pairs"].tolist()))


# --- blocks, orders, kinds of arrays ---


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 70))
def test_the_size_of_blocks_does_not_matter(seed, size):
    X = torch.nn.functional.normalize(torch.from_numpy(rows(seed)))
    parts = ((start, X[start : start + size]) for start in range(0, len(X), size))
    distance, number = nearest(X[None, :9], parts, torch.arange(9))
    whole = 1 - X[:9] @ X.T
    whole[torch.arange(9), torch.arange(9)] = torch.inf
    best, order = whole.sort(1)
    assert torch.allclose(distance, best[:, : distance.shape[1]], atol=1e-6)
    assert (number[:, 0] == order[:, 0]).all()


def test_nearest_of_fewer_rows_than_neighbours_leaves_itself_out():
    X = torch.eye(4)
    distance, number = nearest(X[None], iter([(0, X)]), torch.arange(4))
    assert distance.shape == (4, 3)
    assert (number != torch.arange(4)[:, None]).all()


@settings(max_examples=10)
@given(st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(seed):
    X, Z = rows(seed, 120), rows(seed + 1, 40)
    Z[5], Z[6] = X[7], X[8] + 1e-3
    rng = np.random.default_rng(seed)
    a, b = rng.permutation(len(X)), rng.permutation(len(Z))

    def pairs(found, code, a, b):
        if code not in found:
            return set()
        return {(int(a[i]), int(b[j])) for i, j in found[code].numbers["pairs"]}

    straight, shuffled = check_split(X, Z), check_split(X[a], Z[b])
    for code in ("exact_duplicates", "near_duplicates"):
        assert pairs(straight, code, np.arange(120), np.arange(40)) == pairs(shuffled, code, a, b)
    assert (7, 5) in pairs(straight, "exact_duplicates", np.arange(120), np.arange(40))


@pytest.mark.parametrize("kind", ["float64", "float16", "memmap", "tensor", "list"])
def test_any_kind_of_array(kind, tmp_path):
    X = rows(0)
    test = X[[3, 9]]
    if kind == "memmap":
        np.save(tmp_path / "X.npy", X)
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
    elif kind == "tensor":
        X, test = torch.from_numpy(X), torch.from_numpy(test)
    elif kind == "list":
        X, test = X.tolist(), test.tolist()
    else:
        X, test = X.astype(kind), test.astype(kind)
    found = check_split(X, test)
    assert found["exact_duplicates"].numbers["pairs"].tolist() == [[3, 0], [9, 1]]


def test_a_memory_map_is_read_in_blocks(tmp_path, monkeypatch):
    np.save(tmp_path / "X.npy", rows(0, 5000))
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    largest = 0
    whole = duplicates._taken

    def taken(data, which):
        nonlocal largest
        largest = max(largest, len(which))
        return whole(data, which)

    monkeypatch.setattr(duplicates, "_taken", taken)
    check_split(X, rows(1, 50))
    assert 0 < largest <= 2048


# --- near copies ---


def test_an_exact_copy_is_not_named_as_a_near_one_too():
    X = rows(0, 300, 16)
    test = np.concatenate([X[:20], X[20:30] + 1e-3, rows(1, 50, 16)])
    found = check_split(X, test)
    assert found["exact_duplicates"].numbers["rows"] == 20
    assert "by chance where there is none" not in found["near_duplicates"].message
    assert found["near_duplicates"].numbers["pairs"][:10].tolist() == [
        [i, i] for i in range(20, 30)
    ]


def test_a_clump_in_the_training_set_does_not_hide_a_copy():
    X = rows(0, 400, 16)
    rng = np.random.default_rng(1)
    X[:30] = X[0] + 0.001 * rng.normal(size=(30, 16))  # as the frames of a video
    test = np.concatenate([X[:1] + 0.0005, X[200:201] + 0.0005, rows(2, 50, 16)])
    near = find_near(FeatureSearch(X), test, false_alarms=0.004, calibration_rows=2000)
    assert near.rows[:, 1].tolist() == [0, 1]
    assert near.rows[1, 0] == 200
    assert 0.07 <= near.train_share <= 0.1


def test_a_training_set_full_of_copies_still_calibrates():
    half = rows(0, 300, 16)
    X = np.concatenate([half, half + 1e-3 * rows(1, 300, 16)])
    test = np.concatenate([half[:20] + 1e-3 * rows(2, 20, 16), rows(3, 200, 16)])
    near = find_near(FeatureSearch(X), test, false_alarms=0.004, calibration_rows=2000)
    found = near.rows[:, 1]
    assert set(range(20)) <= set(found.tolist())
    assert (found >= 20).sum() <= 4
    assert near.train_share > 0.9


def test_noise_has_few_near_duplicates():
    for seed in range(3):
        near = find_near(
            FeatureSearch(rows(seed, 1000, 16)),
            rows(seed + 10, 1000, 16),
            false_alarms=0.004,
            calibration_rows=2000,
        )
        assert len(near.rows) <= 15


def test_looks_do_not_change_with_brightness_kind_or_channels(digits):
    images = digits.images[:20]
    look = looks_of(images, nothing)
    for other in (
        images.float() / 255,
        (images // 2 + 40).float(),
        images.repeat(1, 3, 1, 1),
        images[:, 0],
        images.numpy(),
        list(images),
        digits.images[:20].double() * 1e-3,
    ):
        assert torch.allclose(look.float(), looks_of(other, nothing).float(), atol=0.03)
    assert torch.allclose(look.float().flatten(1).std(1), torch.ones(20), atol=0.01)


def test_flat_images_are_near_to_nothing(digits):
    train = digits.images[:200].clone()
    train[:5] = 77
    test = torch.full((3, 1, 8, 8), 20, dtype=torch.uint8)
    near = find_near(
        LookSearch(looks_of(train, nothing)),
        looks_of(test, nothing),
        false_alarms=0.004,
        calibration_rows=2000,
    )
    assert not len(near.rows)


# --- through check_split ---


def test_images_find_what_features_do_not(digits, glyphnet_features):
    X, images = glyphnet_features.X, digits.images
    mirrored = images[10:30].flip(3)
    backbone = featx.load_backbone("glyphnet")
    test_images = torch.cat([images[1500:1600], mirrored])
    test = featx.extract(backbone, test_images, progress=False).X
    alone = check_split(X[:1000], test)
    assert "exact_duplicates" not in alone
    found = check_split(X[:1000], test, images=(images[:1000], test_images))["near_duplicates"]
    pairs = {tuple(pair) for pair in found.numbers["pairs"].tolist()}
    assert len({(10 + i, 100 + i) for i in range(20)} & pairs) >= 18
    assert (found.numbers["found_by"] == "images").sum() >= 18
    assert set(found.numbers["thresholds"]) == {"features", "images"}


def test_labels_that_differ_are_named():
    X = rows(0)
    train = Features(X, np.arange(60) % 2, class_names=("cat", "dog"))
    test = Features(X[[4, 6]], np.array([1, 1]), class_names=("cow", "cat"))
    found = check_split(train, test)["exact_duplicates"]
    assert not len(found.numbers["conflicts"])  # rows 4 and 6 are cats on both sides
    test = Features(X[[4, 6]], np.array([0, 1]), class_names=("cow", "cat"))
    found = check_split(train, test)["exact_duplicates"]
    assert found.numbers["conflicts"].tolist() == [[4, 0]]
    assert "test row 0 and training row 4 are cow and cat" in found.message
    named = Features(X, train.y, class_names=("cat", "dog"), paths=[f"{i}.png" for i in range(60)])
    files = Features(test.X, test.y, class_names=test.class_names, paths=["new/a.png", "new/b.png"])
    assert "new/a.png and 4.png are cow and cat" in check_split(named, files)[0].message


def save(folder: Path, images: torch.Tensor) -> list[str]:
    from PIL import Image

    folder.mkdir()
    paths = []
    for row, image in enumerate(images):
        paths.append(str(folder / f"{row % 7}_{row}.png"))
        Image.fromarray(image[0].numpy()).save(paths[-1])
    return paths


def test_equal_files_are_exact_duplicates(tmp_path, digits):
    paths = save(tmp_path / "a", digits.images[:40]), save(tmp_path / "b", digits.images[38:48])
    train = Features(rows(0, 40), paths=paths[0])
    test = Features(rows(1, 10), paths=paths[1])  # features that do not tell
    found = check_split(train, test)
    assert found["exact_duplicates"].numbers["pairs"].tolist() == [[38, 0], [39, 1]]
    Path(paths[0][38]).unlink()  # a file that has gone tells nothing
    assert check_split(train, test)["exact_duplicates"].numbers["rows"] == 1


def test_images_by_their_paths(tmp_path, digits):
    paths = save(tmp_path / "a", digits.images[:300])
    others = save(tmp_path / "b", torch.cat([digits.images[900:920], digits.images[:10].flip(3)]))
    train, test = Features(rows(0, 300), paths=paths), Features(rows(1, 30), paths=others)
    for images in ("paths", (paths, featx.datasets.image_paths(others))):
        found = check_split(train, test, images=images)["near_duplicates"].numbers["pairs"]
        assert len({(i, 20 + i) for i in range(10)} & set(map(tuple, found.tolist()))) >= 9


def test_equal_pixels_are_exact_duplicates(digits):
    found = check_split(
        rows(0, 100), rows(1, 20), images=(digits.images[:100], digits.images[90:110])
    )
    pairs = found["exact_duplicates"].numbers["pairs"].tolist()
    assert pairs == [[90 + i, i] for i in range(10)]


def test_images_may_be_pillows(digits):
    def pictures(images):
        return [Image.fromarray(image[0].numpy()) for image in images]

    images = pictures(digits.images[:300]), pictures(digits.images[298:310])
    found = check_split(rows(0, 300), rows(1, 12), images=images)
    assert found["exact_duplicates"].numbers["pairs"].tolist() == [[298, 0], [299, 1]]
    turned = pictures(digits.images[:10].flip(3))
    found = check_split(rows(0, 300), rows(1, 10), images=(images[0], turned))
    pairs = found["near_duplicates"].numbers["pairs"]
    assert len({(i, i) for i in range(10)} & set(map(tuple, pairs.tolist()))) >= 9


def test_pillows_of_other_palettes_are_other_pictures():
    def picture(colour):
        image = Image.new("P", (8, 8))
        image.putpalette(colour)
        return image

    red, blue = picture([255, 0, 0]), picture([0, 0, 255])
    found = check_split(rows(0, 40), rows(1, 2), images=([red] * 40, [blue] * 2))
    assert "exact_duplicates" not in found


def test_groups(tmp_path):
    X, Z = rows(0), rows(1, 10)
    groups = ([f"p{row % 20}" for row in range(60)], [f"p{row + 15}" for row in range(10)])
    found = check_split(X, Z, groups=groups)["shared_groups"]
    assert found.numbers["groups"] == ["p15", "p16", "p17", "p18", "p19"]
    assert found.numbers["share"] == 0.5
    assert found.numbers["pairs"].tolist() == [[15 + i, i] for i in range(5)]
    assert "shared_groups" not in check_split(X, Z, groups=(np.arange(60), np.arange(60, 70)))
    train = Features(X, paths=[f"in/{row}_a.png" for row in range(60)])
    test = Features(Z, paths=[f"out/{row + 55}_b.png" for row in range(10)])
    found = check_split(train, test, groups=lambda path: Path(path).stem.split("_")[0])
    assert found["shared_groups"].numbers["groups"] == ["55", "56", "57", "58", "59"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (range(13), "0, 1, 2, 3, 4, …"),
        ([10.5, 9, *range(100, 111)], "9.0, 10.5, 100.0, 101.0, 102.0, …"),
        (np.array([10, 9, "b", "a", None] * 2 + [9] * 3, dtype=object), "9, 10, a, b"),
    ],
)
def test_groups_are_named_in_order(given, named):
    groups = np.resize(np.array(given), 60), given
    found = check_split(rows(0), rows(1, 13), groups=groups)["shared_groups"]
    assert f"({named})" in found.message


def test_a_small_training_set_says_so():
    X = rows(0, 12)
    found = check_split(X, np.concatenate([X[:1], X[1:2] + 1e-3]))
    assert found.codes == ["exact_duplicates", "too_few_rows"]


def test_thresholds_are_data():
    X = rows(0, 300, 16)
    test = rows(1, 300, 16)
    strict = check_split(X, test, thresholds={"false_alarms_features": 0.001})
    loose = check_split(X, test, thresholds={"false_alarms_features": 0.3})
    counts = [
        f["near_duplicates"].numbers["rows"] if "near_duplicates" in f else 0
        for f in (strict, loose)
    ]
    assert counts[0] < 5 < 50 < counts[1]
    assert "90.0 are flagged by chance" in loose["near_duplicates"].message
    assert (
        check_split(X, X[:3] * 1.0001, thresholds={"same_features": 1e-3}).codes[0]
        == "exact_duplicates"
    )


def test_progress_is_shown_when_asked_for(capsys, monkeypatch):
    monkeypatch.setattr("featx.progress.LOG_EVERY", 0.0)
    check_split(rows(0), rows(1))
    assert capsys.readouterr().err == ""
    check_split(rows(0), rows(1), progress=True)
    assert "compare features: 180 of 180" in capsys.readouterr().err
    check_split(rows(0, 12), rows(1), progress=True)  # too few rows for the second search
    assert "compare features: 60 of 60" in capsys.readouterr().err


def test_the_finding_goes_into_json():
    import json

    X = rows(0)
    told = json.loads(json.dumps(check_split(X, X[:2]).to_dict()))
    assert told[0]["numbers"]["pairs"] == [[0, 0], [1, 1]]


nan = rows(0)
nan[17, 3] = np.nan


@pytest.mark.parametrize(
    ("arguments", "more", "match"),
    [
        ((rows(0), rows(0, 5, 9)), {}, r"features of one size, got \(N, 8\) to train and \(N, 9\)"),
        ((nan, rows(0)), {}, "finite training features, got a NaN or an infinity in row 17"),
        ((rows(0), nan), {}, "finite test features"),
        ((rows(0)[0], rows(0)), {}, r"training features \(N, D\).* got the shape \(8,\)"),
        ((rows(0), rows(0)[:0]), {}, r"test features .* shape \(0, 8\)"),
        ((np.zeros((4, 3, 8, 8)), rows(0)), {}, "Pool feature maps first"),
        (("features", rows(0)), {}, "training features"),
        ((np.array([["a", "b"]]), rows(0)), {}, "of numbers"),
        ((rows(0), rows(1)), {"thresholds": {"same_feature": 1}}, "Close matches: same_features"),
        ((rows(0), rows(1)), {"images": "paths"}, "Pass the images"),
        ((rows(0), rows(1)), {"images": rows(0)}, r"a pair \(train_images, test_images\)"),
        ((rows(0), rows(1)), {"images": (rows(0), rows(1))}, "Pass the images, not their features"),
        (
            (rows(0), rows(1)),
            {"images": (np.zeros((60, 8, 8)), np.zeros((3, 8, 8)))},
            "one test image for each of the 60 rows, got 3",
        ),
        ((rows(0), rows(1)), {"images": (iter([]), iter([]))}, "counted and taken by number"),
        (
            (rows(0), rows(1)),
            {"images": ([0.5] * 60, [0.5] * 60)},
            "an image or its path, got float",
        ),
        ((rows(0), rows(1)), {"groups": ([1], [2])}, "each of the 60 training rows, got 1"),
        ((rows(0), rows(1)), {"groups": ([], [])}, "each of the 60 training rows, got 0"),
        ((rows(0), rows(1)), {"groups": (5, 6)}, r"training groups \(N,\), got the shape \(\)"),
        (
            (rows(0), rows(1)),
            {"groups": (np.zeros((60, 2)), np.zeros((60, 2)))},
            r"training groups \(N,\), got the shape \(60, 2\)",
        ),
        ((rows(0), rows(1)), {"groups": len}, "Features with paths"),
        ((rows(0), rows(1)), {"groups": "abc"}, r"groups=\(train_groups, test_groups\)"),
    ],
)
def test_wrong_use(arguments, more, match):
    with pytest.raises(featx.FeatxError, match=match):
        check_split(*arguments, **more)


def test_rows_of_no_known_group_share_none():
    groups = [None] * 60, [None] * 10
    assert "shared_groups" not in check_split(rows(0), rows(1)[:10], groups=groups)
    column = np.arange(60)[:, None], np.arange(55, 65)[:, None]
    found = check_split(rows(0), rows(1)[:10], groups=column)
    assert found["shared_groups"].numbers["groups"] == [55, 56, 57, 58, 59]


def test_few_training_rows_promise_no_small_rate_of_false_alarms():
    """The threshold is then about the least that was seen, and chance flags one row in as many."""
    rng = np.random.default_rng(0)
    said = [check_split(rng.normal(size=(40, 8)), rng.normal(size=(20, 8))) for _ in range(30)]
    flagged = [found["near_duplicates"] for found in said if "near_duplicates" in found]
    assert flagged
    assert all("by chance" in finding.message for finding in flagged)
