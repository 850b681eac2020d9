"""What a layer makes of images, place by place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

import featx
from featx.backbones import Backbone
from featx.layers import feature_map


@pytest.fixture(scope="module")
def glyphnet():
    return featx.load_backbone("glyphnet")


def tiny(model, **more):
    return Backbone.from_module(model, lambda x: x.float() / 255, name="tiny", **more)


IMAGES = np.random.default_rng(0).integers(0, 255, (3, 32, 32), dtype=np.uint8)


def test_is_what_a_hook_sees_behind_the_preprocessing(glyphnet):
    seen = []
    hook = glyphnet.model.layer2.register_forward_hook(lambda m, x, y: seen.append(y))
    with torch.no_grad():
        glyphnet.model(glyphnet.preprocess(torch.as_tensor(IMAGES)[:, None]))
    hook.remove()
    maps = feature_map(glyphnet, IMAGES, "layer2")
    assert maps.shape == (3, 64, 8, 8)
    assert torch.equal(maps, seen[0])


def test_its_mean_is_what_extract_gives(glyphnet):
    maps = feature_map(glyphnet, IMAGES, "layer3")
    pooled = featx.extract(
        glyphnet,
        IMAGES[:, None],
        layers="layer3",
        progress=False,
        precision="float32",
        device="cpu",
    )
    assert np.allclose(maps.mean((2, 3)), pooled.X, atol=1e-4)


@pytest.mark.parametrize(
    "images",
    [
        IMAGES[:, None],
        torch.as_tensor(IMAGES),
        torch.as_tensor(IMAGES).float() / 255,
        IMAGES[::-1].copy()[::-1],
    ],
    ids=["N1HW", "tensor", "float 0-1", "negative strides"],
)
def test_takes_images_in_any_form(glyphnet, images):
    expected = feature_map(glyphnet, IMAGES, "layer1")
    assert torch.allclose(feature_map(glyphnet, images, "layer1"), expected, atol=1e-5)


def test_grey_is_repeated_for_a_backbone_of_colour():
    backbone = tiny(nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    colour = np.repeat(IMAGES[:, None], 3, axis=1)
    grey = feature_map(backbone, IMAGES, "0")
    assert torch.equal(grey, feature_map(backbone, colour, "0"))


def test_colour_is_turned_to_grey_for_a_grey_backbone(glyphnet):
    colour = np.repeat(IMAGES[:, None], 3, axis=1)
    maps = feature_map(glyphnet, colour, "layer1")
    # the weights of red, green and blue add up to 0.9999
    assert torch.allclose(maps, feature_map(glyphnet, IMAGES, "layer1"), atol=1e-3)


def test_channels_come_second_also_where_the_layer_has_them_last():
    with torch.device("cpu"):
        swin = models.swin_t(weights=None)
    backbone = tiny(swin)
    images = np.zeros((2, 3, 64, 64), dtype=np.uint8)
    maps = feature_map(backbone, images, "features.1")
    assert maps.shape == (2, 96, 16, 16)
    assert maps.is_contiguous() or maps.movedim(1, 3).is_contiguous()


def test_leaves_modes_and_statistics_and_gives_an_ordinary_tensor(glyphnet):
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    backbone = tiny(model)
    model.train()
    model[2].eval()
    before = model[1].running_mean.clone()
    maps = feature_map(backbone, IMAGES, "1")
    assert [module.training for module in model] == [True, True, False, True, True]
    assert torch.equal(model[1].running_mean, before)
    assert torch.equal(maps, feature_map(backbone, IMAGES, "1")), "in eval mode"
    assert not maps.requires_grad
    assert not maps.is_inference()


def test_modes_come_back_after_an_error(glyphnet):
    glyphnet.model.train()
    try:
        with pytest.raises(featx.FeatxError):
            feature_map(glyphnet, IMAGES, "fc")
        assert glyphnet.model.layer1.training
    finally:
        glyphnet.model.eval()


@pytest.mark.parametrize(
    ("images", "layer", "says"),
    [
        (IMAGES, "layer5", "Close matches: layer"),
        (IMAGES, "fc", r"got \(3, 52\)"),
        (IMAGES[0], "layer1", r"One grey image is x\[None\]"),
        (np.zeros((2, 8, 8, 3), np.uint8), "layer1", "channels to the second place"),
        (np.zeros((0, 1, 8, 8), np.uint8), "layer1", "at least one image"),
        (np.full((1, 1, 8, 8), -2.0), "layer1", "before any normalisation"),
        (np.full((1, 1, 8, 8), np.nan), "layer1", "NaN among them"),
        (np.zeros((1, 1, 8, 8), np.uint16), "layer1", "if they use all 16 bits"),
        (np.array([IMAGES[0], None], object), "layer1", "an array of numbers"),
        (np.zeros((1, 1, 8, 8), np.int64), "layer1", "int64"),
        (["a.png"], "layer1", "an array or a tensor"),
    ],
)
def test_wrong_use_is_told(glyphnet, images, layer, says):
    with pytest.raises(featx.FeatxError, match=says):
        feature_map(glyphnet, images, layer)


def test_a_plain_model_is_told(glyphnet):
    with pytest.raises(featx.FeatxError, match=r"got GlyphNet\. A plain model.*from_module"):
        feature_map(glyphnet.model, IMAGES, "layer1")


class Turned(nn.Module):
    """Patches of 4 x 4 with their channels last."""

    def __init__(self, channels):
        super().__init__()
        self.patches, self.last = nn.Conv2d(1, channels, 4, 4), nn.Identity()

    def forward(self, x):
        return self.last(self.patches(x).permute(0, 2, 3, 1)).mean((1, 2))


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (52, 75), (28, 28), (4, 200)])
@pytest.mark.parametrize("channels", [5, 8, 16, 24, 96])
def test_channels_are_told_from_places_by_the_proportion_of_the_image(size, channels):
    """As many channels as rows do not make a map one with the channels last, nor hide that it is."""
    model = Turned(channels)
    backbone = tiny(model)
    images = np.random.default_rng(0).integers(0, 255, (3, *size), dtype=np.uint8)
    first = feature_map(backbone, images, "patches")
    assert first.shape == (3, channels, size[0] // 4, size[1] // 4)
    assert torch.equal(feature_map(backbone, images, "last"), first)
    rows = featx.extract(
        backbone, images, layers=["patches", "last"], precision="float32", progress=False
    )
    expected = first.mean((2, 3)).numpy()
    assert np.allclose(rows.layers["patches"], expected, atol=1e-5)
    assert np.allclose(rows.layers["last"], expected, atol=1e-5)


def test_tokens_are_told_from_a_feature_map():
    vit = models.VisionTransformer(32, 8, 1, 2, 16, 32)
    with pytest.raises(featx.FeatxError, match=r"got \(1, 17, 16\), tokens"):
        feature_map(tiny(vit), np.zeros((1, 3, 32, 32), np.uint8), "encoder.layers.encoder_layer_0")


def test_a_layer_that_is_never_called_is_told():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.idle = nn.Module()
    model.idle.conv = nn.Conv2d(1, 1, 1)
    model.forward = lambda x: model[2](model[1](model[0](x)))
    with pytest.raises(featx.FeatxError, match="take part in the forward pass, but idle"):
        feature_map(tiny(model), IMAGES, "idle.conv")
