"""IPython's shell, as a notebook's kernel has it, whose outputs are collected.

It knows nothing of tests: the student's code has it in hand.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type
from traitlets.config import Config

__all__ = ["LONGEST_TEXT", "Outputs", "Shell", "Stream", "make_shell"]

#: Characters of a traceback, of an answer to a question, and of the value of a test.
LONGEST_TEXT = 20_000


class Outputs:
    """What one cell shows, as nbformat's outputs; what is too much is cut with a word."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.clear()

    def clear(self) -> None:
        """Begin with the next cell."""
        self.shown: list[dict[str, Any]] = []
        self._room = self.most
        self._pictures = 20 * self.most  # base64 is long

    def text(self, stream: str, text: str) -> None:
        """Add what was written to standard output or standard error."""
        if self._room <= 0:
            return
        if len(text) > self._room:
            text = text[: self._room] + "\n… cut here: too much output\n"
            self._room = 0
        self._room -= len(text)
        if self.shown and self.shown[-1].get("name") == stream:
            self.shown[-1]["text"] += text
        else:
            self.shown.append({"output_type": "stream", "name": stream, "text": text})

    def show(self, kind: str, data: Mapping[str, Any], **more: Any) -> None:
        """Add a display, or a result."""
        kept = {}
        for mime, content in data.items():
            # through JSON: only plain data leaves this process
            size = len(json.dumps(content, default=str))
            room = self._pictures if mime.startswith("image/") else self._room
            if size > room:
                continue
            if mime.startswith("image/"):
                self._pictures -= size
            else:
                self._room -= size
            kept[mime] = json.loads(json.dumps(content, default=str))
        if kept:
            self.shown.append({"output_type": kind, "data": kept, "metadata": {}, **more})

    def error(self, name: str, text: str, traceback: list[str]) -> None:
        """Add an error."""
        self.shown.append(
            {
                "output_type": "error",
                "ename": str(name)[:200],
                "evalue": str(text)[:LONGEST_TEXT],
                "traceback": "\n".join(traceback)[-LONGEST_TEXT:].split("\n"),
            }
        )


class Stream(io.TextIOBase):
    """Standard output or standard error of the student's code."""

    encoding = "utf-8"

    def __init__(self, outputs: Outputs, name: str) -> None:
        self._outputs, self._name = outputs, name

    def writable(self) -> bool:  # noqa: D102
        return True

    def write(self, text: str) -> int:  # noqa: D102
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._outputs.text(self._name, text)
        return len(text)


class _Display(DisplayPublisher):
    shell: Any

    def publish(self, data, metadata=None, **_: Any) -> None:  # type: ignore[override]
        self.shell.outputs.show("display_data", data)


class _Results(DisplayHook):
    shell: Any

    def start_displayhook(self) -> None: ...

    def write_output_prompt(self) -> None: ...

    def write_format_data(self, format_dict, md_dict=None) -> None:
        self.shell.outputs.show("execute_result", format_dict, execution_count=None)

    def finish_displayhook(self) -> None: ...


class Shell(InteractiveShell):
    """IPython's shell, whose outputs are collected."""

    outputs: Outputs
    display_formatter: Any
    display_pub_class = Type(_Display)
    displayhook_class = Type(_Results)

    def init_display_formatter(self) -> None:
        """Format for all media, as a kernel does."""
        super().init_display_formatter()
        self.display_formatter.active_types = self.display_formatter.format_types

    def _showtraceback(self, etype, evalue, stb) -> None:
        self.outputs.error(getattr(etype, "__name__", str(etype)), str(evalue), list(stb))

    def enable_gui(self, gui=None) -> None:
        """Open no windows."""


def make_shell() -> Shell:
    """Make the shell once, before the fork: it starts no thread and keeps no history."""
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    shell = Shell.instance(config=config)
    shell.system = shell.system_piped
    shell.outputs = Outputs(0)
    with contextlib.suppress(ImportError):
        shell.enable_matplotlib("inline")
    shell.run_cell("1 / 0")  # what shows errors is imported now, not by each child
    return shell
