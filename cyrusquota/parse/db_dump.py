"""The output of BerkeleyDB's `db_dump` and `db_dump -p` (Cyrus up to 2.5).

    VERSION=3
    format=print            or bytevalue: every byte in hex
    type=btree              and more such lines
    HEADER=END
     user.jane              a blank, then a key; unprintable bytes as \\xx, a backslash doubled
     20480 10               a blank, then its value
    DATA=END

Without DATA=END the dump was cut, and what is missing is not known, so that raises. A pair of rows
that cannot be decoded goes to `on_problem` and is left out.
"""

from __future__ import annotations

import re
from typing import Callable, Iterator, Optional

from cyrusquota.errors import BadDump, OnProblem, Place

FIRST_LINE = b"VERSION=3\n"

_HEADER_END, _DATA_END = b"HEADER=END", b"DATA=END"
_TYPES = (b"btree", b"hash")
_ESCAPE = re.compile(rb"\\(?:([0-9a-fA-F]{2})|\\)")
_BACKSLASH = b"\\"
_HEX = re.compile(rb"[0-9a-fA-F]*")
_CUT = "the dump was not kept whole; make it again"
_AGAIN = "make it again with: db_dump -p FILE"

_Lines = Iterator[tuple[int, bytes]]
_Decode = Callable[[bytes], Optional[bytes]]


def records(lines: _Lines, *, source: str, on_problem: OnProblem) -> Iterator[tuple[bytes, bytes]]:
    """Yield every (key, value) of a dump whose first line was `FIRST_LINE`, in its order.

    `lines` are the numbered lines after that one. Raises `BadDump` for a header that is not
    db_dump's, for a cut dump, and for lines after its end.
    """
    decode = _decoder(lines, source)
    key: Optional[bytes] = None
    # db_dump writes pairs, so every other row is a value, readable or not.
    expects_value = False
    for place, row in _rows(lines, source):
        found = decode(row[1:]) if row.startswith(b" ") else None
        if found is None:
            what = "the value" if expects_value else "the key"
            expected = f"a blank and {what} as db_dump writes it"
            on_problem(BadDump(expected, place=place, found=row, advice=_AGAIN))
        elif expects_value and key is not None:
            yield key, found
        key = None if expects_value else found
        expects_value = not expects_value
    if expects_value:
        on_problem(BadDump("a value for every key", place=Place(source, key=key), advice=_AGAIN))
    for number, line in lines:
        expected = f"nothing behind {_DATA_END.decode()}"
        raise BadDump(expected, place=Place(source, line=number), found=line, advice=_AGAIN)


def _decoder(lines: _Lines, source: str) -> _Decode:
    """Read the header; return the function that decodes a row."""
    fields: dict[bytes, tuple[Place, bytes]] = {}
    for place, line in _until(_HEADER_END, lines, source):
        name, _, value = line.partition(b"=")
        fields[name] = place, value
    known: dict[bytes, _Decode] = {b"print": _from_print, b"bytevalue": _from_hex}
    for name, choices in ((b"format", tuple(known)), (b"type", _TYPES)):
        place, value = fields.get(name, (Place(source), b""))
        if value not in choices:
            names = " or ".join(choice.decode() for choice in choices)
            expected = f"{name.decode()}={names} in the header"
            raise BadDump(expected, place=place, found=value, advice=_AGAIN)
    return known[fields[b"format"][1]]


def _rows(lines: _Lines, source: str) -> Iterator[tuple[Place, bytes]]:
    return _until(_DATA_END, lines, source)


def _until(last: bytes, lines: _Lines, source: str) -> Iterator[tuple[Place, bytes]]:
    """Yield the lines up to `last`; raises `BadDump` if it does not come."""
    number = 1
    for number, line in lines:
        if line == last + b"\n":
            return
        if not line.endswith(b"\n"):
            break
        yield Place(source, line=number), line[:-1]
    place = Place(source, line=number)
    raise BadDump(f"{last.decode()} before the end", place=place, advice=_CUT)


def _from_print(text: bytes) -> Optional[bytes]:
    return None if _BACKSLASH in _ESCAPE.sub(b"", text) else _ESCAPE.sub(_unescaped, text)


def _unescaped(match: re.Match[bytes]) -> bytes:
    return b"\\" if match[1] is None else bytes.fromhex(match[1].decode())


def _from_hex(text: bytes) -> Optional[bytes]:
    is_hex = len(text) % 2 == 0 and _HEX.fullmatch(text)
    return bytes.fromhex(text.decode()) if is_hex else None
