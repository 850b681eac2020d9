"""The same marks on a Dask cluster, each once, though a worker dies in the middle."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from featx.errors import FeatxError
from featx.grading import executors
from featx.grading.executors import Cluster
from featx.grading.grade import grade
from featx.grading.gradebook import Course
from tests.grading.attacks.course import FULL, NAME, Case, make_course, submit

pytestmark = pytest.mark.slow

STUDENTS = 10

#: Seconds to wait for a scheduler: it is there, but the machine that runs the tests may be busy.
PATIENCE = 120.0


@pytest.fixture
def scheduler() -> Iterator[str]:
    """Two workers on this machine; one that dies is started again."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster.scheduler_address


def test_a_worker_is_killed_and_every_mark_is_there_once(
    bwrap: str, scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "CONNECT", PATIENCE)
    make_course(tmp_path)
    Course(tmp_path).release(NAME)
    for number in range(STUDENTS):
        slow = f"import time\ntime.sleep(0.5)\nfirst = 1  # {number}"
        submit(tmp_path, Case(f"student-{number}", {"first": slow}))
    done: list[str] = []
    killed = threading.Event()

    def kill_one(each) -> None:
        done.append(each.student)
        if len(done) == 3:
            with Client(scheduler, timeout=PATIENCE, set_as_default=False) as client:
                victim, *_ = client.run(os.getpid).values()
            os.kill(victim, signal.SIGKILL)
            killed.set()

    with contextlib.closing(Cluster(scheduler)) as cluster:
        graded = grade(NAME, tmp_path, executor=cluster, done=kill_one)
    assert killed.is_set()
    assert sorted(done) == sorted(each.student for each in graded)
    assert len(done) == STUDENTS
    assert not [each.fault for each in graded if each.fault]
    marks = Course(tmp_path).marks(NAME)
    assert len(marks) == STUDENTS
    assert all(
        sum(p or 0 for p in cells.values()) == sum(FULL.values()) for cells in marks.values()
    )


def test_nobody_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "CONNECT", 1.0)
    with pytest.raises(FeatxError, match="Expected a Dask scheduler at tcp://127"):
        Cluster("tcp://127.0.0.1:9")
