"""What the grader hears from a submission's process: whole messages, in time, or none."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, cast

import pytest

from featx.grading.protocol import Broken, receive, send


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_message_arrives_and_the_timeout_stays(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    for timeout in (None, 5.0):
        ours.settimeout(timeout)
        send(theirs, {"x": [1, "é"]})
        assert receive(ours) == {"x": [1, "é"]}
        assert ours.gettimeout() == timeout


def test_who_drips_is_not_waited_for(ends: tuple[socket.socket, socket.socket]) -> None:
    """A timeout is for the whole message, not for each byte of it."""
    ours, theirs = ends
    over = threading.Event()

    def drip() -> None:
        theirs.sendall(b"\0\xff\0\0")
        until = time.monotonic() + 10
        while time.monotonic() < until and not over.wait(0.1):
            theirs.sendall(b" ")

    dripping = threading.Thread(target=drip)
    dripping.start()
    ours.settimeout(0.5)
    begin = time.monotonic()
    try:
        with pytest.raises(TimeoutError):
            receive(ours)
        assert time.monotonic() - begin < 3
        assert ours.gettimeout() == 0.5
    finally:
        over.set()
        dripping.join()


class Drips:
    """A channel on which the next byte is always there at once."""

    def __init__(self) -> None:
        self.begin, self.bytes = time.monotonic(), iter(b"\0\xff\0\0")

    def gettimeout(self) -> float:
        return 0.2

    def settimeout(self, seconds: float) -> None:
        assert seconds > 0

    def recv(self, most: int) -> bytes:
        assert time.monotonic() - self.begin < 3
        return bytes([next(self.bytes, 32)])


def test_who_drips_quickly_is_not_waited_for_either() -> None:
    with pytest.raises(TimeoutError):
        receive(cast(Any, Drips()))


@pytest.mark.parametrize("said", [b"\xff\xff\xff\xff", b"\0\0\0\2[]", b"\0\0\0\2{x", b"\0\0\0\5{}"])
def test_what_is_no_message_is_not_believed(
    ends: tuple[socket.socket, socket.socket], said: bytes
) -> None:
    ours, theirs = ends
    theirs.sendall(said)
    theirs.close()
    with pytest.raises(Broken):
        receive(ours)
