"""What sentences for users are put together from: counted things, close names, another's first line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["close_matches", "counted", "first_line", "named_line", "storable"]


def close_matches(name: str, known: Iterable[str]) -> str:
    """Say which of the `known` names the unknown `name` may have meant.

    Parameters
    ----------
    name
        What the user wrote.
    known
        The names that exist.

    Returns
    -------
    str
        A sentence to append to an error message.

    Examples
    --------
    >>> close_matches("layer5", ["layer3", "layer4", "fc"])
    'Close matches: layer4, layer3.'
    >>> close_matches("x", ["layer3", "layer4", "fc"]), close_matches("x", [])
    ('Known names: layer3, layer4, fc.', 'There are none.')
    """
    known = list(known)
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.6)
    if close:
        return f"Close matches: {', '.join(close)}."
    if not known:
        return "There are none."
    shown = ", ".join(known[:12])
    more = f", … ({len(known)} in all)" if len(known) > 12 else ""
    return f"Known names: {shown}{more}."


def counted(count: int, one: str, several: str | None = None) -> str:
    """Write a number and what it counts.

    Examples
    --------
    >>> counted(1, "class", "classes"), counted(3, "epoch")
    ('1 class', '3 epochs')
    """
    return f"{count} {one if count == 1 else several or one + 's'}"


def first_line(error: BaseException | str) -> str:
    r"""Return the first line of what another library raised, to put into a sentence.

    Parameters
    ----------
    error
        Any exception, or its text.

    Returns
    -------
    str
        At most 300 characters, without a full stop at the end; where the first line only announces the
        next, that one too. The name of the type where there is no text.

    Examples
    --------
    >>> first_line(ValueError("no such layer.\nTraceback …")), first_line(KeyboardInterrupt())
    ('no such layer', 'KeyboardInterrupt')
    >>> first_line("Errors in loading:\n  size mismatch for fc.weight\n  …")
    'Errors in loading: size mismatch for fc.weight'
    """
    return _told(error) or type(error).__name__


def _told(error: BaseException | str) -> str:
    try:
        text = str(error)
    except Exception:  # another's exception may not even know how to say what it is
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    told = " ".join(lines[: 2 if lines[0].endswith(":") else 1])
    return told[:300].rstrip(".")


def named_line(error: BaseException, most: int = 300) -> str:
    """Return the type of an exception and its first line, at most `most` characters of that.

    Where it has no text, the type alone.

    Examples
    --------
    >>> named_line(ValueError("no such layer.")), named_line(ValueError("no such layer."), most=7)
    ('ValueError: no such layer', 'ValueError: no such')
    >>> named_line(AssertionError())
    'AssertionError'
    """
    told = _told(error)[:most].rstrip(". ")
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def storable(text: str) -> str:
    r"""Replace what UTF-8 cannot hold: half of a surrogate pair, from a terminal or a notebook's JSON.

    Examples
    --------
    >>> storable("caf\ud800é")
    'caf?é'
    """
    return text.encode("utf-8", "replace").decode("utf-8")
