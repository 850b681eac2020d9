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
    "csatv2",  # rearranges pixels before its first convolution
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
    "volo_d1_224",  # its places stand before its first convolution
    "xcit_nano_12_p16_224",
]


@pytest.fixture
def weightless(monkeypatch):
    """Layers take no memory and no time to initialise: shapes without numbers, on the meta device."""
    for fill in [fill for fill in dir(nn.init) if fill.endswith("_") and fill[0] != "_"]:
        monkeypatch.setattr(nn.init, fill, lambda tensor, *_, **__: tensor)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **k: empty(*a, **{**k, "device": "meta"}))


def images_for(backbone: featx.Backbone) -> torch.Tensor:
    return backbone.preprocess(torch.zeros(2, 3, 50, 70, dtype=torch.uint8))


@pytest.mark.parametrize(
    "name", [n if n in SMALL else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]
)
def test_each_torchvision_model_goes_through_every_door(name, weightless):
    """Shapes only: preprocessing fits; stages are a partition; heads are found, replaced, removed; the
    model is traced and can be drawn.
    """
    backbone = featx.load_backbone(name, weights=None)
    model = backbone.model.to("meta")
    x = images_for(backbone).to("meta")
    outputs = []  # a pass takes a second: each gives the features and what the model returns
    model.register_forward_hook(lambda *given: outputs.append(given[-1].shape))

    def both() -> tuple[tuple, tuple]:
        features = backbone.features(x)
        return tuple(features.shape), tuple(outputs[-1])

    size = (2, backbone.num_features)
    assert both() == (size, (2, 1000))

    trace = featx.trace_shapes(model.train(), tuple(x.shape), device="meta")
    assert trace[0].shape == (2, 1000), "auxiliary heads are out in eval mode"
    left_out = (model.get_submodule(name).parameters(recurse=False) for name in trace.not_called)
    counted = sum(row.parameters for row in trace)
    assert counted + sum(p.numel() for part in left_out for p in part) == trace.parameters
    assert all(module.training for module in model.modules())
    drawn = trace.stages()
    assert 5 <= len(drawn) <= 18, "as many as a picture can show"
    assert drawn[0] == ("input", tuple(x.shape))
    assert drawn[-1][1][:2] == (2, 1000), "SqueezeNet flattens outside of its layers"
    model.eval()

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
    assert {output_layer(model, part)[1].weight.shape[0] for part in [head, *aux]} == {7}
    assert both() == (size, (2, 7))
    assert featx.remove_head(model) == backbone.num_features
    assert find_heads(model) == []
    assert both() == (size, size)


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
    assert backbone.in_channels == x.shape[1]
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
