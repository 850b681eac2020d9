"""What several tests share. No test reaches a network; those that must not are cut off from it."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import matplotlib
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.helpers import free_port

matplotlib.use("Agg")

ROOT = Path(__file__).parent.parent


def pytest_configure() -> None:
    # Two workers with two threads each would fight over two cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Started in the background of a shell, neither we nor what we start would heed Ctrl-C: it is tested.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
def bwrap() -> str:
    """The sandbox's program."""
    return _need("bwrap", "bubblewrap")


@pytest.fixture(scope="session")
def offline(bwrap: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs ``python ARGUMENTS…`` with the network really cut off."""
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


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs ``featx ARGUMENTS…`` in this process.

    A process of its own spends most of its ten seconds on importing torch. That the program behaves so
    as a process, too, is for a few tests to show.
    """
    from featx.cli import main

    def run(*arguments: str | Path, typed: str = "") -> subprocess.CompletedProcess[str]:
        out, err, status = io.StringIO(), io.StringIO(), 0
        with (
            monkeypatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.setattr(sys, "stdin", io.StringIO(typed))  # it ends after what is typed
            patch.setenv("COLUMNS", "100")
            try:
                main([str(argument) for argument in arguments])
            except SystemExit as ended:
                status = ended.code or 0
        return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())

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


@pytest.fixture(scope="session")
def letters():
    """Draw GlyphNet's training letters: a second for 2500 of them."""
    from featx.glyphnet.glyphs import render_letters

    return render_letters()


# Chromium as root in a container; and it shall not call home.
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@pytest.fixture
def page(chromium: str) -> Iterator[Page]:
    """A window of a fresh browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(90_000)
        expect.set_options(timeout=60_000)  # a busy machine opens JupyterLab slowly
        yield page
        browser.close()


@dataclass(frozen=True)
class Lab:
    """A JupyterLab that runs: its address, which opens lesson 00, and the folder of its notebooks."""

    address: str
    folder: Path

    def open(self, page: Page, name: str) -> None:
        """Open a notebook, close all others, and wait for its kernel."""
        page.goto(self.address.replace("00_start_here", name) + "&reset")
        page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell").first.wait_for()
        self.wait_for_idle_kernel(page)

    def wait_for_idle_kernel(self, page: Page) -> None:
        # The status bar, not the notebook's own circle: that one looks idle before there is a kernel.
        status = page.locator("#jp-main-statusbar").get_by_text("Python 3 (ipykernel) | Idle")
        expect(status).to_be_visible(timeout=180_000)

    def run_all(self, page: Page) -> None:
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()

    def save(self, page: Page) -> None:
        page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def stop_kernels(self, page: Page) -> None:
        """Each kernel holds torch in memory; a dozen of them are too many for a small machine."""
        page.evaluate("() => window.jupyterapp.serviceManager.sessions.shutdownAll()")


@pytest.fixture(scope="module")
def lab(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Run `make lab` on a copy of the lessons."""
    home = tmp_path_factory.mktemp("lab")
    folder, log = home / "lessons", home / "lab.log"
    port = free_port()
    command = [
        "make",
        "lab",
        f"VENV={sys.prefix}",
        f"PORT={port}",
        f"LAB_FLAGS=--folder {folder} --no-browser --expose-app-in-browser",
    ]
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    # as on a first start: no tabs or settings of an earlier session
    env["FEATX_DATA_DIR"] = str(home / "progress")
    env["JUPYTERLAB_WORKSPACES_DIR"] = str(home / "workspaces")
    env["JUPYTERLAB_SETTINGS_DIR"] = str(home / "settings")
    with log.open("w") as out:
        server = subprocess.Popen(
            command, cwd=root, stdout=out, stderr=out, env=env, start_new_session=True
        )
    try:
        yield Lab(_printed_address(server, log, port), folder)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _printed_address(server: subprocess.Popen, log: Path, port: int) -> str:
    """Wait until the server prints its address, as a learner without a browser would read it."""
    pattern = re.compile(rf"http://(?:localhost|127\.0\.0\.1):{port}/lab\S*token=\w+")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and server.poll() is None:
        found = pattern.search(log.read_text())
        # it is printed a moment before the server listens
        with contextlib.suppress(URLError):
            if found and urllib.request.urlopen(found.group()).status == 200:
                return found.group()
        time.sleep(0.5)
    raise AssertionError(f"make lab printed no address:\n{log.read_text()}")
