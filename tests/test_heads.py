"""The head is found by rule, replaced and removed."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import models

import featx
from featx.freezing import freeze
from featx.heads import (
    aux_head_names,
    drop_aux_heads,
    find_heads,
    head_name,
    remove_head,
    replace_head,
)
from tests.helpers import small_resnet

IMAGES = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))


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


@settings(max_examples=10)
@given(num_classes=st.integers(1, 50), batch=st.integers(1, 3))
def test_a_new_head_has_the_asked_size_and_trains(num_classes, batch):
    model = replace_head(freeze(small_resnet()), num_classes).eval()
    assert model(IMAGES[:batch]).shape == (batch, num_classes)
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("number", [np.int64(3), np.array([0, 1, 2]).max() + 1, torch.tensor(3)])
def test_a_whole_number_of_any_kind_is_a_number_of_classes(number):
    assert replace_head(small_resnet(), number).fc.out_features == 3


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "10", True, None, np.float64(3), np.bool_(True)])
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


# --- whatever order a user registers layers in -------------------------------------------------------


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(8, 4), nn.Linear(4, 8)


class Parts(nn.Module):
    """A model of the given children, in this order."""

    def __init__(self, **children: nn.Module) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)


def transformer(head: nn.Module) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return Parts(embed=nn.Linear(12, 8), blocks=nn.ModuleList([layer, layer]), head=head)


@pytest.mark.parametrize(
    ("model", "head"),
    [
        (Parts(fc=nn.Linear(8, 4), conv=nn.Conv2d(3, 8, 3), se=Gate()), "fc"),
        (
            Parts(conv=nn.Conv2d(3, 8, 3), fc=nn.Linear(8, 5), pool=nn.MultiheadAttention(8, 2)),
            "fc",
        ),
        # a spatial transformer, as in PyTorch's tutorial
        (
            Parts(fc1=nn.Linear(8, 5), fc2=nn.Linear(5, 10), loc=nn.Sequential(nn.Linear(9, 6))),
            "fc2",
        ),
        (transformer(nn.Linear(8, 3)), "head"),
        (transformer(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 3))), "head.1"),
        (
            Parts(
                proj=nn.Linear(9, 8),
                top=nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)),
            ),
            "top.2",
        ),
        (Parts(act=nn.ReLU(), fc=nn.Linear(8, 1), prelu=nn.PReLU()), "fc"),
        (Parts(conv=nn.Conv2d(3, 8, 3), fc=nn.Linear(8, 4), prelu=nn.PReLU(4)), "fc"),
        (Parts(fc=nn.Linear(8, 4), drop=nn.Identity(), conv=nn.Conv2d(3, 8, 3)), "fc"),
    ],
)
def test_the_head_is_found_wherever_it_is_registered(model, head):
    assert find_heads(model) == [head]


@pytest.mark.parametrize("hidden", [[], [nn.Linear(8, 8), nn.ReLU()]])
def test_a_hidden_layer_does_not_become_the_head_when_the_head_is_removed(hidden):
    head = nn.Sequential(*hidden, nn.Dropout(), nn.Linear(8, 3))
    model = Parts(conv=nn.Conv2d(3, 8, 3), fc=nn.Linear(8, 8), classifier=head)
    assert find_heads(model) == [f"classifier.{len(head) - 1}"]
    remove_head(model)
    assert find_heads(model) == []


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            Parts(fc=nn.Linear(8, 4), act=nn.Identity()),
            r"last Linear, fc, is followed by act \(Ident",
        ),
        (Parts(fc=nn.Linear(8, 4), bn=nn.BatchNorm1d(4)), r"fc, is followed by bn \(BatchNorm1d\)"),
        (
            Parts(
                a=nn.Sequential(nn.Dropout(), nn.Linear(8, 4)),
                b=nn.Sequential(nn.Dropout(), nn.Linear(8, 4)),
            ),
            "last Linear, b.1, has a twin, a.1",
        ),
    ],
)
def test_why_a_layer_is_not_taken_for_the_head_is_told(model, reason):
    with pytest.raises(featx.FeatxError, match=f"still has its head, got a Parts .*{reason}"):
        replace_head(model, 3)


def test_an_encoder_that_ends_in_as_many_numbers_as_the_head_is_only_an_aux_head_by_its_last_layer():
    encoder = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 8))
    model = nn.Sequential()
    model.add_module("auxiliary_encoder", encoder)
    model.add_module("fc", nn.Linear(8, 4))
    assert aux_head_names(model) == []
    assert replace_head(model, 3)(torch.zeros(2, 8)).shape == (2, 3)
    drop_aux_heads(model)
    assert model.auxiliary_encoder is encoder


def test_an_aux_head_may_be_one_linear_layer():
    model = Parts(conv=nn.Conv2d(3, 8, 3), aux=nn.Linear(8, 4), fc=nn.Linear(8, 4))
    assert aux_head_names(model) == ["aux"]
    replace_head(model, 3)
    assert (model.aux.out_features, model.fc.out_features) == (3, 3)


class Normalize(nn.Module):
    def forward(self, x):
        return (x - 0.5) / 0.5


@pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="needs timm: pip install 'featx[timm]'"
)
@pytest.mark.parametrize("name", ["resnet10t", "dpn48b", "deit_tiny_distilled_patch16_224"])
@pytest.mark.parametrize("place", ["1", "module"])
def test_a_wrapper_has_the_head_of_the_model_that_it_wraps(name, place):
    import timm

    with torch.device("meta"):
        inner = timm.create_model(name).eval()
        x = torch.zeros(2, 3, 224, 224)
    model = Parts(module=inner) if place == "module" else nn.Sequential(Normalize(), inner)
    call = model if place == "1" else inner
    heads = find_heads(inner)
    assert find_heads(model) == [f"{place}.{head}" for head in heads]
    replace_head(model, 7)
    assert call(x).shape == (2, 7)
    assert inner.num_classes == 7  # timm's own word for it follows
    assert call(x).shape == (2, 7)
    num_features = remove_head(model)
    assert call(x).reshape(2, -1).shape == (2, num_features)
    assert find_heads(model) == []


@pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="needs timm: pip install 'featx[timm]'"
)
def test_a_model_built_around_a_headless_one_of_timm_has_its_own_head():
    import timm

    with torch.device("meta"):
        body = timm.create_model("resnet10t", num_classes=0)
        model = Parts(body=body, fc=nn.Linear(512, 4))
    assert find_heads(model) == ["fc"]
    replace_head(model, 3)
    assert model.fc.out_features == 3
