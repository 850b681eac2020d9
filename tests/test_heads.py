"""The head is found by rule, replaced and removed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import models

import featx
from featx.freezing import freeze
from featx.heads import aux_head_names, find_heads, head_name, remove_head, replace_head

IMAGES = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def small_resnet() -> nn.Module:
    """One block a stage: as a ResNet behaves, at a fraction of the cost."""
    return models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=10)


def small_resnet_with(head: nn.Module) -> nn.Module:
    model = small_resnet()
    model.fc = head
    return model


@pytest.mark.parametrize(
    "headless",
    [
        lambda: nn.Sequential(*list(small_resnet().children())[:-1]),
        lambda: small_resnet_with(nn.Sequential()),
        lambda: small_resnet_with(nn.Identity()),
    ],
)
def test_no_convolution_of_a_backbone_is_taken_for_its_head(headless):
    model = headless()
    assert not find_heads(model)
    assert not any(p.requires_grad for p in freeze(model).parameters())
    with pytest.raises(featx.FeatxError, match="still has its head"):
        replace_head(model, 3)


@pytest.mark.parametrize(
    ("name", "head", "aux"),
    [
        ("resnet18", "fc", []),
        ("alexnet", "classifier.6", []),
        ("squeezenet1_1", "classifier.1", []),
        ("mobilenet_v3_small", "classifier.3", []),
        ("googlenet", "fc", ["aux1.fc2", "aux2.fc2"]),
        ("inception_v3", "fc", ["AuxLogits.fc"]),
        ("vit_b_32", "heads.head", []),
        ("swin_t", "head", []),
    ],
)
def test_head_is_found_replaced_and_removed(name, head, aux):
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):  # shapes only, no numbers: fast and small
        model = models.get_model(name, weights=None, **options)
        assert (head_name(model), aux_head_names(model)) == (head, aux)
        replace_head(model, 7)
        sizes = {
            getattr(model.get_submodule(n), "out_features", None)
            or model.get_submodule(n).out_channels
            for n in [head, *aux]
        }
        assert sizes == {7}
        num_features = remove_head(model)
        images = torch.zeros(2, 3, 224, 224)
        assert model.eval()(images).shape == (2, num_features)


@settings(max_examples=10, deadline=None)
@given(num_classes=st.integers(1, 50), batch=st.integers(1, 3))
def test_a_new_head_has_the_asked_size_and_trains(num_classes, batch):
    model = replace_head(freeze(small_resnet()), num_classes).eval()
    assert model(IMAGES[:batch]).shape == (batch, num_classes)
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "10", True, None])
def test_a_wrong_number_of_classes_is_named(wrong):
    with pytest.raises(featx.FeatxError, match=r"num_classes.*got"):
        replace_head(small_resnet(), wrong)


def test_a_model_without_a_head_is_named():
    for model in (nn.ReLU(), nn.Sequential(nn.Conv2d(3, 4, 1), nn.Identity())):
        with pytest.raises(featx.FeatxError, match="still has its head"):
            head_name(model)


def test_a_headless_transformer_has_no_head_in_its_last_block():
    vit = models.VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32)
    assert find_heads(vit) == ["heads.head"]
    assert find_heads(vit.encoder) == []
    blocks = nn.Sequential(vit.conv_proj, nn.Sequential(*vit.encoder.layers))
    assert find_heads(blocks) == []  # no normalisation behind: known by the block beside it


def test_the_head_keeps_device_dtype_and_bias():
    model = small_resnet().to(torch.float64)
    model.fc = nn.Linear(512, 10, bias=False, dtype=torch.float64)
    replace_head(model, 3)
    assert (model.fc.weight.dtype, model.fc.bias) == (torch.float64, None)
