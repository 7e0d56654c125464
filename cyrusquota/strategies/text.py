"""Writers of the text forms: reports, values of a database, dumps.

They follow the printf formats and grammars of Cyrus, not the parsers of this package.
"""

from __future__ import annotations

import base64
import ctypes
import json
from typing import Callable, Iterable, Mapping, Optional

import attrs

from cyrusquota.strategies.writers.flat import escaped

Figures = tuple[int, Optional[int]]
#: Used in bytes or counts and limit in KiB or counts, of S, M, AS and NF.
Row = tuple[bytes, tuple[Figures, Figures, Figures, Figures]]

UNITS = (1024, 1, 1024, 1)
WORDS_2_5 = (b"STORAGE", b"MESSAGE", b"X-ANNOTATION-STORAGE", b"X-NUM-FOLDERS")
WORDS_3_10 = (b"STORAGE", b"MESSAGE", b"ANNOTATION-STORAGE", b"MAILBOX")


def toward_zero(number: int, by: int) -> int:
    """Divide as C does."""
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
    """Return a report of 2.1 to 2.4: storage only, a line a root."""
    lines = [layout.header]
    for name, (storage, *_) in rows:
        columns, used = _columns(layout, 1024, storage)
        lines.append(columns + layout.used % (used, name))
    return b"".join(lines)


def report(rows: Iterable[Row], words: tuple[bytes, ...] = WORDS_2_5) -> bytes:
    """Return a report of 2.5 and later: four lines a root."""
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
    """Return what `quota -J` prints: bytes, only limits above 0, multiplied in 64 bits."""
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
    """Return the value of a root as 2.5 and later write it: negative numbers unsigned."""
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
    """Return the value of a root as 2.2 to 2.4 write it."""
    return b"%d %d" % (used, -1 if limit is None else limit)


def show(records: Mapping[bytes, bytes]) -> bytes:
    """Return what `cyr_dbtool ... show` prints."""
    return b"".join(key + b"\t" + value + b"\n" for key, value in records.items())


def show_base64(records: Mapping[bytes, bytes]) -> bytes:
    """Return what `cyr_dbtool -b ... show` prints."""
    return show({base64.b64encode(k): base64.b64encode(v) for k, v in records.items()})


def flat(records: Mapping[bytes, bytes]) -> bytes:
    """Return a flat file of 2.5 and later."""
    return show({escaped(key): escaped(value) for key, value in records.items()})


def db_dump(records: Mapping[bytes, bytes]) -> bytes:
    """Return what BerkeleyDB's `db_dump` writes: every byte in hex."""
    return _db_dump(b"bytevalue", records, lambda raw: raw.hex().encode())


def db_dump_p(records: Mapping[bytes, bytes]) -> bytes:
    """Return what BerkeleyDB's `db_dump -p` writes: only unprintable bytes in hex."""
    return _db_dump(b"print", records, _printed)


def _db_dump(
    form: bytes, records: Mapping[bytes, bytes], encode: Callable[[bytes], bytes]
) -> bytes:
    header = b"VERSION=3\nformat=" + form + b"\ntype=btree\ndb_pagesize=4096\nHEADER=END\n"
    rows = (b" " + encode(raw) + b"\n" for pair in records.items() for raw in pair)
    return header + b"".join(rows) + b"DATA=END\n"


def _printed(raw: bytes) -> bytes:
    return b"".join(
        b"\\\\" if byte == ord("\\") else bytes((byte,)) if 32 <= byte < 127 else b"\\%02x" % byte
        for byte in raw
    )
