"""Exercise: extract the features of a whole data set, once."""

# A learner writes model.fc as it is; to the type checker a module has no such attribute.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import featx
from featx.study.exercises import Exercise
from featx.study.exercises._observing import fingerprints, some_digits
from featx.study.exercises._plain import numbers, shape_of, shown
from featx.study.verdicts import Check, Verdict, weigh

BATCH_SIZE = 8


def extract_once(model: nn.Module, loader: torch.utils.data.DataLoader) -> torch.Tensor:
    """Return the features (N, D) of all images of a loader, on the CPU, in the loader's order.

    The model has no head. Each batch of the loader is a pair: images and labels.
    """
    ### BEGIN SOLUTION
    was_training = model.training
    model.eval()
    batches = []
    with torch.no_grad():
        for images, _ in loader:
            batches.append(model(images).cpu())
    model.train(was_training)
    return torch.cat(batches)
    ### END SOLUTION


def left_in_train_mode(model: nn.Module, loader: torch.utils.data.DataLoader) -> torch.Tensor:
    batches = []
    with torch.no_grad():
        for images, _ in loader:
            batches.append(model(images).cpu())
    return torch.cat(batches)


def keeps_the_graph(model: nn.Module, loader: torch.utils.data.DataLoader) -> torch.Tensor:
    was_training = model.training
    model.eval()
    batches = []
    for images, _ in loader:
        batches.append(model(images).cpu())
    model.train(was_training)
    return torch.cat(batches)


def mode_not_restored(model: nn.Module, loader: torch.utils.data.DataLoader) -> torch.Tensor:
    model.eval()
    batches = []
    with torch.no_grad():
        for images, _ in loader:
            batches.append(model(images).cpu())
    return torch.cat(batches)


def always_back_to_train(model: nn.Module, loader: torch.utils.data.DataLoader) -> torch.Tensor:
    model.eval()
    batches = []
    with torch.no_grad():
        for images, _ in loader:
            batches.append(model(images).cpu())
    model.train()
    return torch.cat(batches)


def only_last_batch(model: nn.Module, loader: torch.utils.data.DataLoader) -> torch.Tensor:
    was_training = model.training
    model.eval()
    features = torch.empty(0)
    with torch.no_grad():
        for images, _ in loader:
            features = model(images).cpu()
    model.train(was_training)
    return features


def batches_not_joined(model: nn.Module, loader: torch.utils.data.DataLoader) -> list:
    was_training = model.training
    model.eval()
    with torch.no_grad():
        batches = [model(images).cpu() for images, _ in loader]
    model.train(was_training)
    return batches


def observe(function: Any, seed: int) -> dict[str, Any]:
    model, images = _inputs(seed)
    before = fingerprints(model)
    layer, passed = model.layer4, []
    handle = layer.register_forward_hook(lambda *_: passed.append(1))
    returned = function(model.train(), _loader(images))
    handle.remove()
    modes = [model.training]
    moved = [name for name, value in fingerprints(model).items() if before.get(name) != value]

    fresh = _inputs(seed)[0].eval()
    function(fresh, _loader(images))
    modes.append(fresh.training)
    is_tensor = isinstance(returned, torch.Tensor)
    parts = list(returned) if isinstance(returned, list | tuple) else []
    return {
        "shown": shown(returned),
        "list_of": len(parts) if parts and isinstance(parts[0], torch.Tensor) else None,
        "is_tensor": is_tensor,
        "shape": shape_of(returned) if is_tensor else None,
        "values": numbers(returned) if is_tensor else None,
        "device": returned.device.type if is_tensor else None,
        "has_graph": is_tensor and returned.requires_grad,
        "passes": len(passed),
        "modes": modes,
        "moved": moved,
    }


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    model, images = _inputs(seed)
    with torch.no_grad():
        expected = model.eval()(images)
    n, d = expected.shape
    last = n % BATCH_SIZE
    shape = seen["shape"]
    full = shape == [n, d] and seen["passes"] > 0
    values = torch.tensor(seen["values"]) if full and seen["values"] else None
    same = values is not None and torch.allclose(values, expected, rtol=1e-3, atol=1e-3)
    reordered = values is not None and torch.allclose(
        values.sum(1).sort().values, expected.sum(1).sort().values, rtol=1e-3, atol=1e-2
    )
    still_train, still_eval = seen["modes"]
    return weigh(
        [
            Check(
                seen["list_of"] is None,
                0,
                "batches-not-joined",
                f"You returned a list of {seen['list_of']} tensors, one for each batch. Expected one "
                f"tensor `({n}, {d})`, a row for each image: join the batches with `torch.cat`.",
            ),
            Check(
                shape is None or len(shape) != 2 or shape[0] != last,
                0,
                "only-last-batch",
                f"You returned {seen['shown']}: the features of the last batch alone, for {n} images. "
                "Each turn of the loop must add its batch to what is there: append to a list, and join "
                "after the loop.",
            ),
            Check(
                shape == [n, d],
                0,
                "not-features",
                f"You returned {seen['shown']}. Expected a tensor `({n}, {d})`: one row of features for "
                "each image of the loader.",
            ),
            Check(
                not seen["moved"],
                0,
                "left-in-train-mode",
                f"The model changed while you extracted: {len(seen['moved'])} of its tensors moved, "
                f"`{(seen['moved'] or ['-'])[0]}` first of all. In `train()` mode BatchNorm uses and updates "
                "statistics of each batch, even under `no_grad()`. Call `model.eval()` before the loop.",
            ),
            Check(
                same or not reordered,
                0,
                "order-lost",
                "The rows are the right ones, but not in the order of the loader, so they no longer fit "
                "the labels. Append each batch at the end.",
            ),
            Check(
                same,
                2,
                "not-the-models-features",
                "The shape is right, the numbers are not what the model gives for these images in "
                "`eval()` mode. Give it each batch as it comes and keep what it returns.",
                right="the features are right, in the order of the data",
            ),
            Check(
                full and not seen["has_graph"],
                1,
                "keeps-the-graph",
                "The features still require gradients, so every batch keeps all that it computed in "
                "memory, and memory grows with the data set. Run the loop under `torch.no_grad()`.",
                right="no gradients are kept",
            ),
            Check(
                full and seen["device"] == "cpu",
                0,
                "features-not-on-cpu",
                "The features are not on the CPU. Move each batch there with `.cpu()`: the memory of a "
                "GPU would soon be full.",
            ),
            Check(
                full and not seen["moved"] and still_train and not still_eval,
                1,
                "mode-not-restored" if not still_train else "always-back-to-train",
                (
                    "The model came in `train()` mode and was left in `eval()` mode: whoever trains "
                    "next trains without dropout and with frozen statistics. Remember `model.training` "
                    "before the loop, and set it again after it."
                    if not still_train
                    else "A model that came in `eval()` mode was left in `train()` mode, so its next "
                    "predictions change. Do not call `train()` blindly: put back the mode that "
                    "`model.training` had."
                ),
                right="the model has the mode it came with",
            ),
        ],
        praise=f"{n} images in batches became one tensor `({n}, {d})`: in `eval()` mode, without "
        "gradients, in order, and the model is as it was. Train as many heads on it as you like.",
    )


def _loader(images: torch.Tensor) -> DataLoader:
    return DataLoader(TensorDataset(images.clone(), torch.arange(len(images))), BATCH_SIZE)


def _inputs(seed: int) -> tuple[nn.Module, torch.Tensor]:
    backbone = featx.load_backbone("glyphnet")
    backbone.model.fc = nn.Identity()
    return backbone.model, some_digits(backbone, 19 + seed % 4, seed)


EXERCISE = Exercise(
    id="extract-once",
    lesson=5,
    title="Extract the features of a data set",
    points=4,
    prompt="""
Write `extract_once(model, loader)`. The model is a backbone without a head; the loader gives batches of
images and labels, and does not shuffle. Return the features of all images as one tensor `(N, D)`, on the CPU,
in the order of the loader.

Use `eval()` mode and compute no gradients. Afterwards the model must be in the mode in which it came, be it
`train()` or `eval()`.
""".strip(),
    hints=(
        "Collect the features of each batch in a list. What joins tensors with different numbers of rows?",
        "What makes BatchNorm use what it learned, and what tells torch to keep no graph?",
        "`model.training` tells the mode, `model.train(flag)` sets it.",
    ),
    reference=extract_once,
    mutants={
        "left-in-train-mode": left_in_train_mode,
        "keeps-the-graph": keeps_the_graph,
        "mode-not-restored": mode_not_restored,
        "always-back-to-train": always_back_to_train,
        "only-last-batch": only_last_batch,
        "batches-not-joined": batches_not_joined,
    },
    visible_test="""
model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5))
data = torch.utils.data.TensorDataset(torch.rand(7, 3, 2, 2), torch.arange(7))
features = extract_once(model, torch.utils.data.DataLoader(data, batch_size=4))
assert isinstance(features, torch.Tensor), "extract_once returned no tensor yet"
assert features.shape == (7, 5), f"expected the shape (7, 5), got {tuple(features.shape)}"
""".strip(),
    observer=observe,
    judger=judge,
)
