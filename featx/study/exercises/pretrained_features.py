"""Exercise: take features from a pretrained model, and change nothing."""

# A learner writes model.fc as it is; to the type checker a module has no such attribute.
# pyright: reportAttributeAccessIssue=false

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import nn

import featx
from featx.study.exercises import Exercise
from featx.study.exercises._observing import count_steps, describe, fingerprints, some_digits
from featx.study.verdicts import Check, Verdict, weigh

NUM_IMAGES = 12


def features_of(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return the features (N, num_features) of preprocessed images (N, C, H, W).

    `model` is pretrained, its head is `model.fc`, and it arrives in train() mode.
    """
    ### BEGIN SOLUTION
    model.eval()
    head, model.fc = model.fc, nn.Identity()
    with torch.no_grad():
        features = model(images)
    model.fc = head
    return features
    ### END SOLUTION


def trains_all_layers(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), torch.arange(len(images)))
        loss.backward()
        optimizer.step()
    model.eval()
    model.fc = nn.Identity()
    return model(images).detach()


def augments_images(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    model.eval()
    model.fc = nn.Identity()
    images = images.flip(-1) + 0.1 * torch.randn_like(images)
    return model(images).detach()


def needs_optimizer(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    model.eval()
    optimizer = torch.optim.SGD(model.fc.parameters(), lr=0.1)
    nn.functional.cross_entropy(model(images), torch.arange(len(images))).backward()
    optimizer.step()
    model.fc = nn.Identity()
    return model(images).detach()


def head_still_on(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    model.eval()
    with torch.no_grad():
        return model(images)


def left_in_train_mode(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    model.fc = nn.Identity()
    with torch.no_grad():
        return model(images)


def pooling_left_out(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    model.eval()
    layers = [layer for name, layer in model.named_children() if name not in ("avgpool", "fc")]
    with torch.no_grad():
        return nn.Sequential(*layers)(images)


def observe(function: Any, seed: int) -> dict[str, Any]:
    backbone, images = _inputs(seed)
    model = backbone.model
    before = fingerprints(model)
    parameters = {name for name, _ in model.named_parameters()}
    maps: list[torch.Tensor] = []  # the feature maps that the function itself computed
    handle = model.layer4.register_forward_hook(lambda *passed: maps.append(passed[-1].detach()))
    with count_steps() as steps:
        first = function(model.train(), images.clone())
        taken = steps()
    handle.remove()
    after = {**before, **fingerprints(model)}  # a head that was taken off did not move
    moved = [name for name in before if before[name] != after[name]]
    seen = describe(first) | {
        "optimizer_steps": taken,
        "moved_parameters": [name for name in moved if name in parameters],
        "moved_buffers": [name for name in moved if name not in parameters],
    }
    size = backbone.num_features
    if seen["shape"] in ([NUM_IMAGES, size], [NUM_IMAGES, size, 1, 1]):
        fresh = _inputs(seed)[0].model.train()
        again = function(fresh, images.clone())
        rows = first.detach().float().flatten(1)
        seen["values"] = rows.tolist()
        seen["repeats"] = bool(torch.allclose(first, again, atol=1e-5))
        seen["from_forward_pass"] = any(
            len(m) == NUM_IMAGES and torch.allclose(m.mean((2, 3)), rows, atol=1e-5) for m in maps
        )
    return seen


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    expected, num_classes = _expected(seed)
    size = expected.shape[1]
    shape = seen["shape"]
    shown = f"a tensor of the shape {tuple(shape)}" if shape else f"a {seen['type']}"
    is_features = shape == [NUM_IMAGES, size]
    unflattened = shape == [NUM_IMAGES, size, 1, 1]
    values = torch.tensor(seen["values"]) if is_features or unflattened else None
    same = values is not None and torch.allclose(values, expected, rtol=1e-3, atol=1e-3)
    backbone_moved = [name for name in seen["moved_parameters"] if not name.startswith("fc.")]
    # Who ran the model and changed nothing did a part; who only made up numbers did none of it.
    computed = same or seen.get("from_forward_pass", False)
    trained = bool(seen["moved_parameters"] or seen["optimizer_steps"])
    return weigh(
        [
            Check(
                shape != [NUM_IMAGES, num_classes],
                0,
                "head-still-on",
                f"You returned {shown}: the {num_classes} class scores (logits) of the head. Features "
                f"are what the head takes *in*: {size} numbers for each image. Take the head off, for "
                "example with `nn.Identity()`.",
            ),
            Check(
                not unflattened,
                0,
                "not-flattened",
                f"You returned {shown}: these are pooled already, but two dimensions of size 1 are "
                f"left. Expected `({NUM_IMAGES}, {size})`: only `flatten(1)` is missing.",
            ),
            Check(
                shape is None or len(shape) != 4 or unflattened,
                0,
                "pooling-left-out",
                f"You returned {shown}: the feature map, before pooling. Features are the pooled "
                f"ones, {size} numbers for each image: keep `avgpool`, leave out only the head.",
            ),
            Check(
                is_features,
                0,
                "not-features",
                f"You returned {shown}. Expected one row of {size} features for each image, "
                "`(N, num_features)`.",
            ),
            Check(
                not backbone_moved,
                0,
                "trains-all-layers",
                f"Your function trained the model: {len(backbone_moved)} parameters of the backbone "
                f"changed, `{(backbone_moved or ['-'])[0]}` first of all. Feature extraction uses the "
                "pretrained weights as they are; a forward pass is all it takes.",
            ),
            Check(
                not trained,
                0,
                "optimizer-in-extraction",
                "An optimizer took a step. Extraction learns nothing, so it needs no loss, no "
                "`backward()` and no optimizer; these belong to the head that comes afterwards.",
            ),
            Check(
                not seen["moved_buffers"],
                0,
                "left-in-train-mode",
                "No weight changed, but the BatchNorm statistics did "
                f"({len(seen['moved_buffers'])} buffers), and the features depend on which images "
                "share a batch. The model arrives in `train()` mode: call `model.eval()` first.",
            ),
            Check(
                seen.get("repeats", True),
                0,
                "augments-images",
                "The same images gave different features the second time: something random happens "
                "to the images. Augmentation makes more training data; it is no part of extraction. "
                "Give the images to the model as they are.",
            ),
            Check(
                same,
                1,
                "not-the-models-features",
                "The shape is right, but the numbers are not what the head of this model takes in. "
                "Give the images to the model as they are and return what reaches `model.fc`.",
                right="the numbers are the right ones",
            ),
            Check(
                same and is_features,
                1,
                "not-features",
                "The features are not one row for each image.",
                right="there is one row of features for each image",
            ),
            Check(
                computed and not trained,
                1,
                "trains-all-layers",
                "The weights changed.",
                right="no weight moved",
            ),
            Check(
                computed and not trained and not seen["moved_buffers"],
                1,
                "left-in-train-mode",
                "The BatchNorm statistics moved.",
                right="no BatchNorm statistic moved",
            ),
        ],
        praise="These are the features: one forward pass in `eval()` mode, the head left out, nothing "
        "trained and nothing changed. A linear probe can learn from them now.",
    )


def _inputs(seed: int) -> tuple[featx.Backbone, torch.Tensor]:
    backbone = featx.load_backbone("glyphnet")
    return backbone, some_digits(backbone, NUM_IMAGES, seed)


@cache
def _expected(seed: int) -> tuple[torch.Tensor, int]:
    """Return the right features and the number of class scores: the same for a whole class of students."""
    backbone, images = _inputs(seed)
    with torch.no_grad():
        return backbone.features(images), backbone.model(images).shape[1]


EXERCISE = Exercise(
    id="pretrained-features",
    lesson=1,
    title="Take features from a pretrained model",
    points=4,
    prompt="""
Write `features_of(model, images)`. The model is pretrained, its head is `model.fc`, and it comes in
`train()` mode, as torchvision delivers its models. Return the features of the images, a tensor
`(N, num_features)`: what the head would take *in*, not its class scores.

Use what the model has learned and change nothing: no weight and no BatchNorm statistic may move, and the
same images must give the same features every time.
""".strip(),
    hints=(
        "Which layers of the model answer a question about *letters*, and which only describe the image?",
        "`nn.Identity()` in the place of `model.fc` hands on what comes in.",
        "What does BatchNorm do in `train()` mode with each batch it sees, even under `no_grad()`?",
    ),
    reference=features_of,
    mutants={
        "trains-all-layers": trains_all_layers,
        "augments-images": augments_images,
        "optimizer-in-extraction": needs_optimizer,
        "head-still-on": head_still_on,
        "left-in-train-mode": left_in_train_mode,
        "pooling-left-out": pooling_left_out,
    },
    visible_test="""
import featx

model = featx.load_backbone("glyphnet").model.train()  # it takes grey images, and gives 256 features
features = features_of(model, torch.rand(2, 1, 32, 32))
assert isinstance(features, torch.Tensor), "features_of returned no tensor yet"
assert features.shape == (2, 256), f"expected the shape (2, 256), got {tuple(features.shape)}"
""".strip(),
    observer=observe,
    judger=judge,
)
