"""Threads share one warm process; when it is lost, they get one new one between them."""

from __future__ import annotations

import os
import threading

import pytest

from featx.grading import executors
from featx.grading.protocol import Limits
from featx.grading.sandbox import SandboxLost


class Warm:
    """Stands in for a sandbox: the first is lost, each later one works until it is closed."""

    made: list[Warm]

    kind = "none"

    def __init__(self, *_: object) -> None:
        self.closed = False
        self.made.append(self)

    def close(self) -> None:
        self.closed = True


def test_who_notices_a_loss_late_does_not_end_the_new_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Warm.made = []
    both_have_it, new_one_works = threading.Barrier(2), threading.Event()

    def execute(
        rebuilt: object, files: object, tests: set[int], limits: object, warm: Warm
    ) -> dict:
        if warm is Warm.made[0]:
            both_have_it.wait(30)
            if tests == {2}:
                new_one_works.wait(30)
            raise SandboxLost("killed")
        new_one_works.set()
        return {}

    monkeypatch.setattr(executors, "Sandbox", Warm)
    monkeypatch.setattr(executors, "execute", execute)
    local = executors.Local(executors.Sandbox("none"))

    def until_done(number: int) -> None:
        while True:
            try:
                local.execute(None, {}, {number}, Limits())  # type: ignore[arg-type]
                return
            except SandboxLost:
                continue

    threads = [threading.Thread(target=until_done, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [warm.closed for warm in Warm.made] == [True, False]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_as_many_at_a_time_as_cores_that_it_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    Warm.made = []
    assert executors.Local(Warm()).jobs == 3  # type: ignore[arg-type]
