"""Frozen is frozen, parameters and buffers; the head is found and replaced."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy
from torchvision import models

import featx
from featx.freezing import assert_frozen, freeze, unfreeze
from featx.heads import aux_head_names, find_heads, head_name, remove_head, replace_head

IMAGES = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 3


def small_resnet() -> nn.Module:
    """One block a stage: as a ResNet behaves, at a fraction of the cost."""
    return models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=10)


def small_resnet_with(head: nn.Module) -> nn.Module:
    model = small_resnet()
    model.fc = head
    return model


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(model(IMAGES), LABELS).backward()
        optimizer.step()


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def moved(model: nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    return {n for n, tensor in model.state_dict().items() if not torch.equal(tensor, before[n])}


def test_frozen_is_frozen_through_training_with_everything_in_the_optimizer():
    model = replace_head(freeze(small_resnet()), 3)
    before = snapshot(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    with assert_frozen(model):
        train(model, optimizer)
    assert moved(model, before) == {"fc.weight", "fc.bias"}


def test_requires_grad_alone_does_not_stop_batchnorm():
    """The claim the course makes, and the reason why `freeze` does more."""
    model = replace_head(small_resnet().requires_grad_(False), 3)
    before = snapshot(model)
    with (
        pytest.raises(featx.FeatxError, match=r"moved, bn1\.running_mean first: BatchNorm"),
        assert_frozen(model),
    ):
        train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    buffers = {name for name, _ in model.named_buffers()}
    assert moved(model, before) == {"fc.weight", "fc.bias"} | buffers


def test_freezing_in_mid_training_beats_momentum():
    model = replace_head(small_resnet(), 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    train(model, optimizer)
    freeze(model)
    before = snapshot(model)
    optimizer.step()  # without zero_grad: stale gradients and momentum would move it
    train(model, optimizer)
    assert moved(model, before) == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("how", ["deepcopy", "torch.save"])
def test_a_copy_is_as_frozen_as_the_original(how):
    model = freeze(small_resnet())
    if how == "deepcopy":
        twin = copy.deepcopy(model)
    else:
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    unfreeze(model)  # must not reach the copy
    before = snapshot(twin)
    train(twin, torch.optim.SGD(twin.parameters(), lr=0.1))
    assert moved(twin, before) == {"fc.weight", "fc.bias"}
    assert model.train().bn1.training


def test_dropout_in_a_frozen_part_stays_still():
    model = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5), nn.Linear(64, 2))
    freeze(model).train()
    x = torch.ones(1, 4)
    assert torch.equal(model(x), model(x))
    assert model[0].weight.requires_grad is False
    assert model[2].weight.requires_grad is True


def test_unfreeze_gives_back_one_stage_or_everything():
    model = freeze(small_resnet()).train()
    unfreeze(model, "layer4")
    before = snapshot(model)
    with assert_frozen(model):
        train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert {name.split(".")[0] for name in moved(model, before)} == {"layer4", "fc"}
    assert any("running_mean" in name for name in moved(model, before))

    unfreeze(model)
    before = snapshot(model)
    train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert moved(model, before) == set(before)


def test_unfreeze_reaches_a_part_inside_a_frozen_stage():
    model = freeze(small_resnet()).train()
    unfreeze(model, "layer4.0.bn2").train()
    assert model.layer4[0].bn2.training
    assert not model.layer4[0].bn1.training


def test_freeze_everything_but_what_is_named():
    model = freeze(small_resnet(), except_=["layer4", "head"])
    trainable = {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert trainable == {"layer4", "fc"}
    assert not any(p.requires_grad for p in freeze(model, except_=()).parameters())


def test_freezing_a_headless_model_freezes_all_of_it():
    model = small_resnet()
    remove_head(model)
    assert not find_heads(model)
    assert not any(p.requires_grad for p in freeze(model).parameters())


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


def test_a_misspelt_stage_lists_close_matches():
    for call in (lambda m: unfreeze(m, "layr4"), lambda m: freeze(m, except_=["layr4"])):
        with pytest.raises(featx.FeatxError, match=r"got 'layr4'\. Close matches: layer4"):
            call(small_resnet())


def test_assert_frozen_wants_something_frozen_and_names_a_written_parameter():
    model = small_resnet()
    with pytest.raises(featx.FeatxError, match=r"Call featx\.freeze"), assert_frozen(model):
        pass
    freeze(model)
    with (
        pytest.raises(featx.FeatxError, match=r"1 frozen tensor moved, layer1\.0\.conv1\.weight"),
        assert_frozen(model),
    ):
        model.layer1[0].conv1.weight.data[0, 0, 0, 0] += 1e-7


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
