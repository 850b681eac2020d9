"""Exercise: an Identity head turns a classifier into a feature extractor."""

# A learner writes model.fc as it is; to the type checker a module has no such attribute.
# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportArgumentType=false

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from featx.study.exercises import Exercise
from featx.study.exercises._observing import describe, made_quickly
from featx.study.verdicts import Check, Verdict, weigh


def remove_head(model: nn.Module) -> int:
    """Make `model(images)` return features (N, num_features); return num_features.

    `model` is a torchvision ResNet of any size; change it in place.
    """
    ### BEGIN SOLUTION
    num_features = model.fc.in_features
    model.fc = nn.Identity()
    return num_features
    ### END SOLUTION


def head_still_on(model: nn.Module) -> int:
    return model.fc.out_features


def batch_for_features(model: nn.Module) -> int:
    model.fc = nn.Identity()
    return model.eval()(torch.zeros(4, 3, 224, 224)).shape[0]


def size_of_resnet50(model: nn.Module) -> int:
    model.fc = nn.Identity()
    return 2048


def size_of_resnet18(model: nn.Module) -> int:
    model.fc = nn.Identity()
    return 512


def pooling_removed(model: nn.Module) -> int:
    num_features = model.fc.in_features
    model.avgpool = nn.Identity()
    model.fc = nn.Identity()
    return num_features


def layer_in_place_of_head(model: nn.Module) -> int:
    num_features = model.fc.in_features
    model.fc = nn.Linear(num_features, num_features)
    return num_features


def observe(function: Any, seed: int) -> dict[str, Any]:
    # Thin networks with the feature sizes of a resnet18 and of a resnet50: they take no time.
    models = {
        "narrow": (
            made_quickly(lambda: ResNet(BasicBlock, [1, 1, 1, 1])),
            torch.rand(4, 3, 65, 65),
        ),
        "wide": (
            made_quickly(lambda: ResNet(Bottleneck, [1, 1, 1, 1], width_per_group=8)),
            torch.rand(4, 3, 32, 32),
        ),
    }
    seen = {}
    for name, (model, images) in models.items():
        untouched = deepcopy(model)
        returned = function(model)
        with torch.no_grad():
            output = model.eval()(images)
            expected = _reaches_head(untouched, model, images)
        seen[name] = {
            "returned": describe(returned),
            "size": int(returned) if isinstance(returned, int) else None,
            "output": describe(output),
            "same": isinstance(output, torch.Tensor)
            and output.shape == expected.shape
            and torch.allclose(output, expected, rtol=1e-3, atol=1e-4),
        }
    return seen


def _reaches_head(untouched: nn.Module, changed: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Return what the head would take in, with the buffers as they are now."""
    # A forward pass in train() mode, to look at a shape, moves BatchNorm; that is no mistake here.
    now = dict(changed.named_buffers())
    kept = {name: now[name] for name, _ in untouched.named_buffers() if name in now}
    untouched.load_state_dict(kept, strict=False)
    untouched.fc = nn.Identity()
    return untouched.eval()(images)


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    narrow, wide = seen["narrow"], seen["wide"]
    shape, size = narrow["output"]["shape"] or [], narrow["size"]
    shaped = shape == [4, 512] and wide["output"]["shape"] == [4, 2048]
    pools = shaped and narrow["same"] and wide["same"]
    says = f"`{size}`" if size is not None else f"a {narrow['returned']['type']}"
    return weigh(
        [
            Check(
                shape != [4, 1000],
                0,
                "head-still-on",
                "The output of resnet18 is still `(4, 1000)`: the head is on, and these are class "
                "scores for ImageNet. Put `nn.Identity()` in the place of `model.fc`.",
            ),
            Check(
                not shape or shape[-1] != 512 * 9,
                0,
                "pooling-removed",
                "For images of 65 x 65 the output has 4608 numbers each, 512 x 3 x 3: the pooling went with the "
                "head. Features are pooled: keep `avgpool` and take off `fc` only.",
            ),
            Check(
                shaped,
                0,
                "not-features",
                f"For 4 images resnet18 now returns the shape {tuple(shape)}. Expected one row for "
                "each image and one column for each number that `fc` took in.",
            ),
            Check(
                pools,
                2,
                "features-changed",
                "The shape is right, but the numbers are not the ones that `fc` took in: another layer "
                "works on them, or another pooling. Change nothing but `fc`, and put a layer there that "
                "hands on what comes in.",
                right="`model(images)` gives the features",
            ),
            Check(
                size != 4,
                0,
                "batch-for-features",
                "You returned 4, the number of images in a batch. The first dimension counts images, "
                "the second counts features: the feature size does not depend on the batch.",
            ),
            Check(
                size != 2048,
                0,
                "size-of-resnet50",
                "You returned 2048 for resnet18: that is the feature size of resnet50, whose blocks "
                "widen at the end. Ask the head that you take off: how many numbers did it take in?",
            ),
            Check(
                pools and size == 512,
                1,
                "wrong-feature-size",
                f"For resnet18 you returned {says}. Expected the number of features of one image, "
                "which is what `model.fc` takes in.",
                right="the feature size of resnet18 is right",
            ),
            Check(
                pools and wide["size"] == 2048 and size == 512,
                1,
                "size-is-fixed",
                f"For a ResNet with wide blocks you returned `{wide['size']}`, but its features have "
                "another size. Read it from the head before you take it off; do not write a number.",
            ),
        ],
        praise="The head is off: 4 images give `(4, 512)` with resnet18, and your function reads the "
        "size from the model, so it is right for 2048 as well.",
    )


EXERCISE = Exercise(
    id="identity-head-features",
    lesson=4,
    title="Take the head off",
    points=4,
    prompt="""
Write `remove_head(model)` for any torchvision ResNet. Change the model in place so that `model(images)`
returns features: for a `resnet18` and images `(4, 3, 224, 224)` that is `(4, 512)`. Return the number of
features of one image, which is not the same for every ResNet.
""".strip(),
    hints=(
        "Which layer of a ResNet turns features into class scores?",
        "`nn.Identity()` hands on what comes in. Where would you put it?",
        "An `nn.Linear` knows how many numbers it takes in: `in_features`. When must you read it?",
    ),
    reference=remove_head,
    mutants={
        "head-still-on": head_still_on,
        "batch-for-features": batch_for_features,
        "size-of-resnet50": size_of_resnet50,
        "size-is-fixed": size_of_resnet18,
        "pooling-removed": pooling_removed,
        "features-changed": layer_in_place_of_head,
    },
    visible_test="""
from torchvision.models.resnet import BasicBlock, ResNet

model = ResNet(BasicBlock, [1, 1, 1, 1])  # a short resnet18: the same stages, quickly made
num_features = remove_head(model)
assert num_features is not None, "remove_head returned nothing yet"
features = model.eval()(torch.rand(4, 3, 64, 64))
assert features.ndim == 2, f"expected (images, features), got {tuple(features.shape)}"
""".strip(),
    observer=observe,
    judger=judge,
)
