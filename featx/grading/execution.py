"""A rebuilt notebook is run cell by cell in a sandboxed child; what kills the child costs one cell."""

from __future__ import annotations

import base64
import re
import time
from dataclasses import dataclass, field
from typing import Any

from featx.grading.controls import make_controls
from featx.grading.marked_cells import Mark, observer_source, read_mark
from featx.grading.protocol import Limits
from featx.grading.rebuild import Part, Rebuilt
from featx.grading.sandbox import Child, Sandbox, SandboxLost
from featx.study.bank import load_question
from featx.study.exercises import load_exercise

__all__ = ["Ran", "execute"]

#: All cells of a submission together may take this many times the seconds of one.
CELLS_TOGETHER = 5
#: Files are sent in pieces of this many bytes.
PIECE = 4 * 2**20


@dataclass(frozen=True)
class Ran:
    """What came of one cell.

    Attributes
    ----------
    outcome : str
        ``"ok"``, ``"error"``, ``"timeout"``, ``"out_of_memory"``, ``"crashed"`` or ``"tampered"``.
    outputs : list of dict
        As nbformat has them; not checked.
    reply : dict
        All that the child said; empty when it died.
    seconds : float
        That it took.
    """

    outcome: str
    outputs: list[Any] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def execute(
    rebuilt: Rebuilt, files: dict[str, bytes], tests: set[int], limits: Limits, sandbox: Sandbox
) -> dict[int, Ran]:
    """Run a notebook.

    When a cell kills the child (or has to be stopped by killing it), a fresh child runs what stands before
    it again, and goes on behind it.

    Parameters
    ----------
    rebuilt
        The notebook.
    files
        What lies beside it, the instructor's first.
    tests
        The places of the tests to run; the others are left out.
    limits
        What it may use.
    sandbox
        Where.

    Returns
    -------
    dict
        Place -> what came of it, for every code cell but the tests that are left out.

    Raises
    ------
    SandboxLost
        When there is no sandbox any more, or no room for the instructor's files: no fault of the student.
    """
    # made first: what it imports is imported while the warm process warms
    todo = [
        (place, part, _request(part, rebuilt.own))
        for place, part in enumerate(rebuilt.parts)
        if part.runs and (part.role != "test" or place in tests)
    ]
    results: dict[int, Ran] = {}
    deadly: set[int] = set()
    end = time.monotonic() + CELLS_TOGETHER * limits.seconds
    while True:
        child = sandbox.spawn(limits)
        try:
            _send_files(child, files, rebuilt.given_files, limits.seconds)
            for place, part, request in todo:
                again = place in results
                if place in deadly or (again and part.role == "test"):
                    continue
                seconds = min(limits.seconds, end - time.monotonic())
                if seconds <= 0:
                    results.setdefault(place, Ran("timeout"))
                    continue
                begin = time.monotonic()
                reply = child.ask(request, seconds)
                took = time.monotonic() - begin
                if isinstance(reply, str):
                    results.setdefault(place, Ran(reply, seconds=took))
                    deadly.add(place)
                    break
                if not again:
                    results[place] = Ran(_outcome(reply), reply["outputs"], reply, took)
            else:
                return results
        finally:
            child.close()


def _send_files(
    child: Child, files: dict[str, bytes], given: frozenset[str], seconds: float
) -> None:
    """Lay files beside the notebook. Of a student's as many as there is room for."""
    for name, content in files.items():
        for begin in range(0, len(content) or 1, PIECE):
            piece = base64.b64encode(content[begin : begin + PIECE]).decode()
            reply = child.ask({"op": "file", "path": name, "content": piece}, seconds)
            # nothing of the student's has run yet: a child that is gone is no fault of theirs
            lost = isinstance(reply, str)
            fault = reply if lost else reply.get("fault")
            if lost or (fault and name in given):
                raise SandboxLost(f"{name[:80]!a} could not be laid beside the notebook: {fault}.")


def _request(part: Part, own: list[str]) -> dict[str, Any]:
    source = part.node.source
    if part.role != "test":
        given = source if part.role == "given" and part.original is None else part.original
        return {"op": "cell", "source": source, "given": given}
    mark = read_mark(source)
    if mark is None:
        return {"op": "assert", "source": source, "own": own, "controls": make_controls(source)}
    return observing(mark)


def observing(mark: Mark) -> dict[str, Any]:
    """Return the request that measures what one of our own marks is about."""
    if mark.kind == "answer":
        return {"op": "read", "names": [load_question(each).answer_name for each in mark.ids]}
    functions = [
        {
            "code": observer_source(exercise.id),
            "entry": exercise.entry,
            "starter": exercise.starter,
        }
        for exercise in map(load_exercise, mark.ids)
    ]
    return {"op": "observe", "functions": functions, "seed": mark.seed}


def _outcome(reply: dict[str, Any]) -> str:
    if reply.get("interrupted"):
        return "timeout"
    error = reply.get("error") or reply.get("fault")
    if not error:
        return "ok"
    said = f"{error} {reply['outputs'][-1:]}"
    return "out_of_memory" if re.search(r"MemoryError|can't allocate memory", said) else "error"
