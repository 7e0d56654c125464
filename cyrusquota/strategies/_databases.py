"""Whole databases, with a history."""

from __future__ import annotations

import os
import tempfile
from functools import partial
from pathlib import Path
from typing import Callable, Mapping, Optional

import attrs
from hypothesis import strategies as st

from cyrusquota.strategies._roots import NAMES
from cyrusquota.strategies._values import values
from cyrusquota.strategies.writers import (
    Writer,
    close,
    flat,
    quotalegacy,
    skiplist,
    sqlite,
    twom,
    twoskip,
)

#: The writers of each backend.
MAKERS: dict[str, tuple[Callable[[Path], Writer], ...]] = {
    "flat": (flat.FlatWriter,),
    "quotalegacy": (
        quotalegacy.QuotalegacyWriter,
        partial(quotalegacy.QuotalegacyWriter, fulldirhash=True),
        partial(quotalegacy.QuotalegacyWriter, virtdomains=True),
    ),
    "skiplist": (skiplist.SkiplistWriter,),
    "sql": (sqlite.SqliteWriter,),
    "twom": (
        twom.TwomWriter,
        partial(twom.TwomWriter, seed=1, fat=True),
        partial(twom.TwomWriter, seed=2, checksums=twom.NULL),
    ),
    "twoskip": (
        twoskip.TwoskipWriter,
        partial(twoskip.TwoskipWriter, fillers=True),
        partial(twoskip.TwoskipWriter, seed=1, mailbox_order=True),
    ),
}
#: What `databases` knows, under Cyrus's names.
BACKENDS = tuple(MAKERS)

#: A tree has a file for each key, so its names are those that files can have.
_KEYS = [name.encode() for name in NAMES if name != " "]
_KEYS += [b"user.m\xfcller", b"user.jane!x"]
_CHANGES = st.lists(
    st.tuples(st.sampled_from(_KEYS), st.none() | values().map(lambda case: case[0])), max_size=6
)
_STEP = st.tuples(st.sampled_from(["commit", "commit", "commit", "abort", "repack"]), _CHANGES)


@attrs.frozen
class DatabaseFiles:
    """The files of a database, and its live records.

    `files` has paths relative to the directory of the database: quotas.db, or the files of a
    quotalegacy tree.
    """

    backend: str
    files: Mapping[bytes, bytes]
    records: Mapping[bytes, bytes]

    @property
    def content(self) -> bytes:
        """Return the bytes of a database that is one file."""
        return self.files[b"quotas.db"]

    def write_to(self, directory: Path) -> Path:
        """Write the database into a directory; return the path to open."""
        if self.backend == "quotalegacy":
            (directory / "quota").mkdir(exist_ok=True)
        for name, content in self.files.items():
            path = os.path.join(os.fsencode(directory), name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
        return directory if self.backend == "quotalegacy" else directory / "quotas.db"


def databases(backend: Optional[str] = None) -> st.SearchStrategy[DatabaseFiles]:
    """Draw databases of one of the `BACKENDS`, by default any, after up to ten transactions.

    Keys are replaced, deleted and added again, some transactions are aborted or left unfinished
    by a killed writer, and some databases repacked. Every option of a format is drawn: the order
    of keys, the kind of checksums and records, the hashing of directories.
    """
    backends = st.sampled_from(BACKENDS) if backend is None else st.just(backend)
    makers = st.integers(min_value=0, max_value=2)
    return st.builds(_written, backends, makers, st.lists(_STEP, max_size=10))


def _written(
    backend: str, maker: int, history: list[tuple[str, list[tuple[bytes, Optional[bytes]]]]]
) -> DatabaseFiles:
    makers = MAKERS[backend]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        whole = path if backend == "quotalegacy" else path / "quotas.db"
        writer = makers[maker % len(makers)](whole)
        state: dict[bytes, bytes] = {}
        for end, changes in history:
            state = _step(writer, end, changes, state)
        close(writer)
        return DatabaseFiles(backend, _files(path), state)


def _step(
    writer: Writer,
    end: str,
    changes: list[tuple[bytes, Optional[bytes]]],
    state: dict[bytes, bytes],
) -> dict[bytes, bytes]:
    """Make a transaction; return the live records after it."""
    changed = dict(state)
    writer.begin()
    for key, value in changes:
        if value is None:
            writer.delete(key)
            changed.pop(key, None)
        else:
            writer.set(key, value)
            changed[key] = value
    if end == "abort":
        writer.abort()
        return state
    writer.commit()
    if end == "repack":
        writer.repack()
    return changed


def _files(directory: Path) -> dict[bytes, bytes]:
    base = os.fsencode(directory)
    return {
        os.path.relpath(os.path.join(where, name), base): Path(
            os.fsdecode(os.path.join(where, name))
        ).read_bytes()
        for where, _, names in os.walk(base)
        for name in names
    }
