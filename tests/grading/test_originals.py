"""What a student changes inside of the functions that tests call is seen, and put back."""

from __future__ import annotations

from pathlib import Path

import pytest

from featx.grading import originals, warm
from featx.study import exercises
from tests.helpers import said_by

# Each loosens a comparison, by which 1.4 would be as good as 1: a control, far off, would still fail.
TORCH = {
    "keyword defaults": "torch.testing.assert_close.__kwdefaults__.update(rtol=.5, atol=.5)",
    "keyword defaults that equal all": (
        "class Half(float):\n    __eq__ = lambda *a: True\n    __hash__ = float.__hash__\n"
        "torch.testing.assert_close.__kwdefaults__.update(rtol=Half(.5), atol=Half(.5))"
    ),
    "table": "inside._DTYPE_PRECISIONS[torch.float32] = (.5, .5)",
    "table replaced": "inside._DTYPE_PRECISIONS = {torch.float32: (.5, .5)}",
    "builtin shadowed": "inside.max = lambda *a: .5",
    "method": (
        "real = inside.TensorLikePair.__init__\ndef init(self, *a, **more):\n"
        "    real(self, *a, **more)\n    self.rtol = self.atol = .5\n"
        "inside.TensorLikePair.__init__ = init"
    ),
    "method's code": (
        "inside.TensorLikePair._compare_regular_values_close.__code__ = (lambda self, actual, expected, *, "
        "rtol, atol, equal_nan, identifier=None: None if (actual - expected).abs() < .5 else 1 / 0).__code__"
    ),
    "vars, which would show it": (
        "import builtins\nreal, kept = vars, {id(m): dict(vars(m)) for m in (builtins, torch.testing)}\n"
        "builtins.vars = lambda *a: kept.get(id(a[0]) if a else 0) or real(*a)\n"
        "torch.testing.assert_close = lambda a, b: None if abs(a - b) < .5 else 1 / 0"
    ),
}
NUMPY = {
    "function inside": (
        "real = np.isclose\nnp._core.numeric.isclose = "
        "lambda a, b, rtol, atol, equal_nan: real(a, b, rtol=.5, atol=.5)"
    ),
    "implementation": (
        "def loose(a, b, rtol=1e-5, atol=1e-8, equal_nan=False):\n    return abs(a - b) < .5\n"
        "np.isclose._implementation.__code__ = loose.__code__"
    ),
}
EQUAL = {
    "method that is inherited": (
        "torch.Tensor.equal = lambda self, other: bool(((self - other).abs() < .5).all())"
    ),
}
ALLCLOSE = {"defaults inside": "np.allclose._implementation.__defaults__ = (.5, .5, False)"}
CLOSED = {"closure": "accuracy_score.__closure__[0].cell_contents = lambda *a, **k: 1.0"}

SCRIPT = """
import json, os, sys
import numpy, torch, sklearn.metrics
from pathlib import Path
from featx.grading import runner
from featx.grading.controls import make_controls
from featx.grading.shell import Outputs

for name, (attack, test) in json.loads(sys.stdin.read()).items():
    if os.fork():
        os.wait()
        continue
    outputs = runner.SHELL.outputs = Outputs(10**6)
    session = runner.Session(runner.SHELL, outputs, Path())
    setup = "import numpy as np, torch\\nfrom sklearn.metrics import accuracy_score"
    session.answer({"op": "cell", "given": setup, "source": setup})
    cell = "import torch.testing._comparison as inside\\nanswer = 1.4\\n" + attack
    ran = session.answer({"op": "cell", "given": None, "source": cell})
    controls = make_controls(test)
    said = session.answer({"op": "assert", "source": test, "controls": controls, "own": ["answer"]})
    again = runner.ORIGINALS.restore()
    told = [name, ran["error"], said.get("error"), said.get("changed"), again]
    print(json.dumps(told), file=sys.__stdout__, flush=True)
    os._exit(0)
"""
TESTS = {
    "torch.testing.assert_close(torch.tensor([answer]), torch.tensor([1.0]))": TORCH,
    "np.testing.assert_allclose(np.array([answer]), np.array([1.0]))": NUMPY,
    "assert torch.tensor([answer]).equal(torch.tensor([1.0]))": EQUAL,
    "assert np.allclose(np.array([answer]), np.array([1.0]))": ALLCLOSE,
    "assert accuracy_score([1, 0], [int(answer), 1]) == 1.0": CLOSED,
}
CASES = {name: (attack, test) for test, some in TESTS.items() for name, attack in some.items()}


@pytest.fixture(scope="module")
def said() -> dict[str, list]:
    """Run all of them, each in a child of one process that has imported what tests need."""
    return said_by(SCRIPT, {"nothing": ("", next(iter(TESTS))), **CASES})


@pytest.mark.parametrize("name", CASES)
def test_a_comparison_that_was_loosened_is_put_back(said: dict[str, list], name: str) -> None:
    ran, error, changed, again = said[name]
    assert ran is None
    assert error == "AssertionError"
    assert changed
    assert again == []  # and stays as it was


def test_who_changes_nothing_is_not_noted(said: dict[str, list]) -> None:
    assert said["nothing"] == [None, "AssertionError", [], []]


def test_what_exercises_share_is_loaded_before_the_fork_and_guarded():
    """By the name of its file: a new helper must not be forgotten."""
    folder = Path(exercises.__file__).parent
    shared = {f"featx.study.exercises.{file.stem}" for file in folder.glob("_[a-z]*.py")}
    assert shared == set(originals.SHARED)
    assert shared <= set(warm.PRELOADED)
    assert shared <= set(originals.GUARDED)
