"""Looking keys up gives what the plain readers give, or is left to those."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Callable, Iterator, Optional
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import database, skip_list
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.strategies._databases import MAKERS
from cyrusquota.strategies.writers import Writer, close
from cyrusquota.strategies.writers.skiplist import SkiplistWriter
from cyrusquota.strategies.writers.twom import TwomWriter
from cyrusquota.strategies.writers.twoskip import TwoskipWriter

from .strategies import EDITS, edited
from .test_fast_paths import KEYS, databases, steps

Values = dict[bytes, Optional[bytes]]


def fast_lookup(backend: str, path: Path, keys: set[bytes]) -> Optional[Values]:
    """What the module of the format says, None where it leaves it to the plain reader."""
    module = importlib.import_module(f"cyrusquota.cyrusdb.{backend}.lookup")
    found: Optional[Values] = module.lookup(path, keys)
    return found


LOOKUPS = ("skiplist", "twom", "twoskip")
WRITERS: dict[str, Callable[[Path], Writer]] = {
    "skiplist": SkiplistWriter,
    "twom": TwomWriter,
    "twoskip": TwoskipWriter,
}
_CASES = [
    pytest.param(backend, maker, id=f"{backend}-{number}")
    for backend, makers in MAKERS.items()
    for number, maker in enumerate(makers)
]


@pytest.fixture(autouse=True)
def impatient() -> Iterator[None]:
    with mock.patch.object(database, "PAUSE", 0), mock.patch.object(skip_list, "_TRIES", 2):
        yield


def _neighbours(keys: set[bytes]) -> set[bytes]:
    """Keys close to others, before and behind them."""
    near = {key + b"\0" for key in keys} | {key[:-1] for key in keys}
    return (keys | near | {b"user", b"~", b"\xff", b" "}) - {b""}


def _plain(path: Path, backend: str) -> Optional[dict[bytes, bytes]]:
    """What the plain reader gives; None where it has problems."""
    problems: list[CyrusQuotaError] = []
    try:
        with cyrusdb.open(path, backend, on_problem=problems.append) as db:
            state = dict(db)
    except CyrusQuotaError:
        return None
    return None if problems else state


@pytest.mark.parametrize(("backend", "maker"), _CASES)
@given(data=st.data())
def test_any_history_is_looked_up_as_it_is_read(
    backend: str, maker: Callable[[Path], Writer], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        writer = maker(Path(directory) / "quotas.db")
        path = writer.path
        try:
            for step in data.draw(st.lists(steps(backend), min_size=1, max_size=6)):
                step(writer)
                state = _plain(path, backend)
                assert state is not None
                keys = _neighbours({*state, *KEYS})
                expected = {key: state.get(key) for key in keys}
                assert cyrusdb.lookup(path, keys, backend) == expected
                for key in keys if backend in LOOKUPS else ():
                    found = fast_lookup(backend, path, {key})
                    assert found in (None, {key: state.get(key)})
        finally:
            close(writer)


#: Every order of the keys is the same for these.
_PLAIN_KEYS = st.from_regex(rb"user\.[a-z]{1,3}", fullmatch=True)
_CHANGES = st.lists(st.tuples(_PLAIN_KEYS, st.sampled_from([b"", b"1 1", b"20 30"])), max_size=30)


@pytest.mark.parametrize("backend", WRITERS)
@given(history=st.lists(st.tuples(_CHANGES, st.booleans()), min_size=1, max_size=5))
def test_a_file_at_rest_is_looked_up_the_fast_way(
    backend: str, history: list[tuple[list[tuple[bytes, bytes]], bool]]
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        writer, state = WRITERS[backend](Path(directory) / "quotas.db"), dict[bytes, bytes]()
        for changes, repacks in history:
            writer.begin()
            for key, value in changes:
                if value:
                    writer.set(key, value)
                    state[key] = value
                else:
                    writer.delete(key)
                    state.pop(key, None)
            writer.commit()
            if repacks:
                writer.repack()
            keys = {b"user", b"user.mm", b"zz", *state, *(key for key, _ in changes)}
            found = fast_lookup(backend, writer.path, keys)
            assert found == {key: state.get(key) for key in keys}


def _written(backend: str, directory: str) -> tuple[Path, dict[bytes, bytes]]:
    """A file of a run and a log that changes, deletes and adds."""
    writer = WRITERS[backend](Path(directory) / "quotas.db")
    state = {b"user.%02d" % number: b"%d 1" % number for number in range(12)}
    history: list[dict[bytes, Optional[bytes]]] = [
        {**state},
        {b"user.03": b"77 1", b"user.05": None, b"user.031": b"5 5"},
        {b"user.05": b"6 6", b"user.00": None, b"user.11": None, b"user.99": b"9 9"},
    ]
    for number, changes in enumerate(history):
        writer.begin()
        for key, value in changes.items():
            if value is None:
                writer.delete(key)
                del state[key]
            else:
                writer.set(key, value)
                state[key] = value
        writer.commit()
        if number == 0:
            writer.repack()
    return writer.path, state


@pytest.mark.parametrize("backend", ["twom", "twoskip"])
@given(
    edits=EDITS.map(lambda edits: [(3 * at, put) for at, put in edits]),
    first=st.sampled_from([0, 96, 368]),
)
def test_what_is_looked_up_in_a_damaged_file_is_right(
    backend: str, edits: list[tuple[int, bytes]], first: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path, state = _written(backend, directory)
        path.write_bytes(edited(path.read_bytes(), edits, first))
        for key in _neighbours({*state, b"user.00", b"user.11"}):
            assert fast_lookup(backend, path, {key}) in (None, {key: state.get(key)})


@given(edits=EDITS.map(lambda edits: [(3 * at, put) for at, put in edits]))
def test_without_checksums_a_damaged_file_is_looked_up_as_it_is_read(
    edits: list[tuple[int, bytes]],
) -> None:
    """Or it was left to the plain reader, or that one finds damage that is elsewhere."""
    with tempfile.TemporaryDirectory() as directory:
        path, state = _written("skiplist", directory)
        path.write_bytes(edited(path.read_bytes(), edits, 48))
        plain = _plain(path, "skiplist")
        for key in _neighbours({*state, b"user.00", b"user.11"}):
            found = fast_lookup("skiplist", path, {key})
            if found is not None and plain is not None:
                assert found == {key: plain.get(key)}


@pytest.mark.parametrize("backend", WRITERS)
def test_a_file_with_a_word_of_zeros_is_looked_up_as_it_is_read(
    backend: str, tmp_path: Path
) -> None:
    """A pointer, among others, that leads nowhere: that a key is not there would not be true."""
    path, state = _written(backend, str(tmp_path))
    content, other = path.read_bytes(), tmp_path / "other.db"
    answered = 0
    for word in range(0, len(content), 4):
        other.write_bytes(content[:word] + bytes(4) + content[word + 4 :])
        # Skiplist has no checksums, so there the plain reader may be misled as well.
        right = state if backend != "skiplist" else _plain(other, backend)
        for key in {*state, b"user.00", b"user.034"} if right is not None else ():
            found = fast_lookup(backend, other, {key})
            assert found in (None, {key: (right or {}).get(key)})
            answered += found is not None
    assert answered > 1000


def test_every_recorded_database_is_looked_up_as_it_is_read() -> None:
    backends = {path: cyrusdb.guess(path) for path in databases()}
    looked_up = 0
    for path, backend in backends.items():
        state = _plain(path, backend or "flat")
        if state is None or backend not in LOOKUPS:
            continue
        keys = set(list(state)[:40]) | {b"user.nobody"}
        for key in keys:
            found = fast_lookup(backend, path, {key})
            assert found in (None, {key: state.get(key)}), path
            looked_up += found is not None
        assert cyrusdb.lookup(path, keys, backend) == {key: state.get(key) for key in keys}
    assert looked_up > 500
