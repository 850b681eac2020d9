"""What a learner has answered, kept in one SQLite file in the user's data folder.

Every answer is a row that is only ever added, so two notebooks at once, a crash or an import cannot undo
one another: what was earned, what is due and what comes in an exam are all computed from these rows.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

from filelock import FileLock
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from featx.errors import FeatxError
from featx.files import write_atomically
from featx.study.folders import PROGRESS_VARIABLE, progress_folder
from featx.study.verdicts import Status, Verdict
from featx.wording import first_line, storable

__all__ = [
    "Answer",
    "DrawnExam",
    "Progress",
    "open_progress",
    "read_export",
    "write_export",
]

# How the place of an exam's answer begins.
_EXAM = "exam:"

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


def _in_utc(at: datetime) -> datetime:
    if not 2000 <= at.year <= 2200:
        raise ValueError(f"expected a time of these centuries, got {at}")
    return at.astimezone(UTC)


_Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
_Text = Annotated[str, AfterValidator(storable)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    uid: _Text = Field(default_factory=lambda: uuid.uuid4().hex, min_length=1)
    at: _Moment = Field(default_factory=_now)


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

    item: _Text = Field(min_length=1)
    place: _Text = "quiz"
    answer: _Text | None = None
    status: Status
    score: float = Field(ge=0, le=1)
    misconception: _Text | None = None

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


class DrawnExam(_Row):
    """The questions that were drawn for one exam.

    Attributes
    ----------
    uid, at
        Its own name, and when it was begun (with a time zone).
    seed : int
        Of the draw; SQLite holds whole numbers of 64 bits.
    questions : tuple of str
        Their ids, in order.
    """

    seed: int = Field(ge=-(2**63), lt=2**63)
    questions: tuple[_Text, ...] = Field(min_length=1)

    @property
    def place(self) -> str:
        """The `place` of its answers."""
        return f"{_EXAM}{self.uid}"


class _HandedIn(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    exam: _Text
    at: _Moment


# In an export a row has its own name and time: without them a second import would double it.
class _ExportedAnswer(Answer):
    uid: _Text = Field(min_length=1)
    at: _Moment = Field()


class _ExportedExam(DrawnExam):
    uid: _Text = Field(min_length=1)
    at: _Moment = Field()


class _NewerFile(FeatxError):
    """The file belongs to a newer featx."""


#: Table -> what a row of it must be.
_FORMS: dict[str, type[BaseModel]] = {
    "answers": Answer,
    "exams": DrawnExam,
    "handed_in": _HandedIn,
}

_Form = TypeVar("_Form", bound=BaseModel)

_UNTIL_THEN = (
    "Your answer is kept in memory and written with the next one, as soon as that works again; until then do "
    "not stop this session."
)
_UNTIL_NEWER = "Until then your answers are only in memory, and gone when this session ends."


class _Export(BaseModel):
    """The form of an exported file."""

    model_config = ConfigDict(extra="forbid")

    featx_progress: int
    answers: list[_ExportedAnswer]
    exams: list[_ExportedExam] = []
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
        self._lasting: list[str] = []
        # What is wrong now; gone as soon as it works again.
        self._trouble = ""
        self._told: list[str] = []
        # What could not be written yet: tried again before the next row is written.
        self._waiting: list[tuple[str, dict[str, Any]]] = []

    @property
    def notices(self) -> list[str]:
        """What the learner should know of the file, in sentences."""
        return [*self._lasting, *([self._trouble] if self._trouble else [])]

    def news(self) -> list[str]:
        """Return the notices that were not told yet; what is over and comes again is told again."""
        now = self.notices
        fresh = [notice for notice in now if notice not in self._told]
        self._told = now
        return fresh

    @property
    def unsaved(self) -> int:
        """How many rows wait in memory, since the file could not be written."""
        return len(self._waiting)

    def record(self, answer: Answer) -> None:
        """Keep an answer.

        When the file cannot be written (full disk, read-only folder, …) the answer stays in memory, a
        sentence about it joins `notices`, and it is written together with the next one that can be.

        Parameters
        ----------
        answer
            The answer.
        """
        self._add("answers", answer)

    def record_exam(self, exam: DrawnExam) -> None:
        """Keep the questions that were drawn for an exam; see `record`.

        Parameters
        ----------
        exam
            The exam.
        """
        self._add("exams", exam)

    def hand_in(self, exam: DrawnExam) -> None:
        """Keep that an exam was handed in; see `record`.

        Parameters
        ----------
        exam
            The exam.
        """
        self._add("handed_in", _HandedIn(exam=exam.uid, at=_now()))

    def answers(self, item: str | None = None, place: str | None = None) -> list[Answer]:
        """Return the answers in the order in which they were given.

        Parameters
        ----------
        item, place
            Only those; by default all.

        Returns
        -------
        list of Answer
            In their order.
        """
        found = self._read("answers", Answer, item)
        found = [answer for answer in found if place is None or answer.place == place]
        return sorted(found, key=lambda answer: answer.at)

    def counting(self) -> list[Answer]:
        """Return the answers that say what is known, in their order.

        Those of an exam count when it is handed in, and of each question only the last one that was given
        before: in an exam each change is kept at once, and a change of mind is no mistake.

        Returns
        -------
        list of Answer
            In their order.
        """
        handed_in = {f"{_EXAM}{uid}": at for uid, at in self.handed_in().items()}
        answers = [
            answer
            for answer in self.answers()
            if not answer.place.startswith(_EXAM)
            or (answer.place in handed_in and answer.at <= handed_in[answer.place])
        ]
        last = {(answer.item, answer.place): answer.uid for answer in answers}
        return [
            answer
            for answer in answers
            if not answer.place.startswith(_EXAM) or last[answer.item, answer.place] == answer.uid
        ]

    def exams(self) -> list[DrawnExam]:
        """Return the exams in the order in which they were begun."""
        return sorted(self._read("exams", DrawnExam), key=lambda exam: exam.at)

    def handed_in(self) -> dict[str, datetime]:
        """Return the uid of each exam that was handed in, and when."""
        return {each.exam: each.at for each in self._read("handed_in", _HandedIn)}

    def export(self) -> dict[str, Any]:
        """Return everything as plain data for JSON; `take_in` reads it.

        Returns
        -------
        dict
            Plain data.

        Raises
        ------
        FeatxError
            When nothing can be read: that must not look like an empty record.
        """
        self._rows("answers", must=True)
        return {
            "featx_progress": len(_MIGRATIONS),
            "answers": [answer.model_dump(mode="json") for answer in self.answers()],
            "exams": [exam.model_dump(mode="json") for exam in self.exams()],
            "handed_in": [
                {"exam": uid, "at": at.isoformat()} for uid, at in self.handed_in().items()
            ],
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
        if not isinstance(exported, dict) or "featx_progress" not in exported:
            raise FeatxError(
                "Expected a file that `featx progress --export` wrote, got another one. Nothing was changed."
            )
        if exported["featx_progress"] not in range(1, len(_MIGRATIONS) + 1):
            raise FeatxError(
                f"Expected an export of this or an older featx, got version {exported['featx_progress']!r}. "
                "Update featx (pip install -U featx). Nothing was changed."
            )
        try:
            data = _Export.model_validate(exported)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise FeatxError(
                f"Expected a file that `featx progress --export` wrote, but at {where}: {fault['msg']}. "
                "Nothing was changed."
            ) from error
        before = len(self.answers())
        with self._open() as connection, connection:
            for table, rows in zip(_FORMS, (data.answers, data.exams, data.handed_in), strict=True):
                for row in rows:
                    connection.execute(*_insert(table, _written(row)))
        return len(self.answers()) - before

    def reset(self) -> Path | None:
        """Begin anew; all that was there is kept in a file beside the new one.

        Returns
        -------
        Path or None
            Where it is now; None when there was nothing.

        Raises
        ------
        FeatxError
            When it cannot be kept: nothing was changed.
        """
        if not self.path.exists() and not self._waiting:
            return None
        aside = self._aside("before-reset")
        with self._open() as connection, connection:
            connection.execute("BEGIN IMMEDIATE")  # nobody writes until this is done
            self._write_waiting(connection)
            with contextlib.closing(_new_database(aside)) as copy, copy:
                for table in _FORMS:
                    for row in connection.execute(f"SELECT * FROM {table}").fetchall():
                        copy.execute(*_insert(table, dict(row)))
            for table in _FORMS:
                connection.execute(f"DELETE FROM {table}")
        self._waiting.clear()
        return aside

    def _add(self, table: str, row: BaseModel) -> None:
        self._waiting.append((table, _written(row)))
        try:
            with self._open() as connection, connection:
                self._write_waiting(connection)
        except FeatxError as error:
            self._trouble = (
                f"{error} {_UNTIL_NEWER if isinstance(error, _NewerFile) else _UNTIL_THEN}"
            )
        except Exception:
            self._waiting.pop()  # a row that cannot be written must not stand in the way of the others
            raise
        else:
            self._waiting.clear()
            self._trouble = ""

    def _write_waiting(self, connection: sqlite3.Connection) -> None:
        for table, row in self._waiting:
            connection.execute(*_insert(table, row))

    def _read(self, table: str, form: type[_Form], item: str | None = None) -> list[_Form]:
        """Read a table as rows of its form; what does not fit it is passed over and said."""
        found: list[_Form] = []
        rows = self._rows(table, item)
        for row in rows:
            with contextlib.suppress(ValueError, TypeError):
                found.append(form(**_fields(row)))
        if len(found) < len(rows):
            self._notice(
                f"{len(rows) - len(found)} of the {len(rows)} rows in {self.path} cannot be understood. They "
                "stay there and do not count."
            )
        return found

    def _rows(
        self, table: str, item: str | None = None, must: bool = False
    ) -> list[dict[str, Any]]:
        """Read a table; what waits to be written counts as well."""
        query, values = f"SELECT * FROM {table}", ()
        if item is not None:
            query, values = f"{query} WHERE item = ?", (item,)
        try:
            with self._open() as connection:
                rows = [dict(row) for row in connection.execute(query, values)]
        except FeatxError as error:
            # On a full disk SQLite cannot even open its log, but the file can be read as it is.
            known = self.path.is_file() and not isinstance(error, _NewerFile)
            if must and not known:
                raise
            self._trouble = self._trouble or str(error)
            rows = [row for each, row in _salvage(self.path) if each == table] if known else []
            rows = [row for row in rows if item is None or row["item"] == item]
        else:
            self._trouble = self._trouble if self._waiting else ""
        found = {next(iter(row.values())): row for row in rows}
        for each, row in self._waiting:
            if each == table and (item is None or row["item"] == item):
                found.setdefault(next(iter(row.values())), row)
        return list(found.values())

    def _notice(self, sentence: str) -> None:
        if sentence not in self._lasting:
            self._lasting.append(sentence)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(self._connect()) as connection:
                yield connection
        except (OSError, sqlite3.Error) as error:
            raise FeatxError(
                f"Expected to read and write your progress in {self.path}, but: {first_line(error)}. Make "
                f"room or give write access there, or name another folder in {PROGRESS_VARIABLE}."
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
            aside, count = self._mend()
            connection = self._connect_once()
        self._notice(
            f"The file with your progress was damaged. It is kept as {aside}; {count} of its rows "
            f"could be read and are in the new {self.path.name}."
        )
        return connection

    def _mend(self) -> tuple[Path, int]:
        """Put a new file with all that can be read in the place of a damaged one, which is kept.

        Until the last step the old file is where it was: whoever is stopped here begins again. What an
        earlier try had saved is read as well.
        """
        new = self.path.with_name(f"{self.path.stem}.recovered{self.path.suffix}")
        rows = [*_salvage(new), *_salvage(self.path)]
        fresh = new.with_suffix(".part")
        fresh.unlink(missing_ok=True)
        with contextlib.closing(_new_database(fresh)) as connection, connection:
            for table, row in rows:
                connection.execute(*_insert(table, row))
        fresh.replace(new)
        aside = self._aside("damaged")
        for ending in ("-wal", "-shm", ""):
            part = Path(f"{self.path}{ending}")
            if part.exists():
                shutil.copy2(part, f"{aside}{ending}")
        for ending in ("-wal", "-shm"):  # they belong to the old file and would spoil the new one
            Path(f"{self.path}{ending}").unlink(missing_ok=True)
        new.replace(self.path)
        return aside, len({(table, next(iter(row.values()))) for table, row in rows})

    def _aside(self, why: str) -> Path:
        stamp = _now().strftime("%Y%m%d-%H%M%S-%f")
        return self.path.with_name(f"{self.path.stem}.{why}-{stamp}{self.path.suffix}")

    def _connect_once(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=30, isolation_level="IMMEDIATE")
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA journal_mode=WAL")  # readers and a writer at the same time
            connection.execute("PRAGMA synchronous=FULL")
            if connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("database disk image is malformed")
            if _version(connection) > len(_MIGRATIONS):
                raise _NewerFile(
                    f"{self.path} was written by a newer featx and was not touched. Update featx (pip "
                    "install -U featx)."
                )
            _migrate(connection)
            for table in _FORMS:
                connection.execute(f"SELECT 1 FROM {table} LIMIT 1")
        except BaseException:
            connection.close()
            raise
        return connection

    def _lock(self) -> FileLock:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path.with_suffix(".lock"), timeout=60)


def _migrate(connection: sqlite3.Connection) -> None:
    if _version(connection) == len(_MIGRATIONS):
        return
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        # asked again inside: another notebook may have done it just now
        for number in range(_version(connection), len(_MIGRATIONS)):
            for statement in _MIGRATIONS[number].split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {number + 1}")


def _new_database(path: Path) -> sqlite3.Connection:
    """Open a new file with empty tables; all of it is in this one file."""
    connection = sqlite3.connect(path)
    _migrate(connection)
    return connection


def _insert(table: str, row: dict[str, Any]) -> tuple[str, tuple[Any, ...]]:
    marks = ", ".join("?" for _ in row)
    return f"INSERT OR IGNORE INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())


def _version(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA user_version").fetchone()[0]


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return any(
        word in str(error) for word in ("malformed", "not a database", "corrupt", "no such table")
    )


def _salvage(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Read what can be read of a file, row by row, and write nothing to it."""
    found: list[tuple[str, dict[str, Any]]] = []
    if not path.is_file():
        return found
    # What a killed writer left in the log counts; where the log cannot be used, the file alone.
    for mode in ("mode=ro", "immutable=1"):
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(
                sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)
            ) as connection,
        ):
            connection.row_factory = sqlite3.Row
            for table, form in _FORMS.items():
                for row in _readable_rows(connection, table, path.stat().st_size):
                    with contextlib.suppress(ValueError, TypeError):
                        form(**_fields(row))
                        found.append((table, row))
        if found:
            break
    return found


def _readable_rows(
    connection: sqlite3.Connection, table: str, size: int
) -> Iterator[dict[str, Any]]:
    """Read each row by its number: a scan would end at the first page that is damaged."""
    last = 0
    for order in ("DESC", "ASC"):  # from either end, as far as it goes
        with contextlib.suppress(sqlite3.Error):
            for (number,) in connection.execute(
                f"SELECT rowid FROM {table} NOT INDEXED ORDER BY rowid {order}"
            ):
                last = max(last, number)
                if order == "DESC":
                    break
    for number in range(1, min(last, size) + 1):  # a row has more than one byte
        with contextlib.suppress(sqlite3.Error):
            for row in connection.execute(f"SELECT * FROM {table} WHERE rowid = ?", (number,)):
                yield dict(row)


def _written(row: BaseModel) -> dict[str, Any]:
    """Turn a row of a form into the fields of its table; the opposite of `_fields`."""
    fields = row.model_dump(mode="json")
    return {name: json.dumps(v) if name == "questions" else v for name, v in fields.items()}


def _fields(row: dict[str, Any]) -> dict[str, Any]:
    return {name: json.loads(v) if name == "questions" else v for name, v in row.items()}


_opened: dict[str | None, Progress] = {}


def open_progress() -> Progress:
    """Open the progress of this user.

    Returns
    -------
    Progress
        In the user's data folder, or in the folder that the environment variable ``FEATX_DATA_DIR``
        names. The same object for the same file, so that what waits to be written is not forgotten.
    """
    named = os.environ.get(PROGRESS_VARIABLE)
    if named not in _opened:  # a relative folder stays where it was when the session began
        _opened[named] = Progress(progress_folder() / "progress.sqlite3")
    return _opened[named]


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
    if path.absolute() == progress.path.absolute():
        raise FeatxError(
            f"Expected a file to export to, got {path}, which holds your progress itself. Name another one."
        )
    exported = progress.export()
    try:
        write_atomically(path, json.dumps(exported, indent=1).encode())
    except OSError as error:
        raise FeatxError(
            f"Expected to write {path}, but: {error.strerror}. Name another file."
        ) from error
    return len(exported["answers"])


def read_export(path: Path) -> object:
    """Read a JSON file for `Progress.take_in`.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    object
        What is in it.

    Raises
    ------
    FeatxError
        When the file is not there or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise FeatxError(
            f"Expected a file that `featx progress --export` wrote, but {path}: {said}. Name the file."
        ) from error
