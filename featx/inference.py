"""A frozen model made fast: lower precision, memory layout, folded BatchNorm, compilation.

Each way to be faster is tried on some images first, beside the model as it is. What raises, or gives other
features, is not taken, and the next simpler way is tried.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.flop_counter import FlopCounterMode

from featx.heads import find_heads, remove_head
from featx.layers import FEATURES, LayerReader
from featx.machine import bfloat16_instructions, free_memory, has_compiler
from featx.wording import named_line

__all__ = ["PRECISIONS", "Forward", "Settings", "choose", "forward", "same_features"]

#: Features ``(N, D)`` of each layer, of preprocessed images ``(N, C, H, W)``.
Forward = Callable[[torch.Tensor], dict[str, torch.Tensor]]

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

#: Jobs of fewer images, or operations, are done before any trial pays: that takes as long as a dozen images.
WORTH_TRYING = 32, 2e10

#: A model with fewer operations an image is quick as it is (GlyphNet has 5e7, ResNet-18 4e9) ...
LIGHT = 1e8

#: ... up to this many operations.
WORTH_TRYING_LIGHT = 2e11

#: Operations from which compiling, half a minute or more, pays for itself.
WORTH_COMPILING = {"cpu": 5e13, "cuda": 5e15}

#: The cosine that each row must reach in a trial. The promise is 0.999; the trial has a few images only.
COSINE = 0.9995

#: How large the error may be beside the differences between images: a hundredth of their variance.
ERROR = 0.1


@dataclass(frozen=True)
class Settings:
    """How a model is run.

    Attributes
    ----------
    precision : str
        ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    weights_too : bool
        Whether the weights themselves have that precision; else autocast decides operation by operation.
    channels_last : bool
        Whether the channels of a pixel lie side by side in memory.
    folded : bool
        Whether each BatchNorm is folded into the convolution before it.
    compiled : bool
        Whether the model went through `torch.compile`.
    """

    precision: str = "float32"
    weights_too: bool = False
    channels_last: bool = False
    folded: bool = False
    compiled: bool = False

    @property
    def as_it_is(self) -> bool:
        """Whether the model itself is run, not a copy that was changed."""
        return not (self.weights_too or self.channels_last or self.folded or self.compiled)

    def __str__(self) -> str:
        how = [self.precision + (" weights" if self.weights_too else "")]
        how += ["channels_last"] if self.channels_last else []
        how += ["BatchNorm folded"] if self.folded else []
        how += ["compiled"] if self.compiled else []
        return ", ".join(how)


def choose(
    reader: LayerReader,
    x: torch.Tensor,
    *,
    precision: str = "auto",
    count: int | None = None,
    keep: bool = False,
    compile: bool | str = "auto",
) -> tuple[Settings, list[str]]:
    """Find the fastest settings that this machine offers and that give the same features.

    Parameters
    ----------
    reader
        Of the backbone as it is, on its device and in eval mode.
    x
        Some preprocessed images, on that device: two to eight, as different as the data is.
    precision
        What the user asked for. ``"auto"``: bfloat16 where there are instructions for it, else float32.
    count
        How many images there are; None where nobody knows.
    keep
        Whether the features are kept for other runs: then the precision does not depend on `count`.
    compile
        ``"auto"``: where it pays.

    Returns
    -------
    settings : Settings
        The same for the same machine, model, images and options: no clock is asked.
    notes : list of str
        What was not taken, and why: a sentence each.
    """
    plain = Settings("float32" if precision == "auto" else precision)
    device = x.device
    if device.type not in ("cpu", "cuda"):
        return plain, []
    operations, convolutional = _operations(reader, x[:1])
    total = 0 if count is None else operations * count
    light = operations < LIGHT
    images, least = (0, WORTH_TRYING_LIGHT) if light else WORTH_TRYING
    small = light if keep or count is None else count < images or total < least
    if small and compile is not True:
        return plain, []
    notes: list[str] = []
    instructions = bfloat16_instructions(device)
    wanted = plain.precision
    if precision == "auto":
        wanted = "bfloat16" if instructions else "float32"
        if not instructions:
            notes.append(f"float32: this {_named(device)} has no instructions for bfloat16.")
    best = Settings(
        wanted,
        weights_too=wanted == "bfloat16" and not convolutional,
        channels_last=convolutional,
        folded=any(isinstance(m, nn.BatchNorm2d) for m in reader.backbone.model.modules()),
    )
    if not best.as_it_is and _size(reader.backbone.model) > free_memory(device) / 4:
        notes.append("The model is run as it is: there is no memory for a copy of it.")
        best = Settings(wanted)
    # who asks for a precision gets its rounding, and nothing else
    reference = forward(reader, Settings() if precision == "auto" else plain)(x)
    for settings in _from_fast_to_plain(best, plain):
        if settings == plain:
            return plain, notes
        problem = _problem(reader, settings, x, reference)
        if not problem:
            break
        notes.append(f"Not {settings}: {problem}.")
    if compile is False:
        return settings, notes
    pays = convolutional and instructions in ("AMX", "GPU")
    if compile is True or (pays and total >= WORTH_COMPILING[device.type]):
        problem = _cannot_compile(reader, device)
        if not problem:
            return replace(settings, compiled=True), notes
        notes.append(f"Not compiled: {problem}.")
    return settings, notes


def forward(
    reader: LayerReader,
    settings: Settings,
    batch_size: int = 1,
    tell: Callable[[str], None] = lambda note: None,
) -> Forward:
    """Return the forward pass of a backbone with these settings; the backbone's own model is not changed.

    Parameters
    ----------
    reader
        Of the backbone as it is, on its device and in eval mode.
    settings
        From `choose`.
    batch_size
        For a compiled model, which is made for one size: smaller batches are filled up.
    tell
        Is told, in a sentence, when compiling fails; the model is run without, then.

    Returns
    -------
    Forward
        To be called in inference mode. Its features have the precision of the settings.
    """
    dtype = PRECISIONS[settings.precision]
    layout = torch.channels_last if settings.channels_last else torch.preserve_format
    weights = dtype if settings.weights_too else None
    if not settings.as_it_is:
        reader = reader.on(_copy(reader, settings))
    run = _compiled(reader, batch_size, tell) if settings.compiled else reader

    def with_settings(x: torch.Tensor) -> dict[str, torch.Tensor]:
        with _autocast(x.device, dtype, enabled=not settings.weights_too):
            return run(x.to(weights or x.dtype, memory_format=layout))

    return with_settings


def same_features(rows: dict[str, torch.Tensor], reference: dict[str, torch.Tensor]) -> str:
    """Say how the features of some images differ from what they should be.

    Parameters
    ----------
    rows, reference
        Layer -> ``(N, D)``.

    Returns
    -------
    str
        A phrase; empty where they are the same but for rounding that no probe will notice: a cosine of at
        least `COSINE` for each row, and an error that is small beside what tells the images apart.
    """
    for layer, right in reference.items():
        a, b = (each.double().cpu().numpy() for each in (rows[layer], right))
        for what, each in (("would not be", a), ("is not", b)):
            if not np.isfinite(each).all():
                return f"{layer} {what} finite"
        lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        product = lengths[0] * lengths[1]
        cosine = (a * b).sum(1) / np.where(product > 0, product, 1)
        cosine[(lengths[0] == 0) & (lengths[1] == 0)] = 1  # no direction is no difference
        if cosine.min() < COSINE:
            return f"{layer} would differ (cosine {cosine.min():.4f})"
        spread, error = (np.linalg.norm(each - each.mean(0)) for each in (b, a - b))
        if not spread and (a != b).any():
            return (
                f"the images tried do not differ in {layer}, so nobody can tell what rounding does"
            )
        if error > ERROR * spread:
            return f"the images differ so little in {layer} that rounding would be {error / spread:.0%} of it"
    return ""


# --- one after the other --------------------------------------------------------------------------


def _operations(reader: LayerReader, x: torch.Tensor) -> tuple[float, bool]:
    """Count the model's floating-point operations for `x`; say whether most are those of convolutions.

    It is no run that anybody should see: the modules are copied, without hooks, and share their weights.
    """
    model = reader.backbone.model
    weights = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    bare = copy.deepcopy(model, weights)
    for module in bare.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    with FlopCounterMode(display=False) as counter:
        reader.on(bare)(x)
    total = counter.get_total_flops()
    kinds = counter.get_flop_counts().get("Global", {})
    in_convolutions = sum(n for kind, n in kinds.items() if "convolution" in str(kind))
    return float(total), in_convolutions > total / 2


def _from_fast_to_plain(best: Settings, plain: Settings) -> Iterator[Settings]:
    """Yield settings, each simpler than the one before; `plain` is last."""
    autocast = replace(best, weights_too=False)
    seen = [best, autocast, replace(autocast, folded=False), Settings(best.precision)]
    if best.precision != plain.precision:
        seen += [replace(best, precision=plain.precision, weights_too=False)]
    yield from dict.fromkeys([*seen, plain])


def _problem(
    reader: LayerReader,
    settings: Settings,
    x: torch.Tensor,
    reference: dict[str, torch.Tensor],
) -> str:
    """Try settings; say what is wrong with them."""
    try:
        return same_features(forward(reader, settings)(x), reference)
    except Exception as error:  # a model of the user's own may raise anything
        return f"the model raises {named_line(error, 80)}"


def _cannot_compile(reader: LayerReader, device: torch.device) -> str:
    if not has_compiler(device):
        return "torch.compile finds no C++ compiler (install g++)"
    backbone = reader.backbone
    if reader.names != [FEATURES] or reader.from_map or backbone.layer not in (FEATURES, ""):
        return "only the features of the last layer come out of a compiled model"
    return ""


def _named(device: torch.device) -> str:
    return "GPU" if device.type == "cuda" else "processor"


# --- the changed copy -----------------------------------------------------------------------------


def _copy(reader: LayerReader, settings: Settings) -> nn.Module:
    model = copy.deepcopy(reader.backbone.model)
    if settings.folded:
        _fold(model, keep=reader.read)
    if settings.weights_too:
        model = model.to(PRECISIONS[settings.precision])
    return model.to(memory_format=torch.channels_last) if settings.channels_last else model


def _fold(model: nn.Module, keep: set[str]) -> None:
    """Fold each BatchNorm into the convolution before it, where nothing else reads that one's output.

    In eval mode a BatchNorm is a fixed factor and shift for each channel, and so is part of the convolution:
    see torch.nn.utils.fusion. The layers keep their names, so that their outputs can still be read.
    """
    graph = fx.symbolic_trace(model).graph  # tells who reads whose output
    modules = dict(model.named_modules())
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    for node in graph.nodes:
        if node.op != "call_module" or type(modules.get(node.target)) is not nn.BatchNorm2d:
            continue
        before = node.args[0]
        name = getattr(before, "target", None)
        if (
            isinstance(name, str)
            and before.op == "call_module"
            and type(modules[name]) is nn.Conv2d
            and len(before.users) == 1
            and not any(_within(name, each) > _within(node.target, each) for each in keep)
            and name not in keep
            and not _has_hooks(modules[name], modules[node.target])
            and calls.count(name) == calls.count(node.target) == 1
        ):
            conv: Any = modules[name]
            norm: Any = modules[node.target]
            if norm.running_mean is not None:
                model.set_submodule(name, fuse_conv_bn_eval(conv, norm))
                model.set_submodule(node.target, nn.Identity())


def _within(name: str, other: str) -> bool:
    return not other or name.startswith(f"{other}.")


def _has_hooks(*modules: nn.Module) -> bool:
    """Say whether anybody looks at, or changes, what goes in or comes out."""
    return any(each._forward_hooks or each._forward_pre_hooks for each in modules)


def _compiled(reader: LayerReader, batch_size: int, tell: Callable[[str], None]) -> Forward:
    """Compile the copy without its head: hooks, which read layers else, do not go through the compiler."""
    (name,) = reader.names
    headless = copy.deepcopy(reader.backbone.model)
    if find_heads(headless):
        remove_head(headless)
    # "freezing" makes constants of the weights, laid out as the processor likes them
    model: Any = torch.compile(headless, dynamic=False, options={"freezing": True})
    works: list[bool] = []

    def filled_up(x: torch.Tensor) -> dict[str, torch.Tensor]:
        missing = batch_size - len(x)
        full = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])]) if missing > 0 else x
        return {name: model(full).flatten(1)[: len(x)]}

    def features(x: torch.Tensor) -> dict[str, torch.Tensor]:
        if works == [False]:
            return reader(x)
        if works:
            try:
                return filled_up(x)
            except Exception as error:  # another size of images, or too little memory
                works[0] = False
                tell(f"Compiled no longer: {named_line(error, 80)}")
                return reader(x)
        eager = reader(x)
        try:
            compiled = filled_up(x)
            problem = same_features(compiled, eager)
        except Exception as error:  # compilers fail in many ways
            problem = f"torch.compile raises {named_line(error, 80)}"
        works.append(not problem)
        if problem:
            tell(f"Not compiled: {problem.rstrip('.')}.")
        return eager if problem else compiled

    return features


def _size(model: nn.Module) -> int:
    return sum(t.numel() * t.element_size() for t in model.state_dict().values())


def _autocast(
    device: torch.device, dtype: torch.dtype, enabled: bool
) -> AbstractContextManager[Any]:
    if dtype == torch.float32 or not enabled:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)
