"""A history of transactions, aborts and repacks, after each of which the reader must be right."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Callable, Optional

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import cyrusquota.cyrusdb

from ..writers.linked import LinkedWriter

#: Few enough that keys meet again, and in an order that tells byte from mailbox order.
KEYS = [b"user.a", b"user.a-b", b"user.a.b", b"user.ab", b"user.b", b"user.b\xff", b"x!user.a"]
KEYS += [b"user." + b"long" * 70, b"\x01"]
VALUES = st.one_of(
    st.sampled_from((b"", b"0 0", b"%(S (1024 10))", b"\0", b"ends in NUL\0\0", b" " * 600)),
    st.binary(max_size=40),
)
#: A key and its new value, or None to delete it.
CHANGES = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | VALUES), max_size=6)


class LinkedHistory(RuleBasedStateMachine):
    """`makers` are the ways to start a database, of which each run takes one."""

    makers: tuple[Callable[[Path], LinkedWriter], ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.path = self.directory / "quotas.db"
        self.state: dict[bytes, bytes] = {}
        self.held: Optional[tuple[cyrusquota.cyrusdb.Database, dict[bytes, bytes]]] = None

    def teardown(self) -> None:
        shutil.rmtree(self.directory)

    @initialize(maker=st.integers(min_value=0))
    def start(self, maker: int) -> None:
        self.writer = self.makers[maker % len(self.makers)](self.path)

    @rule(changes=CHANGES)
    def transaction(self, changes: list[tuple[bytes, Optional[bytes]]]) -> None:
        self._change(changes)
        self.writer.commit()
        for key, value in changes:
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value

    @rule(changes=CHANGES)
    def aborted_transaction(self, changes: list[tuple[bytes, Optional[bytes]]]) -> None:
        self._change(changes)
        self.writer.abort()

    @rule()
    def repack(self) -> None:
        self.writer.repack()

    @rule()
    def hold(self) -> None:
        self.held = cyrusquota.cyrusdb.open(self.path), dict(self.state)

    def _change(self, changes: list[tuple[bytes, Optional[bytes]]]) -> None:
        self.writer.begin()
        for key, value in changes:
            if value is None:
                self.writer.delete(key)
            else:
                self.writer.set(key, value)
        # Nothing of it counts yet.
        self.the_committed_state_is_read()

    @invariant()
    def the_committed_state_is_read(self) -> None:
        with cyrusquota.cyrusdb.open(self.path) as database:
            rows = list(database)
            snapshot = database.snapshot()
        assert len(rows) == len(self.state) == snapshot.records
        assert dict(rows) == self.state
        assert snapshot.size == self.writer.current_size
        assert snapshot.generation == self.writer.generation

    @invariant()
    def what_was_read_stays(self) -> None:
        if self.held is not None:
            database, state = self.held
            assert dict(database) == state
