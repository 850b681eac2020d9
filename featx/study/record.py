"""What a learner has answered, kept in one SQLite file in the user's data folder.

Every answer is a row that is only ever added, so two notebooks at once, a crash or an import cannot undo
one another: what was earned, what is due and what comes in an exam are all computed from these rows.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock
from platformdirs import user_data_path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from featx.errors import FeatxError
from featx.study.verdicts import Status, Verdict

__all__ = [
    "Answer",
    "DrawnExam",
    "Progress",
    "open_progress",
    "read_export",
    "settled",
    "write_export",
]

#: Environment variable: another folder for the progress.
FOLDER_VARIABLE = "FEATX_DATA_DIR"

# Each entry takes a file from one version to the next; a released one never changes.
_MIGRATIONS = (
    """
    CREATE TABLE answers (
        uid TEXT PRIMARY KEY, at TEXT NOT NULL, item TEXT NOT NULL, place TEXT NOT NULL, answer TEXT,
        status TEXT NOT NULL, score REAL NOT NULL, misconception TEXT
    );
    CREATE INDEX answers_by_item ON answers (item, at);
    """,
    """
    CREATE TABLE exams (
        uid TEXT PRIMARY KEY, at TEXT NOT NULL, seed INTEGER NOT NULL, questions TEXT NOT NULL
    );
    CREATE TABLE handed_in (exam TEXT PRIMARY KEY, at TEXT NOT NULL);
    """,
)


def _now() -> datetime:
    return datetime.now(UTC)


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    uid: str = Field(default_factory=lambda: uuid.uuid4().hex, min_length=1)
    at: AwareDatetime = Field(default_factory=_now)


class Answer(_Row):
    """One answer to a question, an exercise or a flash card.

    Attributes
    ----------
    uid, at
        Its own name, and when it was given (with a time zone).
    item : str
        The id of the question, exercise or card.
    place : str
        ``"quiz"``, ``"check"``, ``"card"``, or ``"exam:"`` and the exam's uid.
    answer : str or None
        What was answered; None for code.
    status, score, misconception
        As in `featx.study.verdicts.Verdict`.
    """

    item: str = Field(min_length=1)
    place: str = "quiz"
    answer: str | None = None
    status: Status
    score: float = Field(ge=0, le=1)
    misconception: str | None = None

    @classmethod
    def of(cls, item: str, verdict: Verdict, place: str, answer: object = None) -> Answer:
        """Make the row of a verdict."""
        return cls(
            item=item,
            place=place,
            answer=None if answer is None else str(answer),
            status=verdict.status,
            score=verdict.score,
            misconception=verdict.misconception,
        )


def settled(answers: Iterable[Answer]) -> list[Answer]:
    """Leave out what was changed before an exam was handed in: only the last answer was meant.

    In an exam each change is kept at once, so that nothing is lost; a change of mind is no mistake.

    Parameters
    ----------
    answers
        In the order in which they were given.

    Returns
    -------
    list of Answer
        In the same order.

    Examples
    --------
    >>> exam = {"item": "freeze-order", "place": "exam:1"}
    >>> changed = [Answer(status="wrong", score=0, **exam), Answer(status="correct", score=1, **exam)]
    >>> [answer.status for answer in settled(changed)]
    ['correct']
    """
    answers = list(answers)
    last = {(answer.item, answer.place): answer.uid for answer in answers}
    return [
        answer
        for answer in answers
        if not answer.place.startswith("exam:") or last[answer.item, answer.place] == answer.uid
    ]


class DrawnExam(_Row):
    """The questions that were drawn for one exam."""

    seed: int
    questions: tuple[str, ...] = Field(min_length=1)


class _HandedIn(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    exam: str
    at: AwareDatetime


class _Export(BaseModel):
    """The form of an exported file."""

    model_config = ConfigDict(extra="forbid")

    featx_progress: Literal[1, 2]
    answers: list[Answer]
    exams: list[DrawnExam] = []
    handed_in: list[_HandedIn] = []


class Progress:
    """A learner's record in one file. Each method opens and closes the file by itself.

    Parameters
    ----------
    path
        The file; it and its folder are made when they are not there.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> progress = Progress(Path(folder.name) / "progress.sqlite3")
    >>> progress.record(Answer(item="freeze-order", answer="a", status="correct", score=1))
    >>> [answer.item for answer in progress.answers()]
    ['freeze-order']
    >>> folder.cleanup()
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notices: list[str] = []
        # What could not be written yet: tried again before the next row is written.
        self._waiting: list[tuple[str, tuple[Any, ...]]] = []

    @property
    def unsaved(self) -> int:
        """How many rows wait in memory, since the file could not be written."""
        return len(self._waiting)

    def record(self, answer: Answer) -> None:
        """Keep an answer.

        When the file cannot be written (full disk, read-only folder, …) the answer stays in memory, a
        sentence about it joins `notices`, and it is written together with the next one that can be.
        """
        row = answer.model_dump(mode="json")
        self._add("answers", row)

    def record_exam(self, exam: DrawnExam) -> None:
        """Keep the questions that were drawn for an exam."""
        row = exam.model_dump(mode="json")
        self._add("exams", row | {"questions": json.dumps(row["questions"])})

    def hand_in(self, exam: DrawnExam) -> None:
        """Keep that an exam was handed in."""
        self._add("handed_in", {"exam": exam.uid, "at": _now().isoformat()})

    def answers(self, item: str | None = None, place: str | None = None) -> list[Answer]:
        """Return the answers in the order in which they were given, of one item or place or all."""
        found = [Answer(**row) for row in self._rows("answers")]
        return [
            answer
            for answer in sorted(found, key=lambda answer: answer.at)
            if (item is None or answer.item == item) and (place is None or answer.place == place)
        ]

    def exams(self) -> list[DrawnExam]:
        """Return the exams in the order in which they were begun."""
        rows = self._rows("exams")
        found = [DrawnExam(**_read(row)) for row in rows]
        return sorted(found, key=lambda exam: exam.at)

    def handed_in(self) -> set[str]:
        """Return the uids of the exams that were handed in."""
        return {row["exam"] for row in self._rows("handed_in")}

    def export(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; `take_in` reads it."""
        with self._open():  # what cannot be read must not look like an empty record
            pass
        return {
            "featx_progress": len(_MIGRATIONS),
            "answers": [answer.model_dump(mode="json") for answer in self.answers()],
            "exams": [exam.model_dump(mode="json") for exam in self.exams()],
            "handed_in": self._rows("handed_in"),
        }

    def take_in(self, exported: object) -> int:
        """Add what was exported elsewhere; what is here already stays as it is.

        Parameters
        ----------
        exported
            What `export` returned.

        Returns
        -------
        int
            How many answers are new.

        Raises
        ------
        FeatxError
            When it is no such export: nothing was changed.
        """
        try:
            data = _Export.model_validate(exported)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"]) or "the file"
            raise FeatxError(
                f"Expected a file that `featx progress --export` wrote, but at {where}: {fault['msg']}. "
                "Nothing was changed."
            ) from error
        before = len(self.answers())
        rows: list[tuple[str, dict[str, Any]]] = []
        rows += [("answers", answer.model_dump(mode="json")) for answer in data.answers]
        for exam in data.exams:
            row = exam.model_dump(mode="json")
            rows.append(("exams", row | {"questions": json.dumps(row["questions"])}))
        rows += [("handed_in", each.model_dump(mode="json")) for each in data.handed_in]
        with self._open() as connection, connection:
            for table, row in rows:
                connection.execute(*_insert(table, row))
        return len(self.answers()) - before

    def reset(self) -> Path | None:
        """Begin anew; the old file is kept beside the new one.

        Returns
        -------
        Path or None
            Where the old file is now; None when there was none.
        """
        self._waiting.clear()
        with self._lock():
            return self._put_aside("before-reset") if self.path.exists() else None

    def _add(self, table: str, row: dict[str, Any]) -> None:
        self._waiting.append(_insert(table, row))
        try:
            with self._open() as connection, connection:
                for statement, values in self._waiting:
                    connection.execute(statement, values)
        except FeatxError as error:
            self._notice(
                f"{error} Your answer is kept in memory and written with the next one, as soon as that works "
                "again; until then do not stop this session."
            )
        else:
            self._waiting.clear()

    def _rows(self, table: str) -> list[dict[str, Any]]:
        """Read a table; what waits to be written counts as well."""
        try:
            with self._open() as connection:
                rows = connection.execute(f"SELECT * FROM {table}").fetchall()
        except FeatxError as error:
            self._notice(str(error))
            rows = self._rows_as_they_are(table)
        found = {row[0]: dict(row) for row in rows}
        for statement, values in self._waiting:
            if f" {table} " in statement:
                names = statement[statement.index("(") + 1 : statement.index(")")].split(", ")
                found.setdefault(values[0], dict(zip(names, values, strict=True)))
        return list(found.values())

    def _rows_as_they_are(self, table: str) -> list[sqlite3.Row]:
        """Read without writing anything: on a full disk SQLite cannot even open its log."""
        if not self.path.is_file():
            return []
        address = f"{self.path.absolute().as_uri()}?immutable=1"
        try:
            with contextlib.closing(sqlite3.connect(address, uri=True)) as connection:
                connection.row_factory = sqlite3.Row
                if _version(connection) > len(_MIGRATIONS):
                    return []
                return connection.execute(f"SELECT * FROM {table}").fetchall()
        except sqlite3.Error:
            return []

    def _notice(self, sentence: str) -> None:
        if sentence not in self.notices:
            self.notices.append(sentence)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(self._connect()) as connection:
                yield connection
        except (OSError, sqlite3.Error) as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise FeatxError(
                f"Expected to read and write your progress in {self.path}, but: {said}. Make room or give "
                f"write access there, or name another folder in {FOLDER_VARIABLE}."
            ) from error

    def _connect(self) -> sqlite3.Connection:
        try:
            return self._connect_once()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
        with self._lock():
            try:  # another process may have mended it while this one waited
                return self._connect_once()
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
            aside = self._put_aside("damaged")
            rows = _salvage(aside)
            connection = self._connect_once()
            with connection:
                for table, row in rows:
                    connection.execute(*_insert(table, row))
        self._notice(
            f"The file with your progress was damaged. It is kept as {aside}; {len(rows)} of its rows "
            f"could be read and are in the new {self.path.name}."
        )
        return connection

    def _connect_once(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, isolation_level="IMMEDIATE")
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")  # readers and a writer at the same time
            connection.execute("PRAGMA synchronous=FULL")
            if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("database disk image is malformed")
            self._migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _migrate(self, connection: sqlite3.Connection) -> None:
        if _version(connection) == len(_MIGRATIONS):
            return
        if _version(connection) > len(_MIGRATIONS):
            raise FeatxError(
                f"{self.path} was written by a newer featx. Update featx (pip install -U featx). The file "
                "was not touched."
            )
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            # asked again inside: another notebook may have done it just now
            for number in range(_version(connection), len(_MIGRATIONS)):
                for statement in _MIGRATIONS[number].split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number + 1}")

    def _lock(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"), timeout=60)

    def _put_aside(self, why: str) -> Path:
        """Rename the file, with SQLite's own files beside it, so that a new one can begin."""
        stamp = _now().strftime("%Y%m%d-%H%M%S-%f")
        aside = self.path.with_name(f"{self.path.stem}.{why}-{stamp}{self.path.suffix}")
        for ending in ("-wal", "-shm", ""):
            part = Path(f"{self.path}{ending}")
            if part.exists():
                part.replace(f"{aside}{ending}")
        return aside


def _insert(table: str, row: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    marks = ", ".join("?" for _ in row)
    return f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return any(word in str(error) for word in ("malformed", "not a database", "corrupt"))


def _salvage(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Read what can be read of a damaged file, row by row."""
    found: list[tuple[str, dict[str, Any]]] = []
    forms = {"answers": Answer, "exams": DrawnExam, "handed_in": _HandedIn}
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(path)) as connection,
    ):
        connection.row_factory = sqlite3.Row
        for table, form in forms.items():
            with contextlib.suppress(sqlite3.Error):
                for row in connection.execute(f"SELECT * FROM {table} NOT INDEXED"):
                    with contextlib.suppress(ValueError, TypeError):
                        form(**_read(dict(row)))
                        found.append((table, dict(row)))
    return found


def _read(row: dict[str, Any]) -> dict[str, Any]:
    """Turn a row of a table into the fields of its form."""
    return {name: json.loads(v) if name == "questions" else v for name, v in row.items()}


_opened: dict[Path, Progress] = {}


def open_progress() -> Progress:
    """Open the progress of this user.

    Returns
    -------
    Progress
        In the user's data folder, or in the folder that the environment variable ``FEATX_DATA_DIR``
        names. The same object for the same file, so that what waits to be written is not forgotten.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    folder = Path(named).expanduser() if named else user_data_path("featx", appauthor=False)
    path = folder / "progress.sqlite3"
    return _opened.setdefault(path, Progress(path))


def write_export(progress: Progress, path: Path) -> int:
    """Write everything to a JSON file.

    Parameters
    ----------
    progress
        The record.
    path
        The file.

    Returns
    -------
    int
        How many answers it holds.

    Raises
    ------
    FeatxError
        When the record cannot be read or the file cannot be written.
    """
    exported = progress.export()
    try:
        path.write_text(json.dumps(exported, indent=1), encoding="utf-8")
    except OSError as error:
        raise FeatxError(
            f"Expected to write {path}, but: {error.strerror}. Name another file."
        ) from error
    return len(exported["answers"])


def read_export(path: Path) -> object:
    """Read a JSON file for `Progress.take_in`.

    Raises
    ------
    FeatxError
        When the file is not there or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no JSON"
        raise FeatxError(
            f"Expected a file that `featx progress --export` wrote, but {path}: {said}."
        ) from error
