"""The entries of a map, and the interface of a format."""

from __future__ import annotations

from typing import Iterable, NamedTuple, Optional, Protocol

import attrs


@attrs.frozen(order=True)
class Entry:
    """One line of a map: the key that the MTA looks up, and the value it finds."""

    key: bytes
    value: bytes


class Row(NamedTuple):
    """An entry as it is written: its key as in `Format.keys`, its line as in `Format.body`."""

    key: bytes
    line: bytes


class Format(Protocol):
    """The interface of a module for one format; nothing in it depends on where the map is put."""

    @property
    def IS_TEXT(self) -> bool:
        """Whether a map is its comments and then its body, with nothing between or after."""

    def document(self, entries: Iterable[Entry], comments: Iterable[str]) -> bytes:
        """Return a whole map; `comments` (a line each) stand beside the sorted entries."""

    def row(self, entry: Entry) -> Optional[Row]:
        """Return an entry as `document` writes it, or None where it leaves the entry out."""

    def body(self, content: bytes) -> bytes:
        """Return the entries of a map as text, a line each; never raises, whatever `content` is."""

    def comments(self, content: bytes) -> list[str]:
        """Return the comments that a map begins with, a line each; never raises."""

    def keys(self, content: bytes) -> set[bytes]:
        """Return the keys of a map; never raises."""

    def value(self, content: bytes, key: bytes) -> Optional[bytes]:
        """Return the value of a key, or None; never raises."""

    def is_format_of(self, content: bytes) -> bool:
        """Return whether `content` is a map that cyrusquota wrote in this format."""

    def deferral(self, message: str) -> bytes:
        """Return the value that defers with `message`; `OptionError` if the MTA cannot."""

    def refusal(self, message: str) -> bytes:
        """Return the value that refuses with `message`; `OptionError` if the MTA cannot."""

    def space_left(self, size: int) -> bytes:
        """Return the value for `size` bytes left; `OptionError` if the MTA cannot compare sizes."""
