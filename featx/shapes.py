"""Shapes: what each layer gives out, without touching the model, and checks that explain themselves."""

from __future__ import annotations

import math
import random
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from html import escape
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import nn
from torch.jit._trace import TopLevelTracedModule
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from featx.errors import FeatxError, close_matches

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ShapeRow", "ShapeTrace", "check_shape", "trace_shapes"]

T = TypeVar("T")

#: A tensor's shape, or where a module returns several tensors, lists and dicts of shapes; None for
#: None, and the name of its type for anything else.
Shape = Any


@dataclass(frozen=True)
class ShapeRow:
    """One call of one module.

    Attributes
    ----------
    name : str
        Its dotted name, as in ``model.get_submodule(name)``; empty for the model itself.
    type : str
        The name of its class.
    shape : tuple of int, list, dict, str or None
        What it returned: a tensor's shape, lists and dicts of shapes for nested outputs, None for
        None, and the name of its type for anything else.
    parameters : int
        Numbers in the module's own parameters. Those of its children stand in their rows, and what
        is shared or called again counts once.
    trainable : int
        How many of them require gradients.
    mode : str
        "train" or "eval", as the module is now; the trace itself runs in eval mode.
    depth : int
        How deep in calls of other modules it was called; 0 for the model itself.
    call : int
        1 for the module's first call, 2 for its second.
    """

    name: str
    type: str
    shape: Shape
    parameters: int
    trainable: int
    mode: str
    depth: int
    call: int


@dataclass(frozen=True, repr=False)
class ShapeTrace:
    """The shapes that one batch takes on its way through a model; `trace_shapes` makes it.

    ``trace["layer4"]`` and ``trace[3]`` are rows, ``for row in trace`` goes through all of them, and
    ``print(trace)`` shows the table.

    Attributes
    ----------
    rows : tuple of ShapeRow
        A row for each call, in the order in which the calls began.
    input_shape : tuple of int, list or dict
        The shape of what the model was given.
    parameters, trainable : int
        Numbers in all parameters of the model, each counted once, and how many require gradients.
    not_called : tuple of str
        Modules with parameters of their own that were not called: left out in eval mode (auxiliary
        heads), used directly by their parent (attention's ``out_proj``), or not in use.
    """

    rows: tuple[ShapeRow, ...]
    input_shape: Shape
    parameters: int
    trainable: int
    not_called: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[ShapeRow]:
        return iter(self.rows)

    def __getitem__(self, which: str | int) -> ShapeRow:
        if isinstance(which, int):
            return self.rows[which]
        for row in self.rows:
            if row.name == which:
                return row
        if which in self.not_called:
            raise FeatxError(
                f"Expected a module that was called, got {which!r}: this model's forward does not call "
                "it in eval mode, so it has no output shape."
            )
        names = [row.name for row in self.rows if row.name]
        raise FeatxError(
            f"Expected the name of a module that was called, got {which!r}. "
            f"{close_matches(str(which), names)}"
        )

    def stages(self) -> list[tuple[str, tuple[int, ...]]]:
        """Sum the trace up in a few steps, as a picture of it needs them.

        A module that does nearly all of the calls is a container: its children take its place, and
        so do those of the largest ones while there are fewer than six steps. Then a single layer
        that keeps the shape (ReLU, Dropout) joins the step before it, and equal modules in a row (a
        transformer's blocks) become one step.

        Returns
        -------
        list of (str, tuple of int)
            The names of the modules in a step, and the shape of the first tensor that it returns.
            The input is the first step, where it is a tensor.

        Examples
        --------
        >>> from featx.glyphnet import GlyphNet
        >>> for name, shape in trace_shapes(GlyphNet(), (1, 1, 32, 32)).stages()[:4]:
        ...     print(name, shape)
        input (1, 1, 32, 32)
        conv1, bn1, relu (1, 32, 16, 16)
        layer1 (1, 32, 16, 16)
        layer2 (1, 64, 8, 8)
        """
        below = [self._below(i) for i in range(len(self.rows))]
        steps = self._children(0) or [0]
        while below[big := max(steps, key=below.__getitem__)] > 1 and (
            len(steps) < 6 or below[big] >= 0.9 * below[0]
        ):
            at = steps.index(big)
            steps[at : at + 1] = self._children(big)
        drawn = [("input", False, _first_shape(self.input_shape), "")]
        for i in steps:
            row, shape = self.rows[i], _first_shape(self.rows[i].shape)
            if shape:
                drawn.append((row.name or row.type, below[i] > 0, shape, row.type))
        merged: list[tuple[list[str], tuple[int, ...]]] = []
        for (inner, shape, _), same in groupby(drawn, key=lambda step: step[1:]):
            names = [name for name, *_ in same]
            if inner and len(names) > 1:
                names = [f"{names[0]} … {names[-1].rpartition('.')[2]}"]
            if not inner and merged and shape == merged[-1][1] and merged[-1][0] != ["input"]:
                merged[-1][0].extend(names)
            elif shape:
                merged.append((names, shape))
        return [(_shorten(names), shape) for names, shape in merged]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the steps as a stream of shapes.

        Parameters
        ----------
        ax
            Where to draw; by default a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            `featx.plots.alt_text` says it in words.
        """
        from featx.plots import plot_shapes  # matplotlib loads only for who wants a picture

        return plot_shapes(self, ax)

    def _below(self, i: int) -> int:
        """Count the calls that the call of row `i` made, at any depth."""
        rest = self.rows[i + 1 :]
        return next((k for k, row in enumerate(rest) if row.depth <= self.rows[i].depth), len(rest))

    def _children(self, i: int) -> list[int]:
        deeper = range(i + 1, i + 1 + self._below(i))
        return [k for k in deeper if self.rows[k].depth == self.rows[i].depth + 1]

    def _cells(self) -> Iterator[tuple[ShapeRow, tuple[str, ...]]]:
        """Give each row as text; a name is relative to the call it was made in."""
        path: list[str] = []
        for row in self.rows:
            del path[row.depth :]
            parent = next((name for name in reversed(path) if name), "")
            label = row.name.removeprefix(f"{parent}.") if parent else row.name
            path.append(row.name)
            again = f" (call {row.call})" if row.call > 1 else ""
            yield (
                row,
                (
                    (label or row.type) + again,
                    row.type,
                    str(row.shape),
                    f"{row.parameters:,}" if row.parameters else "",
                    _share(row.trainable, row.parameters),
                    row.mode,
                ),
            )

    def _summary(self) -> list[str]:
        lines = [
            f"Input {self.input_shape}; {self.parameters:,} parameters, {self.trainable:,} trainable."
        ]
        if self.not_called:
            shown = ", ".join(self.not_called[:3]) + (", …" if len(self.not_called) > 3 else "")
            lines.append(f"Not called, or used directly by the module around it: {shown}.")
        return lines

    def __str__(self) -> str:
        table = [_HEADER]
        table += [("  " * row.depth + cells[0], *cells[1:]) for row, cells in self._cells()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if k == _NUMBER else cell.ljust(width)
                for k, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in table
        ]
        lines.insert(1, "-" * max(map(len, lines)))
        return "\n".join([*lines, lines[1], *self._summary()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f"<th scope='col'>{name}</th>" for name in _HEADER)
        body = "".join(
            f"<tr><th scope='row' style='text-align:left;padding-left:{row.depth + 0.5}em'>"
            f"{escape(cells[0])}</th>"
            + "".join(
                f"<td style='text-align:{'right' if k == _NUMBER else 'left'}'>{escape(cell)}</td>"
                for k, cell in enumerate(cells[1:], start=1)
            )
            + "</tr>"
            for row, cells in self._cells()
        )
        name = escape(self.rows[0].type if self.rows else "")
        summary = "".join(f"<p>{escape(line)}</p>" for line in self._summary())
        return (
            f"<table><caption>Shapes in {name}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>{summary}"
        )


_HEADER = ("module", "type", "output shape", "parameters", "trainable", "mode")
_NUMBER = 3  # the column of numbers, set to the right


def trace_shapes(
    model: nn.Module | Any, data: Any, *, device: str | torch.device | None = None
) -> ShapeTrace:
    """Send one batch through `model` and write down the shape that each module returns.

    The forward pass runs in eval mode and without gradients, and leaves the model as it was, also
    when it fails: modes (of frozen modules, too), buffers, attributes, hooks, gradients, and the
    random states of PyTorch, NumPy and Python.

    Parameters
    ----------
    model
        Any module, or a backbone (its ``model`` is traced).
    data
        The shape of one batch, such as ``(4, 3, 224, 224)``: zeros of the model's dtype go through.
        Or a real batch: a tensor, a tuple of tensors (positional arguments) or a dict (keyword
        arguments). It is not changed.
    device
        Where to compute, by default where the model is. The model itself is not moved: copies of its
        weights are. On ``"meta"`` nothing is computed and no memory is needed, which suits large
        models. A real batch is moved only when a device is named.

    Returns
    -------
    ShapeTrace
        A row for each call of a module. ``print`` it, show it in a notebook, or ``.plot()`` it.

    Raises
    ------
    FeatxError
        When the model cannot take the batch. The message says which layer refused it, what it
        expected, what it got and the likely cause.

    Examples
    --------
    >>> from torchvision.models import resnet18
    >>> model = resnet18(weights=None)
    >>> trace = trace_shapes(model, (4, 3, 224, 224))
    >>> trace["layer4"].shape, trace["fc"].shape, trace["fc"].parameters
    ((4, 512, 7, 7), (4, 1000), 513000)
    >>> model.training                      # as before; the trace itself ran in eval mode
    True
    >>> trace_shapes(model, (4, 1, 224, 224))
    Traceback (most recent call last):
        ...
    featx.errors.FeatxError: conv1 (Conv2d) expected 3 channels, got 1 in an input of (4, 1, 224, 224).
    These are grayscale images: x.expand(-1, 3, -1, -1) makes 3 equal channels.
    """
    model = model if isinstance(model, nn.Module) else getattr(model, "model", model)
    if not isinstance(model, nn.Module):
        raise FeatxError(
            f"Expected an nn.Module or a backbone, got {type(model).__name__}. Load one with "
            'featx.load_backbone("resnet18", weights=None).'
        )
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    if not _takes_hooks(model):
        raise FeatxError(
            "Expected a model in Python, got one compiled by torch.jit.script, which shows nothing of its "
            "layers. Trace the model that it was made from."
        )
    lazy = [name for name, p in model.named_parameters() if nn.parameter.is_lazy(p)]
    if lazy:
        raise FeatxError(
            f"Expected a model whose parameters have a size, but {lazy[0]} gets its size from the first "
            "batch. Run the model once before."
        )
    args, kwargs = _batch(model, data, _device(device))
    where = _device(device) or _home(model)
    modes = {module: "train" if module.training else "eval" for module in model.modules()}
    recorder = _Recorder(model)
    with _as_it_was(model, where), recorder.listening(), torch.no_grad():
        try:
            _forward(model, args, kwargs, None if device is None else where)
        except Exception as error:
            culprit = recorder.culprit(error)
            raise FeatxError(_explain(culprit, error, recorder.calls, args, kwargs)) from error
    return recorder.trace(modes, _shape_of(data if _is_batch(data) else args[0]))


def check_shape(x: T, spec: str | Sequence[int | str | None]) -> T:
    """Return `x` when it has the shape that `spec` describes, and explain the difference when not.

    Parameters
    ----------
    x
        A tensor, an array, a list of numbers, or anything with a ``shape``.
    spec
        Sizes and names, apart by spaces: ``"batch 512"``, ``"batch 3 height width"``, ``"... 512"``.
        A name fits any size, but the same size each time; ``...`` fits any number of dimensions. Or
        a tuple, where None fits any size: ``(None, 512)``.

    Returns
    -------
    same as x
        `x` itself, so that the check can stand inside an expression.

    Raises
    ------
    FeatxError
        When the shape differs; the message says what was expected, what came, and where one step
        mends it, which. Also when `spec` cannot be read.

    Examples
    --------
    >>> import torch
    >>> check_shape(torch.zeros(4, 512), "batch 512").shape
    torch.Size([4, 512])
    >>> check_shape(torch.zeros(4, 512, 7, 7), "batch 512")
    Traceback (most recent call last):
        ...
    featx.errors.FeatxError: Expected the shape (batch, 512), got (4, 512, 7, 7). This is a feature map;
    pool it: x.mean((2, 3))
    """
    dims = _read_spec(spec)
    shape = _sizes(x)
    if _fits(shape, dims):
        return x
    written = f"({', '.join('any' if d is None else str(d) for d in dims)}{',' * (len(dims) == 1)})"
    way_out = _way_out(shape, dims, x) or _clash(shape, dims)
    raise FeatxError(f"Expected the shape {written}, got {shape}. {way_out}".rstrip())


# --- the forward pass, and the model as it was -----------------------------------------------------


@dataclass(eq=False)
class _Call:
    """One call while it is being recorded."""

    name: str
    module: nn.Module
    args: tuple
    kwargs: dict
    depth: int
    number: int
    shape: Shape = None


@dataclass(eq=False)
class _Recorder:
    """Writes down each call of each module of `model`, and which one an exception came from."""

    model: nn.Module
    calls: list[_Call] = field(default_factory=list)
    running: list[_Call] = field(default_factory=list)
    failed: _Call | None = None
    failed_with: BaseException | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        names = {module: name for name, module in self.model.named_modules()}
        counts = dict.fromkeys(names, 0)

        def begin(module: nn.Module, args: tuple, kwargs: dict) -> None:
            counts[module] += 1
            call = _Call(names[module], module, args, kwargs, len(self.running), counts[module])
            self.calls.append(call)
            self.running.append(call)

        def end(module: nn.Module, args: tuple, output: Any) -> None:
            call = self.running.pop()
            call.shape = _shape_of(output)
            # `always_call` hooks run while the exception is on its way out, innermost module first.
            error = sys.exception()
            if error is not None and error is not outer and error is not self.failed_with:
                self.failed, self.failed_with = call, error

        outer = sys.exception()
        with ExitStack() as stack:
            for module in filter(_takes_hooks, names):
                for handle in (
                    module.register_forward_pre_hook(begin, prepend=True, with_kwargs=True),
                    module.register_forward_hook(end, always_call=True),
                ):
                    stack.callback(handle.remove)
            yield

    def culprit(self, error: BaseException) -> _Call:
        """Return the innermost call that `error` came out of."""
        if self.failed is not None and self.failed_with is error:
            return self.failed
        return self.calls[0] if self.calls else _Call("", self.model, (), {}, 0, 1)

    def trace(self, modes: Mapping[nn.Module, str], input_shape: Shape) -> ShapeTrace:
        seen: set[int] = set()
        rows = []
        for call in self.calls:
            own = [p for p in call.module.parameters(recurse=False) if id(p) not in seen]
            seen.update(map(id, own))
            rows.append(
                ShapeRow(
                    call.name,
                    type(call.module).__name__,
                    call.shape,
                    sum(p.numel() for p in own),
                    sum(p.numel() for p in own if p.requires_grad),
                    modes[call.module],
                    call.depth,
                    call.number,
                )
            )
        called = {call.module for call in self.calls}
        every = list(self.model.parameters())
        return ShapeTrace(
            tuple(rows),
            input_shape,
            sum(p.numel() for p in every),
            sum(p.numel() for p in every if p.requires_grad),
            tuple(
                name
                for name, module in self.model.named_modules()
                if module not in called and any(True for _ in module.parameters(recurse=False))
            ),
        )


def _forward(model: nn.Module, args: tuple, kwargs: dict, device: torch.device | None) -> None:
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:  # compiled parts run eagerly, so that hooks see them
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if device is None or _home(model) == device:
            model(*args, **kwargs)
        else:
            tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
            moved = {name: tensor.to(device) for name, tensor in tensors.items()}
            torch.func.functional_call(model, moved, args, kwargs)


@contextmanager
def _as_it_was(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put `model` in eval mode, and leave it and the random states as they were found."""
    modules = list(model.modules())
    modes = [module.training for module in modules]
    attributes = [_remember(vars(module)) for module in modules]
    tensors = [
        (tensor, tensor.detach().clone())
        for module in modules
        for tensor in [*module.buffers(recurse=False), *vars(module).values()]
        if isinstance(tensor, torch.Tensor) and _has_bits(tensor)
    ]
    with _random_states(device):
        try:
            for module in modules:
                # Not module.eval(): on a pinned module (featx.freeze) or one that overrides train()
                # that does more, or less, than to set the flag.
                module.training = False
            yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode  # a scripted module keeps it outside its attributes
            for restore in attributes:
                restore()
            for tensor, before in tensors:
                if not torch.equal(_bits(tensor), _bits(before)):
                    with torch.no_grad():
                        tensor.copy_(before)


def _remember(attributes: dict[str, Any]) -> Callable[[], None]:
    """Return what brings `attributes`, and the dicts and lists in them, back to this moment."""
    before = dict(attributes)
    inner = [(value, value.copy()) for value in before.values() if type(value) in _CONTAINERS]

    def restore() -> None:
        attributes.clear()
        attributes.update(before)
        for container, contents in inner:
            container.clear()
            (container.extend if isinstance(container, list) else container.update)(contents)

    return restore


# Hooks, parameters, buffers and children are dicts of a module; users keep outputs in lists.
_CONTAINERS = (dict, list, set, type(nn.Module()._forward_hooks))


@contextmanager
def _random_states(device: torch.device) -> Iterator[None]:
    on_cuda = torch.cuda.is_initialized() or device.type == "cuda"
    devices = range(torch.cuda.device_count()) if on_cuda else []
    other = torch.mps if device.type == "mps" else None
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one
    state = other.get_rng_state() if other else None
    with torch.random.fork_rng(devices, device_type="cuda"):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
            if other and state is not None:
                other.set_rng_state(state)


def _takes_hooks(module: nn.Module) -> bool:
    # A scripted module has these methods only to refuse them.
    scripted = isinstance(module, torch.jit.ScriptModule)
    return not scripted or isinstance(module, TopLevelTracedModule)


def _has_bits(tensor: torch.Tensor) -> bool:
    return (
        tensor.layout is torch.strided and not tensor.is_meta and not tensor.is_quantized
    ) and not isinstance(tensor, nn.Parameter)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().reshape(-1).view(torch.uint8)


def _device(device: str | torch.device | None) -> torch.device | None:
    if device is None:
        return None
    try:
        device = torch.device(device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise FeatxError(
            f'Expected a device of this machine, such as "cpu" or "meta", got {device!r}: '
            f"{_first_line(error)}"
        ) from error
    return torch.empty(0, device=device).device  # "cuda" is "cuda:0"


def _home(model: nn.Module) -> torch.device:
    tensor = next(chain(model.parameters(), model.buffers()), None)
    return torch.get_default_device() if tensor is None else tensor.device


def _is_batch(data: Any) -> bool:
    return isinstance(data, (torch.Tensor, Mapping)) or any(
        isinstance(item, torch.Tensor) for item in _items(data)
    )


def _items(data: Any) -> Iterable[Any]:
    return data if isinstance(data, (tuple, list)) else ()


def _batch(model: nn.Module, data: Any, device: torch.device | None) -> tuple[tuple, dict]:
    """Return what to call `model` with: copies, as a layer may write into what it is given."""
    if _is_batch(data):
        if isinstance(data, Mapping):
            return (), {str(key): _copied(value, device) for key, value in data.items()}
        items = [data] if isinstance(data, torch.Tensor) else data
        return tuple(_copied(item, device) for item in items), {}
    sizes = list(_items(data))
    if not sizes or not all(type(n) is int and n > 0 for n in sizes):
        raise FeatxError(
            "Expected the shape of a batch, such as (4, 3, 224, 224), or a batch: a tensor, or a tuple "
            f"or dict of tensors; got {_describe(data)}."
        )
    # An embedding takes indices, everything else takes numbers.
    first = next(
        (m for m in model.modules() if any(True for _ in m.parameters(recurse=False))), None
    )
    if isinstance(first, (nn.Embedding, nn.EmbeddingBag)):
        dtype = torch.int64
    else:
        floats = (p.dtype for p in model.parameters() if p.is_floating_point() or p.is_complex())
        dtype = next(floats, torch.get_default_dtype())
    return (torch.zeros(sizes, dtype=dtype, device=device or _home(model)),), {}


def _describe(data: Any) -> str:
    if isinstance(data, np.ndarray):
        return "a NumPy array; make it a tensor with torch.from_numpy(x)"
    return repr(data) if len(repr(data)) < 60 else type(data).__name__


def _copied(value: Any, device: torch.device | None) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone().to(device or value.device)
    if type(value) in (tuple, list):
        return type(value)(_copied(item, device) for item in value)
    if type(value) is dict:
        return {key: _copied(item, device) for key, item in value.items()}
    return value


def _shape_of(output: Any) -> Shape:
    if isinstance(output, torch.Tensor):
        return tuple(output.shape)
    if hasattr(output, "_asdict"):  # a namedtuple, such as GoogLeNet's outputs
        output = output._asdict()
    if isinstance(output, Mapping):
        return {key: _shape_of(value) for key, value in output.items()}
    if isinstance(output, (tuple, list)):
        return [_shape_of(value) for value in output]
    return None if output is None else type(output).__name__


def _first_shape(shape: Shape) -> tuple[int, ...]:
    """Return the first tensor's shape in nested shapes; empty when there is none."""
    if isinstance(shape, tuple):
        return shape
    values = shape.values() if isinstance(shape, dict) else shape
    inner = map(_first_shape, values) if isinstance(shape, (dict, list)) else ()
    return next((found for found in inner if found), ())


def _shorten(names: list[str]) -> str:
    """Join the names of a step: the part they share is written once."""
    stem = names[0].rpartition(".")[0]
    rest = [name.removeprefix(f"{stem}.") if stem else name for name in names[1:]]
    shown = [names[0], *rest]
    return ", ".join(shown) if len(shown) < 4 else f"{shown[0]} … {shown[-1]}"


def _share(part: int, whole: int) -> str:
    if not whole:
        return ""
    return "yes" if part == whole else "part" if part else "no"


def _first_line(error: BaseException) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return line[:300] or type(error).__name__


# --- why a layer refused its input -----------------------------------------------------------------


def _explain(call: _Call, error: Exception, calls: list[_Call], args: tuple, kwargs: dict) -> str:
    kind = type(call.module).__name__
    where = f"{call.name} ({kind})" if call.name else kind
    x, given = _first_tensor((call.args, call.kwargs)), _first_tensor((args, kwargs))
    if x is None or given is None:
        return f"{where} raised {type(error).__name__}: {_first_line(error)}."
    found = next((found for rule in _RULES if (found := rule(call.module, x, given))), None)
    unbatched = _unbatched(calls, given)
    if found is None:
        cause = unbatched or "Check the size, the channels and the dtype of the batch."
        return (
            f"{where} could not take an input of {tuple(x.shape)}: {type(error).__name__}, "
            f"{_first_line(error).rstrip('.')}. {cause}"
        )
    expected, got, cause = found
    in_what = "" if got == str(tuple(x.shape)) else f" in an input of {tuple(x.shape)}"
    return f"{where} expected {expected}, got {got}{in_what}. {unbatched or cause}"


def _unbatched(calls: list[_Call], given: torch.Tensor) -> str:
    """Say that the batch dimension is missing, where the first convolution got one single image.

    PyTorch's convolutions take such an image, so that a layer far behind is the one to refuse it.
    """
    first = next((call for call in calls if isinstance(call.module, _ConvNd)), None)
    if first is None:
        return ""
    layer: Any = first.module
    if given.ndim == len(layer.kernel_size) + 1 and given.shape[0] == layer.in_channels:
        return _ONE_IMAGE
    return ""


_ONE_IMAGE = "The batch dimension is missing: x[None] makes a batch of one."

_Found = tuple[str, str, str] | None  # expected, got, likely cause


def _wrong_device(module: nn.Module, x: torch.Tensor, given: torch.Tensor) -> _Found:
    weight = next(module.parameters(recurse=False), None)
    if weight is None or weight.device == x.device:
        return None
    cause = f'The batch and the model are on different devices: x.to("{weight.device}").'
    return f"a tensor on {weight.device}", f"one on {x.device}", cause


def _wrong_dtype(module: nn.Module, x: torch.Tensor, given: torch.Tensor) -> _Found:
    weight = next(module.parameters(recurse=False), None)
    if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
        if x.dtype not in (torch.int32, torch.int64):
            return "indices (int64)", _dtype(x), "Indices are whole numbers: x.long()."
        if (
            x.numel()
            and not x.is_meta
            and not 0 <= int(x.min()) <= int(x.max()) < module.num_embeddings
        ):
            top = module.num_embeddings - 1
            return (
                f"indices from 0 to {top}",
                f"{int(x.min())} to {int(x.max())}",
                ("The vocabulary of the data is another than the model's."),
            )
        return None
    if weight is None or weight.dtype == x.dtype or torch.is_autocast_enabled(x.device.type):
        return None
    if x.is_floating_point():
        cause = f"Convert the batch: x.to({weight.dtype})."
    else:
        cause = "Images straight from a file: preprocess them, or at least x.float() / 255."
    return _dtype(weight), _dtype(x), cause


def _wrong_ndim(module: nn.Module, x: torch.Tensor, given: torch.Tensor) -> _Found:
    spatial = _spatial(module)
    if not spatial:
        return None
    allowed = {spatial + 2} if isinstance(module, _NormBase) else {spatial + 1, spatial + 2}
    if isinstance(module, nn.BatchNorm1d):
        allowed = {2, 3}
    if x.ndim in allowed:
        return None
    axes = ", ".join(
        ["N", "C", *["L" if spatial == 1 else "DHW"[3 - spatial :][k] for k in range(spatial)]]
    )
    if x.ndim == spatial + 1:
        cause = _ONE_IMAGE
    elif x.ndim < spatial + 1:
        cause = (
            "These are no images with channels: one grey image (H, W) is x[None, None], flattened images "
            "need x.reshape(N, C, H, W)."
        )
    else:
        cause = "There is a dimension too many: x.squeeze(dim), or x.flatten(0, 1)."
    return f"{spatial + 2} dimensions ({axes})", str(tuple(x.shape)), cause


def _wrong_channels(module: nn.Module, x: torch.Tensor, given: torch.Tensor) -> _Found:
    if isinstance(module, _ConvNd):
        size, axis = module.in_channels, -1 - len(module.kernel_size)
    elif isinstance(module, (_NormBase, nn.GroupNorm)):
        size = module.num_features if isinstance(module, _NormBase) else module.num_channels
        axis = 1
    else:
        return None
    if x.ndim < 2 or x.ndim < -axis or x.shape[axis] == size:
        return None
    got, first = x.shape[axis], x.shape == given.shape
    if first and x.shape[-1] == size:
        order = ", ".join(
            map(str, [*range(x.ndim + axis), x.ndim - 1, *range(x.ndim + axis, x.ndim - 1)])
        )
        cause = f"The channels are last: x.permute({order}){'[None]' * (x.ndim == -axis)}."
    elif first and x.ndim == -axis:
        cause = "The dimension of the channels is missing: x[:, None]."
    elif first and got == 1:
        ones = ", ".join("-1" for _ in x.shape[2:])
        cause = (
            f"These are grayscale images: x.expand(-1, {size}, {ones}) makes {size} equal channels."
        )
    elif first and size == 1:
        cause = "These are colour images: x.mean(1, keepdim=True) makes them grey."
    elif first and got == 4 and size == 3:
        cause = "These are images with transparency (RGBA): x[:, :3]."
    else:
        cause = f"The layer before gives {got} channels: one of the two was made for another model."
    return f"{size} channels", str(got), cause


def _wrong_features(module: nn.Module, x: torch.Tensor, given: torch.Tensor) -> _Found:
    if isinstance(module, nn.Linear):
        size = module.in_features
    elif isinstance(module, nn.LayerNorm) and type(module).forward is nn.LayerNorm.forward:
        size = module.normalized_shape[-1]
        tail = tuple(x.shape[-len(module.normalized_shape) :])
        if tail != module.normalized_shape:
            cause = "The features before this layer have another size than it was made for."
            return f"the last dimensions {tuple(module.normalized_shape)}", str(tail), cause
    elif isinstance(module, nn.MultiheadAttention):
        size = module.embed_dim
    elif isinstance(module, nn.RNNBase):
        size = module.input_size
    else:
        return None
    if x.ndim and x.shape[-1] == size:
        return None
    got = str(x.shape[-1]) if x.ndim else "a single number"
    if math.prod(x.shape[1:]) == size:
        cause = "Flatten first: nn.Flatten() before this layer, or x.flatten(1)."
    elif x.ndim == 4 and x.shape[1] == size:
        cause = "Pool the feature map first: x.mean((2, 3))."
    elif x.shape == given.shape:
        cause = "The batch was made for another model: each row has to have as many features."
    elif given.ndim >= 3 and x.ndim == 2:
        cause = (
            "What was flattened has another size: images of another height and width than this layer was "
            "made for, or another layer before it. nn.AdaptiveAvgPool2d makes the size independent of them."
        )
    else:
        cause = "The layer before gives another size: one of the two was replaced."
    return f"{size} features", got, cause


def _too_small(module: nn.Module, x: torch.Tensor, given: torch.Tensor) -> _Found:
    spatial = _spatial(module)
    kernel, padding = getattr(module, "kernel_size", None), getattr(module, "padding", 0)
    if not spatial or kernel is None or padding == "same" or getattr(module, "transposed", False):
        return None

    def each(value: Any) -> tuple[int, ...]:
        return tuple(value) if isinstance(value, (tuple, list)) else (value,) * spatial

    padding = 0 if padding == "valid" else padding
    dilation = getattr(module, "dilation", 1)
    least = [
        d * (k - 1) + 1 - 2 * p
        for k, p, d in zip(each(kernel), each(padding), each(dilation), strict=True)
    ]
    sizes = x.shape[-spatial:]
    if all(size >= needed for size, needed in zip(sizes, least, strict=True)):
        return None
    cause = (
        f"The images are too small for this model: {tuple(given.shape)} has shrunk to this by here. "
        "Resize them; the backbone's own preprocess does."
    )
    return f"at least {_by(least)} pixels", _by(sizes), cause


def _wrong_image_size(module: nn.Module, x: torch.Tensor, given: torch.Tensor) -> _Found:
    size = getattr(module, "image_size", None) or getattr(module, "img_size", None)
    size = (size, size) if isinstance(size, int) else size
    if not isinstance(size, (tuple, list)) or len(size) != 2 or tuple(x.shape[-2:]) == tuple(size):
        if isinstance(size, (tuple, list)) and x.ndim == 3:
            cause = _ONE_IMAGE
            return "4 dimensions (N, C, H, W)", str(tuple(x.shape)), cause
        return None
    if tuple(x.shape[1:3]) == tuple(size):
        cause = "The channels are last: x.permute(0, 3, 1, 2)."
    else:
        cause = "Resize the images (the backbone's own preprocess does), or build the model for this size."
    return f"images of {_by(size)} pixels", _by(x.shape[-2:]), cause


# The first that finds something is the one to tell: a wrong device or dtype hides the rest.
_RULES = (
    _wrong_device,
    _wrong_dtype,
    _wrong_ndim,
    _wrong_channels,
    _wrong_features,
    _too_small,
    _wrong_image_size,
)


def _spatial(module: nn.Module) -> int:
    """Return how many dimensions one of PyTorch's layers slides over: its name says so (Conv2d)."""
    for kind in type(module).__mro__:
        if kind.__module__.startswith("torch.nn.") and (
            found := re.search(r"([123])d$", kind.__name__)
        ):
            return int(found[1])
    return 0


def _first_tensor(values: Any) -> torch.Tensor | None:
    if isinstance(values, torch.Tensor):
        return values
    values = values.values() if isinstance(values, Mapping) else _items(values)
    return next((t for t in map(_first_tensor, values) if t is not None), None)


def _dtype(x: torch.Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _by(sizes: Iterable[int]) -> str:
    return " x ".join(map(str, sizes))


# --- check_shape -----------------------------------------------------------------------------------

_Dim = int | str | None  # a size, a name, "...", or anything


def _read_spec(spec: str | Sequence[int | str | None]) -> list[_Dim]:
    words = spec.split() if isinstance(spec, str) else spec
    if not isinstance(words, (tuple, list)) or spec == "":
        raise FeatxError(
            f'Expected a shape as "batch 512" or (None, 512), got {spec!r}. Write sizes and names apart '
            "by spaces."
        )
    dims: list[_Dim] = []
    for word in words:
        if isinstance(word, str) and word.isdecimal():
            word = int(word)
        named = word is None or (isinstance(word, str) and (word.isidentifier() or word == "..."))
        if word is Ellipsis:
            word, named = "...", True
        if not named and not (type(word) is int and word >= 0):
            raise FeatxError(
                f"Expected each part of a shape to be a size, a name or ..., got {word!r} in {spec!r}. "
                'Write for example "batch 512" or (None, 512).'
            )
        dims.append(word)
    if dims.count("...") > 1:
        raise FeatxError(f'Expected "..." at most once in a shape, got {spec!r}.')
    return dims


def _sizes(x: Any) -> tuple[int, ...]:
    if hasattr(x, "shape"):
        return tuple(x.shape)
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise FeatxError(
            "Expected a tensor, an array or a list of numbers, got a list whose rows differ in length."
        ) from error
    if array.dtype.kind not in "biufc":
        raise FeatxError(
            f"Expected a tensor, an array or a list of numbers, got {type(x).__name__}. Pass what holds "
            "the numbers, such as features.X."
        )
    return array.shape


def _spread(dims: list[_Dim], ndim: int) -> list[_Dim]:
    """Put as many free dimensions in place of "..." as `ndim` leaves."""
    if "..." not in dims:
        return dims
    at = dims.index("...")
    return [*dims[:at], *[None] * (ndim - len(dims) + 1), *dims[at + 1 :]]


def _fits(shape: tuple[int, ...], dims: list[_Dim]) -> bool:
    dims = _spread(dims, len(shape))
    if len(dims) != len(shape):
        return False
    sizes: dict[str, int] = {}
    return all(
        dim is None or size == (sizes.setdefault(dim, size) if isinstance(dim, str) else dim)
        for dim, size in zip(dims, shape, strict=True)
    )


def _clash(shape: tuple[int, ...], dims: list[_Dim]) -> str:
    """Say what differs where no single step mends it."""
    spread = _spread(dims, len(shape))
    if len(spread) != len(shape):
        at_least = "at least " if "..." in dims else ""
        due = len(dims) - ("..." in dims)
        return f"There are {len(shape)} dimensions, not {at_least}{due}."
    if len(shape) == 2 and shape[-1] == 1000:
        return (
            "1000 columns look like ImageNet's class scores: featx.remove_head(model) makes the model "
            "return features."
        )
    sizes: dict[str, int] = {}
    for k, (dim, size) in enumerate(zip(spread, shape, strict=True)):
        if isinstance(dim, str) and sizes.setdefault(dim, size) != size:
            return f"{dim} is both {sizes[dim]} and {size}."
        if isinstance(dim, int) and dim != size:
            return f"Dimension {k} is {size}, not {dim}."
    return ""


@dataclass(frozen=True)
class _Step:
    """One step that may mend a shape: what is wrong, and the code that mends it."""

    cause: str
    do: Callable[[torch.Tensor], torch.Tensor]
    code: str
    for_numpy: str = ""  # where NumPy's code differs


def _steps(ndim: int) -> Iterator[_Step]:
    """Give the steps to try on a shape of `ndim` dimensions, the likeliest first."""
    one = "The batch dimension is missing"
    last = "The channels are last"
    if ndim == 4:
        yield _Step(
            last,
            lambda x: x.permute(0, 3, 1, 2),
            "x.permute(0, 3, 1, 2)",
            "x.transpose(0, 3, 1, 2)",
        )
        yield _Step(
            "The channels are first",
            lambda x: x.permute(0, 2, 3, 1),
            "x.permute(0, 2, 3, 1)",
            "x.transpose(0, 2, 3, 1)",
        )
    yield _Step(one, lambda x: x[None], "x[None]")
    if ndim == 3:
        yield _Step(
            last, lambda x: x.permute(2, 0, 1), "x.permute(2, 0, 1)", "x.transpose(2, 0, 1)"
        )
        yield _Step(
            f"{one}, and the channels are last",
            lambda x: x.permute(2, 0, 1)[None],
            "x.permute(2, 0, 1)[None]",
            "x.transpose(2, 0, 1)[None]",
        )
        yield _Step("The dimension of the channels is missing", lambda x: x[:, None], "x[:, None]")
    if ndim == 2:
        yield _Step("Rows and columns are swapped", lambda x: x.T, "x.T")
    if ndim == 4:
        yield _Step(
            "These are grayscale images",
            lambda x: x.expand(-1, 3, -1, -1),
            "x.expand(-1, 3, -1, -1)",
            "x.repeat(3, axis=1)",
        )
        yield _Step(
            "These are images with transparency (RGBA)",
            lambda x: x[:, :3] if x.shape[1] == 4 else x,
            "x[:, :3]",
        )
        yield _Step(
            "These are colour images",
            lambda x: x.mean(1, keepdim=True) if x.shape[1] == 3 else x,
            "x.mean(1, keepdim=True)",
            "x.mean(1, keepdims=True)",
        )
        yield _Step(
            "A feature map of one place a channel was not flattened",
            lambda x: x.flatten(1) if x.shape[2:] == (1, 1) else x,
            "x.flatten(1)",
            "x.reshape(len(x), -1)",
        )
    for k in range(ndim):
        yield _Step(
            "There is a dimension too many",
            lambda x, k=k: x.squeeze(k),
            f"x.squeeze({k})",
        )
    if ndim == 4:
        yield _Step("This is a feature map; pool it", lambda x: x.mean((2, 3)), "x.mean((2, 3))")
    if ndim == 3:
        yield _Step(
            "These are tokens; average them, or take the class token x[:, 0]",
            lambda x: x.mean(1),
            "x.mean(1)",
        )
    if ndim > 2:
        yield _Step(
            "This was not flattened",
            lambda x: x.flatten(1),
            "x.flatten(1)",
            "x.reshape(len(x), -1)",
        )


def _way_out(shape: tuple[int, ...], dims: list[_Dim], x: Any) -> str:
    """Name the first step after which the shape fits: each is really taken, on the meta device."""
    stand_in = torch.empty(shape, device="meta")
    for step in _steps(len(shape)):
        try:
            mended = tuple(step.do(stand_in).shape)
        except (RuntimeError, IndexError):  # no such step from this shape
            continue
        if mended != shape and _fits(mended, dims):
            code = step.code if isinstance(x, torch.Tensor) else step.for_numpy or step.code
            if not hasattr(x, "shape"):
                code = f"np.asarray(x){code[1:]}"
            return f"{step.cause}: {code}"
    return ""
