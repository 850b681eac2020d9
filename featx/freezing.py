"""A freeze that holds, unfreeze by stage, and the proof that nothing moved.

``requires_grad = False`` alone keeps the parameters still. It does not keep a backbone still: in
``train()`` mode BatchNorm goes on updating its running statistics, and Dropout and stochastic depth
go on drawing random numbers. `freeze` pins all of it, through every later ``model.train()``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from html import escape
from math import isfinite
from numbers import Real
from reprlib import repr as repr_shortly
from typing import Any

import torch
from torch import nn

from featx.errors import FeatxError
from featx.heads import find_heads
from featx.modules import bits_of, check_module, check_sizes
from featx.stages import Stage, stage_names, stages
from featx.tables import Table, in_columns, table_html
from featx.wording import close_matches, counted

__all__ = [
    "FreezeReport",
    "StageRow",
    "assert_frozen",
    "freeze",
    "freeze_report",
    "param_groups",
    "unfreeze",
]


def freeze(model: nn.Module, except_: Iterable[str] = ("head",)) -> nn.Module:
    """Freeze `model` but for the parts named in `except_`.

    A frozen part has no gradients and stays in eval mode, also after ``model.train()``: neither its
    parameters nor its buffers (BatchNorm's running statistics) change, and Dropout and stochastic
    depth in it do nothing.

    Parameters
    ----------
    model
        Any module, changed in place.
    except_
        Names of parts to leave as they are. ``"head"`` is the part of that name; in a model without
        one, and in timm's, it stands for the classification head of whatever architecture this is.
        Pass ``()`` to freeze everything.

    Returns
    -------
    torch.nn.Module
        The same model, for chaining.

    Raises
    ------
    FeatxError
        When a name is not a part of the model; the message lists close matches.

    Notes
    -----
    Stale gradients are dropped (``p.grad = None``): an optimizer with momentum would otherwise go on
    moving a parameter that was frozen in the middle of training.

    What is pinned are the frozen modules. Code in the forward method of a module that contains a
    kept part, such as ``F.dropout(x, training=self.training)`` right before the head, follows
    ``model.train()``.

    Where `featx.heads.find_heads` looks for the head, it is one layer: the one that gives the class
    scores. Name a head of several layers by its stage: ``except_=["fc"]``.

    Call it again after anything that swaps modules, such as ``convert_sync_batchnorm``, and after
    ``model.train()`` where the model's own ``train`` writes ``training`` into the modules inside it:
    both make modules that are not pinned. `freeze_report` shows them.

    Examples
    --------
    >>> from torchvision.models import resnet18
    >>> model = freeze(resnet18(weights=None))
    >>> [name for name, p in model.named_parameters() if p.requires_grad]
    ['fc.weight', 'fc.bias']
    >>> model.train().bn1.training                 # pinned: its running statistics stay
    False
    """
    check_module(model)
    if isinstance(except_, (str, nn.Module)):  # a Sequential is iterable, and one part all the same
        except_ = [except_]  # pyright: ignore[reportAssignmentType]
    if not isinstance(except_, Iterable):
        raise FeatxError(
            f"Expected names of parts, got {except_!r}. Pass () to freeze everything, or leave it out to "
            "keep the head."
        )
    wanted = list(except_)
    if not _head(model):  # the head was removed: all that is left is backbone
        wanted = [name for name in wanted if name != "head"]
    kept = [part for name in wanted for part in _resolve(model, name)]
    left = {module for part in kept for module in part.modules()}
    for module in model.modules():
        if module in left:
            continue
        if not _contains(module, kept):
            _pin(module)
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad = False
            parameter.grad = None
    return model


def unfreeze(model: nn.Module, *names: str) -> nn.Module:
    """Give the named parts of `model`, or all of it, back to training.

    Parameters
    ----------
    model
        A module that `freeze` has been called on, changed in place.
    *names
        Parts to unfreeze, for example ``"layer4"`` or ``"head"``. Without any: everything.

    Returns
    -------
    torch.nn.Module
        The same model, for chaining. Each module takes the mode that ``train()`` or ``eval()`` last
        asked of it. Where a module has a ``train`` method of its own, which does more, that runs at
        the next ``model.train()``.

    Raises
    ------
    FeatxError
        When a name is not a part of the model; the message lists close matches.

    Notes
    -----
    It says what is, it does not undo: every parameter of the named parts requires gradients
    afterwards, also one that was frozen by hand before `freeze` was called.

    Examples
    --------
    >>> from torchvision.models import resnet18
    >>> model = unfreeze(freeze(resnet18(weights=None)), "layer4")
    >>> sorted({name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad})
    ['fc', 'layer4']
    """
    check_module(model)
    parts = [part for name in names for part in _resolve(model, name)] if names else [model]
    inside = {module for part in parts for module in part.modules()}
    for module in model.modules():
        if module in inside or _contains(module, parts):
            _unpin(module)
    for part in parts:
        for parameter in part.parameters():
            if parameter.is_floating_point() or parameter.is_complex():  # others have no gradient
                parameter.requires_grad = True
    return model


@contextmanager
def assert_frozen(model: nn.Module) -> Iterator[None]:
    """Check that the code in the ``with`` block moves nothing that is frozen.

    Frozen is each parameter that does not require gradients, and each buffer of a part whose
    parameters are all frozen.

    Parameters
    ----------
    model
        The model that the block trains.

    Raises
    ------
    FeatxError
        At the start, when nothing is frozen, or a parameter has no size yet (a lazy module's); at the
        end, when a frozen parameter or buffer is not bit-identical to what it was. The message names
        what moved, and why. An exception of the block's own passes through.

    Examples
    --------
    >>> import torch
    >>> from torchvision.models import resnet18
    >>> model = resnet18(weights=None).requires_grad_(False).train()
    >>> with assert_frozen(model):
    ...     _ = model(torch.rand(2, 3, 32, 32))
    Traceback (most recent call last):
        ...
    featx.errors.FeatxError: 60 frozen tensors moved, bn1.running_mean first: ...
    """
    check_sizes(model)
    frozen = dict(_frozen_tensors(model))
    if not frozen:
        raise FeatxError(
            f"Expected a model with frozen parts, got a {type(model).__name__} where every "
            "parameter requires gradients. Call featx.freeze(model) first."
        )
    # A tensor on the meta device has no numbers that could move.
    before = {name: t.detach().clone() for name, t in frozen.items() if not t.is_meta}
    yield
    after = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    moved = [name for name, old in before.items() if not _same_bits(old, after.get(name))]
    if moved:
        raise FeatxError(
            f"{counted(len(moved), 'frozen tensor')} moved, {moved[0]} first: "
            f"{_why_moved(model, moved, before[moved[0]])}"
        )


def _why_moved(model: nn.Module, moved: list[str], old: torch.Tensor) -> str:
    """Say what changed the first of the `moved` tensors, `old` before, and what to do about it."""
    name = moved[0]
    path, _, own_name = name.rpartition(".")
    owner = dict(model.named_modules()).get(path)
    new = None if owner is None else getattr(owner, own_name, None)
    if not isinstance(new, torch.Tensor):
        return "the model does not have it any more. Change the model before this block."
    for what in ("dtype", "shape", "layout", *(["device"] if new.is_meta else [])):
        was, now = (_written(getattr(tensor, what)) for tensor in (old, new))
        if was != now:
            return f"its {what} was {was} and is {now}. Convert the model before this block."
    if isinstance(new, nn.Parameter):
        return (
            "an optimizer with stale gradients, or code that writes to it, has changed it. "
            "featx.freeze(model) drops stale gradients."
        )
    # The count shows a pass in train mode also where the mode is back at eval by now.
    has_counted = f"{path}.num_batches_tracked".lstrip(".") in moved
    if owner is not None and _drifts(owner) and (owner.training or has_counted):
        return (
            "BatchNorm updates its running statistics in train() mode, whatever requires_grad says. "
            "featx.freeze(model) pins them."
        )
    return (
        f"code that writes to it has changed it, perhaps the forward of {path or 'the model'} itself "
        f"({type(owner).__name__}). No mode stops that: take the write out, or train that part."
    )


def _written(value: Any) -> str:
    return str(tuple(value) if isinstance(value, torch.Size) else value).removeprefix("torch.")


@dataclass(frozen=True)
class StageRow:
    """One line of a `FreezeReport`.

    Attributes
    ----------
    stage : str
        Its name, as `unfreeze` takes it.
    parameters : int
        How many numbers its parameters hold.
    trainable : int
        How many of them require gradients.
    batchnorm : str
        ``"pinned"``, ``"eval"``, ``"train"`` (several joined by ``+``), or ``"-"`` without any.
    optimizer : str
        Whether the optimizer holds its parameters: ``"yes"``, ``"part"``, ``"no"``, or ``"-"``
        when no optimizer was given.
    """

    stage: str
    parameters: int
    trainable: int
    batchnorm: str
    optimizer: str


@dataclass(frozen=True)
class FreezeReport:
    """What `freeze_report` returns: it prints as a table, and shows as one in a notebook.

    Attributes
    ----------
    rows : list of StageRow
        One for each stage, from stem to head.
    warnings : list of str
        What will not do what it looks like. Empty when all is well.

    Examples
    --------
    >>> import featx
    >>> report = freeze_report(freeze(featx.load_backbone("glyphnet").model))
    >>> [row.stage for row in report.rows if row.trainable], report.warnings
    (['fc'], [])
    """

    rows: list[StageRow]
    warnings: list[str]

    @property
    def text(self) -> str:
        """The table and the warnings as plain text."""
        table = in_columns([_COLUMNS, *self._cells()], right=_NUMBERS)
        return "\n".join([*table, *(f"warning: {warning}" for warning in self.warnings)])

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = Table("What is frozen, stage by stage", _COLUMNS, self._cells())
        warnings = "".join(f"<li>Warning: {escape(warning)}</li>" for warning in self.warnings)
        return table_html(table) + (f"<ul>{warnings}</ul>" if warnings else "")

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (
                row.stage or "(model)",
                f"{row.parameters:,}",
                f"{row.trainable:,}",
                row.batchnorm,
                row.optimizer,
            )
            for row in self.rows
        ]


_COLUMNS = ("stage", "parameters", "trainable", "BatchNorm", "in optimizer")
_NUMBERS = (1, 2)  # columns that are aligned to the right


def freeze_report(model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> FreezeReport:
    """Show what is frozen, stage by stage, and warn of what only looks frozen or trained.

    Parameters
    ----------
    model
        Any module; nothing in it is changed.
    optimizer
        The optimizer that is to train it.

    Returns
    -------
    FreezeReport
        ``.rows``, ``.warnings`` and ``.text``.

    Raises
    ------
    FeatxError
        When a parameter has no size yet (a lazy module's).

    Notes
    -----
    An optimizer skips a parameter whose ``grad`` is None, so to hold a frozen one does no harm by
    itself. With a gradient left over from before, even one of zeros, ``step()`` moves it: momentum
    and weight decay do not ask for ``requires_grad``.

    Examples
    --------
    >>> from torchvision.models import resnet18
    >>> model = freeze(resnet18(weights=None))
    >>> freeze_report(model, torch.optim.SGD(model.fc.parameters(), lr=0.1))
    stage   parameters  trainable  BatchNorm  in optimizer
    conv1        9,408          0  -          no
    bn1            128          0  pinned     no
    layer1     147,968          0  pinned     no
    layer2     525,568          0  pinned     no
    layer3   2,099,712          0  pinned     no
    layer4   8,393,728          0  pinned     no
    fc         513,000    513,000  -          yes
    """
    check_sizes(model)
    held = None if optimizer is None else _held(optimizer)
    rows = [_row(model, stage, held) for stage in stages(model)]
    warnings = [*_nothing_to_train(model), *_mistaken_flags(model), *_live_modules(model)]
    if held is not None:
        warnings = [*_optimizer_warnings(model, held), *warnings]
    return FreezeReport(rows, warnings)


def _nothing_to_train(model: nn.Module) -> Iterator[str]:
    parameters = list(model.parameters())
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        yield (
            "nothing is trainable, so training changes nothing. To train a part, name it: "
            'featx.unfreeze(model, "head"), or a stage in place of "head".'
        )


def _held(optimizer: torch.optim.Optimizer) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def _row(model: nn.Module, stage: Stage, held: set[int] | None) -> StageRow:
    parameters = list(stage.parameters.values())
    states = {_batchnorm_state(m) for m in model.get_submodule(stage.name).modules() if _drifts(m)}
    inside = None if held is None else [id(parameter) in held for parameter in parameters]
    return StageRow(
        stage.name,
        parameters=sum(p.numel() for p in parameters),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        batchnorm="+".join(sorted(states)) or "-",
        optimizer="-" if not inside else "yes" if all(inside) else "part" if any(inside) else "no",
    )


def _drifts(module: nn.Module) -> bool:
    """Say whether `module` has running statistics that a forward pass in train mode changes."""
    statistics = getattr(module, "running_mean", None)
    return isinstance(module, nn.modules.batchnorm._NormBase) and statistics is not None


def _batchnorm_state(module: nn.Module) -> str:
    # A module can be pinned and in train mode: code that writes `training` goes past train().
    return "train" if module.training else "pinned" if _is_pinned(module) else "eval"


def _optimizer_warnings(model: nn.Module, held: set[int]) -> Iterator[str]:
    named = dict(model.named_parameters())
    frozen = [name for name, p in named.items() if not p.requires_grad and id(p) in held]
    stale = [name for name in frozen if named[name].grad is not None]
    missed = [name for name, p in named.items() if p.requires_grad and id(p) not in held]
    strangers = len(held - {id(p) for p in named.values()})
    if stale:
        yield (
            f"this optimizer holds {_count(stale, 'frozen parameter')} with a stale gradient: the next "
            "step() moves it. featx.freeze(model) drops stale gradients."
        )
    elif frozen:
        yield (
            f"this optimizer holds {_count(frozen, 'frozen parameter')}. It skips what has no "
            "gradient, but a stale one lets momentum and weight decay move it. Make the optimizer of "
            "featx.param_groups(model), which leaves frozen parameters out."
        )
    if missed:
        advice = (
            f"It holds {strangers} that the model does not have: make it after the head is replaced."
            if strangers
            else "Make a new optimizer of featx.param_groups(model)."
        )
        yield (
            f"this optimizer does not hold {_count(missed, 'trainable parameter')}: it will not change "
            f"{'it' if len(missed) == 1 else 'them'}. {advice}"
        )


def _mistaken_flags(model: nn.Module) -> Iterator[str]:
    for name, module in model.named_modules():
        if "requires_grad" in vars(module):
            if module.requires_grad:
                part = f'(model, "{name}")' if name else "(model)"
                advice = f"Say featx.unfreeze{part}."
            else:
                part = name or "model"
                advice = f"Say {part}.requires_grad_(False), or featx.freeze(model)."
            yield (
                f"{name or 'the model'}.requires_grad = {module.requires_grad} was set on a module, "
                f"where it does nothing. {advice}"
            )


def _live_modules(model: nn.Module) -> Iterator[str]:
    frozen = list(_frozen_modules(model))
    norms = [(path, module) for path, module in frozen if _drifts(module)]
    in_train = [path for path, module in norms if module.training]
    in_eval = [path for path, m in norms if not m.training and not _is_pinned(m)]
    random = [path for path, module in frozen if module.training and _is_random(module)]
    if in_train:
        overridden = any(_is_pinned(module) and module.training for _, module in norms)
        advice = (
            "This model's own code sets the modes: call featx.freeze(model) after each model.train()."
            if overridden
            else "featx.freeze(model) pins them."
        )
        yield (
            f"{_count(in_train, 'frozen BatchNorm')} in train mode: the next forward pass changes its "
            f"running statistics. {advice}"
        )
    if in_eval:
        yield (
            f"{_count(in_eval, 'frozen BatchNorm')} in eval mode, but not pinned: the next "
            "model.train() undoes it. featx.freeze(model) pins them."
        )
    if random:
        yield (
            f"{_count(random, 'live random layer')}, such as dropout, in a frozen part: its features "
            "change from pass to pass. featx.freeze(model) pins it."
        )


# What libraries call the rate: PyTorch p and dropout, torchvision p and drop_rate (DenseNet), timm
# prob and drop_prob.
_RATES = ("p", "prob", "drop_prob", "dropout", "drop_rate")


def _is_random(module: nn.Module) -> bool:
    """Say whether `module` draws at random in train mode, as Dropout and attention do.

    Such a module holds its rate. A number above 1 is none: the p of a generalised mean is a power.
    """
    rates = [vars(module).get(name) for name in _RATES]
    return isinstance(module, nn.RReLU) or any(_is_rate(rate) for rate in rates)


def _is_rate(value: Any) -> bool:
    return _is_number(value) and 0 < value <= 1


def _count(names: list[str], what: str) -> str:
    return f"{counted(len(names), what)} ({names[0]} first)"


def param_groups(model: nn.Module, lr: float = 1e-3, decay: float = 0.5) -> list[dict[str, Any]]:
    """Make parameter groups with discriminative learning rates, the head's the fastest.

    The head learns with `lr`, and each stage before it `decay` times as fast as the one behind it:
    early stages hold what is general, and need the least change (Howard and Ruder 2018, ULMFiT,
    section 3.2). A normalisation, such as a ResNet's ``bn1``, is no step of its own: it learns as fast as
    the stage that it follows.

    Parameters
    ----------
    model
        The model to train, some of its parts frozen or none.
    lr
        The head's learning rate, greater than 0.
    decay
        The factor from one stage to the one before it, greater than 0 and at most 1.

    Returns
    -------
    list of dict
        ``{"name", "params", "lr"}``, in the order of the stages and the head last, wherever the
        model registers it: the argument of any `torch.optim` optimizer.
        Frozen parameters are left out; a shared one is in the first stage that has it.

    Raises
    ------
    FeatxError
        When `lr` or `decay` is out of range, nothing is trainable, or a parameter has no size yet (a
        lazy module's).

    Examples
    --------
    >>> from torchvision.models import resnet18
    >>> model = unfreeze(freeze(resnet18(weights=None)), "layer4")
    >>> groups = param_groups(model, lr=0.01)
    >>> [(group["name"], group["lr"]) for group in groups]
    [('layer4', 0.005), ('fc', 0.01)]
    >>> optimizer = torch.optim.AdamW(groups)
    """
    if not _is_number(lr) or not lr > 0:
        raise FeatxError(f"Expected lr to be a number above 0, got {lr!r}. Try 0.001.")
    if not _is_number(decay) or not 0 < decay <= 1:
        raise FeatxError(f"Expected decay to be above 0 and at most 1, got {decay!r}. Try 0.5.")
    lr, decay = float(lr), float(decay)  # NumPy's would not load again with weights_only=True
    check_sizes(model)
    parts = sorted(stages(model), key=lambda stage: stage.is_head)
    body = [stage for stage in parts if not stage.is_head]
    steps = 1 if len(body) < len(parts) else 0  # without a head the last stage is the fastest
    distance = {}
    for stage in reversed(body):
        distance[stage.name] = steps
        steps += not _is_norm(stage)
    groups = []
    for stage in parts:
        trainable = [p for p in stage.parameters.values() if p.requires_grad]
        if trainable:
            rate = lr * decay ** distance.get(stage.name, 0)
            groups.append({"name": stage.name, "params": trainable, "lr": rate})
    if not groups:
        raise FeatxError(
            f"Expected a model with trainable parameters, got a {type(model).__name__} where all are "
            "frozen. Replace its head, or call featx.unfreeze(model, …)."
        )
    return groups


def _is_norm(stage: Stage) -> bool:
    return all(parameter.ndim <= 1 for parameter in stage.parameters.values())


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)


def _resolve(model: nn.Module, name: str) -> list[nn.Module]:
    """Return the parts of `model` that `name` stands for, at least one."""
    known = dict(model.named_modules(remove_duplicate=False))
    if not isinstance(name, str):
        raise FeatxError(f"Expected the name of a part, got {_no_name(name, known)}")
    names = _head(model) if name == "head" else []
    if not names and name and name in known:
        names = [name]
    if names:
        return [known[name] for name in names]
    kind = type(model).__name__
    if name == "head":
        raise FeatxError(
            f"Expected a model that has its head, got a {kind} without one. Load it again, or name "
            f"a stage: {', '.join(stage_names(model)) or 'there is none'}."
        )
    raise FeatxError(
        f"Expected the name of a part of this {kind}, got {name!r}. "
        f"{close_matches(name, [part for part in known if part])}"
    )


def _no_name(given: Any, known: dict[str, nn.Module]) -> str:
    """Say what was given in the place of a name, and what its name is."""
    if not isinstance(given, nn.Module):  # reprlib: a tensor or a list of a hundred names is long
        return f"{repr_shortly(given)}. {close_matches('', [part for part in known if part])}"
    name = next((name for name, module in known.items() if module is given), None)
    if name == "":
        return "the model itself. Write featx.unfreeze(model) for all of it."
    kind = type(given).__name__
    if name is None:
        return f"a {kind}. {close_matches('', [part for part in known if part])}"
    return f'a {kind}. Say "{name}".'


def _head(model: nn.Module) -> list[str]:
    """Return the names that "head" stands for; none, when the model has no head (any more).

    A model that answers ``get_classifier()`` knows best: timm's ConvNeXt has a part named head, in
    which the classifier comes behind a normalisation that belongs to the backbone.
    """
    part = dict(model.named_modules(remove_duplicate=False)).get("head")
    own = part is not None and any(True for _ in part.parameters())
    asked = callable(getattr(model, "get_classifier", None))
    return ["head"] if own and not asked else find_heads(model)


def _contains(module: nn.Module, parts: list[nn.Module]) -> bool:
    """Say whether one of `parts` is in `module`, under whatever name."""
    inside = set(module.modules())
    return any(part in inside for part in parts)


def _pin(module: nn.Module) -> None:
    if _is_pinned(module):
        # Code that writes `training`, past train(), has asked for that mode as well.
        vars(module)["train"].args[1]["training"] |= module.training
    else:
        asked = {"training": module.training}
        # An instance attribute shadows the method that `model.train()` calls on each child. Unlike a
        # subclass or a closure, a partial of a plain function survives deepcopy and torch.save.
        module.train = partial(_stay_in_eval, module, asked)  # pyright: ignore[reportAttributeAccessIssue]
    module.training = (
        False  # not eval(): what is inside is pinned by itself, and notes its own mode
    )


def _unpin(module: nn.Module) -> None:
    if _is_pinned(module):
        module.training = vars(module).pop("train").args[1]["training"]


def _is_pinned(module: nn.Module) -> bool:
    return getattr(vars(module).get("train"), "func", None) is _stay_in_eval


def _stay_in_eval(module: nn.Module, asked: dict[str, bool], mode: bool = True) -> nn.Module:
    """Stand in for ``module.train``: the mode is noted for `unfreeze`, and passed on to children."""
    asked["training"] = mode
    for child in module.children():
        child.train(mode)
    return module


def _frozen_tensors(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            yield name, parameter
    for path, module in _frozen_modules(model):
        yield from module.named_buffers(prefix=path, recurse=False)


def _frozen_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield each module that is pinned, or whose parameters are all frozen.

    A module without parameters (Dropout, BatchNorm without affine) is as frozen as what holds it.
    """
    frozen: dict[str, bool] = {"": False}
    for path, module in model.named_modules():  # what contains a module comes before it
        parameters = list(module.parameters())
        around = frozen[path.rpartition(".")[0]]
        still = not any(p.requires_grad for p in parameters) if parameters else around
        frozen[path] = still or _is_pinned(module)
        if frozen[path]:
            yield path, module


def _same_bits(old: torch.Tensor, new: torch.Tensor | None) -> bool:
    if new is None or (new.shape, new.dtype, new.layout) != (old.shape, old.dtype, old.layout):
        return False
    return not new.is_meta and torch.equal(bits_of(old), bits_of(new.to(old.device)))
