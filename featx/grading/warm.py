"""The warm process: it has imported what notebooks need, and forks a child for each submission.

It runs inside the sandbox (`featx.grading.sandbox` starts it), knows no answer, no test and no student, and
does no tensor work: a process with torch's threads in it could not be forked. Over its control socket come
requests, each with one end of a fresh channel; over that channel the child and the grader speak.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
import traceback
from typing import Any

from featx.grading.originals import SHARED
from featx.grading.protocol import Limits, receive, send

__all__ = ["PRELOADED", "serve"]

#: What notebooks of a course on deep learning import. Each may be absent.
PRELOADED = (
    "numpy",
    "scipy.stats",
    "matplotlib.pyplot",
    "matplotlib_inline.backend_inline",
    "pandas",
    "sklearn.datasets",
    "sklearn.decomposition",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.model_selection",
    "sklearn.neighbors",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "torch",
    "torch.nn.functional",
    "torch.utils.data",
    "torchvision.models",
    "torchvision.transforms.v2",
    "torchvision.models.feature_extraction",
    "IPython.core.interactiveshell",
    "featx.backbones",
    "featx.datasets",
    "featx.study.exercises",
    *SHARED,
)


# Process -> exit status, of children that have ended.
_ENDS: dict[int, int] = {}


def serve(control: socket.socket, *, isolated: bool) -> None:
    """Fork children on request until the control socket closes.

    Requests are ``{"spawn": limits}``, with the end of a channel beside it, and ``{"interrupt": child}``,
    ``{"kill": child}``, ``{"wait": child}``. Each has one reply.
    """
    # imported here, once: children need it, and it needs torch
    from featx.grading import runner

    # What is imported stays: no child's garbage collector need look at it, and copy its memory by doing so.
    gc.collect()
    gc.freeze()
    send(control, {"ready": True})
    while True:
        try:
            body, channel = _receive_with_channel(control)
        except Exception:
            return
        send(control, _handle(body, channel, control, isolated, runner))


def _handle(
    request: dict[str, Any],
    channel: socket.socket | None,
    control: socket.socket,
    isolated: bool,
    runner: Any,
) -> dict[str, Any]:
    if "spawn" in request and channel is not None:
        _note_ends()
        limits = Limits(**request["spawn"])
        read, write = os.pipe()
        outer = os.fork()
        if outer == 0:
            control.close()
            os.close(read)
            _start(channel, write, limits, isolated, runner)
        _ENDS.pop(outer, None)  # numbers of processes come back
        os.close(write)
        channel.close()
        with os.fdopen(read) as told:
            said = told.readline().strip()
        if not said.isdigit():
            return {"error": said or "the child ended before it began"}
        return {"outer": outer, "child": int(said)}
    with contextlib.suppress(ProcessLookupError):
        if "interrupt" in request:
            os.kill(request["interrupt"], signal.SIGUSR1 if isolated else signal.SIGINT)
        if "kill" in request:
            os.kill(request["kill"], signal.SIGKILL)
    if "wait" in request:
        _note_ends(request["wait"])
        return {"status": _ENDS.get(request["wait"], 0)}
    return {}


def _note_ends(awaited: int | None = None) -> None:
    """Note how children have ended; wait for one of them, if asked to."""
    with contextlib.suppress(ChildProcessError):
        while awaited not in _ENDS:
            child, status = os.waitpid(-1, os.WNOHANG if awaited is None else 0)
            if not child:
                return
            _ENDS[child] = os.waitstatus_to_exitcode(status)


def _start(channel: socket.socket, told: int, limits: Limits, isolated: bool, runner: Any) -> None:
    """Be the child of the warm process: make the world, tell the number of its init, wait for its end."""
    from featx.grading import isolation

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not isolated:
            os.write(told, f"{os.getpid()}\n".encode())
            os.close(told)
            runner.run(channel, limits)
        isolation.enter_namespaces()
        init = os.fork()
        if init == 0:
            os.close(told)
            isolation.become_init(lambda: runner.run(channel, limits), limits)
        channel.close()
        os.write(told, f"{init}\n".encode())
        os.close(told)
        _, status = os.waitpid(init, 0)
        code = os.waitstatus_to_exitcode(status)
        os._exit(code if code >= 0 else 128 - code)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(told, f"{type(error).__name__}: {error}\n".encode())
        os._exit(71)


def _receive_with_channel(
    control: socket.socket,
) -> tuple[dict[str, Any], socket.socket | None]:
    """Receive a request; the descriptor comes with its first byte."""
    first, handles, _, _ = socket.recv_fds(control, 1, 1, socket.MSG_WAITALL)
    if not first:
        raise EOFError
    request = receive(control)
    return request, socket.socket(fileno=handles[0]) if handles else None


def main() -> None:
    """Import, then serve on the socket whose number is the first argument; the second says how."""
    control = socket.socket(fileno=int(sys.argv[1]))
    try:
        for name in PRELOADED:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        serve(control, isolated=sys.argv[2:] == ["isolated"])
    except Exception:
        traceback.print_exc()
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
