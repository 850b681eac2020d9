"""A notebook's session goes on, whatever happened in a test of it."""

from __future__ import annotations

import pytest

from tests.helpers import said_by

SCRIPT = """
import json, os, sys
from pathlib import Path
from featx.grading import runner
from featx.grading.shell import Outputs

for name, test in json.loads(sys.stdin.read()).items():
    if os.fork():
        os.wait()
        continue
    outputs = runner.SHELL.outputs = Outputs(10**6)
    session = runner.Session(runner.SHELL, outputs, Path())

    def cell(source, given=None):
        return session.answer({"op": "cell", "given": given, "source": source})

    setup = "given = 1\\nclass Mute(Exception):\\n    def __str__(self):\\n        raise ValueError\\n"
    cell(setup, setup)
    cell("given = 2\\nsum = 3\\ndef stops(error):\\n    raise error\\n")
    said = session.answer({"op": "assert", "source": test, "controls": [], "own": ["stops"]})
    ran = cell("assert (given, sum) == (2, 3)")  # what the student made of these
    cell("class Bad:\\n    def __str__(self):\\n        raise Mute\\nbad = Bad()")
    read = session.answer({"op": "read", "names": ["bad"]})["fault"]
    told = [name, said.get("error"), said.get("fault"), said["outputs"], read, ran["error"]]
    print(json.dumps(told), file=sys.__stdout__, flush=True)
    os._exit(0)
"""
TESTS = {
    "passes": "assert given == 1",
    "fails": "assert given == 2, 'given: 1'",
    "is interrupted": "stops(KeyboardInterrupt())",
    "has no text": "stops(Mute())",
}


@pytest.fixture(scope="module")
def said() -> dict[str, list]:
    return said_by(SCRIPT, TESTS)


@pytest.mark.parametrize("name", TESTS)
def test_behind_a_test_the_students_names_are_theirs_again(
    said: dict[str, list], name: str
) -> None:
    assert said[name][-1] is None


def test_an_answer_that_has_no_text_is_a_fault_and_no_end(said: dict[str, list]) -> None:
    assert {read for *_, read, _ in said.values()} == {"Mute"}


def test_what_a_test_said_is_shown(said: dict[str, list]) -> None:
    assert said["passes"][:3] == [None, None, []]
    error, fault, (shown,), *_ = said["fails"]
    assert (error, fault) == ("AssertionError", None)
    assert shown["evalue"] == "given: 1"
    assert shown["traceback"] == ["AssertionError: given: 1"]
    error, fault, (shown,), *_ = said["has no text"]
    assert (error, fault) == ("Mute", None)
    assert shown["traceback"] == ["Mute"]
    assert said["is interrupted"][0] is None
    assert "KeyboardInterrupt" in said["is interrupted"][1]
