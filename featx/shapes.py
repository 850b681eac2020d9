"""What each layer of a model gives out, without touching the model."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import nn
from torch.jit._trace import TopLevelTracedModule

from featx.errors import FeatxError
from featx.modules import bits_of, check_device, check_sizes, home, in_eval_mode
from featx.shape_errors import ModuleCall, explain_refusal
from featx.tables import in_columns
from featx.wording import close_matches

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ShapeRow", "ShapeTrace", "trace_shapes"]

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

    ``trace["layer4"]`` and ``trace[3]`` are rows, ``trace[1:3]`` is a tuple of rows, ``for row in trace``
    goes through all of them, and ``print(trace)`` shows the table.

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

    Examples
    --------
    >>> import featx
    >>> trace = trace_shapes(featx.load_backbone("glyphnet"), (2, 1, 32, 32))
    >>> trace["layer4"].shape, trace.stages()[-1]
    ((2, 256, 4, 4), ('fc', (2, 52)))
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

    @overload
    def __getitem__(self, which: str | int) -> ShapeRow: ...

    @overload
    def __getitem__(self, which: slice) -> tuple[ShapeRow, ...]: ...

    def __getitem__(self, which: str | int | slice) -> ShapeRow | tuple[ShapeRow, ...]:
        if isinstance(which, (int, slice)):
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
        lines = in_columns(table, right={_NUMBER})
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
    when it fails: modes (of frozen modules, too), buffers, attributes (and the lists, dicts, sets,
    arrays, tensors and random generators in them), hooks, gradients, and the random states of
    PyTorch, NumPy and Python. What a forward pass writes elsewhere stays written: into its weights,
    past the absence of gradients; into objects of other types; and outside of the model. The model's
    hooks run too, as some are part of its computation, and what they store outside of it stays.

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
    check_sizes(model)
    args, kwargs = _batch(model, data, _device(device))
    where = _device(device) or home(model)
    modes = {module: "train" if module.training else "eval" for module in model.modules()}
    recorder = _Recorder(model)
    with _as_it_was(model, where), recorder.listening(), torch.no_grad():
        try:
            _forward(model, args, kwargs, None if device is None else where)
        except Exception as error:
            culprit = recorder.culprit(error)
            raise FeatxError(
                explain_refusal(culprit, error, recorder.calls, args, kwargs)
            ) from error
    return recorder.trace(modes, _shape_of(data if _is_batch(data) else args[0]))


# --- the forward pass, and the model as it was -----------------------------------------------------


@dataclass(eq=False)
class _Recorder:
    """Writes down each call of each module of `model`, and which one an exception came from."""

    model: nn.Module
    calls: list[ModuleCall] = field(default_factory=list)
    running: list[ModuleCall] = field(default_factory=list)
    failed: ModuleCall | None = None
    failed_with: BaseException | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        names = {module: name for name, module in self.model.named_modules()}
        counts = dict.fromkeys(names, 0)

        def begin(module: nn.Module, args: tuple, kwargs: dict) -> None:
            counts[module] += 1
            call = ModuleCall(
                names[module], module, args, kwargs, len(self.running), counts[module]
            )
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

    def culprit(self, error: BaseException) -> ModuleCall:
        """Return the innermost call that `error` came out of."""
        if self.failed is not None and self.failed_with is error:
            return self.failed
        return self.calls[0] if self.calls else ModuleCall("", self.model, (), {}, 0, 1)

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
        if device is None or home(model) == device:
            model(*args, **kwargs)
        else:
            tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
            moved = {name: tensor.to(device) for name, tensor in tensors.items()}
            torch.func.functional_call(model, moved, args, kwargs)


@contextmanager
def _as_it_was(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put `model` in eval mode, and leave it and the random states as they were found."""
    undo = _remember([vars(module) for module in model.modules()])
    with _random_states(device):
        try:
            with in_eval_mode(model):  # a scripted module keeps its mode outside its attributes
                yield
        finally:
            for restore in undo:
                restore()


def _remember(roots: list[Any]) -> list[Callable[[], object]]:
    """Return what brings `roots`, and what is in them at any depth, back to this moment."""
    undo: list[Callable[[], object]] = []
    seen: set[int] = set()  # of objects that live on, as their containers are copied here
    ahead = list(roots)
    while ahead:
        value = ahead.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            undo.append(partial(_refill, value, value.update, contents := dict(value)))
            ahead.extend(contents.values())
        elif isinstance(value, (list, deque, set)):
            fill = value.update if isinstance(value, set) else value.extend
            undo.append(partial(_refill, value, fill, contents := list(value)))
            ahead.extend(contents)
        elif isinstance(value, tuple):
            ahead.extend(value)
        elif isinstance(value, torch.Generator):
            undo.append(partial(value.set_state, value.get_state()))
        elif isinstance(value, random.Random):
            undo.append(partial(value.setstate, value.getstate()))
        elif isinstance(value, np.random.Generator):
            undo.append(partial(setattr, value.bit_generator, "state", value.bit_generator.state))
        elif isinstance(value, np.ndarray) and value.flags.writeable:
            undo.append(partial(np.copyto, value, value.copy()))
        elif isinstance(value, torch.Tensor) and _has_bits(value):
            undo.append(partial(_rewrite, value, value.detach().clone()))
    return undo


def _refill(container: Any, fill: Callable[[Any], None], contents: Any) -> None:
    container.clear()
    fill(contents)


def _rewrite(tensor: torch.Tensor, before: torch.Tensor) -> None:
    if not torch.equal(bits_of(tensor), bits_of(before)):
        with torch.no_grad():
            tensor.copy_(before)


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


def _device(device: str | torch.device | None) -> torch.device | None:
    if device is None:
        return None
    chosen = check_device(device, 'Use "cpu" or "meta".', numbers=False)
    return torch.empty(0, device=chosen).device  # "cuda" is "cuda:0"


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
    return (torch.zeros(sizes, dtype=dtype, device=device or home(model)),), {}


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
