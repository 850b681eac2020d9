"""What the sandbox shows of the packages, and what it hides of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from featx import bubblewrap
from featx.errors import FeatxError
from featx.grading.sandbox import bwrap_command, check_sandbox


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
