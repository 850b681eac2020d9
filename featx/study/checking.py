"""Check questions and exercises that someone wrote: all that the course's own ones are held to."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from featx.errors import FeatxError
from featx.study.bank import FOLDER, bank_files, examine_lesson, line_of
from featx.study.exercises import SETUP, STUB, Exercise, exercise_files, read_exercise
from featx.study.folders import own_folders
from featx.study.proofs import prove
from featx.study.verdicts import Verdict
from featx.wording import counted, named_line

__all__ = ["check_path", "exercise_faults", "judge_source", "namespace_of"]

#: With these seeds the reference has to earn all points.
SEEDS = (0, 1, 2)

_NOT_ITS_OWN = "expected an id that no other question, card or exercise has"


def check_path(path: Path, say: Callable[[str], object]) -> int:
    """Check a YAML file of questions, an exercise module, or all of them in a folder.

    Parameters
    ----------
    path
        What to check. Files of a folder whose names begin with ``_`` are helpers or drafts, and left out.
    say
        Called with one line for each fault, ``file:line: what``, and for each file that is right.

    Returns
    -------
    int
        The number of faults.

    Raises
    ------
    FeatxError
        When there is nothing to check.
    """
    if path.is_dir():
        files = sorted(
            each
            for each in path.iterdir()
            if each.suffix in _CHECKS and not each.name.startswith("_")
        )
        if not files:
            raise FeatxError(
                f"Expected YAML files or exercise modules in {path}, found none. Name a file, or the folder "
                "that holds them."
            )
    elif path.suffix in _CHECKS and path.is_file():
        files = [path]
    else:
        missing = "" if path.exists() else ", which is not there"
        raise FeatxError(
            f"Expected a .yaml file, a .py file or a folder of them, got {path}{missing}. Check the path."
        )
    total = 0
    for file in files:
        faults, right = _CHECKS[file.suffix](file)
        for line, message in faults:
            say(f"{file}:{line}: {message}")
        if not faults:
            say(f"{file}: {right}")
        total += len(faults)
    return total


def _check_bank(path: Path) -> tuple[list[tuple[int, str]], str]:
    lesson, found = examine_lesson(path)
    if lesson is None:
        places = [f"{f.place.removeprefix(', ')}: " if f.place else "" for f in found]
        return [(f.line, f"{p}{f.message}") for f, p in zip(found, places, strict=True)], ""
    faults = []
    ids = [question.id for question in lesson.questions]
    taken = [*ids, *_ids_elsewhere(path)]
    for question in lesson.questions:
        line = line_of(path, question.id)
        problem = prove(question)
        if problem:
            faults.append((line, f"{question.id}: {problem}"))
        if taken.count(question.id) > 1:
            faults.append((line, f"{question.id}: {_NOT_ITS_OWN}."))
    if not ids and not lesson.cards:
        faults.append((1, "expected questions or cards, got neither."))
    questions, cards = counted(len(ids), "question"), counted(len(lesson.cards), "card")
    right = f"{questions} and {cards}, every proof holds."
    return faults, right


def _ids_elsewhere(path: Path) -> list[str]:
    """Return the ids of the questions, cards and exercises in all other files: progress knows only ids."""
    files = [
        file for file in bank_files((FOLDER, *own_folders())) if file.resolve() != path.resolve()
    ]
    lessons = [examine_lesson(file)[0] for file in files]
    questions = [question.id for lesson in lessons if lesson for question in lesson.questions]
    cards = [card.key for lesson in lessons if lesson for card in lesson.cards]
    exercises = [key for key, file in exercise_files().items() if file.resolve() != path.resolve()]
    return [*questions, *cards, *exercises]


def _check_module(path: Path) -> tuple[list[tuple[int, str]], str]:
    read_exercise.cache_clear()
    try:
        exercise = read_exercise(path.resolve())
    except FeatxError as error:
        place, _, message = str(error).partition(": ")
        line = place.rpartition("line ")[2]
        return [(int(line) if line.isdigit() else 1, message)], ""
    faults = [(_line(path, name), message) for name, message in exercise_faults(exercise)]
    if exercise.id in _ids_elsewhere(path):
        faults.append((_line(path, "EXERCISE"), f"{_NOT_ITS_OWN}, got {exercise.id!r}."))
    if exercise.id != path.stem.replace("_", "-"):
        expected = path.stem.replace("_", "-")
        faults.append(
            (_line(path, "EXERCISE"), f"expected the id {expected!r}, got {exercise.id!r}.")
        )
    return faults, f"the reference earns all, {len(exercise.mutants)} mutants are found out."


def _line(path: Path, name: str) -> int:
    """Return the line on which a function or constant of a module begins."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        names = [getattr(node, "name", None), *(getattr(target, "id", None) for target in targets)]
        if name in names:
            return node.lineno
    return 1


def judge_source(exercise: Exercise, source: str, seed: int = 1) -> Verdict:
    """Judge an answer given as source: observe it, send the observation through JSON, judge that.

    Parameters
    ----------
    exercise
        The exercise.
    source
        Code that defines its function.
    seed
        Decides the inputs.

    Returns
    -------
    Verdict
        The verdict.

    Raises
    ------
    TypeError, ValueError
        When the observation is no plain data.
    """
    observation = json.dumps(exercise.observe(namespace_of(source), seed), allow_nan=False)
    return exercise.judge(json.loads(observation), seed)


def namespace_of(source: str) -> dict[str, Any]:
    """Run a learner's source after the common imports; return its namespace."""
    namespace: dict[str, Any] = {}
    exec(SETUP, namespace)
    # not the annotations of this file: a name that only this file has must fail here too
    exec(compile(source, "<answer>", "exec", dont_inherit=True), namespace)
    return namespace


def exercise_faults(exercise: Exercise) -> list[tuple[str, str]]:
    """Say everything that an exercise owes its learners.

    Parameters
    ----------
    exercise
        The exercise.

    Returns
    -------
    list of tuple
        The name of the function or constant, and what was expected of it and what came.
    """
    return [*_form_faults(exercise), *_reference_faults(exercise), *_mutant_faults(exercise)]


def _form_faults(exercise: Exercise) -> list[tuple[str, str]]:
    faults = []
    entry = exercise.reference.__name__
    if STUB not in exercise.starter:
        marks = "'### BEGIN SOLUTION' and '### END SOLUTION'"
        faults.append((entry, f"expected the learner's part of the reference between {marks}."))
    if len(exercise.hints) < 2:
        faults.append(("EXERCISE", f"expected at least 2 hints, got {len(exercise.hints)}."))
    if len(exercise.mutants) < 3:
        faults.append(("EXERCISE", f"expected at least 3 mutants, got {len(exercise.mutants)}."))
    if not 1 <= exercise.points <= 10:
        faults.append(("EXERCISE", f"expected 1 to 10 points, got {exercise.points}."))
    if not 0 <= exercise.lesson <= 12:
        faults.append(("EXERCISE", f"expected a lesson, 0 to 12, got {exercise.lesson}."))
    if f"{exercise.entry}(" not in exercise.visible_test:
        faults.append(("EXERCISE", f"expected the visible test to call {exercise.entry}."))
    return faults


def _reference_faults(exercise: Exercise) -> list[tuple[str, str]]:
    faults = []
    entry = exercise.reference.__name__
    untouched = _try(exercise, exercise.starter)
    if isinstance(untouched, str) or untouched.status != "not_attempted":
        faults.append((entry, f"expected the starter to be not attempted, got {_name(untouched)}."))
    for seed in SEEDS:
        verdict = _try(exercise, exercise.solution, seed)
        if isinstance(verdict, str) or verdict.score != 1:
            said = verdict if isinstance(verdict, str) else verdict.message
            faults.append(
                (entry, f"expected all points for the reference (seed {seed}), got: {said}")
            )
            break
    try:
        exec(exercise.visible_test, namespace_of(exercise.solution))
    except Exception as error:
        faults.append(
            (
                "EXERCISE",
                f"expected the reference to pass the visible test, got {named_line(error)}.",
            )
        )
    try:
        exec(exercise.visible_test, namespace_of(exercise.starter))
        faults.append(("EXERCISE", "expected the starter to fail the visible test, but it passes."))
    except Exception:
        pass
    return faults


def _mutant_faults(exercise: Exercise) -> list[tuple[str, str]]:
    faults = []
    said: dict[str, str] = {}
    for misconception, function in exercise.mutants.items():
        verdict = _try(exercise, exercise.mutant(misconception))
        name = function.__name__
        if isinstance(verdict, str) or verdict.score == 1:
            faults.append((name, f"expected {misconception} to lose points, got {_name(verdict)}."))
        elif verdict.misconception != misconception:
            got = verdict.misconception or _name(verdict)
            faults.append((name, f"expected the misconception {misconception}, got {got}."))
        else:
            message = verdict.message.split("\n")[0]
            if message in said:
                faults.append(
                    (name, f"expected a message of its own, got that of {said[message]}.")
                )
            said[message] = misconception
    return faults


def _try(exercise: Exercise, source: str, seed: int = 1) -> Verdict | str:
    try:
        return judge_source(exercise, source, seed)
    except Exception as error:
        return named_line(error)


def _name(verdict: Verdict | str) -> str:
    return verdict if isinstance(verdict, str) else f"{verdict.status} with score {verdict.score:g}"


def _check_ending(path: Path) -> tuple[list[tuple[int, str]], str]:
    return [(1, f"expected the ending .yaml, got {path.suffix}: no file of that name is read.")], ""


_CHECKS = {".yaml": _check_bank, ".yml": _check_ending, ".py": _check_module}
