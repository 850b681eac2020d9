"""Backbones load with what belongs to them."""

from __future__ import annotations

from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import ResNet18_Weights, resnet18

import featx


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
