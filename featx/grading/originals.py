"""What tests rely on, as it was before any student's code ran: found changed, it is put back."""

from __future__ import annotations

import sys
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["Originals"]

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
    "featx.study.exercises._observing",
    "featx.study.exercises._plain",
    "featx.study.exercises._splits",
)
GUARDED_CLASSES = (
    ("torch", "Tensor"),
    ("torch._tensor", "Tensor"),
    ("torch.nn", "Module"),
    ("torch.nn", "Parameter"),
    ("unittest", "TestCase"),
    ("IPython.core.interactiveshell", "InteractiveShell"),
)

_MISSING = object()


class Originals:
    """A picture of the guarded modules and classes, taken when it is made."""

    def __init__(self) -> None:
        self._modules = {name: sys.modules[name] for name in GUARDED if name in sys.modules}
        owners: list[Any] = list(self._modules.values())
        for module, name in GUARDED_CLASSES:
            if module in sys.modules:
                owners.append(getattr(sys.modules[module], name))
        self._names = [(owner, dict(vars(owner))) for owner in {id(o): o for o in owners}.values()]
        self._functions = {
            id(value): (value, value.__code__, value.__defaults__, value.__kwdefaults__)
            for _, names in self._names
            for value in names.values()
            if isinstance(value, FunctionType)
        }

    def restore(self) -> list[str]:
        """Put back what was changed.

        Returns
        -------
        list of str
            The names of what had been replaced or taken away; what was only added is left alone.
        """
        changed = []
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                sys.modules[name] = module
                changed.append(name)
        for owner, names in self._names:
            now = vars(owner)
            for name, value in names.items():
                if now.get(name, _MISSING) is value or _lazy(owner, name, value):
                    continue
                try:
                    setattr(owner, name, value)
                except (AttributeError, TypeError):
                    continue
                changed.append(f"{getattr(owner, '__name__', owner)}.{name}")
        for function, code, defaults, keywords in self._functions.values():
            if function.__code__ is not code:
                function.__code__ = code
                changed.append(function.__qualname__)
            if function.__defaults__ is not defaults:
                function.__defaults__ = defaults
                changed.append(function.__qualname__)
            if function.__kwdefaults__ is not keywords:
                function.__kwdefaults__ = keywords
        return changed


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
