"""The nbgrader course: what was released, what is in the gradebook, and the way marks get there.

nbgrader itself writes: its converter for autograding, with the preprocessor that executes notebooks left
out, for they come executed. So gradebook, formgrader, feedback and export are as they always are.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader import api
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.apps import NbGrader
from nbgrader.converters import Autograde, GenerateAssignment
from nbgrader.converters.base import BaseConverter
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import CheckCellMetadata, Execute
from nbgrader.utils import determine_grade, rmtree
from sqlalchemy.exc import SAWarning
from traitlets.config import Config

from featx.errors import FeatxError
from featx.grading.protocol import Limits
from featx.grading.rebuild import Instructor, grade_id_of
from featx.grading.submissions import list_submissions
from featx.wording import close_matches, first_line

__all__ = ["Course", "points_in"]


# nbgrader's own, at each submission. For good, not around each call: filters belong to all threads, and
# another one that puts back what it found would let them through.
warnings.filterwarnings("ignore", "Object of type <Submitted", SAWarning)


class _Tolerant(CourseDirectory):
    """A course in which an unreadable time of submission is no time, instead of an error."""

    def get_existing_timestamp(self, dest_path: str):
        with contextlib.suppress(Exception):
            return super().get_existing_timestamp(dest_path)
        return None


class _OwnFiles(BaseConverter):
    """Writes the files that were read from the submission; nbgrader would copy what links lead to."""

    files: dict[str, bytes] = {}  # noqa: RUF012  (set for each submission)

    def init_assignment(self, assignment_id: str, student_id: str) -> None:
        folder = Path(self._format_dest(assignment_id, student_id))
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


class _Recorder(Autograde, _OwnFiles):
    """nbgrader's autograding, without executing anything."""

    coursedir: Any

    def record(self, assignment: str, student: str, notebooks: dict[str, NotebookNode]) -> None:
        submitted = self.coursedir.format_path(
            self.coursedir.submitted_directory, student, assignment
        )
        self.notebooks = [str(Path(submitted, f"{name}.ipynb")) for name in notebooks]
        destination = Path(self._format_dest(assignment, student))
        if destination.exists():
            rmtree(str(destination))
        self._sanitizing = True
        self.init_assignment(assignment, student)
        for path, notebook in zip(self.notebooks, notebooks.values(), strict=True):
            resources: Any = self.init_single_notebook_resources(path)
            output, done = self.exporter.from_notebook_node(notebook, resources=resources)
            self.write_single_notebook(str(output), done)  # type: ignore[arg-type]
        self.set_permissions(assignment, student)


_NO_COURSE = "Go to the folder of the course, which has source/, or name it with --course-dir."


class Course:
    """An nbgrader course on disk.

    Parameters
    ----------
    folder
        Its root, with ``source/`` or ``release/``, ``submitted/`` and perhaps ``nbgrader_config.py``.

    Raises
    ------
    FeatxError
        When there is no such folder, or its configuration does not load.
    """

    def __init__(self, folder: str | Path) -> None:
        self.root = Path(folder).resolve()
        if not self.root.is_dir():
            raise FeatxError(
                f"Expected the folder of an nbgrader course, but {folder} is none. {_NO_COURSE}"
            )
        self.config = self._load_config()
        self.directory = _Tolerant(config=self.config)
        self._log = logging.getLogger("featx.grading")
        self._log.setLevel(logging.CRITICAL)  # what matters is said by us, once

    def _load_config(self) -> Config:
        try:
            with contextlib.chdir(self.root):
                application = NbGrader()
                application.log.setLevel(logging.ERROR)  # a course need not have a configuration
                application.load_config_file()
        except Exception as error:
            raise FeatxError(
                f"Expected a configuration in {self.root / 'nbgrader_config.py'} that loads, but: "
                f"{first_line(error)}."
            ) from error
        config = application.config
        config.CourseDirectory.root = str(self.root)
        return config

    def submitted(self) -> Path:
        """Return the folder of the submissions."""
        return self.root / self.directory.submitted_directory

    def count_submissions(self, assignment: str) -> int:
        """Count the students who handed in an assignment."""
        return len(list_submissions(self.submitted(), assignment))

    def submission(self, student: str, assignment: str) -> Path:
        """Return the folder of one submission."""
        step = self.directory.submitted_directory
        return Path(self.directory.format_path(step, student, assignment))

    def autograded(self, student: str, assignment: str) -> Path:
        """Return the folder where a graded submission is written."""
        step = self.directory.autograded_directory
        return Path(self.directory.format_path(step, student, assignment))

    def assignment_folders(self, assignment: str) -> list[Path]:
        """Return where the source and the release version of an assignment lie, or would."""
        steps = (self.directory.source_directory, self.directory.release_directory)
        return [Path(self.directory.format_path(step, ".", assignment)) for step in steps]

    def timeout(self) -> float:
        """Return the seconds that the course's configuration allows for a cell, or the usual ones."""
        for section in ("ExecutePreprocessor", "Execute"):
            seconds = self.config.get(section, {}).get("timeout")
            if isinstance(seconds, int | float) and seconds > 0:
                return float(seconds)
        return Limits().seconds

    def release(self, assignment: str) -> bool:
        """Make the release version and enter the assignment in the gradebook, if that was not done yet.

        Returns
        -------
        bool
            Whether it was done now.

        Raises
        ------
        FeatxError
            When there is no such assignment.
        """
        folders = (
            self.directory.source_directory,
            self.directory.release_directory,
            self.directory.submitted_directory,
        )
        if not any(
            (self.root / folder).is_dir() for folder in folders
        ):  # else it would get a gradebook
            raise FeatxError(
                f"Expected the folder of an nbgrader course, but {self.root} is none. {_NO_COURSE}"
            )
        with self._gradebook() as book, contextlib.suppress(MissingEntry):
            if book.find_assignment(assignment).notebooks:
                return False
        source = Path(self.directory.format_path(self.directory.source_directory, ".", assignment))
        if not list(source.glob("*.ipynb")):
            there = sorted(p.name for p in source.parent.glob("*") if any(p.glob("*.ipynb")))
            raise FeatxError(
                f"Expected an assignment of the course in {self.root}, got {assignment!r}. "
                + (close_matches(assignment, there) if there else _NO_COURSE)
            )
        directory = _Tolerant(config=self.config, assignment_id=assignment, student_id=".")
        converter = GenerateAssignment(coursedir=directory, config=self.config, force=True)
        converter.log = self._log
        with _as_nbgrader_needs():
            converter.start()
        return True

    def students(self) -> list[str]:
        """Name the students of the gradebook, sorted."""
        with self._gradebook() as book:
            return sorted(str(student.id) for student in book.students)

    def instructor_notebooks(self, assignment: str) -> dict[str, Instructor]:
        """Return the notebooks as they were released, and with the hidden tests in them.

        Parameters
        ----------
        assignment
            The assignment.

        Returns
        -------
        dict
            Name without ``.ipynb`` -> notebook.
        """
        notebooks = {}
        with self._gradebook() as book:
            for entry in book.find_assignment(assignment).notebooks:
                path = self.released(assignment, entry.name)
                notebook = nbformat.read(path, as_version=4)
                handed_out = {
                    name: cell.source
                    for cell in notebook.cells
                    if (name := grade_id_of(cell)) is not None
                }
                cells = {cell.name: cell for cell in entry.source_cells}
                points = {g.name: g.max_score for g in [*entry.grade_cells, *entry.task_cells]}
                for cell in notebook.cells:
                    name = grade_id_of(cell)
                    if name in cells:
                        cell.source = cells[name].source
                        cell.metadata.nbgrader["checksum"] = cells[name].checksum
                        cell.metadata.nbgrader["locked"] = bool(cells[name].locked)
                    if name in points:
                        cell.metadata.nbgrader["points"] = float(points[name])
                notebooks[entry.name] = Instructor(notebook, handed_out)
        return notebooks

    def instructor_files(self, assignment: str, most: int = Limits.disk) -> dict[str, bytes]:
        """Return what lies beside the source notebooks, such as data that cells read.

        A student's file of the same name does not count, unless ``Autograde.exclude_overwriting`` says so.
        Links are followed, as nbgrader does.

        Parameters
        ----------
        assignment
            The assignment.
        most
            As many bytes as the sandbox has room for.

        Returns
        -------
        dict of str to bytes
            Path below the folder -> content.

        Raises
        ------
        FeatxError
            When one cannot be read, or they are too large: without them every student would lose marks.
        """
        folder = Path(self.directory.format_path(self.directory.source_directory, ".", assignment))
        files, room = {}, most
        above = {str(folder): {os.path.realpath(folder)}}
        for parent, folders, names in os.walk(folder, followlinks=True):
            for name in folders:
                path = os.path.join(parent, name)  # noqa: PTH118 - as os.walk writes it
                above[path] = above[parent] | {os.path.realpath(path)}
            folders[:] = [  # a link may lead back up
                each
                for each in folders
                if each != ".ipynb_checkpoints"
                and len(above[os.path.join(parent, each)]) > len(above[parent])  # noqa: PTH118
            ]
            for path in (Path(parent, n) for n in [*folders, *names] if not n.endswith(".ipynb")):
                if not (path.is_file() or path.is_dir()) or not os.access(path, os.R_OK):
                    raise FeatxError(
                        f"Expected files that can be read beside the source of {assignment}, but {path} "
                        "cannot be. Put a file in its place, or remove it."
                    )
                if path.is_file():
                    room -= path.stat().st_size
                    if room < 0:
                        raise FeatxError(
                            f"Expected files of at most {most >> 20} MB together beside the source of "
                            f"{assignment}, for which the sandbox has room, got more ({path}). Let the cells "
                            "read a part of them."
                        )
                    files[path.relative_to(folder).as_posix()] = path.read_bytes()
        for name in self.config.Autograde.get("exclude_overwriting", {}).get(assignment, ()):
            files.pop(name, None)
        return files

    def released(self, assignment: str, name: str) -> Path:
        """Return the file of a notebook as it was given out.

        Raises
        ------
        FeatxError
            When there is none.
        """
        for step in (self.directory.release_directory, self.directory.source_directory):
            path = Path(self.directory.format_path(step, ".", assignment)) / f"{name}.ipynb"
            if path.is_file():
                return path
        raise FeatxError(
            f"Expected {name}.ipynb of {assignment} in release/ or source/, but it is in neither. "
            f"Run: nbgrader generate_assignment {assignment}"
        )

    def marks(self, assignment: str) -> dict[str, dict[tuple[str, str], float | None]]:
        """Return what the gradebook holds.

        Parameters
        ----------
        assignment
            The assignment.

        Returns
        -------
        dict
            Student -> (notebook, cell) -> automatic points, None where there are none.
        """
        with self._gradebook() as book:
            try:
                submissions = book.assignment_submissions(assignment)
            except MissingEntry:
                return {}
            return {
                each.student.id: {
                    (notebook.name, grade.name): grade.auto_score
                    for notebook in each.notebooks
                    for grade in notebook.grades
                }
                for each in submissions
            }

    def record(
        self,
        assignment: str,
        student: str,
        notebooks: dict[str, NotebookNode],
        files: dict[str, bytes],
    ) -> None:
        """Write a graded submission: ``autograded/``, and its marks in the gradebook.

        Parameters
        ----------
        assignment, student
            Whose.
        notebooks
            Executed; the outputs of the tests say the points.
        files
            What lies beside them.
        """
        recorder = _Recorder(coursedir=self.directory, config=self.config)
        recorder.log = self._log
        recorder.files = files
        # Executed it is, and the metadata are the teacher's own.
        done = (Execute, CheckCellMetadata)
        recorder.autograde_preprocessors = [
            each for each in recorder.autograde_preprocessors if each not in done
        ]
        recorder.writer = _writer(recorder)
        recorder.exporter = recorder.exporter_class(parent=recorder, config=recorder.config)
        recorder._sanitizing = False
        recorder._init_preprocessors()
        with _as_nbgrader_needs():
            recorder.record(assignment, student, notebooks)

    @contextlib.contextmanager
    def _gradebook(self) -> Iterator[Any]:
        with (
            _as_nbgrader_needs(),
            Gradebook(self.directory.db_url, self.directory.course_id) as book,
        ):
            yield book


_same_engine = lru_cache(maxsize=4)(api.create_engine)


@contextlib.contextmanager
def _as_nbgrader_needs() -> Iterator[None]:
    """Let nbgrader find alembic, be quick, and keep to itself what we say in a sentence of our own."""
    path = os.environ.get("PATH", "")
    tracebacks = logging.getLogger("tornado.application")  # where it writes them, a page each
    quiet, tracebacks.disabled = tracebacks.disabled, True
    # it calls alembic by its bare name, which is found only where the environment is activated
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), path])
    # it makes an engine seven times a submission, and each compiles the same statements anew
    make, api.create_engine = api.create_engine, _same_engine
    try:
        yield
    finally:
        api.create_engine = make
        os.environ["PATH"] = path
        tracebacks.disabled = quiet


def _writer(parent: Any) -> Any:
    from nbconvert.writers.files import FilesWriter

    return FilesWriter(parent=parent, config=parent.config)


def points_in(notebook: NotebookNode) -> dict[str, float]:
    """Return the points that nbgrader will read from the test cells of an executed notebook."""
    return {
        str(grade_id_of(cell)): float(determine_grade(cell)[0] or 0.0)
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code"
    }
