"""What the sandbox shows of the packages, what it hides of them, and what is left of a lost child."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from nbformat import NotebookNode

from featx import bubblewrap
from featx.errors import FeatxError
from featx.grading.execution import execute
from featx.grading.protocol import Limits
from featx.grading.rebuild import Rebuilt
from featx.grading.sandbox import Child, SandboxLost, bwrap_command, check_sandbox


def test_a_second_environment_is_shown_but_no_answer_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with a .pth file, by which uv lays one environment over another."""
    packages = tmp_path / "site-packages"
    answers = packages / "featx" / "study" / "bank" / "03.yaml"
    answers.parent.mkdir(parents=True)
    answers.write_text("")
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages), str(tmp_path / "course")])
    command = bwrap_command(["true"])
    binds = {
        place: source for _, source, place in zip(command, command[1:], command[2:], strict=False)
    }
    assert binds[str(packages)] == str(packages)
    assert binds[str(answers)] == os.devnull
    assert command.index(str(packages)) < command.index(str(answers))
    assert str(tmp_path / "course") not in command


@pytest.mark.parametrize(
    ("platform", "says"), [("win32", "Windows Subsystem for Linux"), ("darwin", "on Linux only")]
)
def test_where_there_is_no_bubblewrap_nobody_is_told_to_install_it(
    platform: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FeatxError, match=says) as raised:
        check_sandbox("auto")
    assert "apt" not in str(raised.value)


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap exists on Linux only")
def test_a_bubblewrap_that_never_ends_is_one_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.write_text("#!/bin/sh\nexec /bin/sleep 30\n")
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(bubblewrap, "TRY", 0.3)
    with pytest.raises(FeatxError, match="timed out"):
        check_sandbox("auto")


class Warm:
    """Stands in for a sandbox, whose children reply this to a file of that name."""

    def __init__(self, replies: dict[str, dict[str, Any] | str] | None = None) -> None:
        self.replies = replies or {}
        self.asked: list[str] = []

    def spawn(self, _: Limits) -> Warm:
        return self

    def ask(self, request: dict[str, Any], _: float) -> dict[str, Any] | str:
        self.asked.append(request["path"])
        return self.replies.get(request["path"], {"outputs": []})

    def request(self, *_: Any, **more: Any) -> dict[str, Any]:
        return {}

    def close(self) -> None: ...


def lay(files: dict[str, bytes], given: frozenset[str], warm: Warm) -> None:
    rebuilt = Rebuilt([], NotebookNode(), frozenset(), [], {}, [], given)
    execute(rebuilt, files, set(), Limits(), warm)  # type: ignore[arg-type]


FAULT = {"fault": "OSError: No space left on device", "outputs": []}


def test_without_a_file_of_the_instructors_nothing_runs() -> None:
    given = frozenset({"data.csv"})
    with pytest.raises(SandboxLost, match=r"'data\.csv'.*No space left"):
        lay({"data.csv": b"1", "mine.py": b""}, given, Warm({"data.csv": FAULT}))
    warm = Warm({"mine.py": FAULT})  # a student's may be too much
    lay({"data.csv": b"1", "mine.py": b"", "more.py": b""}, given, warm)
    assert warm.asked == ["data.csv", "mine.py", "more.py"]


def test_a_child_that_is_lost_before_it_began_is_no_fault_of_the_student() -> None:
    with pytest.raises(SandboxLost, match="crashed"):
        lay({"mine.py": b""}, frozenset(), Warm({"mine.py": "crashed"}))


def test_who_asks_a_closed_child_hears_that_it_is_gone() -> None:
    ours, theirs = socket.socketpair()
    child = Child(Warm(), ours, {"child": 0, "outer": 0})  # type: ignore[arg-type]
    theirs.close()
    for _ in range(2):
        assert child.ask({"op": "file"}, 1.0) == "crashed"
