"""Features come out right, in order, and leave the model as it was."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

import featx
from featx.heads import remove_head


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
