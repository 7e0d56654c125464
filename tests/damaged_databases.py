"""What a reader makes of a damaged file, held against what the undamaged one has."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Callable, Optional

from cyrusquota import cyrusdb
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.strategies.writers.linked import LinkedWriter

State = dict[bytes, bytes]

#: Updates, deletions and a key that comes back, a transaction each.
_HISTORY: tuple[dict[bytes, bytes], ...] = (
    {b"a": b"1 1", b"b": b"2 1"},
    {b"a": b"3 1"},
    {b"b": b""},
    {b"b": b"4 1", b"c": b"5 1"},
    {b"c": b""},
)


def small_database(maker: Callable[[Path], LinkedWriter], path: Path) -> tuple[bytes, State]:
    """The committed bytes of a small database with a history, and what they say."""
    writer, state = maker(path), dict[bytes, bytes]()
    for changes in _HISTORY:
        writer.begin()
        for key, value in changes.items():
            if value:
                writer.set(key, value)
                state[key] = value
            else:
                writer.delete(key)
                del state[key]
        writer.commit()
    return path.read_bytes()[: writer.current_size], state


def is_noticed(path: Path, backend: str, state: State) -> bool:
    """Whether the reader says that something is wrong; what it hands out must be right anyway.

    Without a word from the reader it has to be all that there is.
    """
    problems: list[CyrusQuotaError] = []
    try:
        with cyrusdb.open(path, backend, on_problem=problems.append) as database:
            rows = list(database)
    except CyrusQuotaError:
        return True
    found = dict(rows)
    assert len(found) == len(rows)
    assert found.items() <= state.items()
    assert problems or found == state
    return bool(problems)


# twoskip files with checksums that fit

_HEADER = struct.Struct(">20sIQQQQI")


def spans(content: bytes) -> list[tuple[int, int, int]]:
    """Start, end of the checksums and end of each record of an undamaged file."""
    found, at = [], _HEADER.size + 4
    while at < len(content):
        if content.startswith(b" BLANK\x07\xa0", at):
            at += 8
            continue
        level, key, value = struct.unpack_from(">xBHI", content, at)
        head = at + 8 + 8 * (level + 1) + 8
        end = head + (key + value + 7) // 8 * 8
        found.append((at, head, end))
        at = end
    return found


def resealed(content: bytes, original: bytes) -> bytes:
    """`content` with checksums that fit where `original` has its own."""
    out = bytearray(content)
    out[60:64] = struct.pack(">I", zlib.crc32(out[:60]))
    for start, head, end in spans(original):
        out[head - 4 : head] = struct.pack(">I", zlib.crc32(out[head:end]) if end > head else 0)
        out[head - 8 : head - 4] = struct.pack(">I", zlib.crc32(out[start : head - 8]))
    return bytes(out)


def with_header(
    content: bytes,
    *,
    version: int = 1,
    flags: int = 0,
    records: Optional[int] = None,
    size: Optional[int] = None,
) -> bytes:
    """A twoskip file under a header that tells the truth unless told otherwise."""
    magic, _, generation, true_records, repack_size, true_size, _ = _HEADER.unpack_from(content)
    records = true_records if records is None else records
    size = true_size if size is None else size
    header = _HEADER.pack(magic, version, generation, records, repack_size, size, flags)
    return header + struct.pack(">I", zlib.crc32(header)) + content[_HEADER.size + 4 :]
