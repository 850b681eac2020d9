"""What the sandbox shows of the packages, and what it hides of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from featx.grading.sandbox import bwrap_command


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
