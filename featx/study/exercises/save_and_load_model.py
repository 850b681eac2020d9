"""Exercise: save a head with what belongs to it, and rebuild the model from the file."""

# A learner writes model.fc as it is; to the type checker a module has no such attribute.
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# The file is only looked into where it was written.
# pyright: reportOptionalSubscript=false

from __future__ import annotations

import builtins
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import nn

import featx
from featx.study.exercises import Exercise
from featx.study.verdicts import Check, Verdict, weigh

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "goat", "hen")
NUM_IMAGES = 6


def save_and_load(
    model: nn.Module, class_names: list[str], backbone_name: str, build, path: str
) -> tuple[nn.Module, list[str]]:
    """Save the head with the names, then rebuild from the file. Return (new model, class names).

    `build(backbone_name)` gives the pretrained model anew, with its old head `fc`, in train() mode.
    """
    ### BEGIN SOLUTION
    torch.save(
        {"backbone": backbone_name, "class_names": class_names, "head": model.fc.state_dict()}, path
    )
    saved = torch.load(path, weights_only=True)
    rebuilt = build(saved["backbone"])
    rebuilt.fc = nn.Linear(rebuilt.fc.in_features, len(saved["class_names"]))
    rebuilt.fc.load_state_dict(saved["head"])
    return rebuilt.eval(), saved["class_names"]
    ### END SOLUTION


def pickles_the_model(
    model: nn.Module, class_names: list[str], backbone_name: str, build, path: str
) -> tuple[nn.Module, list[str]]:
    torch.save({"model": model, "class_names": class_names, "backbone": backbone_name}, path)
    saved = torch.load(path, weights_only=False)
    return saved["model"].eval(), saved["class_names"]


def train_mode(
    model: nn.Module, class_names: list[str], backbone_name: str, build, path: str
) -> tuple[nn.Module, list[str]]:
    head = model.fc.state_dict()
    torch.save({"backbone": backbone_name, "class_names": class_names, "head": head}, path)
    saved = torch.load(path, weights_only=True)
    rebuilt = build(saved["backbone"])
    rebuilt.fc = nn.Linear(rebuilt.fc.in_features, len(saved["class_names"]))
    rebuilt.fc.load_state_dict(saved["head"])
    return rebuilt, saved["class_names"]


def names_not_saved(
    model: nn.Module, class_names: list[str], backbone_name: str, build, path: str
) -> tuple[nn.Module, list[str]]:
    torch.save(model.fc.state_dict(), path)
    rebuilt = build(backbone_name)
    rebuilt.fc = nn.Linear(rebuilt.fc.in_features, len(class_names))
    rebuilt.fc.load_state_dict(torch.load(path, weights_only=True))
    return rebuilt.eval(), class_names


def head_not_loaded(
    model: nn.Module, class_names: list[str], backbone_name: str, build, path: str
) -> tuple[nn.Module, list[str]]:
    head = model.fc.state_dict()
    torch.save({"backbone": backbone_name, "class_names": class_names, "head": head}, path)
    saved = torch.load(path, weights_only=True)
    rebuilt = build(saved["backbone"])
    rebuilt.fc = nn.Linear(rebuilt.fc.in_features, len(saved["class_names"]))
    return rebuilt.eval(), saved["class_names"]


def returns_the_same_model(
    model: nn.Module, class_names: list[str], backbone_name: str, build, path: str
) -> tuple[nn.Module, list[str]]:
    head = model.fc.state_dict()
    torch.save({"backbone": backbone_name, "class_names": class_names, "head": head}, path)
    saved = torch.load(path, weights_only=True)
    model.fc.load_state_dict(saved["head"])
    return model.eval(), saved["class_names"]


def saves_the_backbone(
    model: nn.Module, class_names: list[str], backbone_name: str, build, path: str
) -> tuple[nn.Module, list[str]]:
    weights = model.state_dict()
    torch.save({"backbone": backbone_name, "class_names": class_names, "weights": weights}, path)
    saved = torch.load(path, weights_only=True)
    rebuilt = build(saved["backbone"])
    rebuilt.fc = nn.Linear(rebuilt.fc.in_features, len(saved["class_names"]))
    rebuilt.load_state_dict(saved["weights"])
    return rebuilt.eval(), saved["class_names"]


def observe(function: Any, seed: int) -> dict[str, Any]:
    names, backbone_name = _inputs(seed)
    model = _build().eval()
    model.fc = nn.Linear(model.fc.in_features, len(names))
    images = torch.rand(NUM_IMAGES, *_image_shape())
    head = {key: value.clone() for key, value in model.fc.state_dict().items()}
    with torch.no_grad():
        expected = model(images)
    built: list[str] = []

    def build(name: str) -> nn.Module:
        built.append(str(name))
        return _build().train()

    unsafe: list[bool] = []
    read: list[bool] = []
    torch_load, open_file = torch.load, builtins.open

    def load(*args: Any, **options: Any) -> Any:
        unsafe.append(options.get("weights_only") is False)
        return torch_load(*args, **options)

    # A `load` that was imported by name is not replaced, but it opens the file like any other.
    def opened(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if "r" in mode and str(file) == str(path):
            read.append(True)
        return open_file(file, mode, *args, **options)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "head.pt")
        with mock.patch.object(torch, "load", load), mock.patch("builtins.open", opened):
            returned = function(model, list(names), backbone_name, build, str(path))
        seen: dict[str, Any] = {"type": type(returned).__name__, "built": built}
        seen["file"] = _describe_file(path, head, backbone_name, names)
    seen["loads"], seen["unsafe"] = len(read), any(unsafe)
    seen["is_model"] = False
    pair = isinstance(returned, tuple | list) and len(returned) == 2
    if pair and isinstance(returned[0], nn.Module):
        rebuilt = returned[0]
        old = {p.data_ptr() for p in model.parameters()}
        seen["is_model"] = True
        seen["shares"] = any(p.data_ptr() in old for p in rebuilt.parameters())
        seen["training"] = any(module.training for module in rebuilt.modules())
        with torch.no_grad():
            outputs = rebuilt.eval()(images)
        seen["shape"] = list(outputs.shape)
        seen["expected_shape"] = list(expected.shape)
        same = outputs.shape == expected.shape
        seen["equal"] = same and bool(torch.allclose(outputs, expected, atol=1e-4))
    if pair and isinstance(returned[1], list | tuple):
        seen["names"] = [str(name) for name in returned[1]]
    return seen


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    names, backbone_name = _inputs(seed)
    file = seen["file"]
    written = file is not None
    safe = written and file["safe"]
    head = safe and file["head"]
    labelled = safe and file["names"] and file["backbone"]
    lacks = [
        what
        for what, there in (
            ("the class names", safe and file["names"]),
            ("the name of the backbone", safe and file["backbone"]),
        )
        if not there
    ]
    model = seen["is_model"]
    fresh = written and model and not seen["shares"] and seen["loads"] > 0
    rebuilt = fresh and backbone_name in seen["built"]
    equal = fresh and seen["equal"]
    shapes = f"{tuple(seen.get('shape', ()))}, expected {tuple(seen.get('expected_shape', ()))}"
    return weigh(
        [
            Check(
                written,
                0,
                "nothing-saved",
                "There is no file at `path` afterwards. Save a dict of plain things with "
                "`torch.save(..., path)`.",
            ),
            Check(
                not written or (safe and not seen["unsafe"]),
                0,
                "pickles-the-model",
                "The file holds more than tensors and plain data, or you loaded it with "
                "`weights_only=False`. A pickled model breaks when its code changes, and loading one from a "
                "stranger can run any program. Save `state_dict()`, load with `weights_only=True`.",
            ),
            Check(
                head,
                1,
                "head-not-saved",
                "The file does not hold the weights and the bias of the trained head. The backbone can be "
                "had again; the head is the only thing that you trained: save `model.fc.state_dict()`.",
                right="the head is in the file",
            ),
            Check(
                labelled,
                1,
                "class-names-not-saved",
                f"The file lacks {' and '.join(lacks)}. Who finds the file in a year sees that class 0 won, "
                "and cannot say what class 0 is or which features the head was trained on.",
                right="the names are in the file",
            ),
            Check(
                head and not file["large"],
                1,
                "saves-the-backbone-too",
                f"The file holds {(file or {}).get('numbers', 0)} numbers, far more than the head. The "
                "backbone is frozen, so it is the same as its pretrained weights: its name is enough, and "
                "for a resnet50 that saves about 100 MB.",
                right="the file holds no backbone",
            ),
            Check(
                model,
                0,
                "model-not-returned",
                f"You returned a {seen['type']}. Expected a pair: the rebuilt model and the class names.",
            ),
            Check(
                not model or not seen["shares"],
                0,
                "returns-the-same-model",
                "The model that you returned shares its weights with the one that you were given, so "
                "this shows nothing about the file: tomorrow the old model is gone. Build a new one with "
                "`build(...)`.",
            ),
            Check(
                fresh and (not safe or rebuilt),
                0,
                "not-rebuilt-from-the-file",
                "The new model does not come from the file. Load it with `torch.load(path)`, call `build` "
                "with the saved name of the backbone, and put the saved head on.",
            ),
            Check(
                not fresh or seen["shape"] == seen["expected_shape"],
                0,
                "wrong-num-classes",
                f"The rebuilt model gives outputs of the shape {shapes}. Its head needs one output for each "
                "class name: make a new `nn.Linear` before you load the saved weights.",
            ),
            Check(
                equal and safe,
                2,
                "head-not-loaded",
                "The rebuilt model gives other outputs than the saved one. A new `nn.Linear` is random until "
                "the saved weights are loaded into it: `load_state_dict`.",
                right="the rebuilt model gives the same outputs",
            ),
            Check(
                equal and not seen["training"],
                1,
                "left-in-train-mode",
                "The rebuilt model is in `train()` mode, as `build` delivers it. Then BatchNorm uses the "
                "batch, and an answer depends on the other images. A model that is loaded to be used "
                "needs `eval()`.",
                right="it is in `eval()` mode",
            ),
            Check(
                equal and seen.get("names") == names,
                1,
                "class-names-not-returned",
                "The class names that you returned are not the saved ones. Their order is what gives "
                "the outputs a meaning.",
                right="the class names come back",
            ),
        ],
        praise="A small file with all that is needed: the head, the class names and the name of the backbone. "
        "It loads safely, and the rebuilt model gives the same outputs.",
    )


def _describe_file(
    path: Path, head: dict[str, torch.Tensor], backbone: str, names: list[str]
) -> dict[str, Any] | None:
    """Describe what is in the file, or return None when there is none."""
    if not path.is_file():
        return None
    try:
        parts = list(_parts(torch.load(path, weights_only=True)))
    except Exception:  # whatever is wrong with the file, it cannot be loaded safely
        return {"safe": False}
    tensors = [part for part in parts if isinstance(part, torch.Tensor)]
    size = sum(tensor.numel() for tensor in head.values())
    numbers = sum(tensor.numel() for tensor in tensors)
    return {
        "safe": True,
        "numbers": numbers,
        "large": numbers > 2 * size,
        "head": all(any(torch.equal(h, t) for t in tensors) for h in head.values()),
        "backbone": backbone in [part for part in parts if isinstance(part, str)],
        "names": all(name in [p for p in parts if isinstance(p, str)] for name in names),
    }


def _parts(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _parts(inner)
    elif isinstance(value, list | tuple | set):
        for inner in value:
            yield from _parts(inner)


def _build() -> nn.Module:
    return featx.load_backbone("glyphnet").model


def _image_shape() -> tuple[int, ...]:
    backbone = featx.load_backbone("glyphnet")
    return tuple(backbone.preprocess(featx.datasets.load_digits().images[:1]).shape[1:])


def _inputs(seed: int) -> tuple[list[str], str]:
    order = torch.randperm(len(NAMES), generator=torch.Generator().manual_seed(seed))
    names = sorted(NAMES[i] for i in order[: 3 + seed % 3].tolist())
    return names, f"glyphnet-{seed % 5}"


EXERCISE = Exercise(
    id="save-and-load-model",
    lesson=11,
    title="Save a head, and rebuild the model from the file",
    points=5,
    prompt="""
A frozen backbone with a trained head `model.fc` (an `nn.Linear`) shall be used again next year. Write
`save_and_load(model, class_names, backbone_name, build, path)`:

1. Save to `path` with `torch.save`: the weights of the head, the class names and the name of the backbone, and
   not the backbone's weights. The file must load with `weights_only=True`.
2. Rebuild a *new* model from this file: `build(name)` gives the pretrained model of that name, in `train()` mode
   and with its old head `fc`.
3. Return `(rebuilt model, class names)`. The model gives the same outputs as the saved one, and is ready to be
   used for predictions.
""".strip(),
    hints=(
        "`model.fc.state_dict()` is a dict of tensors. A dict that holds it and the names can be saved.",
        "`saved = torch.load(path, weights_only=True)`, then `build(saved['backbone'])` is the new model.",
        "Put a new `nn.Linear` of the right size on it, `load_state_dict`, and at the end `eval()`.",
    ),
    reference=save_and_load,
    mutants={
        "pickles-the-model": pickles_the_model,
        "class-names-not-saved": names_not_saved,
        "saves-the-backbone-too": saves_the_backbone,
        "returns-the-same-model": returns_the_same_model,
        "head-not-loaded": head_not_loaded,
        "left-in-train-mode": train_mode,
    },
    visible_test="""
import pathlib
import tempfile
def build(name):
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None)
model = build("resnet18").eval()
model.fc = nn.Linear(512, 2)
with tempfile.TemporaryDirectory() as folder:
    path = str(pathlib.Path(folder, "head.pt"))
    result = save_and_load(model, ["cat", "dog"], "resnet18", build, path)
    assert result is not None, "save_and_load returned nothing yet"
    assert pathlib.Path(path).is_file(), "expected a file at path"
rebuilt, class_names = result
images = torch.rand(2, 3, 64, 64)
assert torch.allclose(rebuilt(images), model(images), atol=1e-4), "expected the same outputs"
assert list(class_names) == ["cat", "dog"], f"expected the class names, got {class_names}"
""".strip(),
    observer=observe,
    judger=judge,
)
