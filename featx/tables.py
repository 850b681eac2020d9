"""A report is a headline, tables and findings; each shows as text, as HTML and in rich's terminal.

The HTML sets no colours, so that it takes those of the page around it, light or dark; and nothing is told
by colour alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from featx.findings import Findings

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table as RichTable

__all__ = [
    "Sheet",
    "Shown",
    "Table",
    "in_columns",
    "sheet_html",
    "sheet_rich",
    "sheet_text",
    "table_html",
    "table_rich",
]


@dataclass(frozen=True)
class Table:
    """Cells of text; the first column names the rows.

    Attributes
    ----------
    caption : str
        What it shows.
    header : tuple of str
        One word a column.
    rows : list of tuple of str
        The cells.
    """

    caption: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True)
class Sheet:
    """Everything that a report shows, as text.

    Attributes
    ----------
    headline : str
        One line: the verdict.
    tables : list of Table
        The numbers.
    findings : Findings
        What stands out.
    """

    headline: str
    tables: list[Table]
    findings: Findings


class Shown:
    """Shows itself as its `sheet`: as text, in a terminal, in a notebook."""

    def sheet(self) -> Sheet:
        """Return everything that is shown, as text."""
        raise NotImplementedError

    def __str__(self) -> str:
        return sheet_text(self.sheet())

    __repr__ = __str__

    def __rich__(self) -> Any:
        return sheet_rich(self.sheet())

    def _repr_html_(self) -> str:
        return sheet_html(self.sheet())


def sheet_text(sheet: Sheet) -> str:
    """Lay a sheet out as lines of text.

    Examples
    --------
    >>> table = Table("Class by class", ("class", "recall"), [("cat", "0.83"), ("dog", "0.88")])
    >>> print(sheet_text(Sheet("Verdict: good", [table], Findings())))
    Verdict: good
    <BLANKLINE>
    class  recall
    cat    0.83
    dog    0.88
    <BLANKLINE>
    Nothing stands out.
    """
    blocks = [sheet.headline, *map(_table_text, sheet.tables), str(sheet.findings)]
    return "\n\n".join(blocks)


def _table_text(table: Table) -> str:
    return "\n".join(in_columns([table.header, *table.rows] if any(table.header) else table.rows))


def in_columns(lines: Iterable[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Set the cells of lines one under the other.

    Parameters
    ----------
    lines
        Each with as many cells.
    right
        The columns that keep to the right.

    Returns
    -------
    list of str
        One text for each line.

    Examples
    --------
    >>> in_columns([("stage", "parameters"), ("fc", "5130")], right={1})
    ['stage  parameters', 'fc           5130']
    """
    lines = list(lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def sheet_html(sheet: Sheet) -> str:
    """Lay a sheet out as HTML, to stand in a notebook or in a page."""
    tables = "".join(map(table_html, sheet.tables))
    return f"<p><strong>{escape(sheet.headline)}</strong></p>{tables}{sheet.findings._repr_html_()}"


def table_html(table: Table) -> str:
    """Lay one table out as HTML."""
    styles = [f"style='text-align:{side}'" for side in _sides(table)]
    head = "".join(
        f"<th scope='col' {style}>{escape(name)}</th>"
        for style, name in zip(styles, table.header, strict=True)
    )
    body = "".join(
        f"<tr><th scope='row' {styles[0]}>{escape(first)}</th>"
        + "".join(
            f"<td {style}>{escape(cell)}</td>" for style, cell in zip(styles[1:], rest, strict=True)
        )
        + "</tr>"
        for first, *rest in table.rows
    )
    return (
        f"<table><caption>{escape(table.caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _sides(table: Table) -> list[Literal["left", "right"]]:
    """Say to which side each column keeps: numbers to the right, so that digits stand in line."""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.header)
    texts = ["".join(column) for column in columns]
    numbers = [any(map(str.isdigit, text)) and not any(map(str.isalpha, text)) for text in texts]
    return ["right" if number and i else "left" for i, number in enumerate(numbers)]


def sheet_rich(sheet: Sheet) -> Group:
    """Lay a sheet out for a terminal."""
    from rich.console import Group
    from rich.text import Text  # plain text: a class may be called [red]

    tables = map(table_rich, sheet.tables)
    return Group(Text(sheet.headline, style="bold"), Text(), *tables, Text(str(sheet.findings)))


def table_rich(table: Table) -> RichTable:
    """Lay one table out for a terminal."""
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=Text(table.caption), title_justify="left")
    for name, side in zip(table.header, _sides(table), strict=True):
        drawn.add_column(Text(name), justify=side)
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    return drawn
