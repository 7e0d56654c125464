"""Tables for a terminal: columns as wide as what is in them, lines never wider than the terminal.

Where room is short, columns that can be done without go first, then the last column, which has the
names, is shortened in the middle: the ends tell names apart, and a line that wraps tells nothing.
Rows are kept as one string each, because there can be a million of them.
"""

from __future__ import annotations

import unicodedata
from typing import Callable, Iterable, Iterator, Optional, Sequence

import attrs

from cyrusquota.errors import printable

#: Between columns.
GAP = "  "
ELLIPSIS = "\u2026"
#: What is left of a name, at least, before a column is left out for it.
_LEAST = 16
_BETWEEN = "\t"


def width(text: str) -> int:
    """How many columns of a terminal `text` takes."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shortened(text: str, room: int, ellipsis: str = ELLIPSIS) -> str:
    """`text` in `room` columns, with `ellipsis` for its middle where it does not fit."""
    if width(text) <= room:
        return text
    left = room - width(ellipsis)
    if left < 1:
        return ellipsis[: max(0, room)]
    tail = _fitting(reversed(text), left // 2)[::-1]
    return _fitting(text, left - width(tail)) + ellipsis + tail


def _fitting(chars: Iterable[str], room: int) -> str:
    taken = []
    for char in chars:
        room -= _char_width(char)
        if room < 0:
            break
        taken.append(char)
    return "".join(taken)


@attrs.frozen
class Charset:
    """What a terminal can show: the encoding that its text has to fit, and the signs that do."""

    encoding: str = "utf-8"

    def has(self, signs: str) -> bool:
        """Whether all of `signs` can be shown."""
        try:
            signs.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True

    @property
    def ellipsis(self) -> str:
        """The sign for what was left out."""
        return ELLIPSIS if self.has(ELLIPSIS) else "..."

    def shown(self, text: str) -> str:
        """`text` without anything that a terminal would act on or could not show."""
        return printable(text).encode(self.encoding, "backslashreplace").decode(self.encoding)


@attrs.frozen
class Column:
    """A column: its title, and whether it is done without where room is short (`spare`)."""

    title: str
    to_right: bool = True
    spare: bool = False

    def padded(self, cell: str, room: int) -> str:
        """`cell` with blanks on the side that is not aligned."""
        blanks = " " * (room - width(cell))
        return blanks + cell if self.to_right else cell + blanks


def joined(cells: Iterable[str]) -> str:
    """Cells without tabs as the string that `Table` keeps them in."""
    return _BETWEEN.join(cells)


def _cells(kept: str) -> list[str]:
    return kept.split(_BETWEEN)


@attrs.frozen
class Table:
    """Columns, the last one of which is shortened, and how rows are shown.

    `styled` is given the cells of a row and the finished line, and may colour that.
    """

    columns: Sequence[Column]
    charset: Charset = Charset()
    styled: Callable[[list[str], str], str] = lambda cells, line: line

    def lines(self, rows: Sequence[str], room: Optional[int] = None) -> Iterator[str]:
        """The titles and each of `rows`, in `room` columns; None is as many as it takes."""
        titles = [column.title for column in self.columns]
        widths = list(map(len, titles))
        for kept in rows:
            widths = list(map(max, widths, map(width, _cells(kept))))
        taken = self._taken(widths, room)
        yield self._line(titles, widths, taken, room)
        for kept in rows:
            cells = _cells(kept)
            yield self.styled(cells, self._line(cells, widths, taken, room))

    def _taken(self, widths: Sequence[int], room: Optional[int]) -> list[int]:
        """The columns before the last for which there is room: spare ones go first, from behind."""
        taken = list(range(len(self.columns) - 1))
        least = min(widths[-1], _LEAST)
        leaving = [at for at in taken if not self.columns[at].spare]
        leaving += [at for at in taken if self.columns[at].spare]
        while room is not None and leaving and _total(widths, taken) + least > room:
            taken.remove(leaving.pop())
        return taken

    def _line(
        self, cells: list[str], widths: Sequence[int], taken: list[int], room: Optional[int]
    ) -> str:
        parts = [self.columns[at].padded(cells[at], widths[at]) for at in taken]
        last = cells[-1]
        if room is not None:
            last = shortened(last, room - _total(widths, taken), self.charset.ellipsis)
        return GAP.join([*parts, last])


def _total(widths: Sequence[int], taken: Iterable[int]) -> int:
    return sum(widths[at] + len(GAP) for at in taken)
