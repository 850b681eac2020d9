"""How far long work is: a bar in a terminal or notebook, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

__all__ = ["progress_bar", "say"]

#: Seconds between two lines in a log file.
LOG_EVERY = 10.0


@contextmanager
def progress_bar(
    label: str, total: int | None, *, show: bool = True, unit: str = "images"
) -> Iterator[Callable[[int], None]]:
    """Show how far the work in the ``with`` block is, on stderr (in a notebook: below the cell).

    In a terminal and in a notebook it is a bar that vanishes at the end. Where nothing can be drawn over,
    as in a log file, it is a line every ten seconds, and none for work that is quicker.

    Parameters
    ----------
    label
        What is being done, one word or two.
    total
        How many steps there are; None when nobody knows.
    show
        False: nothing is shown at all.
    unit
        What is counted.

    Yields
    ------
    callable
        ``advance(n)``: n more are done.

    Examples
    --------
    >>> with progress_bar("count", 3, show=False) as advance:
    ...     for _ in range(3):
    ...         advance(1)
    """
    console = _console()
    if not show:
        yield lambda _: None
    elif console.is_terminal or _draws_in_notebook(console):
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda n: bar.advance(task, n)
    else:
        yield _LogLines(label, total, unit).advance


def say(sentence: str) -> None:
    """Print a sentence where the progress is shown: on stderr."""
    _console().print(sentence, soft_wrap=True, markup=False, highlight=False)


class _LogLines:
    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        # Never shown: it knows the pace of late, without what it took to begin.
        self.bar = Progress(
            disable=True, get_time=lambda: time.monotonic(), speed_estimate_period=60
        )
        self.bar.add_task(label, total=total)
        self.last = time.monotonic()

    def advance(self, n: int) -> None:
        (task,) = self.bar.tasks
        self.bar.advance(task.id, n)
        now = time.monotonic()
        if now - self.last < LOG_EVERY:
            return
        self.last = now
        done = int(task.completed)
        line = f"{self.label}: {done}"
        if self.total:
            line += f" of {self.total} {self.unit}, {done / self.total:.0%}"
            left = task.time_remaining
            line += "" if left is None else f", {left:.0f} s left"
        else:
            line += f" {self.unit}"
        print(line, file=sys.stderr, flush=True)


def _console() -> Console:
    console = Console()
    return console if console.is_jupyter else Console(stderr=True)


def _draws_in_notebook(console: Console) -> bool:
    # Without ipywidgets rich warns instead of drawing.
    return console.is_jupyter and find_spec("ipywidgets") is not None
