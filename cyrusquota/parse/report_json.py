"""What `quota -J` prints since Cyrus 3.0 (imap/quota.c): one object, a member for each root.

Sizes and limits are bytes and exact, but a limit is printed only where it is above 0, so a root
whose limit is 0 looks unlimited here. Read member by member, so memory does not grow with the
number of roots.
"""

from __future__ import annotations

import codecs
import json
from typing import BinaryIO, Iterator, NoReturn, Optional

from cyrusquota.errors import BadReport, OnProblem, Place
from cyrusquota.mailbox import internal_name
from cyrusquota.quota import QuotaRoot, Resource, Usage

_CHUNK = 1 << 16
_BLANK = " \t\r\n"
_REPAIRS = "_repairs"
_NAMES = {resource.value: resource for resource in Resource}
_NAMES["X-ANNOTATION-STORAGE"] = Resource.ANNOTATION_STORAGE
_NAMES["X-NUM-FOLDERS"] = Resource.MAILBOX
_TOO_BIG = 1 << 64


def roots(
    first: bytes, stream: BinaryIO, *, source: str, on_problem: OnProblem
) -> Iterator[QuotaRoot]:
    """Every quota root of the object that begins with `first` and goes on in `stream`."""
    for offset, name, value in _Members(first, stream, source):
        place = Place(source, offset=offset, key=name.encode("utf-8", "surrogatepass"))
        usages = _usages(value)
        if not _is_nameable(name) or usages is None:
            expected = '{"STORAGE": {"used": NUMBER, "limit": NUMBER}, ...}'
            on_problem(BadReport(expected, place=place, found=_found(value)))
        else:
            yield QuotaRoot.of(internal_name(name), usages)


def _is_nameable(name: str) -> bool:
    try:
        return bool(name.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return False


def _usages(value: object) -> Optional[dict[Resource, Usage]]:
    if not isinstance(value, dict):
        return None
    usages = {}
    for printed, figures in value.items():
        if not isinstance(figures, dict):
            return None
        used, limit = _number(figures.get("used")), _number(figures.get("limit"))
        if used is None or (limit is None and "limit" in figures):
            return None
        if printed in _NAMES:
            usages[_NAMES[printed]] = Usage(used, limit)
    return usages


def _number(value: object) -> Optional[int]:
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if -(1 << 63) <= value < 1 << 63 else None


def _found(value: object) -> bytes:
    try:
        return json.dumps(value)[:200].encode()
    except RecursionError:
        return b"values nested without end"


class _Members:
    """The members of one JSON object, read as they come: (offset, name, value)."""

    def __init__(self, first: bytes, stream: BinaryIO, source: str) -> None:
        self._stream = stream
        self._source = source
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._decoder = json.JSONDecoder(parse_int=_integer)
        self._text = self._decoded(first, 0)
        self._at = 0
        self._gone = 0
        self._ended = False

    def __iter__(self) -> Iterator[tuple[int, str, object]]:
        self._take("{")
        if self._peek() == "}":
            self._take("}")
        else:
            while True:
                self._peek()
                offset = self._gone + self._at
                name = self._value()
                if not isinstance(name, str):
                    self._fail("the name of a root in quotes")
                self._take(":")
                value = self._value()
                if name != _REPAIRS:
                    yield offset, name, value
                if self._take(",}") == "}":
                    break
        if self._peek():
            self._fail("nothing after the closing brace")

    def _value(self) -> object:
        self._peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
            except RecursionError:
                self._fail("an object of resources")
            except ValueError as error:
                if self._more():
                    continue
                self._at = getattr(error, "pos", self._at)
                self._fail("JSON as `quota -J` prints it")
            if end < len(self._text) or not self._more():
                self._at = end
                return value

    def _take(self, wanted: str) -> str:
        char = self._peek()
        if not char or char not in wanted:
            self._fail(" or ".join(wanted))
        self._at += 1
        return char

    def _peek(self) -> str:
        """The next character that is not blank, or '' at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read on; False at the end. Reads grow with what is pending, so that the work does not."""
        if self._ended:
            return False
        chunk = self._stream.read(max(_CHUNK, len(self._text) - self._at))
        self._ended = not chunk
        self._gone += self._at
        added = self._decoded(chunk, self._gone + len(self._text) - self._at)
        self._text = self._text[self._at :] + added
        self._at = 0
        return not self._ended

    def _decoded(self, chunk: bytes, offset: int) -> str:
        try:
            return self._utf8.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            place = Place(self._source, offset=offset + error.start)
            found = error.object[error.start : error.end]
            raise BadReport("UTF-8 text", place=place, found=found) from None

    def _fail(self, expected: str) -> NoReturn:
        found = self._text[self._at : self._at + 40].encode("utf-8", "surrogatepass")
        advice = "" if found else "the report breaks off; run `quota -J` again"
        place = Place(self._source, offset=self._gone + self._at)
        raise BadReport(expected, place=place, found=found, advice=advice)


def _integer(digits: str) -> int:
    # A number of thousands of digits must not cost the time that converting it takes.
    return int(digits) if len(digits) <= 20 else _TOO_BIG
