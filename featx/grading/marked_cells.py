"""Which test cells are featx's own: they are observed in the sandbox and judged outside of it."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from functools import cache
from typing import Literal

from nbformat import NotebookNode

from featx.study.bank import load_question
from featx.study.exercises import find_exercise, load_exercise

__all__ = ["Mark", "depends_on", "load_exercises", "observer_source", "read_mark"]


@dataclass(frozen=True)
class Mark:
    """What a test cell of ours asks for: ``mark_exercise("id", globals(), points=4)``.

    Where students got different ones of several, `ids` names them all, in the cell's order.
    """

    kind: Literal["answer", "exercise"]
    ids: tuple[str, ...]
    points: float
    seed: int = 1


def read_mark(source: str) -> Mark | None:
    r"""Read the call in a test cell that `featx assignment build` wrote; None for any other cell.

    Parameters
    ----------
    source
        The instructor's test cell.

    Returns
    -------
    Mark or None
        Only a cell with nothing but the import and one call with constants is one of ours.

    Examples
    --------
    >>> read_mark('from featx.grading.marking import mark_answer\n'
    ...           'mark_answer("a", globals(), points=2)')
    Mark(kind='answer', ids=('a',), points=2.0, seed=1)
    >>> read_mark('from featx.grading.marking import mark_answer\n'
    ...           'mark_answer(["a", "b"], globals(), points=2)').ids
    ('a', 'b')
    """
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return None
    match body:
        case [
            ast.ImportFrom(module="featx.grading.marking"),
            ast.Expr(
                ast.Call(
                    func=ast.Name(id="mark_answer" | "mark_exercise" as name),
                    args=[marked, ast.Call(func=ast.Name(id="globals"))],
                    keywords=keywords,
                )
            ),
        ]:
            named = {
                k.arg: k.value.value
                for k in keywords
                if isinstance(k.value, ast.Constant) and isinstance(k.value.value, int | float)
            }
            ids = _read_ids(marked)
            if not ids or "points" not in named or len(named) != len(keywords):
                return None
            kind = "answer" if name == "mark_answer" else "exercise"
            return Mark(kind, ids, float(named["points"]), int(named.get("seed", 1)))
    return None


def _read_ids(marked: ast.expr) -> tuple[str, ...] | None:
    """Read an id, or a list of them; None for anything else."""
    match marked:
        case ast.Constant(value=str(item)):
            return (item,)
        case ast.List(elts=elements):
            ids = [e.value for e in elements if isinstance(e, ast.Constant)]
            items = tuple(each for each in ids if isinstance(each, str))
            return items if len(items) == len(elements) else None
    return None


@cache
def observer_source(exercise_id: str) -> str:
    """Return the code of an exercise's observer and of what it calls, without the solution and the judge.

    Parameters
    ----------
    exercise_id
        Such as ``"freeze-all-but-head"``.

    Returns
    -------
    str
        A module that defines ``observe``.
    """
    exercise = load_exercise(exercise_id)
    module = inspect.getmodule(exercise.observer)
    assert module is not None
    tree = ast.parse(inspect.getsource(module))
    defined: dict[str, ast.stmt] = {}
    for statement in tree.body:
        for name in _bound(statement):
            defined[name] = statement
    wanted, seen = [exercise.observer.__name__], set()
    while wanted:
        name = wanted.pop()
        if name in seen or name not in defined:
            continue
        seen.add(name)
        wanted += [n.id for n in ast.walk(defined[name]) if isinstance(n, ast.Name)]
    needed = {id(defined[name]) for name in seen}
    kept = [
        each
        for each in tree.body
        if id(each) in needed or (isinstance(each, ast.ImportFrom) and each.module == "__future__")
    ]
    source = ast.unparse(ast.Module(kept, []))
    if exercise.observer.__name__ != "observe":
        source += f"\nobserve = {exercise.observer.__name__}"
    return source


def depends_on(mark: Mark) -> str:
    """Return the text that a mark depends on, beside the answer: questions, or modules of exercises."""
    if mark.kind == "answer":
        return "\n".join(load_question(each).model_dump_json() for each in mark.ids)
    return "\n".join(find_exercise(each).read_text(encoding="utf-8") for each in mark.ids)


def load_exercises(notebook: NotebookNode) -> None:
    """Import all that it takes to judge the exercises of a notebook."""
    for cell in notebook.cells:
        mark = read_mark(cell.source)
        if mark is not None and mark.kind == "exercise":
            for each in mark.ids:
                load_exercise(each)


def _bound(statement: ast.stmt) -> list[str]:
    """Name what a statement at the top of a module defines."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(each.asname or each.name).split(".")[0] for each in statement.names]
    targets = (
        statement.targets
        if isinstance(statement, ast.Assign)
        else [statement.target]
        if isinstance(statement, ast.AnnAssign)
        else []
    )
    return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]
