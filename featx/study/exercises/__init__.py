"""Coding exercises: one module each beside this one, found by its name.

The exercise ``freeze-all-but-head`` lives in ``freeze_all_but_head.py`` as the constant ``EXERCISE``.
Its reference solution and its mutants (wrong solutions, one for each common mistake) are ordinary
functions; their source is what learners, notebooks and tests get to see.

Checking is split in two. `Exercise.observe` runs where the learner's code lives and returns plain
data. `Exercise.judge` turns that data into a `Verdict` and never meets the learner's code.
"""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import io
import linecache
import re
import textwrap
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from types import CodeType
from typing import Any

from featx.errors import FeatxError
from featx.study.folders import own_folders
from featx.study.verdicts import Verdict
from featx.wording import close_matches, named_line

__all__ = [
    "SETUP",
    "STUB",
    "Exercise",
    "exercise_files",
    "find_exercise",
    "list_exercises",
    "load_exercise",
    "observe_function",
    "read_exercise",
]

FOLDER = Path(__file__).parent

#: What every exercise may take for granted: the first code cell of an assignment.
SETUP = "import torch\nimport torchvision\nfrom torch import nn"

#: Stands in a starter where the learner's code goes (nbgrader's ``code_stub``).
STUB = "# YOUR ANSWER HERE"

_REGION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, eq=False)
class Exercise:
    """A function to write, and everything around it.

    Attributes
    ----------
    id, lesson, title, prompt
        The id has the words of the module's name, with hyphens. The prompt is Markdown.
    points : int
        What it is worth unless an assignment says otherwise.
    hints : tuple of str
        At least two, each a further step on the way.
    reference : callable
        The solution. What stands between ``### BEGIN SOLUTION`` and ``### END SOLUTION`` is the
        learner's part; its name is the name of the learner's function.
    mutants : dict
        Code of a misconception -> a wrong solution that comes from it.
    visible_test : str
        Asserts that the learner sees and may run.
    observer : callable
        ``(function, seed) -> dict`` of plain data: calls the learner's function and measures.
    judger : callable
        ``(observation, seed) -> Verdict``: knows what was to be expected.
    """

    id: str
    lesson: int
    title: str
    prompt: str
    points: int
    hints: tuple[str, ...]
    reference: Callable[..., Any]
    mutants: Mapping[str, Callable[..., Any]]
    visible_test: str
    observer: Callable[[Callable[..., Any], int], dict[str, Any]]
    judger: Callable[[dict[str, Any], int], Verdict]

    @property
    def entry(self) -> str:
        """The name of the function that the learner writes."""
        return self.reference.__name__

    @property
    def marked_solution(self) -> str:
        """The source of the reference, with the marks around the learner's part."""
        return _source(self.reference, self.entry)

    @property
    def solution(self) -> str:
        """The source of the reference, for the learner's eyes."""
        bare = re.sub(r"^ *### (BEGIN|END) SOLUTION\n?", "", self.marked_solution, flags=re.M)
        return bare.rstrip()

    @property
    def starter(self) -> str:
        """What the learner starts from: the reference without the learner's part."""
        return _REGION.sub(rf"\1{STUB}", self.marked_solution)

    def mutant(self, misconception: str) -> str:
        """Return the source of the wrong solution that comes from a misconception."""
        return _source(self.mutants[misconception], self.entry)

    def observe(self, namespace: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
        """Run the learner's function and measure what it does. It never raises.

        Parameters
        ----------
        namespace
            Where the learner's code lives, such as ``globals()``.
        seed
            Decides the inputs.

        Returns
        -------
        dict
            Plain data only (numbers, strings, booleans, lists, dicts): it survives JSON.
        """
        return observe_function(self.observer, self.entry, self.starter, namespace, seed)

    def judge(self, observation: Mapping[str, Any], seed: int = 0) -> Verdict:
        """Turn an observation into a verdict, without the learner's code.

        Parameters
        ----------
        observation
            What `observe` returned for the same `seed`.
        seed
            Decides the inputs.

        Returns
        -------
        Verdict
            Status, score and message.
        """
        if "untouched" in observation:
            return Verdict("not_attempted", 0.0, f"Write `{self.entry}`, then check it again.")
        if "missing" in observation:
            return Verdict(
                "not_attempted",
                0.0,
                f"Expected a function `{self.entry}`, but {observation['missing']}. "
                "Run the cell that defines it, and keep its name.",
            )
        if "error" in observation:
            return Verdict("error", 0.0, _error_message(self.entry, observation["error"]))
        return self.judger(dict(observation), seed)


def observe_function(
    observer: Callable[[Callable[..., Any], int], dict[str, Any]],
    entry: str,
    starter: str,
    namespace: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """Measure what a learner's function does, without the exercise that it belongs to.

    Parameters
    ----------
    observer, entry, starter
        As `Exercise` has them.
    namespace, seed
        As for `Exercise.observe`, which says what is returned.
    """
    function = namespace.get(entry)
    if function is None:
        return {"missing": f"there is no function named `{entry}`"}
    if not callable(function):
        return {"missing": f"`{entry}` is a {type(function).__name__}, not a function"}
    if _same_code(getattr(function, "__code__", None), starter):
        return {"untouched": True}
    import torch  # here: who only looks up texts need not wait for it

    # Warnings are no mistakes, and anything on stderr would cost all marks in nbgrader.
    with (
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(action="ignore"),
        torch.random.fork_rng(devices=[]),
    ):
        torch.manual_seed(seed)
        try:
            return observer(function, seed)
        except NotImplementedError:
            return {"untouched": True}
        except (Exception, SystemExit) as error:
            return {"error": _describe(error, function)}


def _source(function: Callable[..., Any], name: str) -> str:
    source = textwrap.dedent(inspect.getsource(function)).rstrip()
    return re.sub(r"^def \w+\(", f"def {name}(", source, count=1)


def _same_code(code: CodeType | None, starter: str) -> bool:
    """Tell whether a function is still the starter, whatever its comments and blank lines."""
    if code is None:
        return False
    compiled = compile(starter, "<starter>", "exec", dont_inherit=True)
    # By name: the code of defaults, and from Python 3.14 on of annotations, may come first.
    return any(
        (code.co_code, code.co_names, code.co_consts)
        == (given.co_code, given.co_names, given.co_consts)
        for given in compiled.co_consts
        if isinstance(given, CodeType) and given.co_name == code.co_name
    )


def _describe(error: BaseException, function: Callable[..., Any]) -> dict[str, Any]:
    """Describe an error with the last line of the learner's own code that led to it."""
    file = getattr(getattr(function, "__code__", None), "co_filename", None)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    line = linecache.getline(frames[-1].filename, frames[-1].lineno or 0) if frames else ""
    name, _, text = named_line(error).partition(": ")
    return {
        "type": name,
        "text": text,
        "line": line.strip(),
        "number": frames[-1].lineno if frames else None,
    }


def _error_message(entry: str, error: Mapping[str, Any]) -> str:
    said = f"`{error['type']}`" + (f": {error['text']}" if error["text"] else "")
    if error["number"] is None:
        return (
            f"What `{entry}` returned or changed could not be used: {said}. "
            "Run the visible test and look at the result step by step."
        )
    line = f": `{error['line']}`" if error["line"] else ""
    return f"`{entry}` stopped in line {error['number']}{line} with {said}."


def list_exercises(lesson: int | None = None) -> list[str]:
    """Name the exercises of one lesson, or all.

    Parameters
    ----------
    lesson
        Number of the lesson; None for all.

    Returns
    -------
    list of str
        Their ids, in order of lesson and id.

    Examples
    --------
    >>> "freeze-all-but-head" in list_exercises(lesson=3)
    True
    """
    found = [load_exercise(exercise_id) for exercise_id in exercise_files()]
    found.sort(key=lambda exercise: (exercise.lesson, exercise.id))
    return [e.id for e in found if lesson is None or e.lesson == lesson]


def load_exercise(exercise_id: str) -> Exercise:
    """Load an exercise by its id.

    Parameters
    ----------
    exercise_id
        Such as ``"freeze-all-but-head"``; `list_exercises` names all.

    Returns
    -------
    Exercise
        The exercise.

    Raises
    ------
    FeatxError
        When there is no such exercise.

    Examples
    --------
    >>> print(load_exercise("freeze-all-but-head").entry)
    freeze_all_but_head
    """
    path = find_exercise(exercise_id)
    if path.parent == FOLDER:
        return import_module(f"{__name__}.{path.stem}").EXERCISE
    return read_exercise(path)


def find_exercise(exercise_id: str) -> Path:
    """Find the file of an exercise, without running it.

    Parameters
    ----------
    exercise_id
        Such as ``"freeze-all-but-head"``.

    Returns
    -------
    Path
        Its module.

    Raises
    ------
    FeatxError
        When there is no such exercise.

    Examples
    --------
    >>> find_exercise("freeze-all-but-head").name
    'freeze_all_but_head.py'
    """
    wanted = str(exercise_id)  # whatever it is, the message below names it
    if wanted in _OF_THE_COURSE:
        return _OF_THE_COURSE[wanted]
    paths = exercise_files()
    if wanted not in paths:
        raise FeatxError(
            f"Expected the id of an exercise, got {exercise_id!r}. {close_matches(wanted, paths)}"
        )
    return paths[wanted]


@cache
def read_exercise(path: Path) -> Exercise:
    """Read an exercise module from a file of one's own.

    Parameters
    ----------
    path
        A Python file with the constant ``EXERCISE``.

    Returns
    -------
    Exercise
        The exercise.

    Raises
    ------
    FeatxError
        When the module does not run or holds no exercise: names the file and the line.
    """
    spec = importlib.util.spec_from_file_location(f"featx_own_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise FeatxError(f"{path}: expected a Python module.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise FeatxError(f"{path}, line {error.lineno}: {error.msg}.") from error
    except (Exception, SystemExit) as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = frames[-1].lineno if frames else 1
        raise FeatxError(
            f"{path}, line {line}: expected a module that runs, but it stopped with "
            f"{named_line(error)}."
        ) from error
    exercise = getattr(module, "EXERCISE", None)
    if not isinstance(exercise, Exercise):
        raise FeatxError(
            f"{path}, line 1: expected the constant EXERCISE, an Exercise; got "
            f"{type(exercise).__name__}."
        )
    return exercise


def exercise_files() -> dict[str, Path]:
    """Map the ids to their files; the course's own take the place of a teacher's of the same id."""
    found: dict[str, Path] = {}
    for folder in reversed(own_folders()):
        found |= _files_in(folder)
    return found | _OF_THE_COURSE


def _files_in(folder: Path) -> dict[str, Path]:
    return {
        path.stem.replace("_", "-"): path
        for path in sorted(folder.glob("*.py"))
        if not path.name.startswith("_")
    }


_OF_THE_COURSE = _files_in(FOLDER)
