"""Where submissions run: on this machine, or on a cluster. Both have `jobs`, `execute` and `close`."""

from __future__ import annotations

import os
import threading
from typing import Any, Protocol

from featx.errors import FeatxError, first_line
from featx.grading.execution import Ran, execute
from featx.grading.protocol import Limits
from featx.grading.rebuild import Rebuilt
from featx.grading.results import environment
from featx.grading.sandbox import Kind, Sandbox, SandboxLost

__all__ = ["Cluster", "Executor", "Local"]


class Executor(Protocol):
    """What `featx.grading.grade` needs: threads may share it."""

    #: Submissions at a time that it can use.
    jobs: int

    def execute(self, rebuilt: Rebuilt, files: dict[str, bytes], tests: set[int]) -> dict[int, Ran]:
        """Run a notebook, as `featx.grading.execution.execute`; `SandboxLost` is worth another try."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...


class Local:
    """Runs submissions on this machine, in children of one warm process.

    Parameters
    ----------
    kind
        As for `featx.grading.sandbox.check_sandbox`.
    limits
        What each submission may use.
    """

    def __init__(self, kind: Kind, limits: Limits) -> None:
        self.jobs = os.cpu_count() or 1
        self._limits = limits
        self._kind: Kind = kind
        self._sandbox: Sandbox | None = None
        self._lock = threading.Lock()

    def execute(self, rebuilt: Rebuilt, files: dict[str, bytes], tests: set[int]) -> dict[int, Ran]:
        """Run a notebook; the warm process starts with the first one that needs it."""
        with self._lock:
            if self._sandbox is None:
                self._sandbox = Sandbox(self._kind, self._limits)
            sandbox = self._sandbox
        try:
            return execute(rebuilt, files, tests, sandbox)
        except SandboxLost:
            # The next try gets a new one. Another thread may have it already: that one stays.
            with self._lock:
                if self._sandbox is sandbox:
                    self._sandbox = None
            sandbox.close()
            raise

    def close(self) -> None:
        """End the warm process."""
        with self._lock:
            if self._sandbox is not None:
                self._sandbox.close()
            self._sandbox = None


class Cluster:
    """Runs submissions on the workers of a Dask cluster; each has a warm process and a sandbox of its own.

    Dask runs again what was lost with a worker. So a notebook may run twice; its result counts once, for only
    the process that asked for it scores and records.

    Parameters
    ----------
    address
        Of the scheduler, such as ``"tcp://10.0.0.1:8786"``.
    kind, limits
        As for `Local`.

    Raises
    ------
    FeatxError
        When Dask is not installed, nobody answers, there is no worker, or a worker has other versions.
    """

    def __init__(self, address: str, kind: Kind, limits: Limits) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise FeatxError(
                "Expected Dask for --scheduler, but it is not installed. Install it with: "
                "pip install 'featx[scale]'"
            ) from error
        try:
            self._client: Any = Client(address, timeout=20, set_as_default=False)
        except (OSError, ValueError) as error:
            raise FeatxError(
                f"Expected a Dask scheduler at {address}, but: {first_line(error)}. Start one with "
                "'dask scheduler', and workers with 'dask worker tcp://…:8786'."
            ) from error
        self._kind, self._limits = kind, limits
        here, there = environment(), self._client.run(environment)
        self.jobs = sum(self._client.nthreads().values())
        try:
            if not there:
                raise FeatxError(f"Expected workers at {address}, but there are none. Start some.")
            for worker, versions in there.items():
                if versions != here:
                    raise FeatxError(
                        f"Expected the versions of this machine on each worker ({here}), but {worker} has "
                        f"{versions}. Marks must not depend on where they are found: install the same."
                    )
        except FeatxError:
            self.close()
            raise

    def execute(self, rebuilt: Rebuilt, files: dict[str, bytes], tests: set[int]) -> dict[int, Ran]:
        """Run a notebook on some worker."""
        from distributed import CancelledError, KilledWorker

        try:
            asked = self._client.submit(
                _execute_there, rebuilt, files, tests, self._kind, self._limits, pure=False
            )
            return asked.result()
        except (KilledWorker, CancelledError, OSError) as error:
            raise SandboxLost(f"The cluster lost the work: {first_line(error)}.") from error

    def close(self) -> None:
        """Leave the cluster; its workers stay."""
        self._client.close()


# One for each process of a worker, and for each kind of work.
_LOCALS: dict[tuple[Kind, Limits], Local] = {}
_LOCK = threading.Lock()


def _execute_there(
    rebuilt: Rebuilt, files: dict[str, bytes], tests: set[int], kind: Kind, limits: Limits
) -> dict[int, Ran]:
    with _LOCK:
        local = _LOCALS.setdefault((kind, limits), Local(kind, limits))
    return local.execute(rebuilt, files, tests)
