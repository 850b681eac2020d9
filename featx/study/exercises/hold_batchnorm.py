"""Exercise: put a frozen model into training mode, and hold the BatchNorm of its backbone."""

# A learner writes model.fc as it is; to the type checker a module has no such attribute.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportOptionalMemberAccess=false

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from featx.study.exercises import Exercise
from featx.study.exercises._observing import describe, fingerprints, trainable
from featx.study.verdicts import Check, Verdict, weigh

NUM_IMAGES = 8


def head_to_train_mode(model: nn.Module) -> nn.Module:
    """Make the model ready for training its head `model.fc`; the backbone is frozen.

    The head is in training mode, the BatchNorm of the backbone is not. Return the model.
    """
    ### BEGIN SOLUTION
    model.eval()
    model.fc.train()
    return model
    ### END SOLUTION


def batchnorm_drifts(model: nn.Module) -> nn.Module:
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name.startswith("fc.")
    model.train()
    return model


def eval_before_train(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    model.train()
    return model


def normalises_by_batch(model: nn.Module) -> nn.Module:
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.track_running_stats = False
    return model


def head_in_eval_mode(model: nn.Module) -> nn.Module:
    model.eval()
    return model


def head_batchnorm_held(model: nn.Module) -> nn.Module:
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eval()
    return model


def observe(function: Any, seed: int) -> dict[str, Any]:
    # The same model arrives as an evaluation leaves it, and as an epoch of training leaves it.
    return {"arrives_in_eval": _run(function, seed, False), "in_train": _run(function, seed, True)}


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    cases = list(seen.values())
    moved = max((case["moved_buffers"] for case in cases), key=len)
    drifts = bool(moved)
    undone = any(case["undone"] and case["moved_buffers"] for case in cases)
    same = all(case["same_features"] for case in cases)
    live = all(case["dropout_live"] for case in cases)
    own = all(case["head_batchnorm_learns"] for case in cases)
    held = not drifts and same
    thawed = [name for case in cases for name in case["trainable"] if not name.startswith("fc.")]
    stuck = any(not case["head_trains"] for case in cases)
    return weigh(
        [
            Check(
                not thawed,
                0,
                "backbone-still-trains",
                f"You made parameters of the backbone trainable again, for example "
                f"`{(thawed or ['-'])[0]}`. The model arrives frozen: only its modes are to be set.",
            ),
            Check(
                not stuck,
                0,
                "head-does-not-train",
                "After your function the head does not require gradients any more, so it cannot "
                "learn. Modes are all that is asked for: leave `requires_grad` as it is.",
            ),
            Check(
                not undone,
                0,
                "eval-before-train",
                f"You put BatchNorm into `eval()` mode, and a later `train()` put it back: {len(moved)} "
                "buffers of the backbone moved in one forward pass. `model.train()` reaches every "
                "module inside, so it comes first.",
            ),
            Check(
                not drifts,
                2,
                "batchnorm-drifts",
                f"The backbone still drifts: {len(moved)} BatchNorm buffers moved in one forward pass, "
                f"for example `{(moved or ['-'])[0]}`. Running statistics are buffers; "
                "`requires_grad=False` does not hold them, `eval()` mode does, whatever mode the model "
                "arrives in.",
                right="no buffer of the backbone moves",
            ),
            Check(
                held,
                1,
                "normalises-by-batch",
                "No buffer moves, but the features are not the ones of `eval()` mode: the backbone "
                "still normalises with the statistics of each batch, so an image's features depend on "
                "its neighbours. `eval()` on its BatchNorm makes it use the running statistics.",
                right="the features are those of the frozen backbone",
            ),
            Check(
                live,
                1,
                "head-in-eval-mode",
                "The dropout of the head drops nothing: `model.fc` is in `eval()` mode. Hold only the "
                "backbone; the head learns, so it belongs in `train()` mode.",
                right="the dropout of the head is live",
            ),
            Check(
                own,
                1,
                "head-batchnorm-held",
                "You held the BatchNorm *inside the head* too. Its running statistics are still the "
                "ones it was made with, 0 and 1; it must learn them from your images, so leave "
                "`model.fc` in `train()` mode.",
                right="the BatchNorm of the head learns its statistics",
            ),
            Check(
                held and live and all(case["same_model"] for case in cases),
                1,
                "model-not-returned",
                f"The function returned a {cases[0]['type']}, not the model that it was given. Set the "
                "modes in place and return the model.",
            ),
        ],
        praise="The head trains, the backbone stands still. `model.train()` at the start of the next "
        "epoch would undo this: call your function there instead.",
    )


def _run(function: Any, seed: int, mode: bool) -> dict[str, Any]:
    draw = torch.Generator().manual_seed(seed)
    model = _model(draw)
    images = torch.rand(NUM_IMAGES, 3, 32, 32, generator=draw)
    features: list[torch.Tensor] = []
    given_head = model.fc
    given_head.register_forward_pre_hook(lambda _, args: features.append(args[0].detach()))
    with torch.no_grad():
        model.eval()(images)
    model.train(mode)
    modes: list[bool] = []  # what the function does to one BatchNorm layer, in its order
    watched = model.bn1
    plain_train = watched.train

    def train(to: bool = True) -> nn.Module:
        modes.append(bool(to))
        return plain_train(to)

    watched.train = train
    returned = function(model)
    used = returned if isinstance(returned, nn.Module) else model
    before = fingerprints(used)
    with torch.no_grad():
        used(images)
        after = fingerprints(used)
        head: Any = used.fc
        live = not torch.equal(head(features[0]), head(features[0]))
    parameters = {name for name, _ in used.named_parameters()}
    moved = [name for name in before if name not in parameters and before[name] != after[name]]
    return describe(returned) | {
        "same_model": returned is model,
        "moved_buffers": [name for name in moved if not name.startswith("fc.")],
        "head_batchnorm_learns": any(name.startswith("fc.") for name in moved),
        "same_features": torch.allclose(features[0], features[1], atol=1e-4, rtol=1e-4),
        "dropout_live": live,
        "undone": False in modes and modes[-1],
        "trainable": trainable(used),
        "head_trains": all(p.requires_grad for p in head.parameters()),
    }


def _model(draw: torch.Generator) -> nn.Module:
    model = ResNet(BasicBlock, [1, 1, 1, 1])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3, generator=draw)
            module.running_var.uniform_(0.5, 1.5, generator=draw)
    model.requires_grad_(False)
    model.fc = nn.Sequential(nn.BatchNorm1d(512), nn.Dropout(0.5), nn.Linear(512, 4))
    return model


EXERCISE = Exercise(
    id="hold-batchnorm",
    lesson=3,
    title="Train the head, hold the BatchNorm of the backbone",
    points=4,
    prompt="""
A ResNet is frozen: no parameter outside `model.fc` requires gradients. Its new head `model.fc` has a
Dropout and a BatchNorm of its own. Write `head_to_train_mode(model)`; a training loop will call it at the
start of each epoch, whatever mode the model is in then. Afterwards

* the head is in training mode: its dropout is live, and its own BatchNorm learns its statistics;
* the backbone gives the features of `eval()` mode, and none of its running statistics moves.

Change the model in place and return it. Leave `requires_grad` as it is.
""".strip(),
    hints=(
        "`requires_grad=False` holds parameters. What are `running_mean` and `running_var`?",
        "`model.train()` and `model.eval()` reach every module inside. What does the later call win?",
        "A part of a model has its own `train()` and `eval()`: `model.fc.train()`, for example.",
    ),
    reference=head_to_train_mode,
    mutants={
        "batchnorm-drifts": batchnorm_drifts,
        "eval-before-train": eval_before_train,
        "normalises-by-batch": normalises_by_batch,
        "head-in-eval-mode": head_in_eval_mode,
        "head-batchnorm-held": head_batchnorm_held,
    },
    visible_test="""
model = torchvision.models.resnet18(weights=None).requires_grad_(False)
model.fc = nn.Sequential(nn.Dropout(0.5), nn.Linear(512, 3))
ready = head_to_train_mode(model)
assert isinstance(ready, nn.Module), "head_to_train_mode returned no model yet"
assert ready.fc[0].training, "the dropout of the head should be live"
""".strip(),
    observer=observe,
    judger=judge,
)
