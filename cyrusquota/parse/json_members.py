"""The members of one large JSON object, read as they come.

Cyrus's tools print one object with a member for each quota root or mailbox. Memory must not grow
with their number, and a cut object must not pass for a short one.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import BinaryIO, Iterator, NoReturn

from cyrusquota.errors import BadReport, Place

_CHUNK = 1 << 16
#: Characters of one member. More, as JSON as a value, would take much memory.
_LONGEST = 1 << 22
_BLANKS = re.compile(r"[ \t\r\n]*")
#: What a cut object may end with and JSON cannot: part of a string or a word, or blanks.
_UNFINISHED = re.compile(
    r'\s*|"(?:[^"\\]|\\.)*\\?|-|t(?:ru?)?|f(?:a(?:ls?)?)?|n(?:ul?)?', re.DOTALL
)
_TOO_BIG = 1 << 64
_NOT_UTF8 = "read the database itself instead, or the text that the command prints without JSON"


def members(first: bytes, stream: BinaryIO, source: str) -> Iterator[tuple[int, str, object]]:
    """Yield (offset, name, value) of each member of the object that begins in `first`.

    Raises `BadReport` for what is no JSON object, or a cut one.
    """
    return iter(_Members(first, stream, source))


class _Members:
    """Iterates over the members of one JSON object: (offset, name, value)."""

    def __init__(self, first: bytes, stream: BinaryIO, source: str) -> None:
        self._stream = stream
        self._source = source
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._decoder = json.JSONDecoder(parse_int=_integer)
        self._read = 0
        self._text = self._decoded(first)
        self._at = 0
        #: Characters of the text whose bytes are counted in `_passed`.
        self._counted = 0
        self._passed = 0
        self._ended = False

    def __iter__(self) -> Iterator[tuple[int, str, object]]:
        self._take("{")
        if self._peek() == "}":
            self._take("}")
        else:
            while True:
                self._peek()
                offset = self._offset()
                name = self._value()
                if not isinstance(name, str):
                    self._fail("a name in quotes")
                self._take(":")
                value = self._value()
                yield offset, name, value
                if self._take(",}") == "}":
                    break
        if self._peek():
            self._fail("nothing after the closing brace")

    def _value(self) -> object:
        self._peek()
        while True:
            begin = self._at
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError:
                self._fail("values that are not nested without end")
            except ValueError as error:
                if self._more():
                    continue
                # The text has lost its beginning if more was asked for.
                self._at += getattr(error, "pos", begin) - begin
                if _UNFINISHED.fullmatch(self._text, self._at):
                    self._at = len(self._text)
                self._fail("JSON")
            if end < len(self._text) or not self._more():
                self._at += end - begin
                return value

    def _take(self, wanted: str) -> str:
        char = self._peek()
        if not char or char not in wanted:
            self._fail(" or ".join(f"'{one}'" for one in wanted))
        self._at += 1
        return char

    def _peek(self) -> str:
        """Return the next character that is not blank, or '' at the end."""
        while True:
            blanks = _BLANKS.match(self._text, self._at)
            self._at = self._at if blanks is None else blanks.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read on; return False at the end.

        Reads grow with what is pending, so that parsing it again and again stays cheap.
        """
        if self._ended:
            return False
        pending = len(self._text) - self._at
        if pending > _LONGEST:
            self._fail(f"members of at most {_LONGEST} characters")
        chunk = self._stream.read(max(_CHUNK, min(pending, _LONGEST - pending)))
        self._ended = not chunk
        self._offset()
        self._text = self._text[self._at :] + self._decoded(chunk)
        self._at = self._counted = 0
        return not self._ended

    def _offset(self) -> int:
        """Return the offset in bytes of where the reading is; only what is new is counted."""
        new = self._text[self._counted : self._at]
        self._passed += len(new if new.isascii() else new.encode("utf-8"))
        self._counted = self._at
        return self._passed

    def _decoded(self, chunk: bytes) -> str:
        self._read += len(chunk)
        try:
            return self._utf8.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            # With what the decoder had kept of a character.
            place = Place(self._source, offset=self._read - len(error.object) + error.start)
            found = error.object[error.start : error.end]
            raise BadReport("UTF-8 text", place=place, found=found, advice=_NOT_UTF8) from None

    def _fail(self, expected: str) -> NoReturn:
        found = self._text[self._at : self._at + 40].encode("utf-8", "surrogatepass")
        reason = "this is no JSON" if found else "the JSON breaks off"
        advice = f"{reason}; run the command that made it again"
        place = Place(self._source, offset=self._offset())
        raise BadReport(expected, place=place, found=found or None, advice=advice)


def _integer(digits: str) -> int:
    # A number of thousands of digits must not cost the time that converting it takes.
    return int(digits) if len(digits) <= 20 else _TOO_BIG
