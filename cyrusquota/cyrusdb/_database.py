"""The one interface that all backends share."""

from __future__ import annotations

import abc
import os
from types import TracebackType
from typing import Iterator, Optional

import attrs

from cyrusquota.errors import AnyPath, NoSuchSource, OnProblem, printable


@attrs.frozen
class Snapshot:
    """What was read: the backend, the bytes that counted, and the live records where known.

    `generation` is what tells one incarnation of the file from the next, None where the format
    has nothing of the kind. `inode` is the device and inode of the file, where following it
    (`cyrusdb.tail`) can go on from here.
    """

    backend: str
    size: int
    records: Optional[int] = None
    generation: Optional[int] = None
    inode: Optional[tuple[int, int]] = attrs.field(default=None, eq=False)


class Database(abc.ABC):
    """A database as it was at one moment; iterating gives (key, value), each live key once.

    Also a context manager, which closes it.
    """

    #: The name Cyrus has for the format.
    backend: str

    def __init__(self, path: AnyPath, on_problem: OnProblem) -> None:
        if b"\0" in os.fsencode(path):
            raise NoSuchSource(
                f"{printable(str(path))}: no file has a NUL byte in its name; correct it"
            )
        self.path = path
        self._on_problem = on_problem

    @abc.abstractmethod
    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        """Every live record, in no order that callers may rely on."""

    @abc.abstractmethod
    def snapshot(self) -> Snapshot:
        """What was read."""

    @abc.abstractmethod
    def has_changed(self) -> bool:
        """Whether the file at the path differs by now from what was read."""

    def close(self) -> None:  # noqa: B027 - most backends hold nothing
        """Let go of what is held; iterating is over then."""

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()
