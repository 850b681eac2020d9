"""What the grader and a sandboxed process say to each other: JSON with its length before it, and bounded."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from dataclasses import dataclass
from typing import Any

__all__ = [
    "HOME",
    "LARGEST_MESSAGE",
    "OUT_OF_MEMORY",
    "TOO_MANY_PROCESSES",
    "Broken",
    "Limits",
    "receive",
    "send",
]

#: No reply is longer: outputs are cut well before.
LARGEST_MESSAGE = 16 * 2**20

#: In the sandbox: the one folder that can be written to.
HOME = "/box"

#: How a child's init ends when it had to end its world.
OUT_OF_MEMORY, TOO_MANY_PROCESSES = 137, 138

_LENGTH = struct.Struct(">I")


class Broken(Exception):
    """The other side has gone, or says what it should not."""


@dataclass(frozen=True)
class Limits:
    """What one submission may use.

    Attributes
    ----------
    seconds : float
        For one cell.
    memory : int
        Bytes beyond what torch and the others take, for all its processes together.
    processes : int
        At once.
    disk : int
        Bytes in its folder; it lies in memory.
    output : int
        Characters of output of one cell; what comes after is cut.
    """

    seconds: float = 60.0
    memory: int = 4 * 2**30
    processes: int = 64
    disk: int = 256 * 2**20
    output: int = 200_000


def send(channel: socket.socket, message: dict[str, Any]) -> None:
    """Send one message."""
    body = json.dumps(message).encode()
    try:
        channel.sendall(_LENGTH.pack(len(body)) + body)
    except OSError as error:
        raise Broken(f"the other side has gone ({error})") from error


def receive(channel: socket.socket) -> dict[str, Any]:
    """Wait for one message.

    Raises
    ------
    Broken
        When the other side ends, or what it says has not the expected form.
    TimeoutError
        When the channel has a timeout and it runs out before the whole message is there.
    """
    timeout = channel.gettimeout()
    end = None if timeout is None else time.monotonic() + timeout
    try:
        (length,) = _LENGTH.unpack(_exactly(channel, _LENGTH.size, end))
        if length > LARGEST_MESSAGE:
            raise Broken(f"a message of {length} bytes")
        body = _exactly(channel, length, end)
    finally:
        with contextlib.suppress(OSError):  # closed meanwhile
            channel.settimeout(timeout)
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Broken("a message that is no JSON") from error
    if not isinstance(message, dict):
        raise Broken("a message that is no object")
    return message


def _exactly(channel: socket.socket, length: int, end: float | None) -> bytes:
    parts = []
    while length:
        try:
            if end is not None:  # one byte in time must not win time for the next
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                channel.settimeout(left)
            part = channel.recv(min(length, 2**20))
        except TimeoutError:
            raise
        except OSError as error:
            raise Broken(f"the other side has gone ({error})") from error
        if not part:
            raise Broken("the other side has ended")
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
