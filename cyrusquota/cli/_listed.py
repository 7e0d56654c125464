"""A quota root with what is to be said of it, and the forms that `cyrusquota list` has for it.

A form makes one string of a root, for which nothing else is kept, and writes such strings, in
whatever order they come.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Iterable, Iterator, Protocol

import attrs

from cyrusquota.cli._terminal import Terminal
from cyrusquota.display.sizes import Unit, figure, percent
from cyrusquota.display.table import Column, Table, joined
from cyrusquota.errors import printable
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.verdicts.summary import fullest


@attrs.frozen
class Listed:
    """A root: the quota database's figures, those that count, and what it is over or near in."""

    root: QuotaRoot
    counts: QuotaRoot
    over: tuple[Resource, ...] = ()
    near: tuple[Resource, ...] = ()


class Form(Protocol):
    """How roots are written, and in which encoding."""

    @property
    def encoding(self) -> str:
        """The encoding of the lines."""

    def row(self, listed: Listed) -> str:
        """All that is kept of a root."""

    def lines(self, rows: Iterable[str]) -> Iterator[str]:
        """What is printed of all of them."""


class JsonLines:
    """One JSON object a line."""

    encoding = "ascii"

    def row(self, listed: Listed) -> str:
        """The object of a root."""
        counts = dict(listed.counts.usages())
        resources = {
            resource.value: _figures(usage, counts[resource])
            for resource, usage in listed.root.usages()
        }
        over, near = _names(listed.over), _names(listed.near)
        return json.dumps(
            {"root": listed.root.name, "resources": resources, "over": over, "near": near}
        )

    def lines(self, rows: Iterable[str]) -> Iterator[str]:
        """Every row as it comes."""
        return (f"{row}\n" for row in rows)


def _figures(usage: Usage, counts: Usage) -> dict[str, object]:
    figures: dict[str, object] = {"used": usage.used, "limit": usage.limit, "exact": usage.exact}
    return figures if counts.used == usage.used else {**figures, "enforced": counts.used}


def _names(resources: Iterable[Resource]) -> list[str]:
    return [resource.value for resource in resources]


@attrs.frozen
class Csv:
    """Comma-separated values (RFC 4180), the names of the columns in the first line.

    Names are written as they are, for programs to find them again. A spreadsheet takes a cell that
    begins with `=`, `+`, `-` or `@` for a formula: no name of a user's root begins with anything
    but `user.` or the domain, so there is no column of users alone, in which one could.
    `is_for_terminal` escapes what a terminal would act on.
    """

    is_for_terminal: bool = False
    encoding: str = "utf-8"

    def row(self, listed: Listed) -> str:
        """The line of a root."""
        name = listed.root.name
        cells: list[object] = [printable(name) if self.is_for_terminal else name]
        for _, usage in listed.root.usages():
            cells += [usage.used, "" if usage.limit is None else usage.limit]
        for usage, counts in zip(_totalled(listed.root), _totalled(listed.counts)):
            cells.append("" if usage.used == counts.used else counts.used)
        exact = all(usage.exact for _, usage in listed.root.usages())
        cells += ["yes" if exact else "no", *map(" ".join, map(_names, (listed.over, listed.near)))]
        return _csv_line(cells)

    def lines(self, rows: Iterable[str]) -> Iterator[str]:
        """The names of the columns, and every row as it comes."""
        yield _csv_line(_CSV_COLUMNS)
        yield from rows


def _totalled(root: QuotaRoot) -> tuple[Usage, Usage]:
    """The two resources for which a conversations total may count instead."""
    return root.storage, root.message


def _csv_line(cells: Iterable[object]) -> str:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(cells)
    return line.getvalue()


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
class ForPeople:
    """A table: of each root the resource that it is over in, or fullest in."""

    terminal: Terminal
    unit: Unit

    @property
    def encoding(self) -> str:
        """That of the terminal."""
        return self.terminal.charset.encoding

    def row(self, listed: Listed) -> str:
        """The cells of a root."""
        full = fullest(listed.counts, listed.over or tuple(Resource))
        resource = Resource.STORAGE if full is None else full.resource
        usage = listed.counts.storage if full is None else full.usage
        return joined(
            (
                percent(usage),
                "over" if listed.over else "near" if listed.near else "",
                figure(resource, usage.used, self.unit),
                "-" if usage.limit is None else figure(resource, usage.limit, self.unit),
                resource.value,
                self.terminal.charset.shown(listed.root.name),
            )
        )

    def lines(self, rows: Iterable[str]) -> Iterator[str]:
        """A line of titles and every row; nothing where there is none."""
        kept = rows if isinstance(rows, list) else list(rows)
        if kept:
            table = Table(_COLUMNS, self.terminal.charset, self._coloured)
            yield from (f"{line}\n" for line in table.lines(kept, self.terminal.room))

    def _coloured(self, cells: list[str], line: str) -> str:
        return self.terminal.coloured(line, _COLOURS.get(cells[_STATE]))


_COLUMNS = (
    Column("USE"),
    Column("STATE", to_right=False, spare=True),
    Column("USED"),
    Column("LIMIT"),
    Column("RESOURCE", to_right=False, spare=True),
    Column("ROOT", to_right=False),
)
