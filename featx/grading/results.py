"""Results that were found before, by what they depend on: what is known is not run again.

A key is the hash of everything that decides a result: what stands in the notebook before the test, the
test, and the versions of what runs it. What has the same key has the same result, whoever asks.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import sys
import threading
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from featx.errors import FeatxError

__all__ = ["Results", "environment", "key_of"]


def key_of(*parts: str) -> str:
    """Hash texts to one key; where one ends and the next begins makes a difference."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()


def environment() -> str:
    """Name what a result depends on beside notebooks: Python and the packages that it runs."""
    names = ("featx", "torch", "torchvision", "numpy", "scikit-learn", "ipython")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} -")
    return ", ".join([f"python {sys.version.split()[0]}", *versions])


class Results:
    """The kept results of a course, one file.

    Parameters
    ----------
    path
        An SQLite file; made when there is none. One that is damaged is put aside, and a new one begun: a
        result can always be found again.

    Raises
    ------
    FeatxError
        When it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._database = self._open()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                for ending in ("-wal", "-shm", ""):  # what belongs to it would spoil the new one
                    part = Path(f"{path}{ending}")
                    if part.exists():
                        part.replace(f"{path.with_suffix('.damaged')}{ending}")
                self._database = self._open()
        except (OSError, sqlite3.OperationalError) as error:
            raise FeatxError(
                f"Expected to keep results in {path}, but it cannot be written ({error}). Free space, or "
                "get the right to write there."
            ) from error

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=30, check_same_thread=False)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            if database.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("database disk image is malformed")
            with database:
                database.execute(
                    "CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, value TEXT)"
                )
        except BaseException:
            database.close()
            raise
        return database

    def get(self, keys: Iterable[str]) -> dict[str, Any]:
        """Return the results that there are."""
        found = {}
        for key in keys:
            with self._lock:
                row = self._database.execute(
                    "SELECT value FROM results WHERE key = ?", (key,)
                ).fetchone()
            if row is not None:
                found[key] = json.loads(row[0])
        return found

    def put(self, results: dict[str, Any]) -> None:
        """Keep results, all of them or none."""
        rows = [(key, json.dumps(value)) for key, value in results.items()]
        with self._lock, self._database:
            self._database.executemany("INSERT OR REPLACE INTO results VALUES (?, ?)", rows)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
