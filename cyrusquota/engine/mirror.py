"""Follow all stores, and keep the union of what the fresh ones say.

    mirror = Mirror(engine, listing, notices=notices)
    while True:
        wait(mirror.step())

`listing` is told of each change of the union. `step` does what is due and returns the seconds until
more will be. It raises nothing; `notices` has what is wrong.

A store is fresh while its stamp was seen to rise within `LAPSE` by the clock of this process. No
other clock counts, and neither does anything that the server says of time. A state older than one
seen before, as a replica has it that took over, is not believed and is no sign of life. After a
lapse the mirror forgets what it has seen, and wants to see two rises: one can be an old request
that was carried out late.

What is read is compared with the digest that the publisher has written.
"""

from __future__ import annotations

import time
from typing import Callable, Iterable, Optional, Protocol, Sequence

import attrs

from cyrusquota.engine import protocol
from cyrusquota.engine.difference import Difference
from cyrusquota.engine.entry_guard import EntryGuard
from cyrusquota.engine.interface import Engine, StoreNews
from cyrusquota.engine.mirrored_store import MirroredStore, union
from cyrusquota.engine.protocol import LAPSE, NO_STAMP, Stamp, StoreContent, StoreStatus
from cyrusquota.errors import BadStore, EngineError, EngineMisfit, count_of
from cyrusquota.follow.notices import Notices
from cyrusquota.maps.status import Status
from cyrusquota.publish.guard import Limit, Limits

#: Seconds: between two looks; between two steps of the search for stores; after a failed request.
POLL, SEARCH, RETRY = 0.1, 2.0, 0.5
#: Seconds between the two rises that a store needs after a lapse.
APART = 1.0
#: Seconds until a store that is held back is read again, and one that cannot be read; that is
#: doubled with each failure, up to the third number, because it may be what keeps the server busy.
READ_HELD, READ_AGAIN, READ_MOST = 2.0, 0.5, 15.0
#: Looking takes at most one part in so many of the time, but not more than so many seconds pass.
SHARE, MOST = 5, 2.0
#: A store may lose entries as fast as it likes; the publisher has its own limit for that.
GROWTH = Limits(added=Limit(20, 20), removed=None)
#: More stores than this are not followed.
MAX_STORES = 1000


class Listing(Protocol):
    """Is told what the fresh stores say together."""

    def put(self, key: bytes, status: Status) -> None:
        """List a key (`protocol.recipient_of`), or change its status."""

    def drop(self, key: bytes) -> None:
        """Remove a key."""


@attrs.frozen
class StoreView:
    """What a mirror knows of one store.

    `age` is the time in seconds since its stamp was last seen to rise, and None where it was not
    since the mirror was started, or since a lapse. `problem` is why its users are not listed.
    """

    name: str
    is_fresh: bool
    is_expected: bool
    age: Optional[float]
    entries: int
    status: Optional[StoreStatus]
    problem: str


class Mirror:
    """Follows the stores of an engine. `expect` names those that should be there."""

    def __init__(
        self,
        engine: Engine,
        listing: Listing,
        *,
        notices: Notices,
        expect: Iterable[str] = (),
        limits: Limits = GROWTH,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._listing = listing
        self._notices = notices
        self._limits = limits
        self._clock = clock
        self._stores: dict[str, MirroredStore] = {}
        for name in expect:
            protocol.check_store_name(name)
            self._store(name).is_expected = True
        #: None until the first search for stores is complete.
        self._found: Optional[Sequence[str]] = None
        self._started = clock()
        self._not_before = self._search_at = float("-inf")
        self._settled = False
        self._claimed: set[bytes] = set()

    # What a caller wants to know

    @property
    def is_settled(self) -> bool:
        """Whether the union is complete, or has been waited for long enough to replace a map."""
        if not self._settled:
            is_complete = self._found is not None and bool(self._stores)
            is_complete = is_complete and all(one.seen is not None for one in self._stores.values())
            self._settled = is_complete or self._clock() - self._started > LAPSE
        return self._settled

    @property
    def is_alive(self) -> bool:
        """Whether any store is fresh, so that the map may be renewed."""
        return any(one.seen is not None for one in self._stores.values())

    @property
    def claimed_twice(self) -> int:
        """The number of users that more than one fresh store lists."""
        return len(self._claimed)

    def stores(self) -> list[StoreView]:
        """Return what is known of each store, by name."""
        now = self._clock()
        return [
            StoreView(
                one.name,
                one.seen is not None,
                one.is_expected,
                None if one.seen is None else now - one.seen,
                len(one.entries),
                one.status,
                one.problem,
            )
            for _, one in sorted(self._stores.items())
        ]

    # What is done

    def step(self) -> float:
        """Look what is new, and return the seconds until the next step."""
        begun = self._clock()
        # First of all: whatever the server does, nobody stays listed for longer.
        self._lapse(begun)
        if begun >= self._not_before:
            try:
                self._search(begun)
                self._poll(begun)
                self._notices.right("engine")
            except EngineError as error:
                self._notices.wrong("engine", str(error))
                self._not_before = self._clock() + RETRY
            else:
                now = self._clock()
                share = min((SHARE - 1) * (now - begun), MOST)
                self._not_before = max(begun + POLL, now + share)
            self._lapse(self._clock())
        seen = [one.seen for one in self._stores.values() if one.seen is not None]
        due = min([self._not_before, *(at + LAPSE for at in seen)])
        return max(0.0, due - self._clock())

    def _store(self, name: str) -> MirroredStore:
        if name not in self._stores:
            self._stores[name] = MirroredStore(name, EntryGuard(self._limits, self._clock))
        return self._stores[name]

    def _search(self, now: float) -> None:
        if self._found is not None and now < self._search_at:
            return
        found = self._engine.stores()
        if found is None:
            return
        self._found, self._search_at = found, now + SEARCH
        for name in found[:MAX_STORES]:
            self._store(name)
        for name, store in [*self._stores.items()]:
            if not store.is_expected and store.seen is None and name not in found:
                self._notices.right(f"store {name}")
                del self._stores[name]
        if len(found) > MAX_STORES:
            self._notices.wrong(
                "stores", f"{len(found)} stores, of which {MAX_STORES} are followed"
            )
        else:
            self._notices.right("stores")

    def _poll(self, now: float) -> None:
        due = [one for one in self._stores.values() if now >= one.not_before]
        if not due:
            return
        news = self._engine.poll({one.name: one.stamp or NO_STAMP for one in due})
        for store in due:
            self._take_news(store, news.get(store.name, StoreNews()), now)

    def _take_news(self, store: MirroredStore, news: StoreNews, now: float) -> None:
        try:
            if news.error is not None:
                raise news.error
            store.status = news.status
            if news.status is None:
                self._note_problem(store, "is not there; nobody has published it")
            elif self._is_new(store, news.status.stamp):
                self._take_new(store, news, now)
            store.failures = 0
        except EngineError as error:
            store.failures = min(store.failures + 1, 10)
            # The others come first next time.
            store.not_before = self._clock() + min(READ_AGAIN * 2**store.failures, READ_MOST)
            if not isinstance(error, (BadStore, EngineMisfit)):
                raise
            self._note_problem(store, str(error), is_wrong=True)

    def _is_new(self, store: MirroredStore, stamp: Stamp) -> bool:
        """Return whether a state is believed: a newer one, or any while the store is not fresh."""
        if store.stamp is None or stamp > store.stamp:
            return True
        return stamp < store.stamp and store.seen is None

    def _take_new(self, store: MirroredStore, news: StoreNews, now: float) -> None:
        """Take over a new state of a store, and see whether it is a sign of life."""
        before, status = store.stamp, news.status
        assert status is not None
        content = None
        if news.changes is not None and before is not None:
            difference = Difference.of(news.changes)
            digest = difference.digest(store.entries, store.digest)
            added, removed = difference.added(store.entries), difference.removed(store.entries)
            count = len(store.entries) + len(added) - len(removed)
            if (count, digest) != (status.entries, status.digest):
                content = self._read(store)
        else:
            content = self._read(store)
        if content is not None:
            status = content.status
            if not self._is_new(store, status.stamp):
                return
            difference = Difference.between(store.entries, content.entries)
            added, removed = difference.added(store.entries), difference.removed(store.entries)
        if store.seen is not None and self._is_held_back(store, added, removed, now):
            return
        self._adopt(store, status, difference, (added, removed))
        self._note_rise(store, before, now)

    def _read(self, store: MirroredStore) -> StoreContent:
        content = self._engine.read(store.name)
        if content is None:
            raise protocol.gone(store.name)
        problem = content.problem(store.name)
        if problem is not None:
            raise problem
        return content

    def _adopt(
        self,
        store: MirroredStore,
        status: StoreStatus,
        difference: Difference,
        keys: tuple[list[bytes], list[bytes]],
    ) -> None:
        difference.apply(store.entries)
        store.status, store.stamp, store.digest = status, status.stamp, status.digest
        if store.seen is not None:
            store.guard.accepted(*keys)
            for key in difference.values:
                self._renew(key)

    def _note_rise(self, store: MirroredStore, before: Optional[Stamp], now: float) -> None:
        """See whether a new state is a sign of life: one keeps a store fresh, two make it fresh."""
        assert store.stamp is not None
        if before is None or store.stamp < before:
            store.hint = None
        elif store.seen is not None:
            self._note_life(store, now)
        elif store.hint is None or now - store.hint > LAPSE:
            store.hint = now
        elif now - store.hint >= APART:
            self._note_life(store, now)

    def _note_life(self, store: MirroredStore, now: float) -> None:
        if store.seen is None:
            if self._has_outgrown(store, now):
                return
            store.guard.begin(len(store.entries))
            entries = count_of(len(store.entries), "entry")
            self._notices.tell(f"store {store.name}: fresh, {entries}")
        was_fresh = store.seen is not None
        store.seen, store.hint = now, None
        if store.problem:
            store.problem = ""
            self._notices.right(f"store {store.name}")
        if not was_fresh:
            self._renew_all(store)

    # Lapses, and what is held back

    def _lapse(self, now: float) -> None:
        for store in self._stores.values():
            if store.seen is not None and now - store.seen >= LAPSE:
                store.accepted = frozenset(store.entries)
                store.forget()
                self._renew_all(store)
                text = store.problem or f"nothing was written for {LAPSE:g} seconds"
                self._note_problem(store, text, is_wrong=True)

    def _note_problem(self, store: MirroredStore, text: str, *, is_wrong: bool = False) -> None:
        store.problem = text
        if is_wrong or store.is_expected:
            prefix = f"store {store.name}: "
            text = text if text.startswith(prefix) else prefix + text
            if store.seen is None:
                consequence = "; its users are not deferred"
            else:
                consequence = f"; what it said before counts for {LAPSE:g} seconds"
            self._notices.wrong(f"store {store.name}", text + consequence)

    def _is_held_back(
        self, store: MirroredStore, added: Sequence[bytes], removed: Sequence[bytes], now: float
    ) -> bool:
        """Return whether a store has grown out of proportion, and say so."""
        rejection = store.guard.rejection(added, removed)
        if rejection is None:
            return False
        store.not_before = now + READ_HELD
        self._note_problem(
            store,
            f"{rejection.reason}; look at its backend, then restart cyrusquota-mirror to accept it",
            is_wrong=True,
        )
        return True

    def _has_outgrown(self, store: MirroredStore, now: float) -> bool:
        """Return whether a store that comes back has grown out of proportion since it lapsed."""
        if store.accepted is None:
            return False
        store.guard.begin(len(store.accepted))
        added = [key for key in store.entries if key not in store.accepted]
        removed = [key for key in store.accepted if key not in store.entries]
        return self._is_held_back(store, added, removed, now)

    # The union

    def _renew_all(self, store: MirroredStore) -> None:
        for key in store.entries:
            self._renew(key)

    def _renew(self, key: bytes) -> None:
        """Let the listing say what the fresh stores say of a key."""
        found = [
            one.entries[key]
            for one in self._stores.values()
            if one.seen is not None and key in one.entries
        ]
        if len(found) > 1:
            self._claimed.add(key)
        else:
            self._claimed.discard(key)
        if found:
            self._listing.put(key, found[0] if len(found) == 1 else union(found))
        else:
            self._listing.drop(key)
