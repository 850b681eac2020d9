"""Starts the warm process inside bubblewrap, and hands out children of it, one for each submission.

What a child can reach: the Python that runs here with its packages, the system's libraries, and a folder of
its own in memory. No network, no home, no course, no gradebook, no other submission, no other process.
"""

from __future__ import annotations

import contextlib
import os
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import featx
from featx.bubblewrap import bubblewrap_fault, where_it_exists
from featx.errors import FeatxError
from featx.grading.protocol import HOME, OUT_OF_MEMORY, Broken, Limits, receive, send

__all__ = ["Child", "Sandbox", "SandboxLost", "check_sandbox"]

#: ``"auto"`` and ``"bwrap"`` need bubblewrap; ``"none"`` grades unprotected.
KINDS = ("auto", "bwrap", "none")

#: Seconds for the warm process to import torch and the others, on the slowest of machines.
WARM_UP = 300.0
#: Seconds for a fork and its namespaces.
SPAWN = 60.0

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/nix/store")
_SETTINGS = ("alternatives", "fonts", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime")


class SandboxLost(Exception):
    """The warm process, or the way to it, is gone: no fault of a student."""


def check_sandbox(kind: str) -> bool:
    """Tell whether bubblewrap is to be used, after a try.

    Parameters
    ----------
    kind
        One of `KINDS`.

    Returns
    -------
    bool
        True for bubblewrap.

    Raises
    ------
    FeatxError
        When it is missing, or the kernel does not let it work: says what to do.
    """
    if kind not in KINDS:
        raise FeatxError(
            f"Expected {', '.join(KINDS[:-1])} or {KINDS[-1]} for the sandbox, got {kind!r}. Leave it out "
            "for the safest that there is."
        )
    if kind == "none":
        if not hasattr(os, "fork"):
            raise FeatxError(
                "Expected Linux or macOS to grade on, but this system cannot fork processes. On Windows, "
                "grade in the Windows Subsystem for Linux."
            )
        return False
    unprotected = "or say --sandbox none to grade without protection, on submissions that you trust"
    if where := where_it_exists():
        raise FeatxError(
            "Expected bubblewrap, which keeps submissions away from your files, but it exists "
            f"{where}. Grade there{'' if sys.platform == 'win32' else f', {unprotected}'}."
        )
    fault, fix = bubblewrap_fault()
    if fault:
        raise FeatxError(
            "Expected bubblewrap, which keeps submissions away from your files, but it "
            f"{fault}. {fix}, {unprotected}."
        )
    return True


def bwrap_command(arguments: Sequence[str]) -> list[str]:
    """Return the command that runs a program shut in: read-only, without network, seeing little."""
    package = Path(featx.__file__).parent
    shown = [Path(name) for name in _SYSTEM] + [Path("/etc", name) for name in _SETTINGS]
    python = {sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages()}
    python |= {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(package)}
    if site.ENABLE_USER_SITE and Path(site.getusersitepackages()).is_dir():
        python.add(site.getusersitepackages())
    # uv and others add the packages of a second environment, by a .pth file.
    python |= {each for each in sys.path if Path(each).name in ("site-packages", "dist-packages")}
    command = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--uid", "1000", "--gid", "1000"]  # who is root here is nobody in there
    command += ["--tmpfs", "/tmp", "--tmpfs", HOME]
    for path in [*shown, *sorted(map(Path, python))]:
        if path.is_symlink():
            command += ["--symlink", str(path.readlink()), str(path)]
        elif path.exists():
            command += ["--ro-bind", str(path), str(path)]
    # Answers that travel with the package: nobody looks them up while the work is marked.
    for copy in sorted({package, *(Path(each, "featx") for each in python)}):
        for path in hidden_files(copy):
            command += ["--ro-bind", os.devnull, str(path)]
    # A /proc for the children to replace by one of their own; the warm process alone sees this one.
    command += ["--bind", "/proc", "/proc", "--dev", "/dev", "--chdir", HOME]
    for name, value in {
        "HOME": HOME,
        "TMPDIR": HOME,
        "LANG": "C.UTF-8",
        "IPYTHONDIR": f"{HOME}/.ipython",
        "MPLCONFIGDIR": f"{HOME}/.matplotlib",
    }.items():
        command += ["--setenv", name, value]
    # One world for all children so far: what one of them could write, the next could read.
    command += ["--remount-ro", "/dev", "--remount-ro", "/tmp", "--remount-ro", "/"]
    return [*command, "--", *arguments]


def hidden_files(package: Path) -> Iterator[Path]:
    """Name the files of the package that hold right answers."""
    for path in sorted((package / "study/bank").rglob("*.yaml")):
        yield path
    for path in sorted((package / "study/exercises").rglob("*.py*")):
        if not path.name.startswith("_"):
            yield path


class Child:
    """One process for one submission, and the channel to it."""

    def __init__(self, sandbox: Sandbox, channel: socket.socket, numbers: dict[str, int]) -> None:
        self._sandbox, self._channel, self._numbers = sandbox, channel, numbers
        self._receipts = 0
        self._closed = False

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | str:
        """Send a request and wait for its reply.

        Parameters
        ----------
        request
            As `featx.grading.runner` understands it.
        seconds
            After these the child is interrupted, and after three more it is killed.

        Returns
        -------
        dict or str
            The reply; or why there is none: ``"timeout"``, ``"out_of_memory"``, ``"crashed"`` or
            ``"tampered"``. Then the child is gone.
        """
        self._receipts += 1
        receipt = f"{self._receipts}-{os.urandom(16).hex()}"
        interrupted = False
        try:
            self._channel.settimeout(seconds)
            send(self._channel, {**request, "receipt": receipt})
            try:
                reply = receive(self._channel)
            except TimeoutError:
                interrupted = True
                self._sandbox.request({"interrupt": self._numbers["child"]})
                self._channel.settimeout(3.0)
                reply = receive(self._channel)
        except TimeoutError:
            self.close()
            return "timeout"
        except (Broken, OSError):  # closed on our side, too
            self.close()
            return self._cause() if not interrupted else "timeout"
        if reply.get("receipt") != receipt or not isinstance(reply.get("outputs"), list):
            self.close()
            return "tampered"
        if interrupted:
            reply["interrupted"] = True
        return reply

    def _cause(self) -> str:
        said = self._sandbox.request({"wait": self._numbers["outer"]}, quiet=True)
        return "out_of_memory" if said.get("status") == OUT_OF_MEMORY else "crashed"

    def close(self) -> None:
        """End the child and all that it has started."""
        if not self._closed:
            self._closed = True
            self._channel.close()
            self._sandbox.request({"kill": self._numbers["child"]}, quiet=True)


class Sandbox:
    """The warm process, which begins to import at once. Use it as a context; threads may share it.

    Parameters
    ----------
    kind
        As for `check_sandbox`.
    """

    def __init__(self, kind: str = "auto") -> None:
        self.kind = kind
        self._protected = check_sandbox(kind)
        self._lock = threading.Lock()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the process)
        self._control, theirs = socket.socketpair()
        arguments = [sys.executable, "-m", "featx.grading.warm", str(theirs.fileno())]
        if self._protected:
            arguments = bwrap_command([*arguments, "isolated"])
        environment = {
            name: value
            for name, value in os.environ.items()
            if name in ("PATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONPATH", "TZ")
        }
        environment |= {
            "OMP_NUM_THREADS": "1",  # as many submissions as cores: one thread each
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "PYTHONDONTWRITEBYTECODE": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "NBGRADER_EXECUTION": "autograde",
        }
        if not self._protected:
            environment |= {k: os.environ[k] for k in ("HOME",) if k in os.environ}
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=environment,
            pass_fds=[theirs.fileno()],
            cwd="/",
            start_new_session=True,
        )
        theirs.close()
        self._ready = False

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def spawn(self, limits: Limits) -> Child:
        """Fork a child for one submission, which may use so much.

        Raises
        ------
        SandboxLost
            When there is none.
        """
        ours, theirs = socket.socketpair()
        try:
            said = self.request({"spawn": asdict(limits)}, theirs)
            if "child" not in said:
                raise SandboxLost(f"No process for a submission: {said.get('error', 'no reply')}.")
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return Child(self, ours, said)

    def request(
        self, message: dict[str, Any], channel: socket.socket | None = None, *, quiet: bool = False
    ) -> dict[str, Any]:
        """Ask the warm process for something; `quiet` takes its absence for done."""
        with self._lock:
            self._wait_until_warm()
            try:
                handles = [channel.fileno()] if channel else []
                socket.send_fds(self._control, [b"."], handles)
                send(self._control, message)
                return receive(self._control)
            except (Broken, TimeoutError, OSError) as error:
                if quiet:
                    return {}
                raise SandboxLost(f"The warm process is gone: {self._said() or error}.") from error

    def _wait_until_warm(self) -> None:
        if self._ready:
            return
        try:
            self._control.settimeout(WARM_UP)
            receive(self._control)
        except (Broken, TimeoutError, OSError) as error:
            raise SandboxLost(
                f"The warm process did not start: {self._said() or error}."
            ) from error
        self._control.settimeout(SPAWN)
        self._ready = True

    def close(self) -> None:
        """End the warm process, and with it every child."""
        self._control.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        self._log.close()

    def _said(self) -> str:
        """Return the last line that the warm process printed; nothing when it was closed."""
        try:
            self._log.seek(0)
            lines = self._log.read().decode(errors="replace").strip().splitlines()
        except ValueError:  # closed, by another thread that met the loss first
            return ""
        return lines[-1] if lines else ""
