"""The teacher's formgrader in JupyterLab shows the marks that `featx grade` has recorded."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import pytest
from playwright.sync_api import Page, expect

from featx.grading.grade import grade
from featx.grading.gradebook import Course
from tests.grading.attacks.course import NAME, Case, make_course, submit
from tests.helpers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture
def formgrader(bwrap: str, tmp_path: Path) -> Iterator[str]:
    """Grade a class of two, start JupyterLab in the course, and return the formgrader's address."""
    make_course(tmp_path)
    Course(tmp_path).release(NAME)
    submit(tmp_path, Case("ada"))
    submit(tmp_path, Case("bob", {"square": "def square(x):\n    return x + x"}))
    assert not [each.fault for each in grade(NAME, tmp_path) if each.fault]
    port = free_port()
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", f"--port={port}"]
    command += ["--IdentityProvider.token=secret", "--allow-root", "--ip=127.0.0.1"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    log = tmp_path / "lab.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            command,
            cwd=tmp_path,
            stdout=out,
            stderr=out,
            env={**os.environ, "PATH": path, "IPYTHONDIR": str(tmp_path / ".ipython")},
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}/formgrader"
        deadline = time.monotonic() + 120
        while True:
            try:
                if urllib.request.urlopen(f"{address}?token=secret").status == 200:
                    break
            except URLError:
                assert server.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.5)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def test_the_formgrader_shows_the_marks(formgrader: str, page: Page) -> None:
    page.goto(f"{formgrader}?token=secret")
    page.goto(f"{formgrader}/manage_submissions/{NAME}")
    for student, points in {"ada": "14 / 14", "bob": "12 / 14"}.items():
        row = page.locator("tr", has=page.get_by_text(student, exact=False)).first
        expect(row).to_contain_text("graded")
        expect(row).to_contain_text(points)
    shots = os.environ.get("FEATX_SCREENSHOTS")
    if shots:
        page.screenshot(path=f"{shots}/formgrader.png")
    page.goto(f"{formgrader}/gradebook/{NAME}/{NAME}")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.locator("tbody tr a").first.click()
    expect(page.get_by_text("✓ Correct").first).to_be_visible()
