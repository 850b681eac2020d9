"""The file of results: what is damaged is put aside, wherever the damage is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from featx.grading.results import Results


def test_a_file_that_is_damaged_in_the_middle_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    results = Results(path)
    results.put({f"{number:064}": "x" * 500 for number in range(500)})
    results.close()
    content = bytearray(path.read_bytes())
    content[3 * 4096 : -2 * 4096] = b"\xaa" * (len(content) - 5 * 4096)
    path.write_bytes(content)
    for ending in ("-wal", "-shm"):
        Path(f"{path}{ending}").write_bytes(b"of the old file")
    results = Results(path)
    assert results.get([f"{number:064}" for number in range(500)]) == {}
    results.put({"new": 1})
    results.close()
    assert Results(path).get(["new"]) == {"new": 1}
    aside = tmp_path / "results.damaged"
    assert aside.stat().st_size == len(content)
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
