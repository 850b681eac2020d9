"""The one exception type a user of featx meets, and the check of whole numbers."""

from __future__ import annotations

import operator

__all__ = ["FeatxError", "ProblemFound", "whole_number"]


class FeatxError(ValueError):
    """What was expected, what came, and what to do about it, in one sentence or two.

    It derives from `ValueError`, so code that already catches that keeps working.

    Examples
    --------
    >>> import featx
    >>> featx.load_backbone("glyphnet", weights="IMAGENET1K_V1")
    Traceback (most recent call last):
        ...
    featx.errors.FeatxError: Expected weights of glyphnet: one of default, ...
    """

    #: What the command line exits with: 2 is wrong use.
    exit_status = 2


class ProblemFound(FeatxError):
    """Nothing was used wrongly: the work was done, and it found a problem."""

    exit_status = 1


def whole_number(
    value: object,
    name: str,
    least: int = 1,
    most: int | None = None,
    *,
    beside: str = "",
    advice: str = "",
) -> int:
    """Return `value`, NumPy's kind of whole number too, as an int, or say what is wrong with it.

    Parameters
    ----------
    value
        What the user gave.
    name
        What the user calls it.
    least
        The smallest that will do.
    most
        The largest; None for any.
    beside
        What else it could have been, such as ``'"auto"'``.
    advice
        A sentence on what to give.

    Returns
    -------
    int
        The number.

    Raises
    ------
    FeatxError
        When it is none, or out of these bounds. True and False are none.

    Examples
    --------
    >>> import numpy as np
    >>> whole_number(np.int64(3), "num_classes")
    3
    >>> whole_number(0.5, "num_classes", advice="Count the classes of your data.")
    Traceback (most recent call last):
        ...
    featx.errors.FeatxError: Expected num_classes to be a whole number from 1, got 0.5. Count ...
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        also = f"{beside} or " if beside else ""
        to = "" if most is None else f" to {most}"
        raise FeatxError(
            f"Expected {name} to be {also}a whole number from {least}{to}, got {value!r}. {advice}".rstrip()
        )
    return number
