"""Any history of a database reads back as a dict would, at every moment of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Optional

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
from tests.writers import WRITERS, Writer, close

#: Few keys, so that they meet again; one is the start of others, some have bytes that mean
#: something somewhere.
_POOL = (
    *(b"user.a", b"user.ab", b"user.a.b", b"user.a-b", b"user.b", b"user.c", b"user.d", b"u"),
    *(b"example.org!user.a", b"user.m\xfcller", b"user.caf\xc3\xa9", b"user.a b", b"user.^"),
)
_VALUES = (b"%(S (1024 10) M (3) AS (0) NF (2) MODSEQ 5)", b"1024 10", b"0 -1", b"%()")

_any_bytes = st.binary(min_size=1, max_size=40)
_any_value = st.binary(max_size=60)
_text = st.binary(min_size=1, max_size=40).filter(lambda text: not set(text) & set(b"\0'"))
_file_name = st.from_regex(rb"[A-Za-z0-9_^!-][A-Za-z0-9_^!. \x80-\xff-]{0,40}", fullmatch=True)

#: The keys and values besides the ones above, where a format does not take all bytes.
_KEYS: dict[str, st.SearchStrategy[bytes]] = {"sql": _text, "quotalegacy": _file_name}
_DATA: dict[str, st.SearchStrategy[bytes]] = {"sql": _text, "quotalegacy": st.just(b"%(S (7))")}


#: Where a reader waits until a transaction under way is over.
_READ_AT_REST = ("sql",)


class _History(RuleBasedStateMachine):
    backend: str
    writer: Writer

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self.writer = WRITERS[self.backend](Path(self._directory.name) / "quotas.db")
        self._committed: dict[bytes, bytes] = {}
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

    @precondition(lambda self: bool(self._changed))
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        assert self._changed is not None
        key = data.draw(st.sampled_from(sorted(self._changed)), label="key")
        self.writer.delete(key)
        del self._changed[key]

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

    @precondition(lambda self: self._changed is None or self.backend not in _READ_AT_REST)
    @invariant()
    def reads_back(self) -> None:
        with cyrusdb.open(self.writer.path, self.backend) as db:
            records = list(db)
            assert dict(records) == self._committed
            assert len(records) == len(self._committed)

    def teardown(self) -> None:
        close(self.writer)
        self._directory.cleanup()


@pytest.mark.parametrize("backend", sorted(WRITERS))
def test_any_history_reads_back_as_a_dict_would(backend: str) -> None:
    machine = type("History", (_History,), {"backend": backend})
    quiet = (HealthCheck.too_slow, HealthCheck.filter_too_much)
    run_state_machine_as_test(
        machine, settings=settings(deadline=None, suppress_health_check=quiet)
    )
