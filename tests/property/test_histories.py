"""Any history of a database reads back as a dict would, at every moment of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Callable, Optional

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from cyrusquota import cyrusdb
from cyrusquota.strategies._databases import MAKERS
from cyrusquota.strategies.writers import Writer, close
from cyrusquota.strategies.writers.linked import LinkedWriter

#: Few keys, so that they meet again; one is the start of others, some have bytes that mean
#: something somewhere, and the two orders of twoskip disagree about some.
_POOL = (
    *(b"user.a", b"user.ab", b"user.a.b", b"user.a-b", b"user.b", b"user.c", b"user.d", b"u"),
    *(b"example.org!user.a", b"user.m\xfcller", b"user.caf\xc3\xa9", b"user.a b", b"user.^"),
)
#: Keys for all formats but those that have rules for them.
_MORE = (b"\x01", b"user.b\xff", b"user." + b"long" * 70)
_VALUES = (b"%(S (1024 10) M (3) AS (0) NF (2) MODSEQ 5)", b"1024 10", b"0 -1", b"%()", b" " * 600)
_MORE_VALUES = (b"", b"\0", b"ends in NUL\0\0")

_any_bytes = st.sampled_from(_MORE) | st.binary(min_size=1, max_size=40)
_any_value = st.sampled_from(_MORE_VALUES) | st.binary(max_size=60)
_text = st.binary(min_size=1, max_size=40).filter(lambda text: not set(text) & set(b"\0'"))
_file_name = st.from_regex(rb"[A-Za-z0-9_^-][A-Za-z0-9_^. \x80-\xff-]{0,40}", fullmatch=True)

#: The keys and values besides the ones above, where a format does not take all bytes.
_KEYS: dict[str, st.SearchStrategy[bytes]] = {
    "sql": _text,
    "quotalegacy": _file_name.filter(lambda name: not name.endswith(b".NEW")),
}
_DATA: dict[str, st.SearchStrategy[bytes]] = {"sql": _text, "quotalegacy": st.just(b"%(S (7))")}


#: Where a reader waits until a transaction under way is over.
_READ_AT_REST = ("sql",)
#: Where the files of the keys are read when they are asked for.
_READ_LATE = ("quotalegacy",)


class _History(RuleBasedStateMachine):
    backend: str
    maker: Callable[[Path], Writer]
    writer: Writer

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.writer = type(self).maker(Path(self._directory.name) / "quotas.db")
        self._committed: dict[bytes, bytes] = {}
        self._held: Optional[tuple[cyrusdb.Database, dict[bytes, bytes]]] = None
        self._changed: Optional[dict[bytes, bytes]] = None

    def _is_in_transaction(self) -> bool:
        return self._changed is not None

    def _is_at_rest(self) -> bool:
        return self._changed is None

    @precondition(_is_at_rest)
    @rule()
    def begin(self) -> None:
        self.writer.begin()
        self._changed = dict(self._committed)

    @precondition(_is_in_transaction)
    @rule(data=st.data())
    def set(self, data: st.DataObject) -> None:
        keys = st.sampled_from(_POOL) | _KEYS.get(self.backend, _any_bytes)
        values = st.sampled_from(_VALUES) | _DATA.get(self.backend, _any_value)
        key, value = data.draw(keys, label="key"), data.draw(values, label="value")
        self.writer.set(key, value)
        assert self._changed is not None
        self._changed[key] = value

    @precondition(_is_in_transaction)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        assert self._changed is not None
        # Also what is not there.
        keys = st.sampled_from(sorted({*self._changed, *_POOL}))
        key = data.draw(keys, label="key")
        self.writer.delete(key)
        self._changed.pop(key, None)

    @precondition(_is_in_transaction)
    @rule()
    def commit(self) -> None:
        self.writer.commit()
        assert self._changed is not None
        self._committed, self._changed = self._changed, None

    @precondition(_is_in_transaction)
    @rule()
    def abort(self) -> None:
        self.writer.abort()
        self._changed = None

    @precondition(_is_at_rest)
    @rule()
    def repack(self) -> None:
        self.writer.repack()

    @precondition(lambda self: self._is_at_rest() and self.backend not in _READ_LATE)
    @rule()
    def hold(self) -> None:
        self._held = cyrusdb.open(self.writer.path, self.backend), dict(self._committed)

    @precondition(lambda self: self._changed is None or self.backend not in _READ_AT_REST)
    @invariant()
    def reads_back(self) -> None:
        with cyrusdb.open(self.writer.path, self.backend) as db:
            records = list(db)
            snapshot = db.snapshot()
        assert dict(records) == self._committed
        assert len(records) == len(self._committed) == snapshot.records
        if isinstance(self.writer, LinkedWriter):
            assert snapshot.size == self.writer.current_size
            assert snapshot.generation == self.writer.generation

    @invariant()
    def what_was_read_stays(self) -> None:
        if self._held is not None:
            database, state = self._held
            assert dict(database) == state

    def teardown(self) -> None:
        close(self.writer)
        self._directory.cleanup()


_CASES = [
    pytest.param(backend, maker, id=f"{backend}-{number}")
    for backend, makers in MAKERS.items()
    for number, maker in enumerate(makers)
]


@pytest.mark.parametrize(("backend", "maker"), _CASES)
def test_any_history_reads_back_as_a_dict_would(
    backend: str, maker: Callable[[Path], Writer]
) -> None:
    machine = type("History", (_History,), {"backend": backend, "maker": staticmethod(maker)})
    quiet = (HealthCheck.too_slow, HealthCheck.filter_too_much)
    run_state_machine_as_test(
        machine, settings=settings(deadline=None, suppress_health_check=quiet)
    )
