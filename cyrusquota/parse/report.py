"""The output of the `quota` command: text of Cyrus 2.1 to 3.13, and JSON (imap/quota.c).

It is read as a stream, one quota root at a time. The text cuts usage to whole KiB, so it is not
exact: Used equal to Quota means anything from exactly full to 1023 bytes over. Roots that Cyrus
could not name and printed as `(null)` are skipped, as are the messages of `quota -f`.

A cut report raises, because its end may be half a name. A single row that cannot be read goes to
`on_problem`.
"""

from __future__ import annotations

import io
import itertools
import re
from typing import BinaryIO, Callable, Iterable, Iterator, Optional

import attrs

from cyrusquota.cyrus.names import internal_name
from cyrusquota.errors import BadReport, OnProblem, Place, raise_problem
from cyrusquota.parse.prefilter import Prefilter
from cyrusquota.parse.text_stream import LONGEST_LINE, REPORT, TextStream, kind_of
from cyrusquota.quota import KIB, PRINTED_NAMES, QuotaRoot, Resource, Usage

_HEADER = re.compile(rb" *Quota +% Used +Used +(?P<resource>Resource +)?Root\s*")
#: Cyrus 2.5 and later: four rows a root. One number: used of unlimited; two: limit 0, used.
_ROW = re.compile(rb"((?: +-?[0-9]{1,19}){1,3}) +([A-Z][A-Z-]*) (.+)", re.DOTALL)
#: Up to 2.4: one row a root, columns fixed, because a root may begin with digits.
_OLD_ROW = re.compile(
    rb"(?: {16}| {7}(?P<zero>0) {8}| +(?P<limit>[0-9]{1,19}) +-?[0-9]+)"
    rb" +(?P<used>-?[0-9]{1,19}) (?P<root>.+)",
    re.DOTALL,
)
#: From so many KiB on, usage that 2.2 to 2.4 print is negative to others.
_UNSIGNED_FROM = (1 << 63) // KIB
_USAGE_NOISE = re.compile(rb": (?:[A-Z-]+ )?usage was -?[0-9]+, now -?[0-9]+\Z")
_NO_NAME = b"(null)"
_RESOURCES = {name.encode(): resource for name, resource in PRINTED_NAMES.items()}
_LEFT_OUT = "the row is left out; keep messages of `quota` out of its output, and run it again"
#: A report has none, but somebody may have put some before it.
_BLANK_LINES = 1000
_CUT = "`quota` was interrupted, or its output was not kept whole; run it again"


def roots(
    stream: BinaryIO, *, source: str = "-", on_problem: OnProblem = raise_problem
) -> Iterator[QuotaRoot]:
    """Yield every quota root of a report, text or JSON, under its internal name.

    Raises `BadReport` for what is no report or a cut one; a single row that cannot be read goes to
    `on_problem` as `BadReport`, and its root is left out.
    """
    text = TextStream(stream, BadReport, source)
    return _from(_first(text), text, source, on_problem)


def _first(text: TextStream) -> bytes:
    """Return the first line that is not blank, or the start of one that may be JSON."""
    line = text.start()
    for _ in range(_BLANK_LINES):
        if not line or line.strip():
            break
        line = text.start()
    return line


def _from(
    first: bytes, text: TextStream, source: str, on_problem: OnProblem
) -> Iterator[QuotaRoot]:
    if first.lstrip().startswith(b"{"):
        from cyrusquota.parse import report_json

        return report_json.roots(first, text.raw, source=source, on_problem=on_problem)
    if len(first) > LONGEST_LINE:
        raise text.too_long(first)
    lines = _Lines(source, on_problem)
    modern = _header(first, text, lines)
    rows = _rows(text, lines)
    return _grouped(rows, lines) if modern else _single(rows, lines)


@attrs.define
class _Lines:
    """The current position in a report, for error messages."""

    source: str
    on_problem: OnProblem
    number: int = 0

    def bad(self, line: Optional[bytes], expected: str, advice: str = "") -> BadReport:
        place = Place(self.source, line=self.number or None)
        return BadReport(expected, place=place, found=line, advice=advice)

    def check_whole(self, line: bytes) -> None:
        if not line.endswith(b"\n"):
            raise self.bad(line, "a line break at the end of the last line", _CUT)


def _header(first: bytes, text: TextStream, lines: _Lines) -> bool:
    """Read up to the header line; return whether it is the one of Cyrus 2.5 and later."""
    line = first
    while line:
        lines.number += 1
        match = _HEADER.fullmatch(line)
        if match is not None:
            lines.check_whole(line)
            return match["resource"] is not None
        if not _is_noise(line.rstrip(b"\n")):
            kind = kind_of(line)
            if kind in (None, REPORT):
                kind = "not what `quota` of Cyrus prints"
            advice = f"this is {kind}"
            raise lines.bad(line.rstrip(b"\n"), "the header line of `quota`", advice)
        line = text.readline()
    raise lines.bad(None, "the output of `quota`, found nothing", "`quota` failed; see its stderr")


def _rows(stream: Iterable[bytes], lines: _Lines) -> Iterator[bytes]:
    """Yield the lines after the header that are not messages of `quota -f`."""
    for line in stream:
        lines.number += 1
        lines.check_whole(line)
        row = line[:-1]
        if row.startswith(b" ") or not _is_noise(row):
            yield row


def _is_noise(line: bytes) -> bool:
    """Return whether a line is a message of `quota -f`."""
    return (
        (b": quota root " in line and b" --> " in line)
        or line.endswith(b": removed")
        or _USAGE_NOISE.search(line) is not None
    )


def _single(rows: Iterator[bytes], lines: _Lines) -> Iterator[QuotaRoot]:
    for row in rows:
        match = _OLD_ROW.fullmatch(row)
        usage = None
        if match is not None:
            limit = match["zero"] or match["limit"]
            used = match["used"]
            if _UNSIGNED_FROM <= int(used) < 2 * _UNSIGNED_FROM:
                # Below 0 in a variable without a sign, which is over any limit.
                used = b"%d" % (_UNSIGNED_FROM - 1)
            usage = _usage(Resource.STORAGE, used, limit)
        if match is None or usage is None:
            lines.on_problem(lines.bad(row, "QUOTA %USED USED ROOT", _LEFT_OUT))
        elif match["root"] != _NO_NAME:
            yield QuotaRoot.of(_name(match["root"]), {Resource.STORAGE: usage})


def _grouped(rows: Iterator[bytes], lines: _Lines) -> Iterator[QuotaRoot]:
    """Yield a root for each four rows; fewer are a problem, because a limit may be missing."""
    name, usages = b"", dict[Resource, Usage]()
    for row in rows:
        parsed = _row(row)
        if parsed is None:
            lines.on_problem(lines.bad(row, "[QUOTA %USED] USED RESOURCE ROOT", _LEFT_OUT))
            continue
        root, resource, usage = parsed
        if usages and (root != name or resource in usages):
            lines.on_problem(_incomplete(lines, name))
            usages = {}
        name = root
        usages[resource] = usage
        if len(usages) == len(Resource):
            if name != _NO_NAME:
                yield QuotaRoot.of(_name(name), usages)
            usages = {}
    if usages:
        raise _incomplete(lines, name)


def _incomplete(lines: _Lines, name: bytes) -> BadReport:
    problem = lines.bad(None, f"{len(Resource)} rows for each root", _CUT)
    return BadReport(
        problem.expected,
        place=attrs.evolve(problem.place, key=name),
        advice=problem.advice,
    )


def _row(row: bytes) -> Optional[tuple[bytes, Resource, Usage]]:
    match = _ROW.fullmatch(row)
    resource = _RESOURCES.get(match[2]) if match is not None else None
    if match is None or resource is None:
        return None
    numbers = match[1].split()
    limit = numbers[0] if len(numbers) > 1 else None
    if len(numbers) == 2 and limit != b"0":
        return None
    usage = _usage(resource, numbers[-1], limit)
    return None if usage is None else (match[3], resource, usage)


def _usage(resource: Resource, used: bytes, limit: Optional[bytes]) -> Optional[Usage]:
    """Return the usage of two columns, or None for numbers that no 64-bit Cyrus prints."""
    amount, most = int(used) * resource.unit, 0 if limit is None else int(limit)
    if not -(1 << 63) <= amount < 1 << 63 or most >= 1 << 63:
        return None
    return Usage.in_units(
        resource, amount, None if limit is None else most, exact=resource.unit != KIB
    )


def _name(printed: bytes) -> str:
    return internal_name(printed.decode("utf-8", "surrogateescape"))


# The fast path: many roots at once

_NUMBERS = rb"(?:([0-9]{1,15}) +-?[0-9]{1,19} +)?([0-9]{1,15})"


def _words(resource: Resource) -> bytes:
    """Return an expression for the names of one resource."""
    return b"|".join(name for name, named in _RESOURCES.items() if named is resource)


#: The four rows of one root, as most roots have them.
_FOUR_ROWS = re.compile(
    b"^"
    + b"".join(
        rb" +%b +(?:%b) %b\n" % (_NUMBERS, _words(resource), rb"\3" if at else rb"([^\n]+)")
        for at, resource in enumerate(Resource)
    ),
    re.MULTILINE,
)
#: What `split` gives for each: the rows before, limit and used of each resource, and the name.
_STEP, _NAME = 10, 3
_COLUMNS = dict(zip(Resource, ((1, 2), (4, 5), (6, 7), (8, 9))))
_PIECE = 1 << 18
#: After so many bytes of other rows, the rest goes to the plain reader.
_MANY_OTHERS = 1 << 16


def selected(
    stream: BinaryIO,
    prefilter: Prefilter,
    passed: Callable[[int], None],
    *,
    source: str = "-",
    on_problem: OnProblem = raise_problem,
) -> Iterator[QuotaRoot]:
    """Those roots of a report that `prefilter` wants; `passed` is told how many others there are.

    Rows that are not the ordinary four of a root go the way of `roots`.
    """
    text = TextStream(stream, BadReport, source)
    first = _first(text)
    header = _HEADER.fullmatch(first)
    if header is None or not header["resource"] or not first.endswith(b"\n"):
        yield from _from(first, text, source, on_problem)
        return
    lines = _Lines(source, on_problem, number=1)
    rest = b""
    while len(rest) < _MANY_OTHERS:
        read = text.read(_PIECE)
        if not read:
            break
        data = rest + read
        parts = _FOUR_ROWS.split(data)
        rest = parts.pop()
        others = parts[::_STEP]
        bounds = sorted({0, len(others), *(at for at, rows in enumerate(others) if rows)})
        for start, end in zip(bounds, bounds[1:]):
            if not _is_closed(others[start]):
                # What belongs together there is for the plain reader to say, to the end.
                yield from _grouped(_rows(_remainder(data, start, text), lines), lines)
                return
            yield from _grouped(_rows(io.BytesIO(others[start]), lines), lines)
            yield from _selected(parts[start * _STEP : end * _STEP], prefilter, passed)
            lines.number += len(Resource) * (end - start)
    yield from _grouped(_rows(_continued(rest, text), lines), lines)


def _is_closed(rows: bytes) -> bool:
    """Return whether the last root of `rows` is complete."""
    lines = _Lines("", lambda problem: None)
    try:
        for _ in _grouped(_rows(io.BytesIO(rows), lines), lines):
            pass
    except BadReport:
        return False
    return True


def _remainder(data: bytes, roots_before: int, text: TextStream) -> Iterator[bytes]:
    """Yield the lines after the first so many roots of `data`, then those of `text`."""
    ends = [0, *(match.end() for match in _FOUR_ROWS.finditer(data))]
    return _continued(data[ends[roots_before] :], text)


def _continued(rest: bytes, text: TextStream) -> Iterator[bytes]:
    """Yield the lines of `rest`, which may end within one, then those of `text`."""
    return itertools.chain(io.BytesIO(rest + text.readline()), text)


def _selected(
    parts: list[Optional[bytes]], prefilter: Prefilter, passed: Callable[[int], None]
) -> Iterator[QuotaRoot]:
    """The roots that `prefilter` wants of those that `split` has made `parts` of."""
    names = parts[_NAME::_STEP]
    wanted = set[int]()
    for resource, (limit, used) in _COLUMNS.items():
        threshold = prefilter.threshold(resource)
        if threshold is not None:
            limits, amounts = parts[limit::_STEP], parts[used::_STEP]
            wanted.update(threshold.crossed(zip(amounts, limits), resource.unit))
    nameless = names.count(_NO_NAME)
    passed(len(names) - nameless - sum(names[index] != _NO_NAME for index in wanted))
    for index in sorted(wanted):
        name = names[index]
        if name is not None and name != _NO_NAME:
            row = parts[index * _STEP : (index + 1) * _STEP]
            usages = {
                resource: _usage(resource, row[used] or b"", row[limit])
                for resource, (limit, used) in _COLUMNS.items()
            }
            yield QuotaRoot.of(_name(name), {r: u for r, u in usages.items() if u is not None})
