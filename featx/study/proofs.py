"""Run the proof of a question: the key must hold, and each wrong answer be refuted."""

from __future__ import annotations

import ast
import contextlib
import io
import traceback
from typing import Any

import torch

from featx.study.bank.questions import Output, Question, Value
from featx.wording import named_line

__all__ = ["prove"]


def prove(question: Question) -> str | None:
    """Run the proof of a question.

    The proof runs in an empty namespace; the global random state is as before afterwards.

    Parameters
    ----------
    question
        A question of any kind. One without a proof is taken at its word (`Question.no_proof`).

    Returns
    -------
    str or None
        One sentence on what does not hold; None when all does.

    Examples
    --------
    >>> from featx.study.bank import load_question
    >>> prove(load_question("freeze-order"))
    """
    if question.proof is None:
        return None
    try:
        asserts = _asserts(question.proof)
    except SyntaxError as error:
        return _sentence(question.proof, error)
    for label in question.labels:
        first, last = _lines_of(question, label)
        if not any(first < line <= last for line in asserts):
            return f"Expected an assert after '# {label}:' in the proof, but there is none."
    namespace: dict[str, Any] = {"__name__": "proof"}
    printed = io.StringIO()
    try:
        code = compile(question.proof, "<proof>", "exec")
        with contextlib.redirect_stdout(printed), torch.random.fork_rng(devices=[]):
            exec(code, namespace)
    except (Exception, SystemExit) as error:
        return _sentence(question.proof, error)
    if isinstance(question, Value):
        return _differs(question, namespace.get("answer", "no variable `answer`"))
    if isinstance(question, Output):
        return _differs(question, printed.getvalue().strip() or "nothing")
    return None


def _asserts(proof: str) -> list[int]:
    """Return the lines of the asserts that can fail: ``assert True`` proves nothing."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(proof))
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant)
    ]


def _lines_of(question: Question, label: str) -> tuple[int, int]:
    """Return the line of a label in the proof, and the last line before the next label."""
    lines = str(question.proof).splitlines()

    def place(name: str) -> int:
        return next(n for n, line in enumerate(lines, 1) if f"# {name}:" in line)

    first = place(label)
    return first, min((p - 1 for p in map(place, question.labels) if p > first), default=len(lines))


def _differs(question: Question, computed: object) -> str | None:
    if question.mark(computed).status == "correct":
        return None
    return f"Expected the answer {question.key!r}, but the code gives {computed!r}."


def _sentence(proof: str, error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == "<proof>"]
    number = frames[-1].lineno if frames else getattr(error, "lineno", None)
    lines = proof.splitlines()
    line = lines[number - 1].strip() if number and number <= len(lines) else ""
    return (
        f"Expected the proof to run, but its line {number} ({line}) stopped with "
        f"{named_line(error)}."
    )
