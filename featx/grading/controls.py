"""Tests that must fail: they run beside the real ones and show whether a test can still fail.

One is a bare false assertion. The others are the test itself with one expected constant changed: an object
that equals everything passes these too, as does code that reads the expected value from its caller.
"""

from __future__ import annotations

import ast
import contextlib
import copy
from typing import Any

__all__ = ["OTHER", "make_controls", "other"]

#: A test of more assertions is controlled on the first ones.
MOST = 8

# Names of functions whose second argument is the expected value.
_COMPARING = {
    "allclose",
    "array_equal",
    "assertAlmostEqual",
    "assertEqual",
    "assert_allclose",
    "assert_almost_equal",
    "assert_array_almost_equal",
    "assert_array_equal",
    "assert_close",
    "assert_equal",
    "equal",
    "isclose",
}


#: The name by which a control calls `other`.
OTHER = "__featx_other__"


def make_controls(source: str) -> list[str]:
    r"""Make the controls of a test cell.

    Parameters
    ----------
    source
        The test.

    Returns
    -------
    list of str
        Code that must fail wherever the test passes. Changed are only comparisons that surely run and for
        which an honest answer cannot fit both values: those in assertions, in conditions and in calls such
        as ``assert_allclose``, at the top level, in a ``with``, or in a loop over a written list.

    Examples
    --------
    >>> make_controls("x = f(2)\nassert x == 4\nassert x > 0")
    ['assert False', 'x = f(2)\nassert x == 1044']
    >>> make_controls("assert f(2) == g(2)")[1]
    'assert f(2) == __featx_other__(g(2))'
    """
    controls = ["assert False"]
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return controls
    before: list[ast.stmt] = []
    for statement in tree.body:
        changed = _changed(statement)
        if changed is not None and len(controls) <= MOST:
            module = ast.Module([*before, changed], [])
            controls.append(ast.unparse(ast.fix_missing_locations(module)))
        if not isinstance(statement, ast.Assert) and changed is None:
            before.append(statement)
    return controls


def other(value: Any) -> Any:
    """Return a value of the same kind that no honest answer takes for the one given."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float | complex):
        return value + 1000 + 10 * abs(value)  # far off, whatever the tolerance
    if isinstance(value, str):
        return value + "\u2060"
    if type(value) in (list, tuple) and value:
        return type(value)(map(other, value))
    if type(value) is dict and value:
        return {key: other(each) for key, each in value.items()}
    array: Any = value
    if hasattr(array, "dtype") and hasattr(array, "shape"):
        with contextlib.suppress(Exception):
            kind = str(array.dtype)
            if "bool" in kind:
                return ~array
            if "int" in kind:  # small ones would overflow, perhaps to what they were
                array = array.long() if hasattr(array, "long") else array.astype("int64")
            return array + 1000 + 10 * abs(array)
    return object()


def _changed(statement: ast.stmt) -> ast.stmt | None:
    """Return a check with another expected value, or None when there is nothing to change."""
    statement = copy.deepcopy(statement)
    match statement:
        case ast.Assert():
            statement.msg = None
            return statement if _change(statement.test) else None
        case ast.If():
            # the condition, changed, must be false
            return ast.Assert(statement.test) if _change(statement.test) else None
        case ast.Expr():
            return statement if _change(statement.value) else None
        case ast.With() | ast.For(iter=ast.List(elts=[_, *_]) | ast.Tuple(elts=[_, *_])):
            changes = [_changed(each) or each for each in statement.body]
            if all(new is old for new, old in zip(changes, statement.body, strict=True)):
                return None
            statement.body = changes
            return statement
    return None


def _change(test: ast.expr) -> bool:
    """Change what a comparison expects; tell whether there was one."""
    match test:
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            if _is_plain(left) and not _is_plain(right):
                test.left = _other(left)
            else:
                test.comparators = [_other(right)]
        case ast.Compare(
            left=ast.Call(func=ast.Name(id="abs"), args=[ast.BinOp(op=ast.Sub()) as difference]),
            ops=[ast.Lt() | ast.LtE()],
        ):
            difference.right = _other(difference.right)
        case ast.Call(func=function, args=[_, expected, *_]) if _name(function) in _COMPARING:
            test.args[1] = _other(expected)
        case ast.Call(func=ast.Attribute(attr="all" | "item"), args=[]):
            return _change(test.func.value)  # type: ignore[attr-defined]
        case ast.Call(func=ast.Name(id="bool" | "all"), args=[inner]):
            return _change(inner)
        case _:
            return False
    return True


def _name(function: ast.expr) -> str:
    return getattr(function, "attr", getattr(function, "id", ""))


def _is_plain(value: ast.expr) -> bool:
    """Tell whether an expression is made of constants only, perhaps in a tensor or an array."""
    match value:
        case ast.Constant():
            return type(value.value) in (int, float, str, bool)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _is_plain(operand)
        case ast.List(elts=[_, *_] as parts) | ast.Tuple(elts=[_, *_] as parts):
            return all(map(_is_plain, parts))
        case ast.Call(func=function, args=[inner], keywords=[]):
            return _name(function) in ("tensor", "array", "Size") and _is_plain(inner)
    return False


def _other(value: ast.expr) -> ast.expr:
    """Write another expected value: other constants (code that reads them must err), or a call."""
    if not _is_plain(value):
        return ast.Call(ast.Name(OTHER), [value], [])
    for node in ast.walk(value):
        if isinstance(node, ast.Constant):
            node.value = other(node.value)
    return value
