"""Exercise: load a model together with the preprocessing that belongs to its weights."""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models import Weights, WeightsEnum
from torchvision.models.resnet import BasicBlock, ResNet
from torchvision.transforms._presets import ImageClassification

from featx.study.exercises import Exercise
from featx.study.exercises._observing import fingerprints
from featx.study.exercises._plain import array_described
from featx.study.verdicts import Check, Verdict, weigh


def _weights(crop: int, resize: int, shift: float) -> Weights:
    mean, std = (0.5 + shift, 0.45, 0.4 - shift), (0.25 - shift, 0.25, 0.25 + shift)
    made = partial(ImageClassification, crop_size=crop, resize_size=resize, mean=mean, std=std)
    return Weights(url=f"file:///{crop}", transforms=made, meta={"num_classes": 5})


class _TinyWeights(WeightsEnum):
    """Weights that are made on the spot: nothing is downloaded."""

    ONE = _weights(32, 40, 0.02)
    TWO = _weights(48, 48, 0.04)
    THREE = _weights(40, 64, 0.06)
    FOUR = _weights(56, 60, 0.08)
    DEFAULT = FOUR

    def get_state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:
        offset = int(self.url.split("/")[-1]) / 1000
        return {k: v + offset if v.is_floating_point() else v for k, v in _state().items()}


@cache
def _state() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5).state_dict()


def load_with_transforms(builder, weights) -> tuple:
    """Return (model, preprocess): the pretrained model in eval() mode, and its own preprocessing.

    Used for example as `load_with_transforms(resnet50, ResNet50_Weights.IMAGENET1K_V2)`.
    """
    ### BEGIN SOLUTION
    return builder(weights=weights).eval(), weights.transforms()
    ### END SOLUTION


def imagenet_transforms(builder, weights) -> tuple:
    from torchvision import transforms

    steps = [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
    return builder(weights=weights).eval(), transforms.Compose(steps)


def transforms_not_called(builder, weights) -> tuple:
    return builder(weights=weights).eval(), weights.transforms


def transforms_of_default(builder, weights) -> tuple:
    return builder(weights=weights).eval(), type(weights).DEFAULT.transforms()


def weights_not_loaded(builder, weights) -> tuple:
    return builder().eval(), weights.transforms()


def default_weights(builder, weights) -> tuple:
    return builder(weights="DEFAULT").eval(), weights.transforms()


def left_in_train_mode(builder, weights) -> tuple:
    return builder(weights=weights), weights.transforms()


def observe(function: Any, seed: int) -> dict[str, Any]:
    photo = _photo(seed)
    made = {weights.name: _prints(weights) for weights in _TinyWeights}
    cases = []
    for weights in _asked(seed):
        returned = function(_tiny_resnet, weights)
        seen: dict[str, Any] = {"type": type(returned).__name__, "pair": False}
        if isinstance(returned, tuple | list) and len(returned) == 2:
            model, preprocess = returned
            seen["pair"] = isinstance(model, nn.Module) and callable(preprocess)
        if seen["pair"]:
            model, preprocess = returned
            prints = fingerprints(model)
            seen["loaded"] = next((name for name, known in made.items() if known == prints), None)
            seen["training"] = any(module.training for module in model.modules())
            seen["factory"] = isinstance(preprocess, partial | type)
            seen["gives"], seen["same_as"], seen["said"] = {}, None, ""
            try:
                image = preprocess(photo.copy())
            except Exception as error:  # the learner's preprocessing fails: that is what is judged
                seen["said"] = f"{type(error).__name__}"
            else:
                seen["gives"] = array_described(image) | {"values": None}
                seen["same_as"] = next(
                    (w.name for w in _TinyWeights if _equal(w, photo, image)), ""
                )
        cases.append(seen)
    return {"cases": cases}


def judge(seen: dict[str, Any], seed: int) -> Verdict:
    cases = seen["cases"]
    asked = [weights.name for weights in _asked(seed)]
    pair = all(case["pair"] for case in cases)
    loaded = [case.get("loaded") for case in cases]
    right_model = pair and loaded == asked
    factory = any(case.get("factory", False) for case in cases)
    same_as = [case.get("same_as") for case in cases]
    own = pair and same_as == asked
    shapes = [case.get("gives", {}).get("shape") for case in cases]
    got = " and ".join(str(tuple(shape)) if shape else "no image" for shape in shapes)
    expected = " and ".join(
        f"(3, {c}, {c})" for c in (w.transforms().crop_size[0] for w in _asked(seed))
    )
    return weigh(
        [
            Check(
                pair,
                0,
                "not-a-model-and-a-function",
                f"You returned a {cases[0]['type']}. Expected two things, `(model, preprocess)`: a "
                "module, and something to call with an image.",
            ),
            Check(
                any(name is not None for name in loaded) or not pair,
                0,
                "weights-not-loaded",
                "The model has random weights: it was built, but nothing was loaded. Without "
                "`weights=...` a torchvision builder gives an untrained model, and says nothing.",
            ),
            Check(
                right_model,
                2,
                "default-weights",
                "The model is pretrained, but with other weights than the ones that were asked for. "
                "`DEFAULT` is one version among several; give the builder the argument `weights`.",
                right="the model has the weights that were asked for",
            ),
            Check(
                not factory,
                0,
                "transforms-not-called",
                "`preprocess` is not the preprocessing yet, but what makes it: `weights.transforms` is a "
                "factory. Call it, `weights.transforms()`, and return what you get.",
            ),
            Check(
                own or not all(same_as),
                0,
                "transforms-of-other-weights",
                f"Your preprocessing belongs to another version of the weights: it gives {got}, expected "
                f"{expected}. Versions of the same architecture were trained on other sizes; take the "
                "transforms of the very weights that the model has.",
            ),
            Check(
                own,
                2,
                "imagenet-transforms",
                f"Your preprocessing gives {got}; these weights ask for {expected} and have a mean and "
                "std of their own. Sizes and numbers copied from a tutorial fit *its* weights: ask the "
                "weights instead.",
                right="the preprocessing is the one of these weights",
            ),
            Check(
                right_model and not any(case["training"] for case in cases),
                1,
                "left-in-train-mode",
                "The model is in `train()` mode, as torchvision's builders deliver it. Features would "
                "depend on the other images of a batch: call `eval()` before you return it.",
                right="the model is in eval() mode",
            ),
        ],
        praise="Weights, model and preprocessing come from one place, so they fit whatever weights you "
        "choose next. And the model is in `eval()` mode, ready to extract.",
    )


def _tiny_resnet(weights: Any = None, progress: bool = True, **options: Any) -> nn.Module:
    """Build a small ResNet the way torchvision's builders do."""
    weights = _TinyWeights.verify(weights)
    num_classes = options.get("num_classes", 5)
    if weights is None:
        return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes)
    with torch.device("meta"):  # no random weights only to be replaced
        model = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=num_classes)
    state = weights.get_state_dict(progress=progress, check_hash=True)
    model.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
    return model.requires_grad_()


def _prints(weights: _TinyWeights) -> dict[str, str]:
    return fingerprints(_tiny_resnet(weights))


def _equal(weights: _TinyWeights, photo: Image.Image, image: Any) -> bool:
    expected = weights.transforms()(photo)
    image = torch.as_tensor(image) if isinstance(image, np.ndarray) else image
    if not isinstance(image, torch.Tensor):
        return False
    if image.shape == (1, *expected.shape):  # a batch of one image
        image = image[0]
    return image.shape == expected.shape and torch.allclose(image.float(), expected, atol=1e-3)


def _asked(seed: int) -> list[_TinyWeights]:
    some = [_TinyWeights.ONE, _TinyWeights.TWO, _TinyWeights.THREE]
    return [some[seed % 3], some[(seed + 1) % 3]]


def _photo(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


EXERCISE = Exercise(
    id="weights-with-transforms",
    lesson=2,
    title="A model and the preprocessing of its weights",
    points=4,
    prompt="""
Write `load_with_transforms(builder, weights)`. `builder` builds a model, as `torchvision.models.resnet50`
does. `weights` is a member of a torchvision weights enum, such as `ResNet50_Weights.IMAGENET1K_V2`. Return
`(model, preprocess)`:

* the model with these weights, in `eval()` mode;
* the preprocessing that belongs to these weights: `preprocess(image)` of a PIL image gives what the model
  takes.

It must be right for any weights, whatever size, mean and std they need.
""".strip(),
    hints=(
        "Look at `torchvision.models.ResNet50_Weights.IMAGENET1K_V2`: what does it carry besides a URL?",
        "`weights.transforms` makes the preprocessing when you call it.",
        "`builder(weights=weights)` loads the weights. In which mode is the model then?",
    ),
    reference=load_with_transforms,
    mutants={
        "imagenet-transforms": imagenet_transforms,
        "transforms-not-called": transforms_not_called,
        "transforms-of-other-weights": transforms_of_default,
        "weights-not-loaded": weights_not_loaded,
        "default-weights": default_weights,
        "left-in-train-mode": left_in_train_mode,
    },
    visible_test="""
def build(weights=None):  # stands in for a builder, so that nothing is downloaded
    return torchvision.models.resnet18(weights=None)

loaded = load_with_transforms(build, torchvision.models.ResNet18_Weights.IMAGENET1K_V1)
assert loaded is not None and len(loaded) == 2, "expected two things: the model and its preprocessing"
model, preprocess = loaded
assert isinstance(model, nn.Module), "the first one should be the model"
assert preprocess(torch.rand(3, 300, 400)).shape == (3, 224, 224), "expected an image of 224 x 224"
""".strip(),
    observer=observe,
    judger=judge,
)
