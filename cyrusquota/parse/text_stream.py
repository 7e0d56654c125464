"""Text that a program printed, as it comes from a file, a pipe or a terminal.

A terminal (`ssh -t`, script(1)) ends lines with CR LF, which is read as LF where the first line
ends so. No line is read to its end that is longer than any program prints, so what is no text at
all ends soon.
"""

from __future__ import annotations

import io
import re
from typing import BinaryIO, Iterator, Optional

from cyrusquota.errors import DataError, Place

#: Bytes of a line. The longest name and value of a database are a small part of it.
LONGEST_LINE = 1 << 20

#: Bytes to read at a time.
_PIECE = 1 << 16
_CR, _LF = b"\r", b"\n"
#: Several CRs come of one terminal within another.
_TERMINAL_END = re.compile(rb"\r+\n")

DUMP = "a dump of a database; give it with --dump"
REPORT = "what `quota` of Cyrus prints; give it with --quota-output"
#: What people give by mistake, by how it begins.
_KINDS = (
    (rb"\xa1\x02\x8b\x0d|SQLite format 3\0", "a database itself; give its path with --db"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "a compressed file; decompress it first"),
    # A record, whose key may look like anything below.
    (rb"[^\t\n]+\t(?:%\(|[+-]?[0-9]+[ \t])", DUMP),
    (rb"\[sudo\] |sudo: |Password:", "a message of sudo; run the command as root, not with sudo"),
    (
        rb"Disk quotas for |\*\*\* Report for ",
        "what the operating system's quota command prints; call that of Cyrus by its path, such as"
        " /usr/lib/cyrus/bin/quota",
    ),
    (
        rb"[^\t\n]* [A-Z-]+ [0-9]+/[0-9]+(?: \([0-9.e+-]+%\)|\s)",
        "what `listquota` of cyradm prints; run `quota` of Cyrus instead",
    ),
    (rb"Script started on ", "a typescript of script(1); remove its first line and its last ones"),
    # Names hold no NUL byte.
    (rb"[^\t\n]*\0", "no text; a database itself is given with --db"),
    (rb" *Quota +% Used +Used ", REPORT),
    (rb"\s*\{\s*(?:\"|\}|$)", "JSON; give what `quota -J` prints with --quota-output"),
    (rb"VERSION=[0-9]+\r?\n", DUMP),
)
#: Bytes that show it.
_ENOUGH = 1000
_BY_START = [(re.compile(start), kind) for start, kind in _KINDS]


def kind_of(start: bytes) -> Optional[str]:
    """Return what the text that begins with `start` is, and what to do, or None."""
    return next((kind for known, kind in _BY_START if known.match(start[:_ENOUGH])), None)


class TextStream:
    """Reads a stream by lines or pieces, as a binary file does, with LF for CR LF.

    Raises `error`, a kind of `DataError`, for a line longer than `LONGEST_LINE`.
    """

    def __init__(self, stream: BinaryIO, error: type[DataError], source: str) -> None:
        self.raw = stream
        self._error = error
        self._source = source
        self._is_terminal: Optional[bool] = None

    def readline(self) -> bytes:
        line = self.start()
        if len(line) > LONGEST_LINE:
            raise self.too_long(line)
        return line

    def start(self) -> bytes:
        """Return the next line like `readline`, or the start of one that is too long."""
        line = self.raw.readline(LONGEST_LINE + 1)
        if self._is_terminal is None:
            self._is_terminal = line.endswith(_CR + _LF)
        if self._is_terminal and line.endswith(_CR + _LF):
            return line[:-1].rstrip(_CR) + _LF
        return line

    def __iter__(self) -> Iterator[bytes]:
        """Yield the lines that are left; it reads ahead."""
        rest = b""
        while data := self.read(_PIECE):
            data = rest + data
            end = data.rfind(_LF) + 1
            yield from io.BytesIO(data[:end])
            rest = data[end:]
            if len(rest) > LONGEST_LINE:
                raise self.too_long(rest)
        if rest:
            yield rest

    def read(self, size: int) -> bytes:
        """Return about `size` bytes; nothing at the end."""
        data = self.raw.read(size)
        if not self._is_terminal:
            return data
        while data.endswith(_CR):
            more = self.raw.read(1)
            if not more:
                break
            data += more
        return _TERMINAL_END.sub(_LF, data)

    def too_long(self, line: bytes) -> DataError:
        return self._error(
            f"lines of at most {LONGEST_LINE} bytes",
            place=Place(self._source),
            found=line,
            advice=f"this is {kind_of(line) or 'no text of Cyrus'}",
        )
