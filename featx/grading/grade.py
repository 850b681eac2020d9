"""Grade an assignment: collect -> rebuild -> execute -> score -> record, many submissions at a time."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import nbformat
from nbformat import NotebookNode

from featx.errors import FeatxError
from featx.grading.executors import Executor, Local
from featx.grading.gradebook import Course, points_in
from featx.grading.marked_cells import depends_on, read_mark
from featx.grading.outputs import clean_outputs, test_outputs
from featx.grading.protocol import Limits
from featx.grading.rebuild import Instructor, Rebuilt, rebuild
from featx.grading.results import Results, environment, key_of
from featx.grading.sandbox import Sandbox, SandboxLost
from featx.grading.scoring import Score, score_test
from featx.grading.submissions import Unreadable, list_submissions, read_submission
from featx.wording import close_matches, named_line

__all__ = ["Graded", "grade"]

#: A fault of ours is tried again so many times before it is reported.
TRIES = 3


@dataclass
class Graded:
    """One submission, graded.

    Attributes
    ----------
    student : str
        Whose.
    scores : dict
        (notebook, grade_id) -> `Score`.
    notes : list of str
        What a teacher should know.
    seconds : float
        That its code ran; 0 when all results were known.
    fault : str
        Why it could not be graded; empty when it was. Then no mark of it is touched.
    was : dict
        (notebook, grade_id) -> points in the gradebook before.
    unreadable : bool
        Whether it has a notebook that cannot be read.
    """

    student: str
    scores: dict[tuple[str, str], Score] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0
    fault: str = ""
    was: dict[tuple[str, str], float | None] = field(default_factory=dict)
    unreadable: bool = False
    notebooks: dict[str, NotebookNode] = field(default_factory=dict, repr=False)
    files: dict[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def points(self) -> float:
        """All points earned."""
        return sum(score.points for score in self.scores.values())

    @property
    def possible(self) -> float:
        """The most that can be earned by tests."""
        return sum(score.possible for score in self.scores.values())

    @property
    def changes(self) -> dict[tuple[str, str], tuple[float | None, float]]:
        """Cell -> points before and now, where they differ."""
        return {
            cell: (self.was.get(cell), score.points)
            for cell, score in self.scores.items()
            if self.was.get(cell) != score.points
        }


def grade(
    assignment: str,
    course_dir: str | Path,
    *,
    students: list[str] | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    limits: Limits | None = None,
    regrade: bool = False,
    dry_run: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    done: Callable[[Graded], None] = lambda _: None,
) -> list[Graded]:
    """Grade the submissions of an assignment, and record them in the course's gradebook.

    Parameters
    ----------
    assignment
        Its name in the course.
    course_dir
        The nbgrader course.
    students
        Only these; None for all who handed in.
    jobs
        Submissions at a time; None for one a core, of this machine or of the cluster.
    executor
        Where they run; it stays open. None for this machine, in bubblewrap.
    limits
        What a submission may use; None for the defaults, with the course's own timeout.
    regrade
        Run everything again, whatever is known.
    dry_run
        Change no mark, and nothing in ``autograded/``. An assignment that was not released yet is.
    tell
        Called with a sentence about the work as a whole.
    done
        Called with each submission as soon as it is graded, and recorded: then its outputs are still there.

    Returns
    -------
    list of Graded
        In the order of the students, without outputs: those are in ``autograded/``.

    Raises
    ------
    FeatxError
        When the course, the assignment or a student does not exist, or there is no sandbox.
    """
    with contextlib.ExitStack() as opened:
        if executor is None:  # first: it warms while we read
            executor = opened.enter_context(contextlib.closing(Local(Sandbox())))
        course = Course(course_dir)
        if course.release(assignment):
            tell(
                f"{assignment} was not released yet: released it now, into {course.root / 'release'}."
            )
        instructor = course.instructor_notebooks(assignment)
        there = list_submissions(course.submitted(), assignment)
        unknown = sorted(set(students or ()) - set(there))
        if unknown:
            raise FeatxError(
                f"Expected students who handed in {assignment}, but {', '.join(unknown)} did not. "
                + (close_matches(unknown[0], there) if there else "Nobody has so far.")
            )
        wanted = [student for student in there if students is None or student in students]
        limits = limits or Limits(seconds=course.timeout())
        before = course.marks(assignment)
        results = Results(course.root / ".featx" / "results.db")
        opened.callback(results.close)
        grader = _Grader(course, assignment, instructor, results, executor, limits)
        grader.regrade = regrade
        graded: dict[str, Graded] = {}
        for each in grader.run(wanted, jobs or executor.jobs):
            each.was = before.get(each.student, {})
            if not each.fault and not dry_run:
                each.fault = grader.record(each)
            done(each)
            # memory does not grow with the class
            each.notebooks, each.files = {}, {}
            each.scores = {cell: replace(s, outputs=[]) for cell, s in each.scores.items()}
            graded[each.student] = each
        return [graded[student] for student in wanted]


class _Grader:
    """What all submissions of one run share."""

    def __init__(
        self,
        course: Course,
        assignment: str,
        instructor: dict[str, Instructor],
        results: Results,
        executor: Executor,
        limits: Limits,
    ) -> None:
        self._course, self._assignment, self._instructor = course, assignment, instructor
        self._results, self._executor, self._limits = results, executor, limits
        self._environment = f"{environment()}, {limits}"
        self._given_files = course.instructor_files(assignment, limits.disk)
        #: Run what is known as well.
        self.regrade = False

    def run(self, students: list[str], jobs: int) -> Iterator[Graded]:
        """Grade students, `jobs` at a time; yield each as it is ready."""
        waiting = iter(students)
        with ThreadPoolExecutor(jobs) as pool:
            running: set[Future[Graded]] = set()
            try:
                while True:
                    # few ahead: what is graded is recorded before more is read
                    for student in waiting:
                        running.add(pool.submit(self.grade, student))
                        if len(running) >= 2 * jobs:
                            break
                    if not running:
                        return
                    ready, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in ready:
                        yield future.result()
            except BaseException:
                self._executor.close()
                for future in running:
                    future.cancel()
                raise

    def grade(self, student: str) -> Graded:
        """Grade one submission; a fault of ours is tried again, and then told."""
        for _ in range(TRIES):
            try:
                return self._grade(student)
            except SandboxLost as error:
                fault = str(error)
            except Exception as error:
                fault = named_line(error)
        return Graded(student, fault=fault)

    def _grade(self, student: str) -> Graded:
        submission, rebuilt = self._read(student)
        own, blocked = _beside(submission.files, self._given_files)
        graded = Graded(
            student,
            notes=[*submission.notes, *blocked],
            unreadable=any(isinstance(each, Unreadable) for each in submission.notebooks.values()),
            files=own,
        )
        files = self._given_files | own | self._given_files  # theirs first, and theirs it is
        for name, each in rebuilt.items():
            graded.notes += each.notes
            begin = time.monotonic()
            keys = self._keys(each, files)
            known = {} if self.regrade else self._results.get(keys.values())
            scores, shown, ran = self._scores(each, files, keys, known)
            if ran:
                graded.seconds += time.monotonic() - begin
            for place, score in sorted(scores.items()):
                graded.scores[name, str(each.parts[place].grade_id)] = score
                graded.notes += [f"{each.parts[place].grade_id}: {note}" for note in score.notes]
            graded.notebooks[name] = _notebook(each, shown, scores)
        return graded

    def _read(self, student: str) -> tuple[Any, dict[str, Rebuilt]]:
        folder = self._course.submission(student, self._assignment)
        submission = read_submission(folder, student, list(self._instructor))
        rebuilt = {
            name: replace(
                rebuild(notebook, submission.notebooks[name]),
                given_files=frozenset(self._given_files),
            )
            for name, notebook in self._instructor.items()
        }
        return submission, rebuilt

    def _keys(self, rebuilt: Rebuilt, files: dict[str, bytes]) -> dict[int, str]:
        """Name the results of a notebook: of each test, and at -1 of what the other cells show."""
        start = [self._environment]
        start += [f"{name} {key_of(content.hex())}" for name, content in sorted(files.items())]
        before = key_of(*start)
        keys = {}
        for place, part in enumerate(rebuilt.parts):
            if part.role == "test":
                mark = read_mark(part.node.source)
                # an assertion sees of the students' names those that the prompts leave to them
                depends = depends_on(mark) if mark else " ".join(rebuilt.own)
                points = str(part.node.metadata["nbgrader"]["points"])
                keys[place] = key_of(
                    before, part.node.source, points, depends, *sorted(rebuilt.missing)
                )
            elif part.runs:
                before = key_of(before, part.role, part.node.source, part.original or "")
        return {**keys, -1: key_of(before, "shown")}

    def _scores(
        self,
        rebuilt: Rebuilt,
        files: dict[str, bytes],
        keys: dict[int, str],
        known: dict[str, Any],
    ) -> tuple[dict[int, Score], dict[int, list[Any]], bool]:
        """Return the scores of the tests, what the other cells show, and whether anything ran."""
        tests = {place for place in keys if place >= 0 and keys[place] not in known}
        scores = {
            place: _score(known[key]) for place, key in keys.items() if place >= 0 and key in known
        }
        if not tests and keys[-1] in known:
            return scores, {int(k): v for k, v in known[keys[-1]].items()}, False
        ran = self._executor.execute(rebuilt, files, tests, self._limits)
        ran = {place: replace(r, outputs=clean_outputs(r.outputs)) for place, r in ran.items()}
        fresh = {place: score_test(rebuilt, place, ran) for place in tests}
        shown = {
            place: [*each.outputs, *_stopped(each.outcome)]
            for place, each in ran.items()
            if rebuilt.parts[place].role != "test"
        }
        self._results.put(
            {keys[place]: asdict(score) for place, score in fresh.items()}
            | {keys[-1]: {str(place): outputs for place, outputs in shown.items()}}
        )
        return scores | fresh, shown, True

    def _needs_record(self, graded: Graded) -> bool:
        """Tell whether the gradebook, or ``autograded/``, does not hold a result yet."""
        folder = self._course.autograded(graded.student, self._assignment)
        key = self._record_key(graded.student)
        return (
            bool(graded.changes)
            or not all((folder / f"{name}.ipynb").is_file() for name in graded.notebooks)
            or self._results.get([key]).get(key) != _digest(graded)
        )

    def record(self, graded: Graded) -> str:
        """Write one submission to the gradebook and to ``autograded/``, if that was not done yet.

        Returns
        -------
        str
            Why it could not be written, in as many tries; empty when it was. Done twice it does no harm.
        """
        fault = ""
        for _ in range(TRIES):
            try:
                if self._needs_record(graded):
                    self._record(graded)
                return ""
            except Exception as error:
                fault = f"It could not be recorded: {named_line(error)}."
        return fault

    def _record(self, graded: Graded) -> None:
        for name, notebook in graded.notebooks.items():
            # what nbgrader will read must be what was found
            for grade_id, points in points_in(notebook).items():
                assert points == graded.scores[name, grade_id].points, (name, grade_id, points)
        self._course.record(self._assignment, graded.student, graded.notebooks, graded.files)
        self._results.put({self._record_key(graded.student): _digest(graded)})

    def _record_key(self, student: str) -> str:
        return f"recorded {self._assignment} {student}"


def _beside(files: dict[str, bytes], given: dict[str, bytes]) -> tuple[dict[str, bytes], list[str]]:
    """Return the student's files that can lie beside the instructor's, and a note for each other."""
    folders = {str(parent) for name in given for parent in PurePosixPath(name).parents}
    own, notes = {}, []
    for name, content in files.items():
        above = map(str, PurePosixPath(name).parents)
        if name in folders or any(each in given for each in above):
            notes.append(f"{name[:80]!a} was left out: a file of the assignment lies there.")
        else:
            own[name] = content
    return own, notes


def _digest(graded: Graded) -> str:
    texts = [nbformat.writes(notebook) for notebook in graded.notebooks.values()]
    return key_of(*texts, *(key_of(content.hex()) for content in graded.files.values()))


def _score(kept: dict[str, Any]) -> Score:
    return Score(**{**kept, "notes": tuple(kept["notes"])})


def _stopped(outcome: str) -> list[dict[str, Any]]:
    """Say in a cell's outputs why they end here."""
    if outcome not in ("timeout", "out_of_memory", "crashed", "tampered"):
        return []
    said = {
        "timeout": "Stopped: this cell ran longer than is allowed.",
        "out_of_memory": "Stopped: this cell needed more memory than is allowed.",
        "crashed": "This cell ended the Python process.",
        "tampered": "This cell gave no reply that could be read.",
    }[outcome]
    return [{"output_type": "stream", "name": "stdout", "text": said + "\n"}]


def _notebook(
    rebuilt: Rebuilt, shown: dict[int, list[Any]], scores: dict[int, Score]
) -> NotebookNode:
    """Put outputs into the rebuilt notebook, as if it had been run from top to bottom."""
    notebook = nbformat.v4.new_notebook(metadata=rebuilt.metadata)
    count = 0
    for place, part in enumerate(rebuilt.parts):
        cell: Any = copy.copy(part.node)
        # older formats have none, and nbformat would make up others each time
        cell.setdefault("id", f"cell-{place}")
        if part.role in ("test", "given") and part.grade_id is not None:
            cell.source = rebuilt.handed_out.get(part.grade_id, cell.source)
        if part.runs:
            count += 1
            cell.execution_count = count
            outputs = shown.get(place, [])
            if place in scores:
                outputs = test_outputs(scores[place].outputs, scores[place].points)
            cell.outputs = [nbformat.from_dict(each) for each in outputs]
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = count
        notebook.cells.append(cell)
    return notebook
