"""Every architecture that torchvision names, and timm's families, go through all of the library's doors."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

import featx
from featx.heads import aux_head_names, find_heads, in_size, output_layer
from featx.stages import stage_names, stages

NAMES = torchvision.models.list_models(module=torchvision.models)
#: The smallest of each family: loaded with real numbers.
SMALL = [
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "vgg11",
    "vit_b_32",
]
TIMM = [
    "cait_xxs24_224",
    "caformer_s18",  # a head of two layers
    "convnext_atto",
    "deit_tiny_distilled_patch16_224",  # two classifiers
    "dpn48b",  # a convolution as classifier
    "edgenext_xx_small",
    "efficientnet_b0",
    "eva02_tiny_patch14_224",  # comes without a head
    "levit_128s",  # two classifiers, each with its normalisation
    "mixer_s16_224",
    "mobilenetv3_small_050",
    "regnetz_b16",
    "resnet10t",
    "swin_tiny_patch4_window7_224",
    "vit_tiny_patch16_224",
    "xcit_nano_12_p16_224",
]


@pytest.fixture
def weightless(monkeypatch):
    """Layers take no memory and no time to initialise: shapes without numbers, on the meta device."""
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **k: empty(*a, **{**k, "device": "meta"}))


def images_for(backbone: featx.Backbone) -> torch.Tensor:
    return backbone.preprocess(torch.zeros(2, 3, 50, 70, dtype=torch.uint8))


@pytest.mark.parametrize(
    "name", [n if n in SMALL else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_each_torchvision_model_has_preprocessing_head_stages_and_features_that_fit(
    name, weightless
):
    """Shapes only: the preprocessing fits, heads are found, replaced, removed; stages are a partition."""
    backbone = featx.load_backbone(name, weights=None)
    model = backbone.model.to("meta")
    x = images_for(backbone).to("meta")
    size = (2, backbone.num_features)
    assert backbone.features(x).shape == size
    assert model(x).shape == (2, 1000)

    parts = stages(model)
    owned = [path for stage in parts for path in stage.parameters]
    assert sorted(owned) == sorted(path for path, _ in model.named_parameters())
    assert [stage.is_head for stage in parts] == [False] * (len(parts) - 1) + [True]
    assert len(parts) >= 4

    featx.freeze(model)
    (head,) = find_heads(model)
    trainable = {path.rpartition(".")[0] for path, p in model.named_parameters() if p.requires_grad}
    assert trainable == {head}
    for stage in stage_names(model)[-2:]:
        featx.unfreeze(model, stage)
        assert all(p.requires_grad for p in model.get_submodule(stage).parameters())

    aux = aux_head_names(model)
    featx.replace_head(model, 7)
    assert model(x).shape == (2, 7)
    assert {output_layer(model, part)[1].weight.shape[0] for part in [head, *aux]} == {7}
    assert backbone.features(x).shape == size
    assert featx.remove_head(model) == backbone.num_features
    assert find_heads(model) == []
    assert model(x).shape == size
    assert backbone.features(x).shape == size


@pytest.mark.parametrize(
    "name", [n if n == "resnet18" else pytest.param(n, marks=pytest.mark.slow) for n in SMALL]
)
def test_removing_the_head_leaves_the_features_bit_for_bit(name, monkeypatch):
    quick = lambda w, mean=0.0, std=1.0, a=-2.0, b=2.0: nn.init.normal_(w, mean, std)  # noqa: E731
    monkeypatch.setattr(nn.init, "trunc_normal_", quick)  # any numbers do here
    backbone = featx.load_backbone(name, weights=None)
    x = torch.rand_like(images_for(backbone)[:1])
    with torch.inference_mode():
        features = backbone.features(x)
        featx.remove_head(backbone.model)
        assert torch.equal(backbone.features(x), features)
        torch.testing.assert_close(backbone.model(x), features)
    assert features.std() > 0


@pytest.mark.parametrize(
    "name", [n if n == "resnet10t" else pytest.param(n, marks=pytest.mark.slow) for n in TIMM]
)
def test_each_timm_family_goes_through_timms_own_words(name):
    """Real numbers: the features are what timm itself calls so, before and after the head is gone."""
    timm = pytest.importorskip("timm", reason="needs timm: pip install 'featx[timm]'")
    torch.manual_seed(0)
    backbone = featx.load_backbone(f"timm/{name}", weights=None)
    model = backbone.model
    x = torch.rand_like(images_for(backbone))
    assert x.shape[1:] == timm.data.resolve_model_data_config(model)["input_size"]
    with torch.inference_mode():
        features = backbone.features(x)
        assert features.shape == (2, backbone.num_features)
        heads = find_heads(model)
        if heads:
            assert {in_size(model, head) for head in heads} == {backbone.num_features}
            featx.freeze(featx.replace_head(model, 7))
            assert model(x).shape == (2, 7)
            trained = {path for path, p in model.named_parameters() if p.requires_grad}
            assert {path for path in trained if not path.startswith(tuple(heads))} == set()
            assert trained
            torch.testing.assert_close(backbone.features(x), features)
            featx.remove_head(model)
            assert find_heads(model) == []
        torch.testing.assert_close(backbone.features(x), model(x).reshape(2, -1))
    parts = stages(model)
    assert sum(len(s.parameters) for s in parts) == len(list(model.parameters()))


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in SMALL])
def test_extraction_and_trace_take_each_family_as_it_comes(name, digits):
    """Real numbers, from raw images to rows; the model is traced on what it was given."""
    backbone = featx.load_backbone(name, weights=None)
    features = featx.extract(backbone, digits.images[:2], progress=False)
    assert features.X.shape == (2, backbone.num_features)
    trace = featx.trace_shapes(
        backbone, backbone.preprocess(digits.images[:1].expand(-1, 3, -1, -1))
    )
    assert trace[0].shape == (1, 1000)
    mean = featx.extract(backbone, digits.images[:2], pooling="mean", progress=False)
    assert mean.X.shape[0] == 2
