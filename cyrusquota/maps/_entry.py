"""What every map is made of, and what a format has to offer."""

from __future__ import annotations

from typing import Iterable, NamedTuple, Optional, Protocol

import attrs


@attrs.frozen(order=True)
class Entry:
    """One line of a map: what the MTA looks up, and what it finds."""

    key: bytes
    value: bytes


class Row(NamedTuple):
    """An entry as a map has it: what `Format.keys` and `Format.body` give of it."""

    key: bytes
    line: bytes


class Format(Protocol):
    """A module that knows one format; nothing in it depends on where the map is put."""

    @property
    def IS_TEXT(self) -> bool:
        """Whether a map is the one without entries, and then its body as it stands."""

    def document(self, entries: Iterable[Entry], comments: Iterable[str]) -> bytes:
        """The bytes of a whole map, `comments` (a line each) kept beside the sorted entries."""

    def row(self, entry: Entry) -> Optional[Row]:
        """What `document` makes of an entry; None if it leaves it out."""

    def body(self, content: bytes) -> bytes:
        """What counts in a map, as text: a line an entry; never raises, whatever `content` is."""

    def comments(self, content: bytes) -> list[str]:
        """Return the comments that a map begins with, a line each; never raises."""

    def keys(self, content: bytes) -> set[bytes]:
        """The keys of a map; never raises."""

    def value(self, content: bytes, key: bytes) -> Optional[bytes]:
        """What a map says of a key, None if nothing; never raises."""

    def is_format_of(self, content: bytes) -> bool:
        """Return whether `content` is a map that cyrusquota wrote in this format."""

    def deferral(self, message: str) -> bytes:
        """The value that refuses for now with `message`; `OptionError` if the MTA cannot."""

    def refusal(self, message: str) -> bytes:
        """The value that refuses for good with `message`; `OptionError` if the MTA cannot."""

    def space_left(self, size: int) -> bytes:
        """The value that tells that `size` bytes are left; `OptionError` if the MTA cannot."""
