"""The formats of `cyrusquota list`.

A format makes one string of each quota root, and then writes these strings in the order it gets
them. Nothing else is kept of a root, so that a million can be sorted.
"""

from __future__ import annotations

import csv
import io
import json
import re
from typing import ClassVar, Iterable, Iterator, Protocol

import attrs

from cyrusquota.cli.terminal import Terminal
from cyrusquota.cyrus.names import Naming
from cyrusquota.display.report_model import address, user_or_root
from cyrusquota.display.sizes import Unit, figure, percent
from cyrusquota.display.table import Column, Table, joined
from cyrusquota.errors import printable
from cyrusquota.parse.columns import Columns
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.verdicts.summary import fullest


@attrs.frozen
class EvaluatedRoot:
    """A quota root, the same with the usage that Cyrus enforces, and what it is over or near in."""

    root: QuotaRoot
    enforced: QuotaRoot
    over: tuple[Resource, ...] = ()
    near: tuple[Resource, ...] = ()


class ListFormat(Protocol):
    """How roots are written, and in which encoding."""

    @property
    def encoding(self) -> str:
        """Return the encoding of the lines."""

    def row(self, evaluated: EvaluatedRoot) -> str:
        """Return all that is kept of a root."""

    def lines(self, rows: Iterable[str]) -> Iterator[str]:
        """Yield what is printed for `rows`."""


class ColumnsFormat(ListFormat, Protocol):
    """A format that can write many roots at once."""

    def plain_rows(self, columns: Columns) -> list[str]:
        """Return what `row` returns for each root, if that is neither over nor near."""


@attrs.frozen
class JsonLinesFormat:
    """One JSON object a line."""

    naming: Naming
    encoding: ClassVar[str] = "ascii"

    def plain_rows(self, columns: Columns) -> list[str]:
        """Return the objects of roots that are neither over nor near."""
        users = [address(name, self.naming) for name in columns.names]
        # Addresses are made of the names and of the default domain.
        text = "".join((*columns.names, self.naming.defaultdomain or ""))
        quoted = '"%s"'.__mod__ if _SAFE_IN_JSON.fullmatch(text) else json.dumps
        names = map(quoted, columns.names)
        addresses = ("null" if user is None else quoted(user) for user in users)
        return [*map(_JSON_ROW.__mod__, zip(names, addresses, *_cells(columns, "null")))]

    def row(self, evaluated: EvaluatedRoot) -> str:
        """Return the object of a root."""
        enforced = dict(evaluated.enforced.usages())
        resources = {
            resource.value: _json_usage(usage, enforced[resource])
            for resource, usage in evaluated.root.usages()
        }
        over, near = _names(evaluated.over), _names(evaluated.near)
        return json.dumps(
            {
                "root": evaluated.root.name,
                "address": address(evaluated.root.name, self.naming),
                "resources": resources,
                "over": over,
                "near": near,
            }
        )

    def lines(self, rows: Iterable[str]) -> Iterator[str]:
        """Yield every row."""
        return (f"{row}\n" for row in rows)


#: Characters that JSON leaves as they are.
_SAFE_IN_JSON = re.compile(r"[ !#-\[\]-~]*")
_JSON_ROW = (
    '{"root": %s, "address": %s, "resources": {'
    + ", ".join(
        f'"{resource.value}": {{"used": %d, "limit": %s, "exact": true}}' for resource in Resource
    )
    + '}, "over": [], "near": []}'
)


def _cells(columns: Columns, unlimited: str) -> Iterator[Iterable[object]]:
    """Yield the columns of usage and limit of each resource."""
    for column in columns.resources:
        shown = {limit: unlimited if limit is None else limit for limit in set(column.limits)}
        yield column.used
        yield map(shown.__getitem__, column.limits)


def _json_usage(usage: Usage, enforced: Usage) -> dict[str, object]:
    members: dict[str, object] = {"used": usage.used, "limit": usage.limit, "exact": usage.exact}
    return members if enforced.used == usage.used else {**members, "enforced": enforced.used}


def _names(resources: Iterable[Resource]) -> list[str]:
    return [resource.value for resource in resources]


@attrs.frozen
class CsvFormat:
    """Comma-separated values (RFC 4180), the names of the columns in the first line.

    Names are written as they are, for programs to find them again. A spreadsheet takes a cell that
    begins with `=`, `+`, `-` or `@` for a formula: no name of a user's root begins with anything
    but `user.` or the domain, so there is no column of users alone, in which one could.
    `is_for_terminal` escapes what a terminal would act on.
    """

    is_for_terminal: bool = False
    encoding: str = "utf-8"

    def row(self, evaluated: EvaluatedRoot) -> str:
        """Return the line of a root."""
        name = evaluated.root.name
        cells: list[object] = [printable(name) if self.is_for_terminal else name]
        for _, usage in evaluated.root.usages():
            cells += [usage.used, "" if usage.limit is None else usage.limit]
        for usage, enforced in zip(_with_totals(evaluated.root), _with_totals(evaluated.enforced)):
            cells.append("" if usage.used == enforced.used else enforced.used)
        exact = all(usage.exact for _, usage in evaluated.root.usages())
        cells += [
            "yes" if exact else "no",
            *map(" ".join, map(_names, (evaluated.over, evaluated.near))),
        ]
        return _csv_line(cells)

    def plain_rows(self, columns: Columns) -> list[str]:
        """Return the lines of roots that are neither over nor near."""
        names: Iterable[str] = columns.names
        if self.is_for_terminal:
            names = list(map(printable, names))
        if not _SAFE_IN_CSV.fullmatch("".join(names)):
            names = map(_csv_cell, names)
        return [*map(_CSV_ROW.__mod__, zip(names, *_cells(columns, "")))]

    def lines(self, rows: Iterable[str]) -> Iterator[str]:
        """Yield the names of the columns, and every row."""
        yield _csv_line(_CSV_COLUMNS)
        yield from rows


def _with_totals(root: QuotaRoot) -> tuple[Usage, Usage]:
    """Return the two resources for which Cyrus may enforce a conversations total instead."""
    return root.storage, root.message


def _csv_line(cells: Iterable[object]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _csv_cell(text: str) -> str:
    """Return the cell as it is in a line of several."""
    return _csv_line((text, "")).rpartition(",")[0]


#: Characters that no cell of CSV is quoted for.
_SAFE_IN_CSV = re.compile(r"[!#$%&'()*+./0-9:;<=>?@A-Z\[\]^_`a-z{|}~-]*")
_CSV_ROW = "%s" + ",%d,%s" * len(Resource) + ",,,yes,,\r\n"
_CSV_COLUMNS = (
    "root",
    *(
        f"{resource.value.lower().replace('-', '_')}_{figure}"
        for resource in Resource
        for figure in ("used", "limit")
    ),
    "storage_enforced",
    "message_enforced",
    "exact",
    "over",
    "near",
)

_COLOURS = {"over": "red", "near": "yellow"}
_STATE = 1


@attrs.frozen
class TableFormat:
    """A table for people: of each root the resource that it is over in, or else the fullest."""

    terminal: Terminal
    unit: Unit
    naming: Naming = attrs.field(factory=Naming)

    @property
    def encoding(self) -> str:
        """Return that of the terminal."""
        return self.terminal.charset.encoding

    def row(self, evaluated: EvaluatedRoot) -> str:
        """Return the cells of a root."""
        full = fullest(evaluated.enforced, evaluated.over or tuple(Resource))
        resource = Resource.STORAGE if full is None else full.resource
        usage = evaluated.enforced.storage if full is None else full.usage
        name = evaluated.root.name
        return joined(
            (
                percent(usage),
                "over" if evaluated.over else "near" if evaluated.near else "",
                figure(resource, usage.used, self.unit),
                "-" if usage.limit is None else figure(resource, usage.limit, self.unit),
                resource.value,
                self.terminal.charset.safe(user_or_root(name, self.naming)),
            )
        )

    def lines(self, rows: Iterable[str]) -> Iterator[str]:
        """Yield a line of titles and every row; nothing without rows."""
        kept = rows if isinstance(rows, list) else list(rows)
        if kept:
            table = Table(_COLUMNS, self.terminal.charset, self._coloured)
            yield from (f"{line}\n" for line in table.lines(kept, self.terminal.width))

    def _coloured(self, cells: list[str], line: str) -> str:
        return self.terminal.coloured(line, _COLOURS.get(cells[_STATE]))


_COLUMNS = (
    Column("USE"),
    Column("STATE", to_right=False, spare=True),
    Column("USED"),
    Column("LIMIT"),
    Column("RESOURCE", to_right=False, spare=True),
    Column("USER OR ROOT", to_right=False),
)
