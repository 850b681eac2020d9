"""What is typed for `featx grade` and `featx assignment sample` is checked before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from featx.cli import main
from featx.errors import FeatxError
from featx.grading.terminal import read_size


@pytest.mark.parametrize("seconds", ["inf", "nan", "-1", "0"])
def test_a_timeout_is_a_number_of_seconds(
    seconds: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["grade", "x", "--timeout", seconds, "--sandbox", "none"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--course-dir", str(tmp_path)])
    assert ended.value.code == 2
    assert "seconds above 0" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0.0001", "0.9", "0.0000001k"])
def test_less_than_a_byte_is_no_size(text: str) -> None:
    with pytest.raises(FeatxError, match="amount of memory"):
        read_size(text)


@pytest.mark.parametrize("students", ["0", "-1"])
def test_a_class_has_a_student(
    students: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["assignment", "sample", "x", "--students", students, "--course-dir", str(tmp_path)])
    assert ended.value.code == 2
    assert "--students" in capsys.readouterr().err
