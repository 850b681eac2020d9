"""Exercise: load a checkpoint of somebody else into a backbone, and load all of it."""

# A learner writes model.fc as it is; to the type checker a module has no such attribute.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from featx.study.exercises import Exercise
from featx.study.exercises._observing import describe
from featx.study.verdicts import Check, Verdict, weigh

#: Name of the case -> what stands before each name in its file.
PREFIXES = {"parallel": "module.", "plain": ""}


def load_checkpoint(model: nn.Module, path: str) -> nn.Module:
    """Load the backbone's weights and buffers from a file into a ResNet. Return the model.

    The file is a dict, name -> tensor. Its names may begin with `module.`. The head `model.fc` stays.
    """
    ### BEGIN SOLUTION
    checkpoint = torch.load(path, weights_only=True)
    state = {f"fc.{name}": value for name, value in model.fc.state_dict().items()}
    for name, value in checkpoint.items():
        name = name.removeprefix("module.")
        if not name.startswith("fc."):
            state[name] = value
    model.load_state_dict(state)  # strict: it raises an error if a name is missing
    return model
    ### END SOLUTION


def strict_false(model: nn.Module, path: str) -> nn.Module:
    checkpoint = torch.load(path, weights_only=True)
    state = {name: value for name, value in checkpoint.items() if not name.startswith("fc.")}
    model.load_state_dict(state, strict=False)
    return model


def lstrip_letters(model: nn.Module, path: str) -> nn.Module:
    checkpoint = torch.load(path, weights_only=True)
    state = {name.lstrip("module."): value for name, value in checkpoint.items()}
    state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    model.load_state_dict(state, strict=False)
    return model


def whatever_fits(model: nn.Module, path: str) -> nn.Module:
    checkpoint = torch.load(path, weights_only=True)
    state = model.state_dict()
    for name, value in checkpoint.items():
        name = name.removeprefix("module.")
        if name in state and state[name].shape == value.shape:
            state[name] = value
    model.load_state_dict(state)
    return model


def parameters_only(model: nn.Module, path: str) -> nn.Module:
    checkpoint = torch.load(path, weights_only=True)
    checkpoint = {name.removeprefix("module."): value for name, value in checkpoint.items()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("fc."):
                parameter.copy_(checkpoint[name])
    return model


def always_cuts(model: nn.Module, path: str) -> nn.Module:
    checkpoint = torch.load(path, weights_only=True)
    state = {name[len("module.") :]: value for name, value in checkpoint.items()}
    state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    model.load_state_dict(state, strict=False)
    return model


def trusts_the_file(model: nn.Module, path: str) -> nn.Module:
    checkpoint = torch.load(path, weights_only=False)
    state = {name.removeprefix("module."): value for name, value in checkpoint.items()}
    for name, value in model.fc.state_dict().items():
        state[f"fc.{name}"] = value
    model.load_state_dict(state)
    return model


def observe(function: Any, seed: int) -> dict[str, Any]:
    unsafe: list[bool] = []
    real = torch.load

    def load(*args: Any, **options: Any) -> Any:
        unsafe.append(options.get("weights_only") is False)
        return real(*args, **options)

    seen: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case, prefix in PREFIXES.items():
            own, other = _num_classes(seed, case)
            source, model = _filled(other), _filled(own)
            path = Path(folder, f"{case}.pt")
            torch.save({prefix + name: t for name, t in source.state_dict().items()}, path)
            head = {name: t.clone() for name, t in model.fc.state_dict().items()}
            returned, refused = None, False
            try:
                with mock.patch.object(torch, "load", load):
                    returned = function(model, str(path))
            except RuntimeError as error:
                # Torch lists all the names; the verdict says what they have in common.
                refused = "loading state_dict" in str(error)
                if not refused:
                    raise
            seen[case] = _compare(returned, model, source, head) | {"refused": refused}
            if refused:
                compared = seen[case]
                compared["lacking"] = compared["wanted_parameters"] + compared["wanted_buffers"]
    return seen | {"loads": len(unsafe), "unsafe": any(unsafe)}


def _compare(
    returned: Any, model: nn.Module, source: nn.Module, head: dict[str, torch.Tensor]
) -> dict[str, Any]:
    is_model = isinstance(returned, nn.Module)
    now = (returned if is_model else model).state_dict()
    parameters = {name for name, _ in source.named_parameters()}
    # The number of batches only counts; older files do not have it.
    wanted = {
        name: value
        for name, value in source.state_dict().items()
        if not name.startswith("fc.") and not name.endswith("num_batches_tracked")
    }
    lacking = [n for n, value in wanted.items() if n not in now or not _equal(now[n], value)]
    old = source.fc.state_dict()
    return describe(returned) | {
        "is_model": is_model,
        "wanted_parameters": [name for name in wanted if name in parameters],
        "wanted_buffers": [name for name in wanted if name not in parameters],
        "lacking": lacking,
        "head_kept": all(f"fc.{n}" in now and _equal(now[f"fc.{n}"], head[n]) for n in head),
        "head_of_file": any(f"fc.{n}" in now and _equal(now[f"fc.{n}"], old[n]) for n in old),
    }


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    cases = [seen[case] for case in PREFIXES]
    parallel, plain = cases
    some = [_loaded(case) for case in cases]  # the names that were loaded
    none = [not loaded for loaded in some]
    parameters = [not set(case["lacking"]) & set(case["wanted_parameters"]) for case in cases]
    buffers = [not set(case["lacking"]) & set(case["wanted_buffers"]) for case in cases]
    wanted = len(parallel["wanted_parameters"]) + len(parallel["wanted_buffers"])
    eaten = "conv1.weight" in some[0] and not any(n.startswith("layer") for n in some[0])
    whole = all(parameters) and all(buffers)
    lacking = next((case["lacking"] for case in cases if case["lacking"]), [])
    kept = all(case["head_kept"] for case in cases)
    refused = [case["refused"] for case in cases]
    which = "the file with `module.`" if refused[0] else "the file without `module.`"
    return weigh(
        [
            Check(
                not any(refused),
                0,
                "names-do-not-fit",
                f"`load_state_dict` refused {which} with an error, and that is good: it tells that names or shapes "
                "do not fit. Compare the names of the file with those of the model, and mind that "
                "the heads may have other sizes.",
            ),
            Check(
                not all(none),
                0,
                "nothing-loaded",
                "The backbone holds none of the file's numbers. Read the file with `torch.load`, then hand "
                "its tensors to `model.load_state_dict`, under the names that the model has.",
            ),
            Check(
                not none[0] or none[1],
                0,
                "strict-false-finds-names",
                f"From the file with `module.` not one of {wanted} tensors was loaded, and no error told you. "
                "`strict=False` does not look for similar names: it leaves out what has another name. "
                "Take the prefix off, and let the loading be strict.",
            ),
            Check(
                not eaten,
                0,
                "lstrip-eats-letters",
                f"Only {len(some[0])} of {wanted} tensors were loaded; all of `layer1` to `layer4` lack. "
                '`lstrip("module.")` takes away every *letter* of that text, so `module.layer1` '
                "becomes `ayer1`. `removeprefix` takes away the text as a whole.",
            ),
            Check(
                not none[1] or none[0],
                0,
                "prefix-always-cut",
                "The file with `module.` was loaded, but nothing of the file without it: you cut the names "
                "even where there is no prefix, and they fit no longer. Cut only what begins with `module.`.",
            ),
            Check(
                all(parameters),
                1,
                "not-all-loaded",
                f"{len(lacking)} of {wanted} tensors of the backbone are not those of the file, "
                f"`{(lacking or ['-'])[0]}` first of all. Let the loading be strict: then an error names all that "
                "does not fit.",
                right="the weights are loaded",
            ),
            Check(
                not all(parameters) or all(buffers),
                0,
                "buffers-ignored",
                f"All weights are loaded, but {len(lacking)} buffers are not, `{(lacking or ['-'])[0]}` first of "
                "all. The running mean and variance of BatchNorm are no parameters, and in `eval()` mode "
                "the features depend on them. A state dict holds both.",
            ),
            Check(
                whole,
                2,
                "not-all-loaded",
                "Not all tensors of the backbone are those of the file.",
                right="weights and buffers are loaded",
            ),
            Check(
                kept or not any(case["head_of_file"] for case in cases),
                0,
                "loads-the-old-head",
                "The head now holds the numbers of the file's head. Its classes are others, even where "
                "it has as many outputs, so that the shapes fit. Leave out all names that begin with `fc.`.",
            ),
            Check(
                kept and not all(none),
                1,
                "head-not-kept",
                "The head is not the one that the model came with. Load the backbone and let `model.fc` be.",
                right="the head stayed",
            ),
            Check(
                not all(none) and not seen["unsafe"] and seen["loads"] > 0,
                1,
                "trusts-any-file",
                "You loaded the file of a stranger with `weights_only=False`. Such a file can run any program "
                "when it is read. Tensors need no more than `weights_only=True`, which is the default.",
                right="the file was loaded safely",
            ),
            Check(
                not all(none) and parallel["is_model"] and plain["is_model"],
                1,
                "model-not-returned",
                f"You returned a {parallel['type']}. Return the model. `load_state_dict` returns a list of names "
                "that did not fit, not the model.",
                right="the model is returned",
            ),
        ],
        praise="All weights and all BatchNorm buffers came from the file, with the prefix and without it; the "
        "head stayed. A strict loading would have told you of every name that does not fit.",
    )


def _loaded(case: dict[str, Any]) -> list[str]:
    lacking = set(case["lacking"])
    return [n for n in case["wanted_parameters"] + case["wanted_buffers"] if n not in lacking]


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.detach(), other.detach())


def _filled(num_classes: int) -> nn.Module:
    """Return a small ResNet in which no two tensors are alike, BatchNorm included."""
    model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    return model


def _num_classes(seed: int, case: str) -> tuple[int, int]:
    """Return the number of classes of the model and of the file; they may be equal by chance."""
    own = 3 + seed % 4
    return own, own if case == "plain" else own + 7


EXERCISE = Exercise(
    id="load-checkpoint",
    lesson=2,
    title="Load a checkpoint, all of it",
    points=4,
    prompt="""
Somebody gave you a checkpoint file of a ResNet: a dict of names and tensors, saved with `torch.save`. Write
`load_checkpoint(model, path)`: load it into the backbone of `model`, a ResNet of the same kind, and return
the model.

- The file may come from a model inside `nn.DataParallel`. Then each name begins with `module.`: the file has
  `module.conv1.weight`, the model has `conv1.weight`. Other files have no prefix.
- Load all weights and buffers of the backbone.
- Keep the head `model.fc` as it is. The file's head was trained for *other classes*, be they as many or not.
- You do not know who made the file: load it with `weights_only=True`.
""".strip(),
    hints=(
        "Print some names of the file and some of `model.state_dict()`. What must become of the first?",
        '`name.removeprefix("module.")` changes only a name that begins with `module.`.',
        "For a strict loading the dict needs all names: those of the backbone from the file, those of `fc` "
        "from `model.state_dict()`.",
    ),
    reference=load_checkpoint,
    mutants={
        "strict-false-finds-names": strict_false,
        "lstrip-eats-letters": lstrip_letters,
        "prefix-always-cut": always_cuts,
        "buffers-ignored": parameters_only,
        "loads-the-old-head": whatever_fits,
        "trusts-any-file": trusts_the_file,
    },
    visible_test="""
import pathlib
import tempfile
source = torchvision.models.resnet18(weights=None, num_classes=9)
model = torchvision.models.resnet18(weights=None, num_classes=2)
with tempfile.TemporaryDirectory() as folder:
    path = str(pathlib.Path(folder, "checkpoint.pt"))
    torch.save(nn.DataParallel(source).state_dict(), path)
    loaded = load_checkpoint(model, path)
assert isinstance(loaded, nn.Module), "load_checkpoint returned no model yet"
assert torch.equal(loaded.conv1.weight, source.conv1.weight), "conv1 is not the one of the file"
assert loaded.fc.out_features == 2, "expected the model's own head"
""".strip(),
    observer=observe,
    judger=judge,
)
