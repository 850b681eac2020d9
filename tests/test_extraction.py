"""Features come out right, in order, and leave the model as it was."""

from __future__ import annotations

import copy
import csv
import json
import multiprocessing
import os
import re
import signal
import sys
import threading
from multiprocessing import current_process
from multiprocessing.connection import Client
from multiprocessing.resource_sharer import DupFd
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from torchvision.models import VisionTransformer

import featx
from featx.datasets import find_images
from featx.extraction import extract
from featx.features import Plan, load_features, named_labels
from featx.heads import remove_head
from featx.layers import pool
from featx.sources import _start_method


@pytest.fixture(scope="module")
def backbone():
    return featx.load_backbone("glyphnet")


def by_hand(backbone, images: torch.Tensor) -> np.ndarray:
    """What a tutorial would write."""
    model = copy.deepcopy(backbone.model).eval()
    model.fc = torch.nn.Identity()
    with torch.no_grad():
        return model(backbone.preprocess(images)).numpy()


def test_features_are_what_plain_pytorch_computes(backbone, digits, glyphnet_features):
    assert glyphnet_features.X.dtype == np.float32
    assert np.allclose(glyphnet_features.X, by_hand(backbone, digits.images), atol=1e-5)
    assert np.array_equal(glyphnet_features.y, digits.labels.numpy())


@settings(max_examples=15)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_rows_keep_the_order_of_the_data_whatever_the_batches(digits, count, batch_size):
    backbone = featx.load_backbone("glyphnet")
    images = digits.images[:count]
    X = extract(backbone, images, batch_size=batch_size, progress=False).X
    assert np.allclose(X, by_hand(backbone, images), atol=1e-5)


def test_every_kind_of_source_gives_the_same(backbone, digits):
    few = digits.images[:20]
    expected = by_hand(backbone, few)
    sources = {
        "bytes": few,
        "floats": few / 255,
        "without channels": few[:, 0],
        "array": few.numpy(),
        "read-only array": np.broadcast_to(few.numpy(), few.shape),
        "array with negative strides": np.ascontiguousarray(few.numpy()[::-1])[::-1],
        "colour": few.expand(-1, 3, -1, -1),
        "dataset": TensorDataset(few),
        "labelled dataset": TensorDataset(few, digits.labels[:20]),
        "loader": DataLoader(TensorDataset(few), batch_size=7),
    }
    for name, source in sources.items():
        features = extract(backbone, source, progress=False)
        # torchvision's weights of red, green and blue add up to 0.9999
        assert np.allclose(features.X, expected, atol=1e-3 if name == "colour" else 1e-5), name
        assert (features.y is not None) == (name == "labelled dataset"), name


def test_grey_images_suit_a_colour_backbone(digits):
    torch.manual_seed(0)
    backbone = featx.load_backbone("resnet18", weights=None)
    features = extract(backbone, digits.images[:3], progress=False)
    model = backbone.model
    with torch.no_grad():
        x = backbone.preprocess(digits.images[:3].expand(-1, 3, -1, -1))
        assert remove_head(model) == 512
        assert np.allclose(features.X, model(x).numpy(), atol=1e-4)


def test_extraction_leaves_the_model_as_it_was(backbone, digits):
    model = backbone.model
    model.layer1.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        extract(backbone, digits.images[:10], progress=False)
        assert model.layer1.training
        assert not model.training
        assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
        assert not model.fc._forward_pre_hooks
    finally:
        model.eval()


def test_extraction_keeps_the_modes_that_a_frozen_model_was_asked_for(digits):
    backbone = featx.load_backbone("glyphnet")
    featx.freeze(backbone.model, except_=()).train()
    extract(backbone, digits.images[:10], progress=False)
    featx.unfreeze(backbone.model)
    assert all(module.training for module in backbone.model.modules())


class Listed(Dataset):
    """A dataset of whatever is in a list."""

    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        return self.items[index]


# --- files ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path, digits) -> Path:
    """Twelve digits of growing size as PNG files in two class folders, and what else lies about."""
    for i in range(12):
        path = (
            tmp_path / "images" / ("even" if digits.labels[i] % 2 == 0 else "odd") / f"{i:02}.png"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(digits.images[i, 0].numpy())
        image.resize((8 + i, 12)).save(path)
    (tmp_path / "images" / "odd" / "notes.txt").write_text("not an image")
    (tmp_path / "images" / "even" / "half.png").write_bytes(path.read_bytes()[:40])
    return tmp_path / "images"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_gives_rows_in_its_order_with_labels_paths_and_what_was_skipped(
    backbone, folder, workers
):
    features = extract(backbone, folder, batch_size=5, num_workers=workers, progress=False)
    files = find_images(folder)
    readable = [path for path in files.paths if path.name != "half.png"]
    assert features.paths == [str(path) for path in readable]
    assert features.class_names == ("even", "odd")
    assert [features.class_names[label] for label in features.y] == [
        p.parent.name for p in readable
    ]
    assert {Path(file.path).name for file in features.skipped} == {"notes.txt", "half.png"}
    for row, path in enumerate(readable):
        image = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
        assert np.allclose(features.X[row], by_hand(backbone, image[None])[0], atol=1e-4)


def test_a_list_of_files_keeps_its_order(backbone, folder):
    paths = [*sorted(folder.rglob("*.png"), reverse=True), folder / "missing.png"]
    features = extract(backbone, paths, progress=False)
    assert features.paths == [
        str(path) for path in paths if path.name not in ("half.png", "missing.png")
    ]
    assert features.y is None
    assert len(features.skipped) == 2


def test_what_is_no_image_raises_if_asked(backbone, folder):
    for name in ("notes.txt", "half.png"):
        with pytest.raises(featx.FeatxError, match=re.escape(name)):
            extract(backbone, folder, on_error="raise", progress=False)
        next(folder.rglob(name)).unlink()
    assert not extract(backbone, folder, on_error="raise", progress=False).skipped


def test_pillow_images_and_images_of_many_sizes_make_a_dataset(backbone, folder):
    paths = [path for path in find_images(folder).paths if path.name != "half.png"]
    images = [Image.open(path) for path in paths]
    expected = extract(backbone, paths, progress=False).X
    labelled = Listed([(image, f"name {i}") for i, image in enumerate(images)])
    tensors = Listed([torch.from_numpy(np.array(image)) for image in images])
    for data in (images, labelled, tensors):
        assert np.allclose(extract(backbone, data, progress=False).X, expected, atol=1e-3)
    assert extract(backbone, labelled, progress=False).y[3] == "name 3"


class Streamed(IterableDataset):
    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __iter__(self):
        return iter(self.images)


def test_a_stream_without_length_is_read_to_its_end(backbone, digits, tmp_path):
    expected = extract(backbone, digits.images[:50], progress=False).X
    stream = Streamed(digits.images[:50])
    assert np.allclose(
        extract(backbone, stream, batch_size=8, progress=False).X, expected, atol=1e-5
    )
    cached = extract(backbone, stream, batch_size=8, progress=False, cache_dir=tmp_path)
    assert np.allclose(cached.X, expected, atol=1e-5)


# --- layers and pooling --------------------------------------------------------------------------


def test_several_layers_come_from_one_pass(backbone, digits):
    model, images = backbone.model, digits.images[:9]
    features = extract(backbone, images, layers=["layer3", "features", "fc"], progress=False)
    assert list(features.layers) == ["layer3", "features", "fc"]
    assert features.X is features.layers["fc"]
    with torch.no_grad():
        x = backbone.preprocess(images)
        maps = model.layer3(model.layer2(model.layer1(model.relu(model.bn1(model.conv1(x))))))
        assert np.allclose(features.layers["layer3"], maps.mean((2, 3)), atol=1e-5)
        assert np.allclose(features.X, model(x), atol=1e-4)
    assert np.allclose(features.layers["features"], by_hand(backbone, images), atol=1e-5)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.fixture(scope="module")
def vit():
    torch.manual_seed(0)
    model = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)

    def preprocess(x):
        return interpolate(x.float() / 255, (32, 32))

    return featx.Backbone.from_module(model.eval(), preprocess, name="small vit", in_channels=3)


def test_a_vits_tokens_are_pooled_as_it_is_said(vit, digits):
    images = digits.images[:4]
    tokens = []
    handle = vit.model.encoder.register_forward_hook(lambda *args: tokens.append(args[-1]))
    with torch.no_grad():
        vit.model(vit.preprocess(images.expand(-1, 3, -1, -1)))
    handle.remove()
    expected = {None: tokens[0][:, 0], "cls": tokens[0][:, 0], "mean": tokens[0][:, 1:].mean(1)}
    for pooling, rows in expected.items():
        X = extract(vit, images, pooling=pooling, progress=False).X
        assert np.allclose(X, rows, atol=1e-5), pooling
    layer = "encoder.layers.encoder_layer_0"
    named = extract(vit, images, layers=layer, pooling="mean", progress=False)
    assert named.layers[layer].shape == (4, 16)
    with pytest.raises(featx.FeatxError, match=r'returns tokens of the shape \(4, 17, 16\).*"cls"'):
        extract(vit, images, layers=layer, progress=False)


def test_pooling_of_a_convolutional_network_is_the_mean_of_its_feature_map(backbone, digits):
    plain = extract(backbone, digits.images[:5], progress=False).X
    pooled = extract(backbone, digits.images[:5], pooling="mean", progress=False).X
    assert np.allclose(plain, pooled, atol=1e-5)


@settings(max_examples=30)
@given(n=st.integers(1, 4), d=st.integers(1, 9), side=st.integers(2, 5), prefix=st.integers(0, 3))
def test_pooling_gives_one_row_an_image(n, d, side, prefix):
    places = torch.rand(n, d, side, side)
    mean = places.mean((2, 3))
    assert torch.allclose(pool(places, n, None), mean)
    if d != side:
        assert torch.allclose(pool(places.permute(0, 2, 3, 1), n, None), mean)  # as Swin has it
    tokens = torch.cat([torch.full((n, prefix, d), 7.0), places.flatten(2).transpose(1, 2)], 1)
    assert torch.allclose(pool(tokens, n, "mean", prefix), mean, atol=1e-6)
    if prefix:
        assert torch.equal(pool(tokens, n, "cls", prefix), torch.full((n, d), 7.0))


def test_wrong_layers_and_poolings_are_told(backbone, vit, digits):
    cases = [
        (backbone, {"layers": "layer5"}, "Close matches: layer"),
        (backbone, {"layers": ["layer1", "layer1"]}, "Name each once"),
        (backbone, {"pooling": "max"}, "got 'max'. \"cls\" takes"),
        (vit, {"layers": "encoder.layers.encoder_layer_0.self_attention.out_proj"}, "does not"),
    ]
    for which, options, message in cases:
        with pytest.raises(featx.FeatxError, match=re.escape(message)):
            extract(which, digits.images[:2], progress=False, **options)
    no_class_token = featx.Backbone.from_module(Tokens(), lambda x: x / 255, in_channels=1)
    with pytest.raises(featx.FeatxError, match="a model with a class token"):
        extract(no_class_token, digits.images[:2], layers="embed", pooling="cls", progress=False)


class Tokens(torch.nn.Module):
    """A module whose layer gives a sequence and has no class token."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Linear(8, 4)
        self.fc = torch.nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.embed(x[:, 0]).mean(1))


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_gives_the_same_features_but_for_rounding(
    backbone, digits, glyphnet_features, precision
):
    # a processor without these types takes 20 times as long as in float32: no more than it needs
    X = extract(backbone, digits.images[:100], precision=precision, progress=False).X
    plain = glyphnet_features.X[:100]
    cosine = (X * plain).sum(1) / np.linalg.norm(X, axis=1) / np.linalg.norm(plain, axis=1)
    assert X.dtype == np.float32
    assert cosine.min() > 0.999
    assert not np.array_equal(X, plain)


def test_a_probe_on_lower_precision_scores_the_same(backbone, digits, glyphnet_features):
    plain, y = glyphnet_features.X[:900], glyphnet_features.y[:900]
    lower = extract(backbone, digits.images[:900], precision="bfloat16", progress=False).X
    scores = [
        featx.LinearProbe().fit(X[::2], y[::2]).score(X[1::2], y[1::2]) for X in (plain, lower)
    ]
    assert abs(scores[0] - scores[1]) <= 0.005, scores


def test_the_plan_says_what_was_done(backbone, digits):
    plan = extract(backbone, digits.images[:20], batch_size=7, progress=False).plan
    assert (plan.images, plan.computed, plan.batch_size, plan.num_workers) == (20, 20, 7, 0)
    assert plan.device == ("cuda:0" if torch.cuda.is_available() else "cpu")
    assert sum(plan.seconds.values()) > 0
    assert re.search(r"20 of 20 images computed on .* in float32.*bound by.*images/s", str(plan))


def test_a_batch_size_is_chosen_by_the_size_of_the_images(backbone, digits):
    assert extract(backbone, digits.images[:2], progress=False).plan.batch_size == 256
    resnet = featx.load_backbone("resnet18", weights=None)
    assert extract(resnet, digits.images[:2], progress=False).plan.batch_size == 32


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(0, 1, 8, 8), "at least one image"),
        (torch.zeros(4, 8, 8, 3), "Move the channels to the second place"),
        (torch.zeros(4, 4, 8, 8), "Leave transparency out"),
        (torch.zeros(4, 1, 0, 8), "got the shape (4, 1, 0, 8)"),
        (torch.randn(4, 1, 8, 8), "before any normalisation"),
        (torch.full((4, 1, 8, 8), torch.nan), "got NaN among them"),
        (torch.zeros(4, 1, 8, 8, dtype=torch.int64), "got torch.int64"),
        ("no such folder", "no such folder"),
        ([], "got an empty list"),
        ([torch.zeros(1, 8, 8)], "got list"),
        ({"images": 1}, "got dict"),
        (torch.tensor(1.0), "got the shape (1,)"),
        (torch.zeros(8, 8), "One grey image is x[None]"),
        (torch.full((4, 1, 8, 8), 200.0), "Divide them by 255"),
        (torch.ones(4, 1, 8, 8, dtype=torch.bool), "Say x.float()"),
        (["a.png", 3], "got int"),
        (np.array([np.zeros((8, 8)), None], dtype=object), "Expected an array of numbers"),
        (Listed(["a", "b"]), "got str for the image. Give the dataset a transform"),
        (Listed([1 / 3]), "got float for the image"),
        (DataLoader(Listed([Image.new("L", (8, 8))] * 3)), "Give its dataset a transform"),
        (DataLoader(Listed([{"a": torch.zeros(8, 8)}])), "got dict. Give the dataset a transform"),
    ],
)
@pytest.mark.parametrize("cache", [False, True])
def test_wrong_images_are_told(backbone, data, message, cache, tmp_path):
    with pytest.raises(featx.FeatxError, match=re.escape(message)):
        extract(backbone, data, progress=False, cache_dir=tmp_path if cache else None)


class Comparing:
    """As pandas' columns: what it is compared with is compared with each of its parts."""

    def __eq__(self, other):
        raise ValueError("the truth value is ambiguous")

    __hash__ = None


def test_what_cannot_be_compared_is_told_like_anything_else(backbone):
    with pytest.raises(featx.FeatxError, match="got Comparing"):
        extract(backbone, Comparing(), progress=False)


@pytest.mark.parametrize(("channels", "wrong"), [(4, 3), (4, 2), (2, 3), (2, 4), (1, 4), (3, 5)])
def test_channels_are_those_that_a_backbone_takes_or_grey(channels, wrong):
    model = torch.nn.Sequential(torch.nn.Conv2d(channels, 5, 3), torch.nn.AdaptiveAvgPool2d(1))
    many = featx.Backbone.from_module(model, lambda x: x.float() / 255)
    for right in (1, channels):
        images = torch.zeros(2, right, 8, 8, dtype=torch.uint8)
        assert extract(many, images, progress=False).X.shape == (2, 5)
    allowed = "1 or 3" if channels in (1, 3) else f"1 or {channels}"
    message = rf"with C of {allowed}, got the shape \(2, {wrong}, 8, 8\)\. (Pass all|Leave trans)"
    with pytest.raises(featx.FeatxError, match=message) as raised:
        extract(many, torch.zeros(2, wrong, 8, 8, dtype=torch.uint8), progress=False)
    # what is left without transparency must be right
    assert ("Leave" in str(raised.value)) == ((channels, wrong) in {(4, 2), (1, 4)})


class Bracketed(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, row):
        raise KeyError("no {row} here")


def test_what_a_dataset_raises_is_told_to_the_letter(backbone):
    with pytest.raises(featx.FeatxError, match=r"'no \{row\} here'. Try dataset\[0\] on its own"):
        extract(backbone, Bracketed(), progress=False)


class Faulty(Dataset):
    def __len__(self):
        return 9

    def __getitem__(self, row):
        if row == 5:
            raise KeyError("label")
        return torch.zeros(1, 8, 8)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_dataset_that_raises_is_named_with_the_image(backbone, workers):
    with pytest.raises(featx.FeatxError, match=r"gives image 5, but it raised KeyError: 'label'"):
        extract(backbone, Faulty(), num_workers=workers, batch_size=4, progress=False)


def test_wrong_options_are_told(backbone, digits):
    for device in ("gpu", "meta", "cuda:99", ["cpu"]):
        with pytest.raises(featx.FeatxError, match="device that this machine has"):
            extract(backbone, digits, device=device, progress=False)
    assert backbone.model.fc.weight.device.type == "cpu"
    for option, values in {
        "batch_size": (0, -1, 2.5, True, "many"),
        "precision": ("fp32", None),
        "on_error": ("ignore",),
        "num_workers": (-1, 1.5, "many"),
    }.items():
        for value in values:
            with pytest.raises(featx.FeatxError, match=f"Expected {option} to be"):
                extract(backbone, digits, progress=False, **{option: value})
    with pytest.raises(featx.FeatxError, match=r"featx\.load_backbone, got GlyphNet"):
        extract(backbone.model, digits)
    with pytest.raises(featx.FeatxError, match="1797 images and 3 labels"):
        featx.datasets.LabelledImages(digits.images, digits.labels[:3], digits.class_names)


def test_features_that_are_not_finite_are_told(digits):
    backbone = featx.load_backbone("glyphnet")
    backbone.model.conv1.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(featx.FeatxError, match="gives NaN or infinity"):
        extract(backbone, digits.images[:3], progress=False)


def test_images_that_the_model_cannot_take_name_the_layer(digits):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2)
    )

    def preprocess(x):
        return x.float() / 255

    backbone = featx.Backbone.from_module(model, preprocess, in_channels=1, num_features=144)
    with pytest.raises(featx.FeatxError, match=r"(?s)2 \(Linear\).*144"):
        extract(backbone, torch.zeros(2, 1, 9, 9), progress=False)
    assert extract(backbone, digits.images[:2], progress=False).X.shape == (2, 144)


@pytest.mark.parametrize("labels", [[None] * 3, [{"a": 1}] * 3, [[1], [1, 2], [3]]])
@pytest.mark.parametrize("cache", [False, True])
def test_labels_of_no_use_are_told(backbone, digits, labels, cache, tmp_path):
    data = Listed(list(zip(digits.images[:3], labels, strict=True)))
    with pytest.raises(featx.FeatxError, match="Expected labels that are numbers, names"):
        extract(backbone, data, progress=False, cache_dir=tmp_path if cache else None)


@pytest.mark.parametrize("cache", [False, True])
def test_labels_for_some_images_only_are_told(backbone, digits, cache, tmp_path):
    data = Listed([(digits.images[0], 1), digits.images[1], (digits.images[2], 3)])
    with pytest.raises(featx.FeatxError, match="got none for image 1"):
        extract(backbone, data, progress=False, cache_dir=tmp_path if cache else None)


def test_preprocessing_that_raises_is_told(backbone, digits, folder):
    def for_pillow(image):
        raise TypeError("pic should be PIL Image")

    for preprocess, message in (
        (for_pillow, "TypeError: pic should be.*ToTensor"),
        (len, "got int"),
    ):
        wrong = featx.Backbone.from_module(
            backbone.model, preprocess, in_channels=1, num_features=256
        )
        for data in (digits.images[:3], folder):
            with pytest.raises(featx.FeatxError, match=message):
                extract(wrong, data, progress=False)


def test_a_model_that_raises_is_told(digits):
    class Odd(torch.nn.Module):
        def forward(self, x):
            raise KeyError("cache")

    odd = featx.Backbone.from_module(Odd(), lambda x: x, in_channels=1, num_features=4)
    with pytest.raises(featx.FeatxError, match="KeyError"):
        extract(odd, digits.images[:3], progress=False)


def test_pixels_are_features_too(digits):
    """A module without parameters: the baseline that every backbone has to beat."""
    pixels = featx.Backbone.from_module(
        torch.nn.Flatten(), lambda x: x.float() / 255, in_channels=1, num_features=64
    )
    X = extract(pixels, digits.images[:5], progress=False).X
    assert np.allclose(X, digits.images[:5].flatten(1).numpy() / 255)


class Weighted(torch.nn.Module):
    """Preprocessing that has weights, and so gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return interpolate(x.float(), 32) / 255 * self.factor


def test_files_are_read_whatever_mode_torch_is_in(backbone, folder):
    expected = extract(backbone, folder, progress=False).X
    with torch.inference_mode():
        assert np.array_equal(extract(backbone, folder, progress=False).X, expected)
    weighted = featx.Backbone.from_module(copy.deepcopy(backbone.model), Weighted(), in_channels=1)
    assert extract(weighted, folder, progress=False).X.shape == expected.shape


def test_random_preprocessing_draws_in_the_order_of_the_files(backbone, folder):
    """Threads would draw in the order in which they come."""

    def noisy(x: torch.Tensor) -> torch.Tensor:
        return interpolate(x.float(), 32) / 255 + torch.rand(())

    random = featx.Backbone.from_module(copy.deepcopy(backbone.model), noisy, in_channels=1)
    drawn = []
    for _ in range(5):
        torch.manual_seed(0)
        drawn.append(extract(random, folder, progress=False).X)
    assert all(np.array_equal(each, drawn[0]) for each in drawn)


def test_threads_that_read_leave_the_number_of_torchs_threads(backbone, folder):
    before = torch.get_num_threads()
    extract(backbone, folder, progress=False)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [before] == [torch.get_num_threads()]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"num_workers": 0, "threads": 2, "read": 9.0}, "smaller image files"),
        ({"num_workers": 0, "threads": 1, "read": 9.0}, r"num_workers=2\)"),
        ({"num_workers": 0, "threads": 2, "model": 9.0}, "a GPU, or a smaller backbone"),
        ({"num_workers": 0, "threads": 2, "write": 9.0}, "faster disk"),
        ({"device": "cuda:0", "num_workers": 1, "read": 9.0}, r"num_workers=2\)"),
        ({"device": "cuda:0", "num_workers": 2, "model": 9.0}, "a larger batch_size"),
    ],
)
def test_the_plan_says_what_binds_and_what_to_change(given, says):
    fields = {"device": "cpu", "precision": "float32", "batch_size": 32, "cores": 2, **given}
    seconds = {stage: fields.pop(stage, 0.5) for stage in ("read", "model", "write")}
    plan = Plan(**fields, seconds=seconds, images=100, computed=100, notes=["A note."])
    assert plan.bound == max(seconds, key=seconds.get)
    assert sum(plan.shares().values()) == pytest.approx(10)
    text = plan.explain()
    assert re.search(f"To be faster: .*{says}", text), text
    assert text.endswith("\nA note.")


class Dropped(Dataset):
    """In the process that reads it: a parent that asks for a batch and is gone, and then one that errs."""

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> torch.Tensor:
        handed_on = DupFd(1)  # so does torch with the memory of a batch
        address, _ = handed_on._id
        key = current_process().authkey
        Client(address, authkey=key).close()
        with Client(address, authkey=key) as wrong:
            wrong.send(("no such batch", os.getpid()))
        os.close(handed_on.detach())  # now both were answered: it is one after the other
        return torch.zeros(1, 12, 12)


@pytest.mark.skipif(os.name == "nt", reason="there memory is handed on in another way")
def test_a_reading_process_whose_parent_was_stopped_says_nothing(backbone, capfd):
    assert extract(backbone, Dropped(), num_workers=1, progress=False).X.shape == (1, 256)
    said = capfd.readouterr().err
    assert "EOFError" not in said
    assert "KeyError: 'no such batch'" in said  # an error of another kind is shown


class Killer(Dataset):
    def __len__(self):
        return 4

    def __getitem__(self, row):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_reading_process_is_told(backbone):
    with pytest.raises(featx.FeatxError, match=r"one was killed.*num_workers=0"):
        extract(backbone, Killer(), num_workers=1, progress=False)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere reading processes are not forked")
def test_reading_processes_are_forked_where_python_has_another_default(backbone, monkeypatch):
    """Python 3.14 has; a class that stands in a function, or in a notebook, reaches them by a fork only."""

    class OfMine(Faulty):
        def __len__(self):
            return 5

    told = multiprocessing.get_start_method(allow_none=True)
    monkeypatch.setattr(multiprocessing, "get_all_start_methods", lambda: ["forkserver", "fork"])
    try:
        for method in (None, "forkserver"):  # tqdm's bars turn the one into the other
            multiprocessing.set_start_method(method, force=True)
            assert len(extract(backbone, OfMine(), num_workers=1, progress=False)) == 5
            assert multiprocessing.get_start_method(allow_none=True) == method
        monkeypatch.undo()
        multiprocessing.set_start_method("spawn", force=True)  # somebody wants it so
        assert _start_method() is None
    finally:
        multiprocessing.set_start_method(told, force=True)


def test_a_loader_keeps_its_own_batches_and_the_plan_says_so(backbone, digits):
    loader = DataLoader(TensorDataset(digits.images[:20]), batch_size=7)
    plan = extract(backbone, loader, batch_size=3, num_workers=2, progress=False).plan
    assert (plan.batch_size, plan.num_workers) == (7, 0)
    colour = TensorDataset(digits.images[:5].expand(-1, 3, -1, -1))
    with pytest.raises(featx.FeatxError, match="batch_size=None"):
        extract(backbone, DataLoader(colour, batch_size=None), progress=False)


@pytest.mark.parametrize("cache", [False, True])
def test_no_random_number_of_the_users_is_drawn(backbone, digits, cache, tmp_path):
    torch.manual_seed(0)
    expected = torch.rand(3)
    for _ in range(2):
        torch.manual_seed(0)
        options = {"cache_dir": tmp_path} if cache else {}
        extract(backbone, digits.images[:5], progress=False, **options)
        assert torch.equal(torch.rand(3), expected)


# --- saved and loaded -----------------------------------------------------------------------------


def test_saved_features_come_back_whole(backbone, folder, tmp_path):
    features = extract(backbone, folder, layers=["layer2", "features"], progress=False)
    out = features.save(tmp_path / "out")
    again = load_features(out)
    assert np.array_equal(again.X, features.X)
    assert np.array_equal(again.y, features.y)
    assert list(again.layers) == ["layer2", "features"]
    assert np.array_equal(again.layers["layer2"], features.layers["layer2"])
    assert (again.paths, again.class_names) == (features.paths, features.class_names)
    assert again.skipped == features.skipped
    assert again.meta == features.meta
    assert again.meta["backbone"] == "glyphnet"
    # plain files, for any program
    assert np.load(out / "X.npy").shape == (12, 256)
    table = list(csv.DictReader((out / "index.csv").read_text().splitlines()))
    assert [row["path"] for row in table] == features.paths
    assert json.loads((out / "meta.json").read_text())["images"] == 12


def test_any_of_the_layers_may_be_the_features(tmp_path):
    first, last = np.eye(3, dtype=np.float32), np.ones((3, 5), np.float32)
    for X in (first, last, np.zeros((3, 2), np.float32)):
        layers = {"layer4": first, "layer2": last}
        again = load_features(featx.Features(X, layers=layers).save(tmp_path / "out"))
        assert np.array_equal(again.X, X)
        assert list(again.layers) == ["layer4", "layer2"]
        assert all(np.array_equal(again.layers[layer], layers[layer]) for layer in layers)


def test_labels_and_their_names_are_one_rule(tmp_path):
    """What has no name stays as it is, in the file, in a report and where two sides are compared."""
    X, y = np.zeros((4, 2), np.float32), np.array([1, 0, 2, -1])
    features = featx.Features(X, y, class_names=("cat", "dog"))
    assert named_labels(features).tolist() == ["dog", "cat", "2", "-1"]
    table = csv.DictReader((features.save(tmp_path) / "index.csv").read_text().splitlines())
    assert [row["class_name"] for row in table] == ["dog", "cat", "", ""]
    for labels in (np.array(["b", "a", "b", "a"]), np.array([0.5, 1, 1, 0]), np.ones((4, 1), int)):
        as_is = named_labels(featx.Features(X, labels, class_names=("cat", "dog")))
        assert np.array_equal(as_is, labels)
    assert named_labels(featx.Features(X)) is None
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    sides = [featx.Features(X, np.full(40, label), class_names=("cat", "dog")) for label in (1, 7)]
    message = featx.pitfalls.check_split(*sides)["exact_duplicates"].message
    assert "are 7 and dog" in message


@pytest.mark.parametrize(
    "labels", [None, [2, 1, 0], ["b", "a", "c"], [0.5, 1.25, -3], [[1, 2]] * 3]
)
def test_labels_of_every_kind_come_back(backbone, digits, tmp_path, labels):
    images = list(digits.images[:3])
    data = Listed(images if labels is None else list(zip(images, labels, strict=True)))
    features = extract(backbone, data, progress=False)
    again = load_features(features.save(tmp_path / "out"))
    assert (again.y is None) == (labels is None)
    if labels is not None:
        assert again.y.tolist() == labels
        assert again.y.dtype == features.y.dtype


@pytest.mark.parametrize(
    ("y", "back"),
    [
        (torch.tensor([2, 1, 0]), [2, 1, 0]),
        ([2, 1, 0], [2, 1, 0]),
        (("b", "a", "c"), ["b", "a", "c"]),
        (np.array(["b", "a", "c"], object), ["b", "a", "c"]),
        (np.array([2, 1, 0], object), [2, 1, 0]),
        (torch.tensor([0.5, 1, 2]).to(torch.bfloat16), [0.5, 1, 2]),
        (np.array([True, False, True]), [True, False, True]),
    ],
    ids=["tensor", "list", "tuple", "names as objects", "numbers as objects", "bfloat16", "bools"],
)
def test_labels_of_who_computed_features_elsewhere_come_back(tmp_path, y, back):
    again = load_features(featx.Features(np.zeros((3, 2), np.float32), y).save(tmp_path))
    assert again.y.tolist() == back
    assert again.y.dtype.kind in "biufU"


@pytest.mark.parametrize(
    "X",
    [np.eye(3), np.eye(3, dtype=np.float16), torch.eye(3), np.eye(3).tolist()],
    ids=["float64", "float16", "tensor", "list"],
)
def test_features_from_elsewhere_are_saved_as_float32(tmp_path, X):
    files = [Path("a.png"), Path("b.png"), Path("c.png")]
    layers = {"early": np.ones((3, 5)), "late": X}
    again = load_features(featx.Features(X, layers=layers, paths=files).save(tmp_path))
    assert [again.X.dtype, *(each.dtype for each in again.layers.values())] == [np.float32] * 3
    assert np.array_equal(again.X, np.eye(3))
    assert [path.name for path in (tmp_path / "layers").iterdir()] == ["early.npy"]
    assert again.paths == ["a.png", "b.png", "c.png"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"y": [1, 2]}, "one label for each of 3 rows, got 2"),
        ({"y": 7}, "one label for each of 3 rows, got int"),
        ({"y": np.array(["a", None, 3], object)}, "labels as numbers or names, got object"),
        ({"y": np.array(["a", "b", "c"], "S")}, "labels as numbers or names, got |S1"),
        ({"paths": ["a.png"]}, "one path for each of 3 rows, got 1"),
        ({"X": np.zeros(3)}, "Expected X (N, D) of numbers, got float64 (3,)"),
        ({"X": np.array([["a"]] * 3)}, "Expected X (N, D) of numbers, got <U1 (3, 1)"),
        ({"layers": {"early": np.zeros((2, 5))}}, "Expected early with 3 rows, got 2"),
    ],
)
def test_what_does_not_make_features_is_not_saved(tmp_path, given, says):
    features = featx.Features(**{"X": np.zeros((3, 2), np.float32), **given})
    with pytest.raises(featx.FeatxError, match=re.escape(says)):
        features.save(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_features_or_with_changed_ones_is_told(backbone, digits, tmp_path):
    with pytest.raises(featx.FeatxError, match="featx extract IMAGES --out"):
        load_features(tmp_path)
    extract(backbone, digits.images[:5], progress=False).save(tmp_path)
    for name in ("X.npy", "index.csv", "meta.json"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(
            content.replace(b"\n", b"5") if name != "X.npy" else content[:-1]
        )
        with pytest.raises(featx.FeatxError, match="its content has changed"):
            load_features(tmp_path)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(featx.FeatxError, match="where there are none"):
        load_features(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(featx.FeatxError, match="Choose another one"):
        extract(backbone, digits.images[:5], progress=False).save(tmp_path / "file")


def test_saved_files_are_for_whom_the_umask_lets(backbone, digits, tmp_path):
    features = extract(backbone, digits.images[:5], progress=False, cache_dir=tmp_path / "cache")
    features.save(tmp_path / "out")
    (tmp_path / "plain").write_text("")
    usual = (tmp_path / "plain").stat().st_mode
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert len(files) > 8
    assert {path.name: path.stat().st_mode for path in files if path.stat().st_mode != usual} == {}


def test_saving_again_leaves_nothing_of_before(backbone, digits, tmp_path):
    extract(backbone, digits.images[:5], layers=["layer1", "layer2"], progress=False).save(tmp_path)
    extract(backbone, digits.images[:5], progress=False).save(tmp_path)
    assert not list((tmp_path / "layers").iterdir())
    assert list(load_features(tmp_path).layers) == ["features"]


def test_a_part_of_a_memory_map_is_saved_as_that_part(backbone, digits, tmp_path):
    X = extract(backbone, digits.images[:9], progress=False, cache_dir=tmp_path / "cache").X
    for name, part in {"rows": X[2:5], "reversed": X[::-1], "columns": X[:, :7]}.items():
        again = load_features(featx.Features(part).save(tmp_path / name))
        assert np.array_equal(again.X, part), name
