"""`featx doctor`: looks at this machine, and says how to fix what is missing.

Each check is a function without arguments that returns status, what was found, and what to do. None needs a
network, and none sends anything.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from featx.doctor import folders, jupyter, machine, packages
from featx.wording import counted, named_line

__all__ = ["Check", "diagnose", "show_diagnosis"]


@dataclass(frozen=True)
class Check:
    """What one look at the machine found.

    Attributes
    ----------
    name : str
        What was looked at.
    status : {"ok", "warning", "problem"}
        A warning costs comfort or a part that not everyone needs; a problem stops the course.
    found : str
        What is there.
    fix : str
        What to do, in a sentence; empty when there is nothing to do.
    """

    name: str
    status: Literal["ok", "warning", "problem"]
    found: str
    fix: str = ""


def diagnose(console: Console | None = None) -> list[Check]:
    """Look at everything that featx needs on this machine. No network is used.

    Parameters
    ----------
    console
        Where to say what is being looked at: loading torch takes a few seconds.

    Returns
    -------
    list of Check
        In the order in which to fix them. A check that breaks is a problem itself; nothing raises.

    Examples
    --------
    >>> checks = diagnose()
    >>> checks[0].name, checks[0].status
    ('Python', 'ok')
    """
    if console is None:
        return [_checked(name, look) for name, look in _CHECKS.items()]
    checks = []
    with console.status("Looking at this machine …") as status:
        for name, look in _CHECKS.items():
            status.update(f"Looking at: {name} …")
            checks.append(_checked(name, look))
    return checks


def show_diagnosis(checks: Sequence[Check], console: Console) -> None:
    """Print the checks as a table, each with its fix, and a last line that sums them up.

    Parameters
    ----------
    checks
        What `diagnose` returned.
    console
        Where to print.
    """
    table = Table(title="featx doctor", title_justify="left", show_lines=False, pad_edge=False)
    table.add_column("check", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in checks:
        found = Text(check.found)
        if check.fix:
            found.append(f"\nFix: {check.fix}", style="bold")
        table.add_row(check.name, Text(check.status, style=_STYLES[check.status]), found)
    console.print(table)
    count = {status: sum(check.status == status for check in checks) for status in _STYLES}
    if count["problem"]:
        words = f"{counted(count['problem'], 'problem')} to fix, {counted(count['warning'], 'warning')}."
    elif count["warning"]:
        words = f"Ready, with {counted(count['warning'], 'warning')}."
    else:
        words = "Ready: all is well."
    console.print(words, highlight=False)


_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def _checked(name: str, look: Callable[[], tuple[str, str, str]]) -> Check:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a driver's warning comes as a row, not between rows
            status, found, fix = look()
    except Exception as error:
        # Whatever is broken on a machine shows here first; the other checks must go on.
        said = named_line(error)
        status, found = "problem", f"this check failed: {said}"
        fix = "Install featx again in a fresh environment; if that does not help, report this line."
        if name != "torch" and not packages.torch_loads():  # one fault is one problem
            status, found = "warning", "not looked at: torch does not load"
            fix = "Mend torch first."
    return Check(name, status, found, fix)  # pyright: ignore[reportArgumentType]


_CHECKS: dict[str, Callable[[], tuple[str, str, str]]] = {
    "Python": packages.python,
    "featx": packages.installed,
    "torch": packages.torch_pair,
    "packages": packages.required,
    "GlyphNet": packages.glyphnet,
    "device": machine.device,
    "CPU": machine.cpu,
    "threads": machine.threads,
    "memory": machine.memory,
    "disk": folders.disk,
    **{name: folders.write_access(name) for name in folders.PLACES},
    "weights": folders.weights,
    "Jupyter": jupyter.kernel,
    "JupyterLab": jupyter.extensions,
    "sandbox": machine.sandbox,
    "Chromium": machine.chromium,
    "extra course": packages.extra("course", "the lessons and assignments"),
    "extra scale": packages.extra("scale", "grading on a cluster"),
    "extra timm": packages.extra("timm", "timm's backbones"),
}
