"""Frozen is frozen, parameters and buffers; reports and groups say what is."""

from __future__ import annotations

import copy
import io
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision import models

import featx
from featx.freezing import assert_frozen, freeze, freeze_report, param_groups, unfreeze
from featx.heads import find_heads, remove_head, replace_head
from featx.stages import stage_names
from tests.helpers import small_resnet

IMAGES = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 3


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


def test_a_misspelt_stage_lists_close_matches():
    for call in (lambda m: unfreeze(m, "layr4"), lambda m: freeze(m, except_=["layr4"])):
        with pytest.raises(featx.FeatxError, match=r"got 'layr4'\. Close matches: layer4"):
            call(small_resnet())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: freeze(m, except_=[m.fc]), 'the name of a part, got a Linear. Say "fc"'),
        (lambda m: freeze(m, except_=m.fc), 'the name of a part, got a Linear. Say "fc"'),
        (lambda m: unfreeze(m, m.layer4), 'the name of a part, got a Sequential. Say "layer4"'),
        (lambda m: unfreeze(m, m.layer4[0].conv1), 'got a Conv2d. Say "layer4.0.conv1"'),
        (lambda m: unfreeze(m, m), "got the model itself. Write featx.unfreeze(model)"),
        (lambda m: unfreeze(m, nn.ReLU()), "the name of a part, got a ReLU. Known names: conv1"),
        (lambda m: unfreeze(m, 4), "the name of a part, got 4. Known names: conv1"),
        (lambda m: unfreeze(m, ["layer4"]), "the name of a part, got ['layer4']. Known names"),
        (lambda m: freeze(m, except_=None), "Expected names of parts, got None. Pass ()"),
        (lambda m: freeze(m, except_=4), "Expected names of parts, got 4. Pass ()"),
    ],
)
def test_a_part_that_is_not_given_by_name_is_named(call, message):
    model = small_resnet()
    with pytest.raises(featx.FeatxError, match=re.escape(message)) as told:
        call(model)
    assert len(str(told.value)) < 300, "a module is not printed"


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


def test_what_moved_is_told_with_the_cause_that_is_true():
    class Counts(nn.Linear):
        def __init__(self):
            super().__init__(4, 4)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen += 1
            return super().forward(x)

    def said(change, model=None):
        model = freeze(small_resnet()) if model is None else model
        with pytest.raises(featx.FeatxError) as caught, assert_frozen(model):
            change(model)
        return str(caught.value)

    counting = freeze(nn.Sequential(Counts(), nn.Linear(4, 2))).train()
    told = said(lambda m: m(torch.ones(2, 4)), counting)
    assert "the forward of 0 itself (Counts)" in told
    assert "BatchNorm" not in told
    told = said(lambda m: m.bn1.running_mean.fill_(5))
    assert "the forward of bn1 itself (BatchNorm2d)" in told, (
        "it is pinned: no forward pass wrote it"
    )
    assert "its dtype was float32 and is float16. Convert" in said(lambda m: m.half())
    assert "its device was cpu and is meta" in said(lambda m: m.to("meta"))
    told = said(lambda m: setattr(m.conv1, "weight", nn.Parameter(torch.zeros(2, 3, 7, 7))))
    assert "its shape was (64, 3, 7, 7) and is (2, 3, 7, 7)" in told
    assert "does not have it any more" in said(lambda m: delattr(m, "layer1"))

    by_hand = replace_head(small_resnet().requires_grad_(False), 3)
    told = said(lambda m: (m.train()(IMAGES), m.eval()), by_hand)
    assert "BatchNorm updates its running statistics" in told, (
        "also when eval() came before the end"
    )


@pytest.mark.filterwarnings("ignore:Sparse CSR|torch.quantize_per_tensor:UserWarning")
def test_tensors_of_every_kind_are_compared():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].register_buffer("sparse", torch.eye(2).to_sparse())
    model[0].register_buffer("rows", torch.eye(2).to_sparse_csr())
    model[0].register_buffer("far", torch.empty(2, device="meta"))
    model[0].register_buffer("empty", torch.empty(0))
    model[0].register_buffer("small", torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8))
    freeze(model)
    with assert_frozen(model):
        model(torch.ones(1, 2))
    with (
        pytest.raises(featx.FeatxError, match=r"1 frozen tensor moved, 0\.sparse"),
        assert_frozen(model),
    ):
        model[0].sparse.mul_(2)
    with torch.device("meta"):
        far = freeze(small_resnet())
    with assert_frozen(far):  # without numbers, nothing can move
        pass


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
@pytest.mark.parametrize("module", [nn.LazyLinear(4), nn.LazyBatchNorm1d(affine=False)])
def test_a_model_without_sizes_is_told_to_run_once(module):
    model = freeze(nn.Sequential(nn.Flatten(), module))
    for call in (freeze_report, param_groups, lambda m: assert_frozen(m).__enter__()):
        with pytest.raises(featx.FeatxError, match=r"1\.\S+ gets its size from the first batch"):
            call(model)


def test_an_exception_in_the_block_comes_through():
    model = freeze(small_resnet())

    def block(model):
        model.bn1.running_mean += 1
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), assert_frozen(model):
        block(model)


# --- what is named ---------------------------------------------------------------------------------


class Classifier(nn.Module):
    """Some body, and any head in a part named head."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1))
        self.head = head

    def forward(self, x):
        return self.head(self.body(x).flatten(1))


class Cosine(nn.Module):
    def __init__(self):
        super().__init__()
        self.prototypes = nn.Parameter(torch.ones(4, 8))

    def forward(self, x):
        return x @ self.prototypes.T


def trainable(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("head", "names"),
    [
        (
            lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)),
            {f"head.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")},
        ),
        (Cosine, {"head.prototypes"}),
    ],
)
def test_a_part_named_head_is_the_head(head, names):
    model = freeze(Classifier(head()))
    assert trainable(model) == names
    assert trainable(unfreeze(freeze(model, except_=()), "head")) == names
    assert freeze_report(model).warnings == []


def test_a_model_that_names_its_classifier_is_believed():
    class Asked(Classifier):
        def get_classifier(self):
            return self.head[1]

    model = Asked(nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 4)))
    assert trainable(freeze(model)) == {"head.1.weight", "head.1.bias"}
    model.head[1] = nn.Identity()  # as timm removes it: the normalisation belongs to the backbone
    assert not trainable(freeze(model))


def test_a_head_of_several_layers_goes_by_its_name():
    model = small_resnet()
    model.fc = nn.Sequential(nn.Linear(512, 8), nn.ReLU(), nn.Linear(8, 3))
    assert {name.split(".")[0] for name in trainable(freeze(model, except_=["fc"]))} == {"fc"}
    assert len(trainable(model)) == 4


def test_asking_for_the_head_of_a_headless_model_lists_its_stages():
    model = small_resnet()
    remove_head(model)
    with pytest.raises(featx.FeatxError, match=r"without one.* layer3, layer4"):
        unfreeze(model, "head")


@pytest.mark.parametrize("name", ["encoder", "decoder", "decoder.0"])
def test_a_part_goes_by_each_of_its_names(name):
    class Shares(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
            self.decoder = nn.Sequential(self.encoder, nn.Conv2d(8, 8, 1))
            self.fc = nn.Linear(8, 4)

        def forward(self, x):
            return self.fc(self.decoder(x).mean((2, 3)))

    for change in (
        lambda m: unfreeze(freeze(m, except_=()), name),
        lambda m: freeze(m, except_=[name]),
    ):
        model = change(Shares()).train()
        assert model.encoder[1].training
        own = {"decoder.1.weight", "decoder.1.bias"} if name == "decoder" else set()
        inside = {f"encoder.{i}.{kind}" for i in (0, 1) for kind in ("weight", "bias")}
        assert trainable(model) == inside | own
        assert not model.fc.training


def test_a_layer_that_two_parts_share_does_not_thaw_what_is_around_it():
    act = nn.Dropout(0.5)
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), act), nn.Sequential(act, nn.Linear(4, 2)))
    freeze(model, except_=["1"]).train()
    assert act.training
    assert not model[0].training


def test_a_model_that_sets_modes_itself_is_reported_and_can_be_frozen_again():
    class Bare(Classifier):
        def train(self, mode=True):
            for module in self.modules():
                module.training = mode
            return self

    model = freeze(Bare(nn.Linear(8, 4)).eval()).train()
    report = freeze_report(model)
    assert "train" in {row.batchnorm for row in report.rows}
    assert "pinned" not in report.text.partition("warning")[0]
    assert "call featx.freeze(model) after each model.train()" in report.warnings[0]
    freeze(model)
    assert not model.body[1].training
    assert freeze_report(model).warnings == []
    with assert_frozen(model):
        model(IMAGES)
    assert unfreeze(model).body[1].training, "the mode last asked for"


# --- through everything that training does ---------------------------------------------------------

FAMILIES = {
    "densenet": lambda: models.DenseNet(8, (2, 2), 16, drop_rate=0.5, num_classes=3),  # F.dropout
    "efficientnet": lambda: models.efficientnet_b0(weights=None, num_classes=3),
    "swin": lambda: models.SwinTransformer(
        [4, 4], 16, [1, 1], [2, 2], [2, 2], stochastic_depth_prob=0.5, num_classes=3
    ),
    "vit": lambda: models.VisionTransformer(
        64, 16, 2, 2, 16, 32, dropout=0.5, attention_dropout=0.5, num_classes=3
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_each_family_stays_still_in_mixed_precision_with_all_parameters_in_the_optimizer(
    family, optimizer
):
    torch.manual_seed(0)
    model = freeze(FAMILIES[family]())
    make = {
        "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
        "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    }
    step = make[optimizer](model.parameters())
    scaler = torch.amp.GradScaler("cpu")
    before = snapshot(model)
    with assert_frozen(model):
        for epoch in range(2):
            model.train()
            for images, labels in zip(IMAGES.split(4), LABELS.split(4), strict=True):
                step.zero_grad(set_to_none=bool(epoch))
                with torch.autocast("cpu", torch.bfloat16):
                    loss = cross_entropy(model(images), labels)
                scaler.scale(loss).backward()
                scaler.step(step)
                scaler.update()
            model.eval()
    (head,) = find_heads(model)
    assert moved(model, before) == {f"{head}.weight", f"{head}.bias"}
    model.train()
    assert torch.equal(model(IMAGES), model(IMAGES))  # nothing random is left


class Various(nn.Module):
    """Layers that write into themselves in train mode, each in its own way."""

    def __init__(self):
        super().__init__()
        self.spectral = nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 8, 3))
        self.mean = nn.BatchNorm2d(8, momentum=None)
        self.instance = nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
        self.plain = nn.BatchNorm2d(8, affine=False)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.plain(self.instance(self.mean(self.spectral(x))))
        return self.drop(x.mean((2, 3)))


def test_layers_that_write_into_themselves_stay_still():
    model = nn.Sequential(Various(), nn.Linear(8, 3))
    train(model, torch.optim.SGD(model.parameters(), lr=0.1), steps=1)
    before = snapshot(model)
    train(model, torch.optim.SGD(model[1].parameters(), lr=0.1), steps=1)
    written = {"_u", "instance.running_mean", "mean.running_mean", "plain.running_mean"}
    for end in written:
        assert any(name.endswith(end) for name in moved(model, before)), "left alone, it moves"
    freeze(model)
    before = snapshot(model)
    with assert_frozen(model):
        train(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1))
    assert moved(model, before) == {"1.weight", "1.bias"}


def test_a_freeze_holds_under_compile_before_and_after():
    for early in (True, False):
        body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1))
        model = nn.Sequential(body, nn.Flatten(), nn.Linear(8, 3)).train()
        if early:
            freeze(model)
        compiled = torch.compile(model, backend="eager")
        compiled(IMAGES)
        freeze(compiled)
        compiled.train()
        before = snapshot(model)
        with assert_frozen(compiled):
            train(compiled, torch.optim.SGD(compiled.parameters(), lr=0.1))
        assert moved(model, before) == {"2.weight", "2.bias"}
        unfreeze(compiled).train()
        compiled(IMAGES)
        assert len(moved(model, before)) > 2


def test_an_average_of_a_frozen_model_is_frozen_too():
    model = freeze(small_resnet())
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = snapshot(average.module)
    with assert_frozen(model), assert_frozen(average):
        for _ in range(2):
            train(model, optimizer, steps=1)
            average.update_parameters(model)
    assert moved(average.module, before) == {"fc.weight", "fc.bias"}


def test_a_state_dict_round_trip_changes_neither_its_keys_nor_the_freeze():
    model, other = small_resnet(), small_resnet()
    keys = list(model.state_dict())
    freeze(model)
    assert list(model.state_dict()) == keys
    model.load_state_dict(other.state_dict())
    before = snapshot(model)
    assert not moved(other, before)
    train(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert moved(model, before) == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("mode", [True, False])
def test_unfreeze_gives_back_the_modes_last_asked_for(mode):
    model = small_resnet().train(not mode)
    unfreeze(freeze(model, except_=()).train(mode))
    assert {module.training for module in model.modules()} == {mode}
    unfreeze(freeze(freeze(model), except_=()))  # frozen twice, and no mode asked for in between
    assert {module.training for module in model.modules()} == {mode}
    assert all(p.requires_grad for p in model.parameters())
    assert not any("train" in vars(module) for module in model.modules())


def test_statistics_without_parameters_count_as_frozen():
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)))
    model.append(nn.Sequential(nn.Flatten(), nn.LazyLinear(3)))
    model(IMAGES)
    model[0].requires_grad_(False)
    with pytest.raises(featx.FeatxError, match=r"0\.1\.running_mean"), assert_frozen(model):
        model.train()(IMAGES)


# --- the report ------------------------------------------------------------------------------------


def test_a_proper_freeze_has_a_report_without_warnings():
    model = replace_head(freeze(small_resnet()), 3)
    report = freeze_report(model, torch.optim.SGD(param_groups(model)))
    assert report.warnings == []
    assert [row.stage for row in report.rows] == stage_names(model)
    assert sum(row.parameters for row in report.rows) == sum(p.numel() for p in model.parameters())
    assert {row.stage: row.optimizer for row in report.rows if row.trainable} == {"fc": "yes"}
    assert {row.batchnorm for row in report.rows[1:-1]} == {"pinned"}
    assert str(report) == repr(report) == report.text


@pytest.mark.parametrize(
    ("make", "warning"),
    [
        (lambda m: m.requires_grad_(False).train(), "frozen BatchNorms .*in train mode"),
        (lambda m: m.requires_grad_(False).eval(), "in eval mode, but not pinned"),
        (
            lambda m: setattr(m.layer4, "requires_grad", False),
            r"layer4\.requires_grad = False .*noth",
        ),
        (
            lambda m: setattr(m, "maxpool", nn.Dropout(0.5).train()) or m.requires_grad_(False),
            r"1 live random layer \(maxpool first\), such as dropout",
        ),
        (lambda m: m.requires_grad_(False), "nothing is trainable"),
    ],
)
def test_the_report_warns_of_what_only_looks_frozen(make, warning):
    model = small_resnet()
    make(model)
    text = freeze_report(model).text
    assert re.search(f"warning: .*{warning}", text)
    assert freeze_report(freeze(small_resnet())).warnings == []


@pytest.mark.parametrize(
    ("layer", "live"),
    [
        (nn.Dropout(1), True),
        (nn.RReLU(), True),
        (models.DenseNet(4, (1,), 4, drop_rate=0.5).features.denseblock1, True),
        (type("PatchDropout", (nn.Identity,), {})(), True),  # timm's: its rate is called prob
        (nn.Dropout(0), False),
        (type("GeM", (nn.Identity,), {})(), False),  # a generalised mean: p is a power
    ],
)
def test_the_report_finds_what_is_random_and_only_that(layer, live):
    if type(layer).__name__ == "PatchDropout":
        layer.prob = 0.5
    if type(layer).__name__ == "GeM":
        layer.p = 3.0
    model = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 3), layer), nn.Linear(8, 2)).train()
    model[0].requires_grad_(False)
    assert bool(re.search("live random layer", freeze_report(model).text)) == live


@pytest.mark.parametrize(
    ("part", "value", "advice"),
    [
        ("layer4", True, 'featx.unfreeze(model, "layer4")'),
        ("", True, "featx.unfreeze(model)."),
        ("layer4", False, "layer4.requires_grad_(False), or featx.freeze(model)"),
        ("", False, "model.requires_grad_(False), or featx.freeze(model)"),
    ],
)
def test_the_advice_on_a_mistaken_flag_does_what_was_meant(part, value, advice):
    model = freeze(small_resnet())
    model.get_submodule(part).requires_grad = value
    (warning,) = freeze_report(model).warnings
    assert f"Say {advice}" in warning


def test_after_an_unfreeze_the_advice_is_a_new_optimizer():
    model = freeze(small_resnet())
    optimizer = torch.optim.SGD(param_groups(model))
    (warning,) = freeze_report(unfreeze(model, "layer4"), optimizer).warnings
    assert "this optimizer does not hold" in warning
    assert "Make a new optimizer of featx.param_groups(model)" in warning
    assert "head" not in warning


def test_the_report_compares_the_optimizer_with_the_model():
    model = small_resnet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    train(model, optimizer, steps=1)
    model.conv1.requires_grad_(False)  # by hand: the gradient is still there
    assert (
        "1 frozen parameter (conv1.weight first) with a stale"
        in freeze_report(model, optimizer).text
    )
    freeze(model)
    (warning,) = freeze_report(model, optimizer).warnings
    assert "frozen parameters (conv1.weight first). It skips" in warning
    replace_head(model, 3)
    text = freeze_report(model, optimizer).text
    assert "does not hold 2 trainable parameters (fc.weight first)" in text
    assert "It holds 2 that the model does not have: make it after the head" in text
    assert "part" in freeze_report(unfreeze(model), torch.optim.SGD([model.fc.weight])).text


def test_the_html_table_has_scopes_a_caption_and_escapes():
    model = nn.Sequential()
    model.add_module("<b>", nn.Linear(2, 2))
    model.requires_grad = False
    html = freeze_report(model)._repr_html_()
    for part in ("<caption>", "scope='col'", "scope='row'", "&lt;b&gt;", "<li>Warning:"):
        assert part in html
    assert "<b>" not in html


# --- parameter groups ------------------------------------------------------------------------------


@settings(max_examples=20)
@given(
    frozen=st.sets(st.integers(0, 40), max_size=30),
    lr=st.floats(1e-6, 10),
    decay=st.floats(0.01, 1),
    tied=st.booleans(),
)
def test_each_trainable_parameter_is_in_exactly_one_group(frozen, lr, decay, tied):
    model = FAMILIES["vit"]()
    if tied:
        model.encoder.layers[1].mlp[0].weight = model.encoder.layers[0].mlp[0].weight
    for i, parameter in enumerate(model.parameters()):
        parameter.requires_grad = i not in frozen
    groups = param_groups(model, lr, decay)
    held = [id(p) for group in groups for p in group["params"]]
    assert len(held) == len(set(held))
    assert set(held) == {id(p) for p in model.parameters() if p.requires_grad}
    distance = {name: i for i, name in enumerate(reversed(stage_names(model)))}
    for group in groups:
        assert group["lr"] == pytest.approx(lr * decay ** distance[group["name"]])
    torch.optim.AdamW(groups)


def test_a_normalisation_learns_as_fast_as_the_stage_it_follows():
    rates = {group["name"]: group["lr"] for group in param_groups(small_resnet(), 1.0)}
    assert rates["bn1"] == rates["conv1"] == 0.5**5


def test_a_head_that_is_registered_first_comes_last():
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(8, 4)
            self.stem, self.body = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)

        def forward(self, x):
            return self.head(self.body(self.stem(x)).mean((2, 3)))

    model = First()
    model.get_classifier = lambda: model.head  # whatever the rule that finds it
    groups = [(group["name"], group["lr"]) for group in param_groups(model, 1.0)]
    assert groups == [("stem", 0.25), ("body", 0.5), ("head", 1.0)]


def test_without_a_head_the_last_stage_learns_fastest():
    model = small_resnet()
    remove_head(model)
    assert [(g["name"], g["lr"]) for g in param_groups(model, 1.0)][-2:] == [
        ("layer3", 0.5),
        ("layer4", 1.0),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"lr": x}, "lr to be a number above 0") for x in (0, -1, "0.1", True, float("nan"))]
    + [({"decay": x}, "decay to be above 0 and at most 1") for x in (0, 1.1, None)],
)
def test_a_wrong_rate_is_named(options, message):
    with pytest.raises(featx.FeatxError, match=message):
        param_groups(small_resnet(), **options)


def test_a_rate_may_be_numpys():
    model = small_resnet()
    plain = [group["lr"] for group in param_groups(model, 0.5, decay=0.5)]
    assert [g["lr"] for g in param_groups(model, np.float32(0.5), decay=np.float16(0.5))] == plain


def test_nothing_to_train_is_told():
    with pytest.raises(featx.FeatxError, match="Replace its head"):
        param_groups(freeze(small_resnet(), except_=()))


@pytest.mark.parametrize("odd", [torch.arange(6.0)[::2], torch.ones(1).expand(3)])
def test_a_buffer_whose_numbers_do_not_lie_side_by_side_is_watched(odd):
    model = replace_head(freeze(small_resnet()), 3)
    model.layer1.register_buffer("odd", odd)
    with assert_frozen(model):
        model(IMAGES)
    with pytest.raises(featx.FeatxError, match=r"layer1\.odd first"), assert_frozen(model):
        model.layer1.odd = odd + 1
