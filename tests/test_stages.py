"""Stages are found by rule; each parameter is in one of them (tests/test_architectures.py: in all models)."""

from __future__ import annotations

from torch import nn
from torchvision import models

from featx.heads import remove_head
from featx.stages import stage_names, stages


def test_containers_are_opened_and_a_headful_classifier_is_one_stage():
    blocks = [f"encoder.layers.encoder_layer_{i}" for i in range(12)]
    vit = models.vit_b_32(weights=None)
    assert stage_names(vit) == ["conv_proj", *blocks, "encoder.ln", "heads"]
    assert stage_names(models.alexnet(weights=None))[-2:] == ["features.10", "classifier"]


def test_a_wrapped_model_has_the_stages_of_what_is_in_it():
    inner = models.resnet18(weights=None)
    wrapped = nn.Sequential()
    wrapped.add_module("net", inner)
    assert stage_names(wrapped) == [f"net.{name}" for name in stage_names(inner)]


def test_what_a_container_holds_itself_belongs_to_its_first_stage():
    model = models.vit_b_32(weights=None)
    owner = {path: stage.name for stage in stages(model) for path in stage.parameters}
    assert owner["class_token"] == stage_names(model)[0]
    assert owner["encoder.pos_embedding"] == "encoder.layers.encoder_layer_0"


def test_a_shared_parameter_is_in_its_first_stage_only():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[1].weight = model[0].weight
    first, second, head = stages(model)
    assert (set(first.parameters), set(second.parameters)) == ({"0.weight", "0.bias"}, {"1.bias"})
    assert head.is_head


def test_no_head_and_no_children_are_stages_too():
    model = models.resnet18(weights=None)
    remove_head(model)
    assert stage_names(model)[-1] == "layer4"
    assert not any(stage.is_head for stage in stages(model))
    (only,) = stages(nn.Linear(2, 2))
    assert (only.name, set(only.parameters)) == ("", {"weight", "bias"})
