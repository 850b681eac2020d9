"""What tests rely on, as it was before any student's code ran: found changed, it is put back."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator
from types import CellType, FunctionType, ModuleType
from typing import Any

__all__ = ["SHARED", "Originals"]

#: What the exercises share: each of their modules whose name begins with one underscore.
SHARED = (
    "featx.study.exercises._observing",
    "featx.study.exercises._plain",
    "featx.study.exercises._scores",
    "featx.study.exercises._splits",
)
#: Modules, and classes in them, whose attributes tests call.
GUARDED = (
    "builtins",
    "copy",
    "inspect",
    "json",
    "math",
    "operator",
    "random",
    "traceback",
    "unittest",
    "unittest.case",
    "numpy",
    "numpy._core.numeric",
    "numpy.linalg",
    "numpy.random",
    "numpy.testing",
    "numpy.testing._private.utils",
    "pandas",
    "pandas.testing",
    "sklearn.metrics",
    "torch",
    "torch.functional",
    "torch.nn",
    "torch.nn.functional",
    "torch.nn.modules.module",
    "torch.random",
    "torch.testing",
    "torch.testing._comparison",
    "torchvision.models",
    "torchvision.models.resnet",
    "featx",
    "featx.study.exercises",
    *SHARED,
)
GUARDED_CLASSES = (
    ("torch", "Tensor"),
    ("torch._tensor", "Tensor"),
    ("torch.nn", "Module"),
    ("torch.nn", "Parameter"),
    ("unittest", "TestCase"),
    ("IPython.core.interactiveshell", "InteractiveShell"),
)

#: Modules whose classes compare, or say what is wrong: every class that is defined there.
COMPARING = ("unittest.case", "numpy.testing._private.utils", "torch.testing._comparison")
#: Dictionaries that decide what a test sees. What was added to one of these is taken out as well.
TABLES = (
    ("copy", "_copy_dispatch"),
    ("copy", "_deepcopy_dispatch"),
    ("torch.testing._comparison", "_DTYPE_PRECISIONS"),
    ("torch.nn.modules.module", "_global_forward_hooks"),
    ("torch.nn.modules.module", "_global_forward_hooks_always_called"),
    ("torch.nn.modules.module", "_global_forward_hooks_with_kwargs"),
    ("torch.nn.modules.module", "_global_forward_pre_hooks"),
)

_MISSING = object()


class Originals:
    """A picture of the guarded modules and classes, taken when it is made."""

    def __init__(self) -> None:
        self._builtins = {k: v for k, v in vars(builtins).items() if callable(v)}
        self._modules = {name: sys.modules[name] for name in GUARDED if name in sys.modules}
        owners: list[Any] = list(self._modules.values())
        for module, name in GUARDED_CLASSES:
            if module in sys.modules:
                owners.append(getattr(sys.modules[module], name))
        for name in COMPARING:
            defined = vars(sys.modules[name]).values() if name in sys.modules else ()
            owners += [each for each in defined if _is_class_of(each, name)]
        self._names = [
            (owner, dict(vars(owner)), _hidden_by(owner))
            for owner in {id(o): o for o in owners}.values()
        ]
        self._functions: dict[int, FunctionType] = {}
        for _, names, _ in self._names:
            for value in names.values():
                for function in _functions_of(value):
                    self._collect(function)
        self._insides = [
            (each, each.__code__, each.__defaults__, _copy(each.__kwdefaults__), _contents(each))
            for each in self._functions.values()
        ]
        self._tables = [
            (sys.modules[module], name, table, dict(table))
            for module, name in TABLES
            if isinstance(table := getattr(sys.modules.get(module), name, None), dict)
        ]

    def _collect(self, function: FunctionType) -> None:
        """Note a function, and those that it closes over."""
        if id(function) not in self._functions:
            self._functions[id(function)] = function
            for _, value in _contents(function):
                for inner in _functions_of(value):
                    self._collect(inner)

    def restore(self) -> list[str]:
        """Put back what was changed.

        Returns
        -------
        list of str
            The names of what had been replaced, changed inside, hidden or taken away; what was only added
            is left alone.
        """
        changed = []
        # First, and by calling nothing that has its name in there: the rest is done with these.
        now = builtins.__dict__
        for name, value in self._builtins.items():
            if name != "_" and now.get(name) is not value:
                now[name] = value
                changed.append(f"builtins.{name}")
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                sys.modules[name] = module
                changed.append(name)
        for owner, names, hidden in self._names:
            changed += _restore_names(owner, names, hidden)
        for function, code, defaults, keywords, contents in self._insides:
            if _restore_function(function, code, defaults, keywords, contents):
                changed.append(function.__qualname__)
        for module, name, table, kept in self._tables:
            if vars(module).get(name) is not table or not _same(table, kept):
                setattr(module, name, table)
                table.clear()
                table.update(kept)
                changed.append(f"{module.__name__}.{name}")
        return changed


def _restore_names(owner: Any, names: dict[str, Any], hidden: frozenset[str]) -> list[str]:
    changed = []
    now = vars(owner)
    for name, value in names.items():
        if now.get(name, _MISSING) is value or _lazy(owner, name, value):
            continue
        try:
            setattr(owner, name, value)
        except (AttributeError, TypeError):
            continue
        changed.append(_full_name(owner, name))
    for name in [each for each in now if each in hidden and each not in names]:
        # An attribute alone may be bookkeeping; what can be called stands in for what it hides.
        if callable(now[name]) or hasattr(type(now[name]), "__get__"):
            delattr(owner, name)
            changed.append(_full_name(owner, name))
    return changed


def _restore_function(
    function: FunctionType,
    code: Any,
    defaults: tuple[Any, ...] | None,
    keywords: dict[str, Any] | None,
    contents: list[tuple[CellType, Any]],
) -> bool:
    """Put back what a function is made of; tell whether anything differed."""
    differed = False
    if function.__code__ is not code:
        function.__code__ = code
        differed = True
    if function.__defaults__ is not defaults:
        function.__defaults__ = defaults
        differed = True
    if not _same(function.__kwdefaults__, keywords):
        function.__kwdefaults__ = _copy(keywords)
        differed = True
    for cell, value in contents:
        if _content(cell) is not value:
            cell.cell_contents = value
            differed = True
    return differed


def _same(now: dict[Any, Any] | None, kept: dict[Any, Any] | None) -> bool:
    """Compare by identity: a student's value may say of itself that it equals any other."""
    if now is None or kept is None:
        return now is kept
    return len(now) == len(kept) and all(now.get(k, _MISSING) is v for k, v in kept.items())


def _copy(keywords: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if keywords is None else dict(keywords)


def _functions_of(value: Any) -> Iterator[FunctionType]:
    """Name the Python functions that run when an attribute is called or read."""
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    elif isinstance(value, property):
        yield from (each for each in (value.fget, value.fset) if isinstance(each, FunctionType))
    elif type(value).__name__ == "_ArrayFunctionDispatcher":  # around most of numpy's functions
        value = value._implementation
    if isinstance(value, FunctionType):
        yield value


def _contents(function: FunctionType) -> list[tuple[CellType, Any]]:
    """Return the cells that a function closes over, with the functions and classes in them."""
    cells = [(cell, _content(cell)) for cell in function.__closure__ or ()]
    return [(cell, value) for cell, value in cells if callable(value)]


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return None


def _is_class_of(value: Any, module: str) -> bool:
    return isinstance(value, type) and value.__module__ == module


def _hidden_by(owner: Any) -> frozenset[str]:
    """Name what an attribute of the owner would hide: what a class inherits; for a module, builtins."""
    if isinstance(owner, type):
        return frozenset().union(*map(vars, owner.__mro__[1:]))
    return frozenset(vars(builtins))


def _full_name(owner: Any, name: str) -> str:
    return f"{getattr(owner, '__name__', owner)}.{name}"


def _lazy(owner: Any, name: str, value: Any) -> bool:
    """Tell whether an attribute changes by itself: bookkeeping of modules, the last result."""
    if isinstance(owner, ModuleType) and name in (
        "_",
        "__spec__",
        "__loader__",
        "__warningregistry__",
    ):
        return True
    return not callable(value) and not isinstance(value, ModuleType | int | float | str)
