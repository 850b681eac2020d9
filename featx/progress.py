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
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["can_draw", "progress_bar", "say"]

#: Seconds between two lines in a log file.
LOG_EVERY = 10.0

#: Seconds of late that the rate is taken of.
_OF_LATE = 60


@contextmanager
def progress_bar(
    label: str, total: int | None, *, show: bool = True, unit: str = "images"
) -> Iterator[Callable[..., None]]:
    """Show how far the work in the ``with`` block is, on stderr (in a notebook: below the cell).

    In a terminal and in a notebook it is a bar that vanishes at the end, with the rate of late and the time
    that is left. Where nothing can be drawn over, as in a log file, it is a line every ten seconds, and none
    for work that is quicker.

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
        ``advance(n)``: n more are done. ``advance(n, "loss 0.5")`` says something beside it.

    Examples
    --------
    >>> with progress_bar("count", 3, show=False) as advance:
    ...     for _ in range(3):
    ...         advance(1)
    """
    console = _console()
    if not show:
        yield lambda *_: None
    elif can_draw():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(20),  # all of it fits into 80 columns
            MofNCompleteColumn(),
            TextColumn(unit),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(
            *columns, console=console, transient=True, speed_estimate_period=_OF_LATE
        ) as bar:
            task = bar.add_task(label, total=total, note="")

            def advance(n: int, note: str | None = None) -> None:
                bar.advance(task, n)
                if note is not None:
                    bar.update(task, note=note)

            yield advance
    else:
        yield _LogLines(label, total, unit).advance


def can_draw() -> bool:
    """Tell whether a bar can be drawn where progress is shown: in a terminal and in a notebook."""
    console = _console()
    # Without ipywidgets rich warns instead of drawing.
    return console.is_terminal or (console.is_jupyter and find_spec("ipywidgets") is not None)


def say(sentence: str) -> None:
    """Print a sentence where the progress is shown: on stderr."""
    _console().print(sentence, soft_wrap=True, markup=False, highlight=False)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(_rate(task), style="progress.data.speed")


def _rate(task: Task) -> str:
    """Return how many are done in a second of late, as far as that is known."""
    speed = task.finished_speed or task.speed
    if not speed:
        return ""
    return f"{speed:.0f}/s" if speed >= 10 else f"{speed:.2g}/s"


def _time_left(seconds: float) -> str:
    """Write how long it still takes, no more exactly than one can know.

    >>> _time_left(90), _time_left(600), _time_left(9000)
    ('90 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


class _LogLines:
    def __init__(self, label: str, total: int | None, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        # Never shown: it knows the pace of late, without what it took to begin.
        self.bar = Progress(
            disable=True, get_time=lambda: time.monotonic(), speed_estimate_period=_OF_LATE
        )
        self.bar.add_task(label, total=total)
        self.last = time.monotonic()

    def advance(self, n: int, note: str | None = None) -> None:
        (task,) = self.bar.tasks
        self.bar.advance(task.id, n)
        now = time.monotonic()
        if now - self.last < LOG_EVERY:
            return
        self.last = now
        done = int(task.completed)
        parts = [f"{done} {self.unit}"]
        if self.total:
            parts = [f"{done} of {self.total} {self.unit}", f"{done / self.total:.0%}"]
        left = task.time_remaining if self.total else None
        parts += [_rate(task), "" if left is None else f"{_time_left(left)} left", note or ""]
        told = ", ".join(part for part in parts if part)
        print(f"{self.label}: {told}", file=sys.stderr, flush=True)


def _console() -> Console:
    console = Console()
    return console if console.is_jupyter else Console(stderr=True)
