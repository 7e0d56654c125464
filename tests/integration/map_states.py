"""States in which a map may be met, each of which must defer nobody whom a good map would not."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Callable

#: Puts a map into a state, given the bytes of a good one.
Spoil = Callable[[Path, bytes], None]

_HEADER = 2048


def _absent(_: Path, good: bytes) -> None:
    pass


def _dangling(path: Path, good: bytes) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _empty(path: Path, good: bytes) -> None:
    path.touch()


def _unreadable(path: Path, good: bytes) -> None:
    path.write_bytes(good)
    path.chmod(0o600)


def _out_of_reach(path: Path, good: bytes) -> None:
    path.write_bytes(good)
    path.parent.chmod(0o700)


def _directory(path: Path, good: bytes) -> None:
    path.mkdir()


def _linked_to_null(path: Path, good: bytes) -> None:
    path.symlink_to("/dev/null")


def _old(path: Path, good: bytes) -> None:
    path.write_bytes(good)
    then = time.time() - 3 * 3600
    os.utime(path, (then, then))


def _garbage(path: Path, good: bytes) -> None:
    path.write_bytes(bytes(range(256)) * 16)


def _zeroes(path: Path, good: bytes) -> None:
    path.write_bytes(bytes(4096))


def _half_written(path: Path, good: bytes) -> None:
    path.write_bytes(b"bert: :defer: full\njane: :def")


def _malformed(path: Path, good: bytes) -> None:
    path.write_bytes(b"jane: defer: full\nbob: not an address at all <\njane@example.net: x\n")


def _undelimited(path: Path, good: bytes) -> None:
    path.write_bytes(b"jane :defer: full\njane@example.net :defer: full\n")


def _foreign(path: Path, good: bytes) -> None:
    path.write_bytes(b"jane: :blackhole:\nbob: :include:/etc/passwd\njane@example.net: /tmp/x\n")


def _without_tables(path: Path, good: bytes) -> None:
    path.write_bytes(good[:-16])


def _half_a_header(path: Path, good: bytes) -> None:
    path.write_bytes(good[: _HEADER // 2])


def _header_only(path: Path, good: bytes) -> None:
    path.write_bytes(good[:_HEADER])


def _pointing_nowhere(path: Path, good: bytes) -> None:
    path.write_bytes(b"\xff\xff\xff\x7f\x04\0\0\0" * 256 + good[_HEADER:])


def _another_format(path: Path, good: bytes) -> None:
    path.write_bytes(b"jane: :defer: 4.2.2 full\n" * 200)


ANY: list[Spoil] = [
    _absent,
    _dangling,
    _empty,
    _unreadable,
    _out_of_reach,
    _directory,
    _linked_to_null,
    _old,
    _garbage,
    _zeroes,
]
LSEARCH: list[Spoil] = [*ANY, _half_written, _malformed, _undelimited, _foreign]
CDB: list[Spoil] = [
    *ANY,
    _without_tables,
    _half_a_header,
    _header_only,
    _pointing_nowhere,
    _another_format,
]
