"""Independent writers of the text forms, after the formats that Cyrus prints with.

Written from the printf formats and grammars of Cyrus, not from the parsers under test.
"""

from __future__ import annotations

import base64
import ctypes
import json
from typing import Iterable, Mapping, Optional

import attrs

Figures = tuple[int, Optional[int]]
#: Used in bytes or counts and limit in KiB or counts, of S, M, AS and NF.
Row = tuple[bytes, tuple[Figures, Figures, Figures, Figures]]

UNITS = (1024, 1, 1024, 1)
WORDS_2_5 = (b"STORAGE", b"MESSAGE", b"X-ANNOTATION-STORAGE", b"X-NUM-FOLDERS")
WORDS_3_10 = (b"STORAGE", b"MESSAGE", b"ANNOTATION-STORAGE", b"MAILBOX")


def toward_zero(number: int, by: int) -> int:
    """Division as C does it."""
    quotient = abs(number) // by
    return quotient if number >= 0 else -quotient


@attrs.frozen
class Layout:
    """The columns of one generation of `quota`, as printf formats."""

    header: bytes
    limited: bytes
    zero: bytes
    unlimited: bytes
    used: bytes


LAYOUT_2_2 = Layout(
    header=b"   Quota  % Used    Used Root\n",
    limited=b" %7d %7d",
    zero=b"       0        ",
    unlimited=b"                ",
    used=b" %7d %b\n",
)
LAYOUT_2_3 = Layout(
    header=b"   Quota   % Used     Used Root\n",
    limited=b" %7d %8d",
    zero=b"       0        ",
    unlimited=b"                ",
    used=b" %8d %b\n",
)
LAYOUT_2_5 = Layout(
    header=b"   Quota   % Used     Used             Resource Root\n",
    limited=b" %7d %8d",
    zero=b"       0" + b" " * 9,
    unlimited=b" " * 17,
    used=b" %8d %20b %b\n",
)


def _columns(layout: Layout, unit: int, figures: Figures) -> tuple[bytes, int]:
    used, limit = toward_zero(figures[0], unit), figures[1]
    if limit is None:
        return layout.unlimited, used
    if limit == 0:
        return layout.zero, used
    percent = toward_zero(ctypes.c_int64(used * 100).value, limit)
    return layout.limited % (limit, percent), used


def old_report(layout: Layout, rows: Iterable[Row]) -> bytes:
    """A report of 2.1 to 2.4: storage only, a line a root."""
    lines = [layout.header]
    for name, (storage, *_) in rows:
        columns, used = _columns(layout, 1024, storage)
        lines.append(columns + layout.used % (used, name))
    return b"".join(lines)


def report(rows: Iterable[Row], words: tuple[bytes, ...] = WORDS_2_5) -> bytes:
    """A report of 2.5 and later: four lines a root."""
    lines = [LAYOUT_2_5.header]
    for name, resources in rows:
        for word, unit, figures in zip(words, UNITS, resources):
            columns, used = _columns(LAYOUT_2_5, unit, figures)
            # b"%20b" does not pad in Python, unlike C.
            lines.append(columns + b" %8d " % used + word.rjust(20) + b" " + name + b"\n")
    return b"".join(lines)


def json_report(
    rows: Iterable[Row], words: tuple[bytes, ...] = WORDS_2_5, indent: Optional[int] = 2
) -> bytes:
    """What `quota -J` prints: sizes in bytes, only limits above 0, multiplied in 64 bits."""
    members: dict[str, dict[str, dict[str, int]]] = {}
    for name, resources in rows:
        member = members.setdefault(name.decode(), {})
        for word, unit, (used, limit) in zip(words, UNITS, resources):
            figures = {"used": used}
            if limit is not None and limit > 0:
                figures["limit"] = ctypes.c_int64(limit * unit).value
            member[word.decode()] = figures
    return json.dumps(members, indent=indent, ensure_ascii=False).encode()


def dlist(resources: Iterable[Figures], modseq: Optional[int] = None, scan: bytes = b"") -> bytes:
    """The value of a root as 2.5 and later write it: negative numbers unsigned."""
    parts = []
    for code, (used, limit) in zip((b"S", b"M", b"AS", b"NF"), resources):
        most = b"" if limit is None else b" %d" % (limit % (1 << 64))
        parts.append(b"%b (%d%b)" % (code, used % (1 << 64), most))
    if scan:
        parts.append(b"SCAN %(" + scan + b")")
    if modseq is not None:
        parts.append(b"MODSEQ %d" % modseq)
    return b"%(" + b" ".join(parts) + b")"


def old_value(used: int, limit: Optional[int]) -> bytes:
    """The value of a root as 2.2 to 2.4 write it."""
    return b"%d %d" % (used, -1 if limit is None else limit)


def show(records: Mapping[bytes, bytes]) -> bytes:
    """What `cyr_dbtool ... show` prints."""
    return b"".join(key + b"\t" + value + b"\n" for key, value in records.items())


def show_base64(records: Mapping[bytes, bytes]) -> bytes:
    """What `cyr_dbtool -b ... show` prints."""
    return show({base64.b64encode(k): base64.b64encode(v) for k, v in records.items()})


def flat(records: Mapping[bytes, bytes]) -> bytes:
    """A flat file of 2.5 and later."""
    return show({_escaped(key): _escaped(value) for key, value in records.items()})


def _escaped(text: bytes) -> bytes:
    out = bytearray()
    for byte in text:
        if byte in b"\0\t\n\r":
            out += bytes((0xFF, byte | 0x80))
        elif byte == 0xFF:
            out += b"\xff\xff"
        else:
            out.append(byte)
    return bytes(out)


def quotalegacy_letter(hashed: bytes, *, full: bool) -> str:
    """The directory of a quotalegacy tree for what is hashed (a user, a folder, a domain)."""
    if not full:
        first = hashed[:1].lower()
        return first.decode() if b"a" <= first <= b"z" else "q"
    number = 0
    for byte in hashed:
        if byte == ord("."):
            break
        number = ((number << 3) ^ (number >> 5)) ^ byte
        number %= 1 << 32
    return chr(ord("A") + number % 23)
