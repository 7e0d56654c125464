"""What a reader makes of a damaged file, held against what the undamaged one has."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from cyrusquota import cyrusdb
from cyrusquota.errors import CyrusQuotaError

from .writers.linked import LinkedWriter

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
