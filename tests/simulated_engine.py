"""An engine in memory that gives the same answers as the functions of the real server.

`tests/engine_contract.py` runs the same tests for both. Faults are brought about by the tests: they
cut connections, delay requests, and restore or lose what the server holds.
"""

from __future__ import annotations

from typing import Callable, Iterable, Mapping, Optional, Sequence

import attrs

from cyrusquota.engine.interface import Answer, StoreNews
from cyrusquota.engine.protocol import (
    HISTORY,
    MAX_CHANGE,
    NO_STAMP,
    Change,
    Entries,
    Stamp,
    StoreContent,
    StoreStatus,
    lines,
)
from cyrusquota.errors import EngineError, EngineUnreachable


@attrs.frozen
class Store:
    """One store; `history` has its last changes by stamp, None for one that was too large."""

    status: StoreStatus
    entries: dict[bytes, bytes]
    history: dict[Stamp, Optional[Change]] = attrs.field(factory=dict)
    #: Raised instead of an answer, as for a store in another format.
    error: Optional[EngineError] = None


@attrs.define
class Server:
    """What several connections share. Each method happens at one moment."""

    stores: dict[str, Store] = attrs.field(factory=dict)
    is_up: bool = True

    def copy(self) -> dict[str, Store]:
        """Return what it holds, for `stores` at a later time: a store is replaced, not changed."""
        return dict(self.stores)

    def _status(self, store: str) -> Optional[StoreStatus]:
        found = self.stores.get(store)
        if found is not None and found.error is not None:
            raise found.error
        return None if found is None else found.status

    def begin(
        self, store: str, expected: Stamp, floor: int, holder: str, entries: Entries, digest: int
    ) -> Answer:
        status = self._status(store)
        stamp = NO_STAMP if status is None else status.stamp
        if stamp != expected:
            return Answer(False, status)
        new = Stamp(max(stamp.gen, floor) + 1, stamp.seq + 1)
        made = StoreStatus(new, len(entries), digest, holder)
        self.stores[store] = Store(made, dict(entries))
        return Answer(True, made)

    def write(
        self, store: str, at: Stamp, put: Entries, drop: Iterable[bytes], n: int, digest: int
    ) -> Answer:
        status, dropped = self._status(store), tuple(drop)
        if status is None or status.stamp != at:
            return Answer(False, status)
        found = self.stores[store]
        entries = {key: value for key, value in found.entries.items() if key not in dropped}
        entries.update(put)
        if len(entries) != n:
            return Answer(False, status)
        stamp = Stamp(at.gen, at.seq + 1)
        is_large = len(lines(put, dropped)) > MAX_CHANGE
        history = {**found.history, stamp: None if is_large else Change(dict(put), dropped)}
        if len(history) > HISTORY:
            del history[next(iter(history))]
        accept = None if put or dropped else status.accept
        made = StoreStatus(stamp, n, digest, status.holder, accept)
        self.stores[store] = Store(made, entries, history)
        return Answer(True, made)

    def news(self, store: str, have: Stamp) -> StoreNews:
        try:
            status = self._status(store)
        except EngineError as error:
            return StoreNews(error=error)
        if status is None:
            return StoreNews()
        changes = [
            self.stores[store].history.get(Stamp(have.gen, seq))
            for seq in range(have.seq + 1, status.stamp.seq + 1)
        ]
        is_known = have.gen == status.stamp.gen and have <= status.stamp
        known = tuple(change for change in changes if change is not None)
        return StoreNews(status, known if is_known and len(known) == len(changes) else None)

    def read(self, store: str) -> Optional[StoreContent]:
        status = self._status(store)
        return None if status is None else StoreContent(status, dict(self.stores[store].entries))

    def accept(self, store: str, count: int) -> Answer:
        status = self._status(store)
        if status is None:
            return Answer(False, None)
        status = attrs.evolve(status, accept=count)
        self.stores[store] = attrs.evolve(self.stores[store], status=status)
        return Answer(True, status)

    def forget(self, store: str, at: Stamp) -> Answer:
        status = self._status(store)
        if status is None or status.stamp != at:
            return Answer(False, status)
        del self.stores[store]
        return Answer(True, None)


@attrs.define
class SimulatedEngine:
    """A connection to a server. While it is cut, each request fails.

    Where `late` is there, each write fails and is added to it: a test may carry it out later.
    """

    server: Server = attrs.field(factory=Server)
    is_cut: bool = False
    late: Optional[list[Callable[[], object]]] = None
    name: str = "simulated:"

    def _reach(self, request: Optional[Callable[[], object]] = None) -> None:
        is_late = self.late is not None and request is not None
        if self.late is not None and request is not None:
            self.late.append(request)
        if self.is_cut or is_late or not self.server.is_up:
            raise EngineUnreachable("the simulated engine does not answer")

    def status(self, store: str) -> Optional[StoreStatus]:
        self._reach()
        content = self.server.read(store)
        return None if content is None else content.status

    def begin(
        self, store: str, expected: Stamp, floor: int, holder: str, entries: Entries, digest: int
    ) -> Answer:
        sent = dict(entries)
        self._reach(lambda: self.server.begin(store, expected, floor, holder, sent, digest))
        return self.server.begin(store, expected, floor, holder, sent, digest)

    def write(
        self, store: str, at: Stamp, put: Entries, drop: Iterable[bytes], n: int, digest: int
    ) -> Answer:
        sent, dropped = dict(put), tuple(drop)
        self._reach(lambda: self.server.write(store, at, sent, dropped, n, digest))
        return self.server.write(store, at, sent, dropped, n, digest)

    def poll(self, have: Mapping[str, Stamp]) -> Mapping[str, StoreNews]:
        self._reach()
        return {store: self.server.news(store, stamp) for store, stamp in have.items()}

    def read(self, store: str) -> Optional[StoreContent]:
        self._reach()
        return self.server.read(store)

    def stores(self) -> Optional[Sequence[str]]:
        self._reach()
        return sorted(self.server.stores)

    def accept(self, store: str, count: int) -> Answer:
        self._reach(lambda: self.server.accept(store, count))
        return self.server.accept(store, count)

    def forget(self, store: str, at: Stamp) -> Answer:
        self._reach(lambda: self.server.forget(store, at))
        return self.server.forget(store, at)

    def close(self) -> None:
        pass
