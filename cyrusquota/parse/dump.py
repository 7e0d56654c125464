"""Dumps of a database: `cyr_dbtool FILE BACKEND show`, conversions to flat (cvt_cyrusdb), db_dump.

The output of BerkeleyDB's `db_dump` is recognised by its first line and read in db_dump.py.
One record a line: KEY, TAB, VALUE. `show` writes the bytes as they are, or both in base64 with
-b (3.13 and later); a flat file since 2.5 escapes NUL, TAB, LF, CR and 0xFF behind a 0xFF
(lib/cyrusdb_flat.c). The two are told apart by what follows: a name with a Latin-1 0xFF before
one of the five escapes' second bytes is the one thing that would be misread.
"""

from __future__ import annotations

import base64
import binascii
import io
import itertools
import re
from typing import BinaryIO, Callable, Iterator, Optional

from cyrusquota.cyrusdb import Predicate, columns
from cyrusquota.cyrusdb.flat import unescaped
from cyrusquota.errors import BadDump, OnProblem, Place, raise_problem
from cyrusquota.parse import db_dump
from cyrusquota.parse.text_stream import DUMP, LONGEST_LINE, TextStream, kind_of

_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")
_LOOKS_LIKE_VALUE = re.compile(rb"%\(|[+-]?[0-9]+[ \t\n]")
_CUT = "the dump was not kept whole; make it again"
_LEFT_OUT = "the line is left out; make the dump again"


def records(
    stream: BinaryIO, *, source: str = "-", on_problem: OnProblem = raise_problem
) -> Iterator[tuple[bytes, bytes]]:
    """Yield every (key, value) of a dump, in its order.

    A line without a TAB goes to `on_problem` as `BadDump` and is left out. A last line without a
    line break raises it: the dump was cut there, and what is missing is not known. So does a first
    line that shows that this is no dump.
    """
    text = TextStream(stream, BadDump, source)
    yield from records_from(text.start(), text, source=source, on_problem=on_problem)


def records_from(
    first: bytes, text: TextStream, *, source: str, on_problem: OnProblem
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the same as `records`, of a dump whose first line has been read."""
    _check_first(first, text, source)
    lines = enumerate(itertools.chain([first] if first else [], text), 1)
    yield from _records(lines, source, on_problem)


def _check_first(line: bytes, text: TextStream, source: str) -> None:
    """Raise `BadDump` for the first line of anything but a dump."""
    if len(line) > LONGEST_LINE:
        raise text.too_long(line)
    kind = kind_of(line)
    if kind is not None and kind != DUMP:
        place, advice = Place(source, line=1), f"this is {kind}"
        raise BadDump("a dump of a database", place=place, found=line.rstrip(), advice=advice)


def _records(
    lines: Iterator[tuple[int, bytes]], source: str, on_problem: OnProblem
) -> Iterator[tuple[bytes, bytes]]:
    for number, line in lines:
        if number == 1 and line == db_dump.FIRST_LINE:
            yield from db_dump.records(lines, source=source, on_problem=on_problem)
            return
        place = Place(source, line=number)
        if not line.endswith(b"\n"):
            expected = "a line break at the end of the last line"
            raise BadDump(expected, place=place, found=line, advice=_CUT)
        key, tab, value = line[:-1].partition(b"\t")
        if not tab:
            on_problem(BadDump("KEY TAB VALUE", place=place, found=line[:-1], advice=_LEFT_OUT))
        else:
            yield _plain(key, value)


def _plain(key: bytes, value: bytes) -> tuple[bytes, bytes]:
    # Quota values hold a blank or a parenthesis, which base64 never does.
    decoded = _decoded(value)
    if decoded is not None and _LOOKS_LIKE_VALUE.match(decoded):
        decoded_key = _decoded(key)
        if decoded_key is not None:
            return decoded_key, decoded
    return unescaped(key), unescaped(value)


def _decoded(text: bytes) -> Optional[bytes]:
    if not text or len(text) % 4 or not _BASE64.fullmatch(text):
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None


# The fast path: many lines at once

#: Bytes to read at a time.
_PIECE = 1 << 18


def selected(
    stream: BinaryIO,
    predicate: Predicate,
    passed: Callable[[int], None],
    *,
    source: str = "-",
    on_problem: OnProblem = raise_problem,
) -> Iterator[tuple[bytes, bytes]]:
    """Yield what of a dump `predicate` wants; `passed` is told how many other records there are.

    A piece of the dump with any line that is not KEY TAB VALUE goes to `records`, as does what
    `db_dump` wrote. `predicate` has to want every value that is no plain text of digits, blanks and
    parentheses, because it sees them before anything is decoded.
    """
    text = TextStream(stream, BadDump, source)
    rest, done = text.start(), 0
    _check_first(rest, text, source)
    if rest == db_dump.FIRST_LINE:
        lines = enumerate(text, 2)
        yield from db_dump.records(lines, source=source, on_problem=on_problem)
        return
    read = rest
    while read:
        # More at a time while a line does not end, or its pieces would be copied ever again.
        read = text.read(max(_PIECE, len(rest)))
        data = rest + read
        cut = data.rfind(b"\n") + 1 if read else len(data)
        whole, rest = data[:cut], data[cut:]
        if len(rest) > LONGEST_LINE:
            raise text.too_long(rest)
        found = columns(whole)
        if found is None:
            yield from _records(enumerate(io.BytesIO(whole), done + 1), source, on_problem)
        else:
            keys, values = found
            wanted = predicate(keys, values)
            passed(len(keys) - len(wanted))
            for index in wanted:
                yield _plain(keys[index], values[index])
        done += whole.count(b"\n")
