"""What stands out in numbers or in data: a code, a sentence, the numbers behind it, what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from html import escape
from numbers import Real
from typing import Any

from featx.arrays import plain
from featx.errors import FeatxError
from featx.wording import close_matches

__all__ = ["Finding", "Findings", "with_overrides"]


@dataclass(frozen=True)
class Finding:
    """One thing that stands out.

    Attributes
    ----------
    code : str
        Its name, for programs: ``"accuracy_paradox"``.
    message : str
        A sentence with the numbers that matter.
    advice : str
        What to do next.
    numbers : dict
        The numbers behind the sentence, by name.
    """

    code: str
    message: str
    advice: str
    numbers: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.message} {self.advice}"

    def to_dict(self) -> dict[str, Any]:
        """Return code, message, advice and numbers, ready for JSON."""
        return plain(asdict(self))


class Findings(tuple[Finding, ...]):
    """Findings, the most important first: a tuple that shows itself and can be asked by code.

    Examples
    --------
    >>> found = Findings([Finding("rare_class", "Class 'b' has 2 rows.", "Collect more.", {"rows": 2})])
    >>> found.codes, "rare_class" in found, found["rare_class"].numbers["rows"]
    (['rare_class'], True, 2)
    >>> print(found)
    - Class 'b' has 2 rows. Collect more.
    >>> print(Findings())
    Nothing stands out.
    """

    __slots__ = ()

    def __new__(cls, findings: Iterable[Finding] = ()) -> Findings:
        """Keep the findings in the order in which they come."""
        return super().__new__(cls, tuple(findings))

    @property
    def codes(self) -> list[str]:
        """Their codes."""
        return [finding.code for finding in self]

    def __contains__(self, which: object) -> bool:
        return which in self.codes if isinstance(which, str) else super().__contains__(which)

    def __getitem__(self, which: Any) -> Any:
        """Return the finding of that number, or the first one of that code; of a slice, `Findings`."""
        if isinstance(which, slice):
            return Findings(super().__getitem__(which))
        if not isinstance(which, str):
            return super().__getitem__(which)
        if which not in self.codes:
            raise KeyError(
                f"no finding {which!r} here; there are: {', '.join(self.codes) or 'none'}"
            )
        return self[self.codes.index(which)]

    def to_dict(self) -> list[dict[str, Any]]:
        """Return a dict for each finding, ready for JSON."""
        return [finding.to_dict() for finding in self]

    def __str__(self) -> str:
        return "\n".join(f"- {finding}" for finding in self) or "Nothing stands out."

    __repr__ = __str__

    def _repr_html_(self) -> str:
        if not self:
            return "<p>Nothing stands out.</p>"
        items = "".join(
            f"<li>{escape(finding.message)} <em>{escape(finding.advice)}</em></li>"
            for finding in self
        )
        return f"<ul>{items}</ul>"


def with_overrides(
    thresholds: Mapping[str, float] | None, known: Mapping[str, float]
) -> dict[str, float]:
    """Return all thresholds that decide what is found, some of them the user's.

    Parameters
    ----------
    thresholds
        Name -> number, for those that shall be others.
    known
        The table that they override.

    Raises
    ------
    FeatxError
        When a name is not in the table, or a value is no number.

    Examples
    --------
    >>> with_overrides({"gap": 0.2}, {"gap": 0.1, "rare": 10})
    {'gap': 0.2, 'rare': 10}
    """
    for name, value in (thresholds or {}).items():
        if name not in known:
            raise FeatxError(
                f"Expected names of thresholds, got {name!r}. {close_matches(str(name), known)}"
            )
        if isinstance(value, bool) or not isinstance(value, Real) or value != value:
            raise FeatxError(f"Expected a number for the threshold {name!r}, got {value!r}.")
    return {**known, **(thresholds or {})}
