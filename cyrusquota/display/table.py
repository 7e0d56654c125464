"""Tables for a terminal, with lines no wider than the terminal.

On a narrow terminal, spare columns are left out first. Then the last column, which has the names,
is shortened in the middle, because names differ most at their ends. Each row is kept as one string,
because there can be a million of them.
"""

from __future__ import annotations

import unicodedata
from typing import Callable, Iterable, Iterator, Optional, Sequence

import attrs

from cyrusquota.errors import printable

#: Between columns.
GAP = "  "
ELLIPSIS = "\u2026"
#: The room that names keep, before columns are left out.
_LEAST = 16
_BETWEEN = "\t"


def width(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shortened(text: str, room: int, ellipsis: str = ELLIPSIS) -> str:
    """Return `text` in `room` columns, with `ellipsis` for its middle if it does not fit."""
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
    """The characters that a terminal can show, by its encoding."""

    encoding: str = "utf-8"

    def has(self, signs: str) -> bool:
        """Return whether all of `signs` can be shown."""
        try:
            signs.encode(self.encoding)
        except UnicodeEncodeError:
            return False
        return True

    @property
    def ellipsis(self) -> str:
        """The sign for omitted text."""
        return ELLIPSIS if self.has(ELLIPSIS) else "..."

    def safe(self, text: str) -> str:
        """Return `text` with everything escaped that a terminal would act on or cannot show."""
        return printable(text).encode(self.encoding, "backslashreplace").decode(self.encoding)


@attrs.frozen
class Column:
    """A column: its title, its alignment, and whether it may be left out (`spare`)."""

    title: str
    to_right: bool = True
    spare: bool = False

    def padded(self, cell: str, room: int) -> str:
        """Return `cell` padded to `room` columns."""
        blanks = " " * (room - width(cell))
        return blanks + cell if self.to_right else cell + blanks


def joined(cells: Iterable[str]) -> str:
    """Join cells, which have no tabs, into a row for `Table`."""
    return _BETWEEN.join(cells)


def _cells(kept: str) -> list[str]:
    return kept.split(_BETWEEN)


@attrs.frozen
class Table:
    """The columns of a table; the last one is shortened if necessary.

    `styled` gets the cells of a row and the finished line, and may colour it.
    """

    columns: Sequence[Column]
    charset: Charset = Charset()
    styled: Callable[[list[str], str], str] = lambda cells, line: line

    def lines(self, rows: Sequence[str], room: Optional[int] = None) -> Iterator[str]:
        """Return the titles and `rows` as lines of at most `room` columns; None is no limit."""
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
        """Return the columns that fit before the last; spare ones go first, from the end."""
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
