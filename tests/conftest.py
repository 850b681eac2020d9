"""What several tests share. No test reaches a network; those that must not are cut off from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")

ROOT = Path(__file__).parent.parent


def pytest_configure() -> None:
    # Two workers with two threads each would fight over two cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def _need(program: str, package: str) -> str:
    """Find a program; without it skip the test on a learner's machine, and fail it in CI."""
    path = shutil.which(program)
    if path is None:
        reason = f"needs {program}; on Debian and Ubuntu: sudo apt install {package}"
        if os.environ.get("CI"):
            pytest.fail(f"{reason} (in CI a missing program is a failure)")
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def chromium() -> str:
    """The system's Chromium."""
    return _need("chromium", "chromium")


@pytest.fixture(scope="session")
def offline() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs ``python ARGUMENTS…`` with the network really cut off."""
    bwrap = _need("bwrap", "bubblewrap")
    cut_off = [bwrap, "--dev-bind", "/", "/", "--unshare-net", "--die-with-parent", "--"]

    def run(
        arguments: Sequence[str | Path],
        *,
        cwd: Path = ROOT,
        timeout: float = 300,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*cut_off, sys.executable, *map(str, arguments)],
            cwd=cwd,
            timeout=timeout,
            env={**os.environ, "OMP_NUM_THREADS": "2", **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def digits():
    """Load scikit-learn's handwritten digits."""
    import featx

    return featx.datasets.load_digits()


@pytest.fixture(scope="session")
def glyphnet_features(digits):
    """Extract GlyphNet's features of the digits."""
    import featx

    return featx.extract(featx.load_backbone("glyphnet"), digits, progress=False)
