"""Progress behaves where it is shown: a terminal, a log file, a notebook."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import nbclient
import nbformat
import pytest

from featx import progress
from featx.progress import progress_bar

WORK = """
import time
from featx.progress import progress_bar
with progress_bar("extract", 40) as advance:
    for _ in range(4):
        time.sleep(0.15)
        advance(10)
print("result")
"""


def test_a_log_file_gets_a_line_now_and_then_and_none_for_quick_work(capsys, monkeypatch):
    with progress_bar("extract", 40) as advance:
        advance(40)
    assert capsys.readouterr() == ("", "")

    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with progress_bar("extract", 40) as advance:
        now += 100  # to begin takes long, and says nothing about the pace
        advance(4)
        for _ in range(4):
            now += 6
            advance(9, "all well")
    with progress_bar("read", None, unit="files") as advance:
        for _ in range(2):
            now += 6
            advance(7)
    with progress_bar("train", 10_000) as advance:
        for _ in range(2):
            now += 10
            advance(20)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "extract: 4 of 40 images, 10%",
        "extract: 22 of 40 images, 55%, 1.5/s, 12 s left, all well",
        "extract: 40 of 40 images, 100%, 1.5/s, 0 s left, all well",
        "read: 14 files, 1.2/s",
        "train: 20 of 10000 images, 0%",
        "train: 40 of 10000 images, 0%, 2/s, 83 min left",
    ]


def test_nothing_is_shown_where_nothing_is_wanted(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LOG_EVERY", 0)
    with progress_bar("extract", 40, show=False) as advance:
        advance(40)
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_bar_that_vanishes():
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", WORK]
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    done = subprocess.Popen(command, stderr=theirs, stdout=subprocess.PIPE, text=True, env=env)
    out, _ = done.communicate(timeout=60)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert out == "result\n", "the bar stays off stdout"
    text = shown.decode()
    assert "extract" in text
    assert "40/40" in text
    assert re.search(r"\d/s", text), "the rate"
    assert "0:00:00" in text, "the time that is left"
    assert text.rstrip().endswith("\x1b[2K"), "the line is cleared at the end"


@pytest.mark.slow
def test_a_notebook_gets_a_bar_and_no_warning():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(WORK)])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    texts = [output.get("text", "") for output in notebook.cells[0].outputs]
    assert "result\n" in "".join(texts)
    assert not [o for o in notebook.cells[0].outputs if o.get("name") == "stderr"], texts
