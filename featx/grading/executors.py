"""Where submissions run: on this machine, or on a cluster. Both have `jobs`, `execute` and `close`."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from featx.errors import FeatxError
from featx.grading.execution import Ran, execute
from featx.grading.protocol import Limits
from featx.grading.rebuild import Rebuilt
from featx.grading.results import environment
from featx.grading.sandbox import Sandbox, SandboxLost
from featx.wording import first_line

__all__ = ["Cluster", "Executor", "Local"]

#: Seconds for a scheduler to answer: whoever mistyped its address must not wait for long.
CONNECT = 20.0


class Executor(Protocol):
    """What `featx.grading.grade` needs: threads may share it."""

    #: Submissions at a time that it can use.
    jobs: int

    def execute(
        self, rebuilt: Rebuilt, files: dict[str, bytes], tests: set[int], limits: Limits
    ) -> dict[int, Ran]:
        """Run a notebook, as `featx.grading.execution.execute`; `SandboxLost` is worth another try."""
        ...

    def close(self) -> None:
        """End what was started, and every notebook that runs."""
        ...


class Local:
    """Runs submissions on this machine, in children of one warm process.

    Parameters
    ----------
    sandbox
        The warm process. When it is lost, another one takes its place. Closed with this.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        from featx.machine import cores  # it imports torch, for seconds, and the help needs none

        self.jobs = cores()
        self._sandbox = sandbox
        self._closed = False
        self._lock = threading.Lock()

    def execute(
        self, rebuilt: Rebuilt, files: dict[str, bytes], tests: set[int], limits: Limits
    ) -> dict[int, Ran]:
        """Run a notebook."""
        with self._lock:
            sandbox = self._sandbox
        try:
            return execute(rebuilt, files, tests, limits, sandbox)
        except SandboxLost:
            # The next try gets a new one. Another thread may have made it already: that one stays.
            with self._lock:
                if self._sandbox is sandbox and not self._closed:
                    sandbox.close()
                    self._sandbox = Sandbox(sandbox.kind)
            raise

    def close(self) -> None:
        """End the warm process."""
        with self._lock:
            self._closed = True
            self._sandbox.close()


class Cluster:
    """Runs submissions on the workers of a Dask cluster; each has a warm process and a sandbox of its own.

    Dask runs again what was lost with a worker. So a notebook may run twice; its result counts once, for only
    the process that asked for it scores and records.

    Parameters
    ----------
    address
        Of the scheduler, such as ``"tcp://10.0.0.1:8786"``.
    kind
        As for `featx.grading.sandbox.check_sandbox`, on each worker.

    Raises
    ------
    FeatxError
        When Dask is not installed, nobody answers, there is no worker, or a worker has other versions.
    """

    def __init__(self, address: str, kind: str = "auto") -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise FeatxError(
                "Expected Dask for --scheduler, but it is not installed. Install it with: "
                "pip install 'featx[scale]'"
            ) from error
        try:
            self._client: Any = Client(address, timeout=CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise FeatxError(
                f"Expected a Dask scheduler at {address}, but: {first_line(error)}. Start one with "
                "'dask scheduler', and workers with 'dask worker tcp://…:8786'."
            ) from error
        self._kind = kind
        try:
            here, there = environment(), self._client.run(environment)
            self.jobs = sum(self._client.nthreads().values())
            if not there:
                raise FeatxError(f"Expected workers at {address}, but there are none. Start some.")
            for worker, versions in there.items():
                if versions != here:
                    raise FeatxError(
                        f"Expected the versions of this machine on each worker ({here}), but {worker} has "
                        f"{versions}. Marks must not depend on where they are found: install the same."
                    )
        except BaseException:
            self.close()
            raise

    def execute(
        self, rebuilt: Rebuilt, files: dict[str, bytes], tests: set[int], limits: Limits
    ) -> dict[int, Ran]:
        """Run a notebook on some worker."""
        from distributed import CancelledError, KilledWorker

        try:
            asked = self._client.submit(
                _execute_there, rebuilt, files, tests, limits, self._kind, pure=False
            )
            return asked.result()
        except (KilledWorker, CancelledError, OSError) as error:
            raise SandboxLost(f"The cluster lost the work: {first_line(error)}.") from error

    def close(self) -> None:
        """Leave the cluster; its workers stay."""
        self._client.close()


# One for each process of a worker, and for each kind of sandbox.
_LOCALS: dict[str, Local] = {}
_LOCK = threading.Lock()


def _execute_there(
    rebuilt: Rebuilt, files: dict[str, bytes], tests: set[int], limits: Limits, kind: str
) -> dict[int, Ran]:
    with _LOCK:
        if kind not in _LOCALS:
            _LOCALS[kind] = Local(Sandbox(kind))
        local = _LOCALS[kind]
    return local.execute(rebuilt, files, tests, limits)
