"""Exercise: the features of any layer, with a forward hook that is taken off afterwards."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn

import featx
from featx.study.exercises import Exercise
from featx.study.exercises._observing import fingerprints, some_digits
from featx.study.exercises._plain import shape_of, shown
from featx.study.verdicts import Check, Verdict, weigh

BATCH_SIZE = 5


def hook_features(model: nn.Module, layer_name: str, batches: list[torch.Tensor]) -> torch.Tensor:
    """Return what the layer gives for all images of the batches, one row for each image.

    `layer_name` is a name of `model.named_modules()`, such as `layer1.0.bn1`.
    """
    ### BEGIN SOLUTION
    outputs = []

    def keep(layer, args, output):
        outputs.append(output.detach().flatten(1).clone())  # a later layer may write into output

    was_training = model.training
    model.eval()
    handle = model.get_submodule(layer_name).register_forward_hook(keep)
    with torch.no_grad():
        for images in batches:
            model(images)
    handle.remove()
    model.train(was_training)
    return torch.cat(outputs)
    ### END SOLUTION


def hook_left_on(model: nn.Module, layer_name: str, batches: list[torch.Tensor]) -> torch.Tensor:
    outputs = []
    was_training = model.training
    model.eval()
    layer = model.get_submodule(layer_name)
    layer.register_forward_hook(lambda m, args, out: outputs.append(out.flatten(1).clone()))
    with torch.no_grad():
        for images in batches:
            model(images)
    model.train(was_training)
    return torch.cat(outputs)


def only_last_batch(model: nn.Module, layer_name: str, batches: list[torch.Tensor]) -> torch.Tensor:
    kept = {}

    def keep(layer, args, output):
        kept[layer_name] = output.flatten(1).clone()

    was_training = model.training
    model.eval()
    handle = model.get_submodule(layer_name).register_forward_hook(keep)
    with torch.no_grad():
        for images in batches:
            model(images)
    handle.remove()
    model.train(was_training)
    return kept[layer_name]


def input_for_output(
    model: nn.Module, layer_name: str, batches: list[torch.Tensor]
) -> torch.Tensor:
    outputs = []

    def keep(layer, output, _):
        outputs.append(output[0].flatten(1).clone())

    was_training = model.training
    model.eval()
    handle = model.get_submodule(layer_name).register_forward_hook(keep)
    with torch.no_grad():
        for images in batches:
            model(images)
    handle.remove()
    model.train(was_training)
    return torch.cat(outputs)


def keeps_the_graph(model: nn.Module, layer_name: str, batches: list[torch.Tensor]) -> torch.Tensor:
    outputs = []

    def keep(layer, args, output):
        outputs.append(output.flatten(1).clone())

    was_training = model.training
    model.eval()
    handle = model.get_submodule(layer_name).register_forward_hook(keep)
    for images in batches:
        model(images)
    handle.remove()
    model.train(was_training)
    return torch.cat(outputs)


def not_flattened(model: nn.Module, layer_name: str, batches: list[torch.Tensor]) -> torch.Tensor:
    outputs = []

    def keep(layer, args, output):
        outputs.append(output.clone())

    was_training = model.training
    model.eval()
    handle = model.get_submodule(layer_name).register_forward_hook(keep)
    with torch.no_grad():
        for images in batches:
            model(images)
    handle.remove()
    model.train(was_training)
    return torch.cat(outputs)


def overwritten_in_place(
    model: nn.Module, layer_name: str, batches: list[torch.Tensor]
) -> torch.Tensor:
    outputs = []

    def keep(layer, args, output):
        outputs.append(output.detach().flatten(1))

    was_training = model.training
    model.eval()
    handle = model.get_submodule(layer_name).register_forward_hook(keep)
    with torch.no_grad():
        for images in batches:
            model(images)
    handle.remove()
    model.train(was_training)
    return torch.cat(outputs)


def observe(function: Any, seed: int) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for training, layer in ((True, "avgpool"), (False, _layer(seed))):
        model, batches = _inputs(seed)
        expected = _expected(deepcopy(model).eval(), layer, batches)
        before, hooks = fingerprints(model), _count_hooks(model)
        model.train(training)
        returned = function(model, layer, [images.clone() for images in batches])
        tensor = returned if isinstance(returned, torch.Tensor) else None
        now = fingerprints(model)
        seen["pooled" if training else "inner"] = {
            "shown": shown(returned),
            "list_of": len(returned) if isinstance(returned, list | tuple) else None,
            "shape": shape_of(tensor),
            "expected_shape": list(expected["output"].shape),
            "matches": [
                what
                for what, rows in expected.items()
                if tensor is not None and _alike(tensor.detach().cpu(), rows)
            ],
            "has_graph": tensor is not None and tensor.requires_grad,
            "hooks": _count_hooks(model) - hooks,
            "moved": [name for name, value in before.items() if now.get(name) != value],
            "training": model.training,
        }
    return seen


def _expected(model: nn.Module, layer: str, batches: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the rows of a layer: its output, its input, and its output after later layers."""
    kept: dict[str, list[torch.Tensor]] = {"output": [], "input": [], "later": []}

    def keep(_: nn.Module, args: Any, output: torch.Tensor) -> None:
        kept["output"].append(output.flatten(1).clone())
        kept["input"].append(args[0].flatten(1).clone())
        kept["later"].append(output.flatten(1))

    handle = model.get_submodule(layer).register_forward_hook(keep)
    with torch.no_grad():
        for images in batches:
            model(images)
    handle.remove()
    return {what: torch.cat(parts) for what, parts in kept.items()}


def _alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Compare the numbers; a result that is not flattened is alike as well."""
    if one.ndim < 2 or len(one) != len(other) or one.numel() != other.numel():
        return False
    return torch.allclose(one.flatten(1).float(), other, rtol=1e-3, atol=1e-4)


def _count_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    pooled, inner = seen["pooled"], seen["inner"]
    cases = (pooled, inner)
    n, d = pooled["expected_shape"]
    last = n % BATCH_SIZE
    shape = pooled["shape"] or []
    values = ["output" in case["matches"] for case in cases]
    flat = all(case["shape"] == case["expected_shape"] for case in cases)
    taken = all(values) or values[0]  # features of a layer, at least of the one that is easy
    moved = pooled["moved"] + inner["moved"]
    restored = pooled["training"] and not inner["training"]
    hooks = max(case["hooks"] for case in cases)
    return weigh(
        [
            Check(
                pooled["list_of"] is None,
                0,
                "batches-not-joined",
                f"You returned a list or tuple of {pooled['list_of']} things. Expected one tensor `({n}, {d})` for "
                "`avgpool`, a row for each image: join the batches with `torch.cat`.",
            ),
            Check(
                not shape or shape[0] not in (last, BATCH_SIZE),
                0,
                "only-last-batch",
                f"For {n} images in batches you returned {pooled['shown']}: the features of one batch alone. "
                "The hook runs once for each batch; let it append to a list, so that no batch "
                "overwrites another.",
            ),
            Check(
                not shape or shape[0] <= n,
                0,
                "hook-in-the-loop",
                f"For {n} images you returned {pooled['shown']}: some outputs were collected more than once. "
                "A hook that is put on in the loop stays on, beside those of the batches before. Put one on, "
                "before the loop.",
            ),
            Check(
                shape[:1] == [n],
                0,
                "not-features",
                f"You returned {pooled['shown']}. Expected a tensor `({n}, {d})` for the layer `avgpool`.",
            ),
            Check(
                not moved,
                0,
                "left-in-train-mode",
                f"The model changed while the images went through: {len(moved)} of its tensors moved, "
                f"`{(moved or ['-'])[0]}` first of all. In `train()` mode BatchNorm updates its statistics even "
                "under `no_grad()`. Call `model.eval()` first.",
            ),
            Check(
                all(values) or not any("input" in case["matches"] for case in cases),
                0,
                "input-for-output",
                "These are the numbers that go *into* the layer. A forward hook is called with three things: "
                "the layer, a tuple of its inputs, and its output. Keep the third.",
            ),
            Check(
                all(values) or inner["matches"] != ["later"],
                0,
                "overwritten-in-place",
                f"`avgpool` is right, `{_layer(seed)}` is not: its output was overwritten after your hook had kept "
                "it. The next layer works in place (`nn.ReLU(inplace=True)`), and `detach()` and `flatten` make no "
                "copy. Keep a `clone()`.",
            ),
            Check(
                all(values),
                2,
                "not-the-layers-output",
                "The number of rows is right, the numbers are not what this layer gives in `eval()` mode. "
                "Hook the layer with `model.get_submodule(layer_name)`, keep its output, change nothing.",
                right="the numbers are those of the layer",
            ),
            Check(
                taken and flat,
                1,
                "not-flattened",
                f"For `avgpool` you returned {pooled['shown']}. Expected `({n}, {d})`: a head or a probe takes one "
                "row for each image. Only `flatten(1)` is missing.",
                right="there is one row for each image",
            ),
            Check(
                taken and hooks <= 0,
                1,
                "hook-left-on",
                f"Your function left something on the model (hooks: {hooks}). A hook runs in every later forward "
                "pass and keeps every output, so memory grows. "
                "Keep the handle that `register_forward_hook` returns, and call `handle.remove()`.",
                right="no hook is left",
            ),
            Check(
                taken and not any(case["has_graph"] for case in cases),
                1,
                "keeps-the-graph",
                "The features still require gradients, so every batch keeps all that it computed in memory. "
                "Run the forward passes under `torch.no_grad()`.",
                right="no gradients are kept",
            ),
            Check(
                taken and restored and not moved,
                1,
                "mode-not-restored" if not pooled["training"] else "always-back-to-train",
                (
                    "The model came in `train()` mode and was left in `eval()` mode. Remember `model.training` "
                    "before the passes, and set it again after them."
                    if not pooled["training"]
                    else "A model that came in `eval()` mode was left in `train()` mode. Do not call `train()` "
                    "blindly: put back the mode that `model.training` had."
                ),
                right="the model has the mode it came with",
            ),
        ],
        praise="One hook gave the output of any layer, batch by batch, as one row for each image. It is off "
        "again, and the model is as it was.",
    )


def _layer(seed: int) -> str:
    """Name a layer whose output the next layer overwrites."""
    return ("bn1", "layer1.0.bn1", "layer2.0.bn1", "layer3.0.bn1")[(seed + 1) % 4]


def _inputs(seed: int) -> tuple[nn.Module, list[torch.Tensor]]:
    backbone = featx.load_backbone("glyphnet")
    images = some_digits(backbone, 2 * BATCH_SIZE + 2 + seed % 3, seed)
    return backbone.model, list(images.split(BATCH_SIZE))


EXERCISE = Exercise(
    id="hook-features",
    lesson=4,
    title="Features of any layer, with a hook",
    points=5,
    prompt="""
Write `hook_features(model, layer_name, batches)`. `batches` is a list of image tensors `(B, C, H, W)`. Return
what the named layer gives out for all images, in their order, as one tensor with one row for each image: an
output of the shape `(B, 64, 8, 8)` becomes `(B, 4096)`.

- Use a forward hook on the layer. The name may have dots, such as `layer1.0.bn1`.
- Return the output as *this* layer gave it, even where the next layer works in place.
- Let the images go through in `eval()` mode and without gradients.
- Leave nothing behind: the hook is off again, and the model is in the mode in which it came.
""".strip(),
    hints=(
        "`model.get_submodule(layer_name)` finds the layer. Its `register_forward_hook(keep)` calls "
        "`keep(layer, inputs, output)` in each forward pass, and returns a handle.",
        "Let `keep` append to a list. What has to become of an output of four dimensions, and what if a later "
        "layer writes into it?",
        "`output.flatten(1).clone()` is a copy with one row for each image. After the loop: `handle.remove()`, "
        "`model.train(was_training)`, `torch.cat`.",
    ),
    reference=hook_features,
    mutants={
        "hook-left-on": hook_left_on,
        "only-last-batch": only_last_batch,
        "input-for-output": input_for_output,
        "keeps-the-graph": keeps_the_graph,
        "not-flattened": not_flattened,
        "overwritten-in-place": overwritten_in_place,
    },
    visible_test="""
model = torchvision.models.resnet18(weights=None)
batches = [torch.rand(2, 3, 64, 64), torch.rand(1, 3, 64, 64)]
features = hook_features(model, "avgpool", batches)
assert isinstance(features, torch.Tensor), "hook_features returned no tensor yet"
assert features.shape == (3, 512), f"expected the shape (3, 512), got {tuple(features.shape)}"
assert not model.avgpool._forward_hooks, "expected no hook on the layer afterwards"
""".strip(),
    observer=observe,
    judger=judge,
)
