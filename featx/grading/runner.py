"""Runs a notebook's cells in the process that belongs to one submission, and reports plain data.

Everything here lives beside the student's code, so nothing that it says is believed without a reason: a
test's reply names the receipt that came with the test, controls that must fail come back failed, and
points are given elsewhere (`featx.grading.scoring`).
"""

from __future__ import annotations

import ast
import base64
import builtins
import contextlib
import json
import os
import socket
import sys
import tempfile
import types
from pathlib import Path
from typing import Any, NoReturn

from featx.grading.controls import OTHER, other
from featx.grading.originals import Originals
from featx.grading.protocol import Broken, Limits, receive, send
from featx.grading.shell import LONGEST_TEXT, Outputs, Shell, Stream, make_shell
from featx.study.exercises import observe_function

__all__ = ["run"]

SHELL = make_shell()
ORIGINALS = Originals()
# held here, for the names in builtins are the student's to change
_COMPILE, _EXEC, _EVAL = compile, exec, eval


def run(channel: socket.socket, limits: Limits) -> NoReturn:
    """Answer the grader's requests until it closes the channel.

    Parameters
    ----------
    channel
        Messages of `featx.grading.protocol`. A request has an ``"op"``: ``"file"`` writes a file,
        ``"cell"`` runs a cell as a notebook would, ``"assert"`` runs a test with its controls,
        ``"observe"`` measures functions for exercises until one was attempted, ``"read"`` gives variables as
        text.
    limits
        How much output is kept.
    """
    work = _work_folder()
    outputs = SHELL.outputs = Outputs(limits.output)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123  (stays open until the process ends)
    sys.stdout, sys.stderr = Stream(outputs, "stdout"), Stream(outputs, "stderr")
    os.chdir(work)
    # Last: a file of the student's never stands in for a module that is installed.
    sys.path[:] = [each for each in sys.path if each not in ("", str(work))] + [str(work)]
    session = Session(SHELL, outputs, work)
    # Who imports the grader's modules gets copies of them, not those at work here.
    for name in [each for each in sys.modules if each.startswith("featx.grading")]:
        del sys.modules[name]
    while True:
        try:
            request = receive(channel)
        except Broken:
            os._exit(0)
        except KeyboardInterrupt:
            continue  # it came too late for the cell that it was meant for
        reply = {"receipt": request.get("receipt"), **session.answer(request)}
        try:
            send(channel, reply)
        except Broken:
            os._exit(0)


def _work_folder() -> Path:
    from featx.grading import isolation

    try:
        isolation.WORK.mkdir()
        return isolation.WORK
    except OSError:  # unprotected, beside others
        return Path(tempfile.mkdtemp())


class Session:
    """The state of one notebook that runs."""

    def __init__(self, shell: Shell, outputs: Outputs, work: Path) -> None:
        self._shell, self._outputs, self._work = shell, outputs, work
        # what the instructor's cells have defined: tests see these, whatever a student made of them
        self._given: dict[str, Any] = {}

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks for; an interruption or an error ends it, not the process."""
        self._outputs.clear()
        try:
            done = getattr(self, f"_{request['op']}")(request)
        except (Exception, KeyboardInterrupt, SystemExit, GeneratorExit) as error:
            done = {"fault": _said(error)[:LONGEST_TEXT]}
        return {**done, "outputs": self._outputs.shown}

    def _file(self, request: dict[str, Any]) -> dict[str, Any]:
        path = self._work / request["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(base64.b64decode(request["content"]))
        return {}

    def _cell(self, request: dict[str, Any]) -> dict[str, Any]:
        # What tests see is what the instructor's cell defines, not what a student made of that cell.
        given, source = request["given"], request["source"]
        if given not in (None, source):
            self._run_given(given)
            self._outputs.clear()
        result = self._run_given(source) if given == source else self._run(source)
        error = result.error_before_exec or result.error_in_exec
        return {"error": type(error).__name__ if error is not None else None}

    def _run(self, source: str) -> Any:
        return self._shell.run_cell(source, store_history=False, silent=False)

    def _run_given(self, source: str) -> Any:
        names = self._shell.user_ns
        before = dict(names)
        result = self._run(source)
        self._given |= {k: v for k, v in names.items() if before.get(k, self) is not v}
        return result

    def _assert(self, request: dict[str, Any]) -> dict[str, Any]:
        changed = ORIGINALS.restore()
        own = set(request["own"])
        error, value = self._run_test(request["source"], own, keep=True)
        shown = list(self._outputs.shown)
        failed = []
        for control in request["controls"]:
            ORIGINALS.restore()
            control_error, _ = self._run_test(control, own, keep=False)
            failed.append(control_error is not None)
        self._outputs.shown[:] = shown
        return {"error": error, "value": value, "failed": failed, "changed": changed}

    def _observe(self, request: dict[str, Any]) -> dict[str, Any]:
        changed: list[str] = []
        observations: list[dict[str, Any]] = []
        for each in request["functions"]:
            changed += ORIGINALS.restore()
            module = types.ModuleType("featx_observer")
            _EXEC(_COMPILE(each["code"], "<observer>", "exec"), module.__dict__)
            seen = observe_function(
                module.__dict__["observe"],
                each["entry"],
                each["starter"],
                self._shell.user_ns,
                request["seed"],
            )
            observations.append(json.loads(json.dumps(seen)))
            if not seen.keys() & {"missing", "untouched"}:
                break
        return {"observations": observations, "changed": changed}

    def _read(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"texts": [self._text(name) for name in request["names"]]}

    def _text(self, name: str) -> str | None:
        value = self._shell.user_ns.get(name)
        if value is None:
            return None
        return "" if value is ... else str(value)[:LONGEST_TEXT]

    def _run_test(self, source: str, own: set[str], *, keep: bool) -> tuple[str | None, str | None]:
        """Run a test; return the type of its error, and the text of its last value.

        It sees what the instructor's cells have defined, whatever a student made of those names, but for
        those that are the student's `own` to define. `keep` leaves what it defines for later cells.
        """
        names = self._shell.user_ns
        students = dict(names)
        for name in [k for k in names if k not in own and hasattr(builtins, k)]:
            del names[name]
        names |= {
            k: v for k, v in self._given.items() if k not in own or isinstance(v, types.ModuleType)
        }
        names |= {"__builtins__": builtins, OTHER: other}
        start = dict(names)
        error = value = None
        try:
            value = self._value_of(_parse(source, self._shell), names)
        except (Exception, SystemExit, GeneratorExit) as raised:
            error = type(raised).__name__
            # The message of the test is for the student, its source is not.
            said = _said(raised)
            self._outputs.error(error, said.removeprefix(f"{error}: "), [said])
        finally:  # an interruption ends the test as well
            made = {k: v for k, v in names.items() if start.get(k, self) is not v} if keep else {}
            names.clear()
            names |= students | made
        if value is not None:
            self._outputs.show("execute_result", {"text/plain": value}, execution_count=None)
        return error, value

    def _value_of(self, tree: ast.Module, names: dict[str, Any]) -> str | None:
        """Run a test, and return its last expression's value as text."""
        last = tree.body[-1] if tree.body else None
        if not isinstance(last, ast.Expr):
            _EXEC(_COMPILE(tree, "<test>", "exec"), names)
            return None
        tree.body.pop()
        name = getattr(last.value, "id", None)
        if name is not None:
            # Where points are counted under a name, nobody knows it.
            hidden = f"_{os.urandom(8).hex()}"
            for node in [*ast.walk(tree), last.value]:
                if isinstance(node, ast.Name) and node.id == name:
                    node.id = hidden
            if name in names:
                names[hidden] = names[name]
        _EXEC(_COMPILE(tree, "<test>", "exec"), names)
        value = _EVAL(_COMPILE(ast.Expression(last.value), "<test>", "eval"), names)
        if name is not None:
            names[name] = names.pop(hidden)
        return None if value is None else repr(value)[:LONGEST_TEXT]


def _parse(source: str, shell: Shell) -> ast.Module:
    try:
        return ast.parse(source)
    except SyntaxError:  # a test with magics
        return ast.parse(shell.transform_cell(source))


def _said(error: BaseException) -> str:
    with contextlib.suppress(Exception):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__
