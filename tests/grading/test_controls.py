"""Controls fail beside an honest test that passes, and pass only for what cannot be trusted."""

from __future__ import annotations

import ast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from featx.grading.controls import OTHER, make_controls, other

PASSING = """
assert square(3) == 9, "message"
assert 16 == square(4)
assert square(torch.tensor([1.0, 2.0])).tolist() == [1.0, 4.0]
assert torch.equal(square(torch.ones(2)), torch.ones(2))
assert torch.allclose(square(torch.ones(2)), torch.tensor([1.0, 1.0]), atol=1e-3)
assert abs(square(0.5) - 0.25) < 1e-6
np.testing.assert_allclose(square(np.ones(3)), np.ones(3), rtol=0.5)
for given, expected in [(1, 1), (2, 4)]:
    assert square(given) == expected
with torch.no_grad():
    assert square(5) == square(-5)
assert (square(np.arange(3)) == np.arange(3) ** 2).all()
if square(2) == 4:
    pass
assert type(square(2)) is int
assert square(3) > 0
"""


def names() -> dict:
    return {"square": lambda x: x * x, "torch": torch, "np": np, OTHER: other}


@pytest.mark.parametrize("statement", range(13))
def test_each_control_fails_where_the_test_passes(statement: int) -> None:
    exec(PASSING, names())
    # one statement at a time, so that none hides behind the limit
    tree = ast.parse(PASSING)
    source = ast.unparse(tree.body[statement])
    controls = make_controls(source)
    for control in controls:
        with pytest.raises((AssertionError, RuntimeError)):
            exec(control, names())
    # the last two compare nothing with an expected value
    assert len(controls) == (1 if statement >= 11 else 2)


def test_what_equals_everything_passes_a_control() -> None:
    class Everything:
        def __eq__(self, _: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    control = make_controls("assert answer == 9")[1]
    exec(control, {"answer": Everything(), OTHER: other})


def test_what_is_not_sure_to_run_is_no_control() -> None:
    for source in (
        "if x:\n    assert y == 1",
        "for i in rows:\n    assert i == 1",
        "def t():\n    assert x == 1",
    ):
        assert make_controls(source) == ["assert False"]
    assert make_controls("this is no Python") == ["assert False"]


@given(
    st.recursive(
        st.booleans() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, min_size=1, max_size=3)
            | st.tuples(inner)
            | st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=3)
        ),
    )
)
def test_another_value_is_never_the_same(value: object) -> None:
    assert other(value) != value


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.float32, torch.bool])
def test_another_tensor_is_never_the_same(kind: torch.dtype) -> None:
    values = torch.arange(256).to(kind)
    assert not (other(values) == values).any()
