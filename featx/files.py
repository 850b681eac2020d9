"""Files that are there whole or not at all, whenever the writing stops, and known by their content."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

__all__ = ["replacing", "sha256", "write_atomically"]


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Let the ``with`` block write a new file that takes the place of `path` when it is whole.

    A reader finds the old content or the new, never a part. Who may read and write stays the same.

    Parameters
    ----------
    path
        The file; its folder is there.

    Yields
    ------
    pathlib.Path
        Where to write.
    """
    path = path.resolve()  # a link stays one
    # Not tempfile's: what that makes is for its owner's eyes only, and stays so.
    new = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        yield new
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: bytes) -> None:
    """Write a small file, all of it or nothing: see `replacing`."""
    with replacing(path) as new:
        new.write_bytes(content)


def sha256(path: Path) -> bytes:
    """Return the SHA-256 of what is in a file, which is not read into memory whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
