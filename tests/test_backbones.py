"""Backbones load with what belongs to them; features come out right and in order."""

from __future__ import annotations

import copy
import re
from urllib.error import URLError

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.models import ResNet18_Weights, resnet18

import featx
from featx.heads import remove_head


def test_list_names_glyphnet_first_and_torchvisions_classifiers():
    names = featx.list_backbones()
    assert names[0] == "glyphnet"
    assert {"resnet18", "vit_b_16", "convnext_tiny", "inception_v3"} <= set(names)
    assert not [name for name in names if "segmentation" in name or "rcnn" in name]


def test_glyphnet_is_the_same_each_time_and_needs_no_network(offline):
    code = "import featx; print(featx.load_backbone('glyphnet').weights_id)"
    assert offline(["-c", code]).stdout.strip() == featx.load_backbone("glyphnet").weights_id


def test_weights_id_follows_the_content():
    backbone = featx.load_backbone("glyphnet")
    before = backbone.weights_id
    backbone.model.bn1.running_mean[0] += 1
    assert len(before) == 16
    assert backbone.weights_id != before


def test_random_weights_follow_the_seed():
    def draw(seed):
        torch.manual_seed(seed)
        return featx.load_backbone("glyphnet", weights=None).weights_id

    assert draw(0) == draw(0) != draw(1)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_come_from_a_file(tmp_path, suffix):
    source = resnet18(weights=None)
    file = tmp_path / f"mine{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(source.state_dict(), file)
    backbone = featx.load_backbone("resnet18", weights=file)
    assert torch.equal(backbone.model.conv1.weight, source.conv1.weight)
    assert (backbone.num_features, backbone.in_channels) == (512, 3)
    assert not backbone.model.training


def test_default_weights_take_torchvisions_road(tmp_path, monkeypatch):
    """A small stand-in under the right name in TORCH_HOME is found and checked, as a real one is."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    source = resnet18(weights=None)
    torch.save(source.state_dict(), folder / ResNet18_Weights.DEFAULT.url.rsplit("/", 1)[-1])
    for weights in ("default", "IMAGENET1K_V1", ResNet18_Weights.IMAGENET1K_V1):
        backbone = featx.load_backbone("resnet18", weights=weights)
        assert torch.equal(backbone.model.fc.weight, source.fc.weight)
        assert repr(backbone.preprocess) == repr(ResNet18_Weights.DEFAULT.transforms())


def test_no_network_says_where_to_put_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def unreachable(*args, **kwargs):
        raise URLError("no route")

    monkeypatch.setattr("torch.hub.urlopen", unreachable)
    with pytest.raises(
        featx.FeatxError, match=r"resnet18-.*\.pth into .*checkpoints.*glyphnet"
    ) as error:
        featx.load_backbone("resnet18")
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet81",), "Close matches: resnet18"),
        (("resnet18", "IMAGENET"), "one of default, IMAGENET1K_V1"),
        (("glyphnet", "IMAGENET1K_V1"), "Expected weights of glyphnet: one of default,"),
        (("resnet18", "missing.pth"), "there is none at"),
        (("resnet50", ResNet18_Weights.DEFAULT), "Expected weights of resnet50"),
    ],
)
def test_wrong_names_are_told(arguments, message):
    with pytest.raises(featx.FeatxError, match=message):
        featx.load_backbone(*arguments)


@pytest.mark.parametrize("content", ["other model", "not a state dict", "text", "empty", "code"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_wrong_file_is_told(tmp_path, content, suffix):
    file = tmp_path / f"mine{suffix}"
    if content == "other model" and suffix == ".safetensors":
        save_file(resnet18(weights=None, num_classes=3).state_dict(), file)
    elif content in ("other model", "not a state dict", "code") and suffix == ".pth":
        state = {
            "other model": resnet18(weights=None, num_classes=3).state_dict(),
            "not a state dict": [1, 2],
            "code": resnet18(weights=None),
        }
        torch.save(state[content], file)
    else:
        file.write_text("" if content == "empty" else "hello")
    with pytest.raises(featx.FeatxError, match=r"Expected .*mine.* to hold a state dict"):
        featx.load_backbone("resnet18", weights=file)


# --- extract -------------------------------------------------------------------------------------


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


@settings(max_examples=15, deadline=None)
@given(count=st.integers(1, 40), batch_size=st.integers(1, 50))
def test_rows_keep_the_order_of_the_data_whatever_the_batches(digits, count, batch_size):
    backbone = featx.load_backbone("glyphnet")
    images = digits.images[:count]
    X = featx.extract(backbone, images, batch_size=batch_size, progress=False).X
    assert np.allclose(X, by_hand(backbone, images), atol=1e-5)


def test_every_kind_of_source_gives_the_same(backbone, digits):
    few = digits.images[:20]
    expected = by_hand(backbone, few)
    sources = {
        "bytes": few,
        "floats": few / 255,
        "without channels": few[:, 0],
        "array": few.numpy(),
        "array with negative strides": np.ascontiguousarray(few.numpy()[::-1])[::-1],
        "colour": few.expand(-1, 3, -1, -1),
        "dataset": TensorDataset(few),
        "labelled dataset": TensorDataset(few, digits.labels[:20]),
        "loader": DataLoader(TensorDataset(few), batch_size=7),
    }
    for name, source in sources.items():
        features = featx.extract(backbone, source, progress=False)
        # torchvision's weights of red, green and blue add up to 0.9999
        assert np.allclose(features.X, expected, atol=1e-3 if name == "colour" else 1e-5), name
        assert (features.y is not None) == (name == "labelled dataset"), name


def test_grey_images_suit_a_colour_backbone(digits):
    torch.manual_seed(0)
    backbone = featx.load_backbone("resnet18", weights=None)
    features = featx.extract(backbone, digits.images[:3], progress=False)
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
        featx.extract(backbone, digits.images[:10], progress=False)
        assert model.layer1.training
        assert not model.training
        assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
        assert not model.fc._forward_pre_hooks
    finally:
        model.eval()


class Listed(Dataset):
    """A dataset of whatever is in a list."""

    def __init__(self, items: list) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int):
        return self.items[index]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(0, 1, 8, 8), "at least one image"),
        (torch.zeros(4, 8, 8, 3), "Move the channels to the second place"),
        (torch.randn(4, 1, 8, 8), "before any normalisation"),
        (torch.full((4, 1, 8, 8), torch.nan), "before any normalisation"),
        (torch.zeros(4, 1, 8, 8, dtype=torch.int64), "got torch.int64"),
        ("a folder", "got str"),
        ([torch.zeros(1, 8, 8)], "got list"),
        (torch.tensor(1.0), "Move the channels"),
        (np.array([np.zeros((8, 8)), None], dtype=object), "Expected an array of numbers"),
        (Listed([Image.new("L", (8, 8))] * 3), "Give the dataset a transform"),
        (Listed([torch.zeros(1, 8, 8), torch.zeros(1, 9, 9)]), "Give the dataset a transform"),
    ],
)
def test_wrong_images_are_told(backbone, data, message):
    with pytest.raises(featx.FeatxError, match=re.escape(message)):
        featx.extract(backbone, data, progress=False)


def test_wrong_options_are_told(backbone, digits):
    for device in ("gpu", "meta", "cuda:99", ["cpu"]):
        with pytest.raises(featx.FeatxError, match="device that this machine has"):
            featx.extract(backbone, digits, device=device, progress=False)
    assert backbone.model.fc.weight.device.type == "cpu"
    with pytest.raises(featx.FeatxError, match="batch_size"):
        featx.extract(backbone, digits, batch_size=0, progress=False)
    with pytest.raises(featx.FeatxError, match=r"featx\.load_backbone, got GlyphNet"):
        featx.extract(backbone.model, digits)
    with pytest.raises(featx.FeatxError, match="1797 images and 3 labels"):
        featx.datasets.LabelledImages(digits.images, digits.labels[:3], digits.class_names)
