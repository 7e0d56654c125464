"""Publish the entries of a store, and keep saying that they are still right.

    publisher = StorePublisher(engine, "store1", notices=notices, holder=holder)
    publisher.publish(entries)      # whenever they have changed
    wait(publisher.step())          # all the time

`step` does what is due and returns the seconds until more will be. It raises nothing; `notices` has
what is wrong.

Only one publisher may write to a store. Each write is a compare-and-set on the stamp that the last
one left, so of two publishers one finds a higher generation there: it is *fenced*. It comes back
only after it has watched the other one being silent for `LAPSE`. Just trying again after a while
would let them take the store from each other in turn.

A request that fails may have been carried out, or be carried out later. What became of it is read
from the store, and unless it is all there, everything is written again.

Without a write for `LAPSE` the store counts for nothing at the mirrors. So a publisher that cannot
read its source, or holds a change back, just stops writing.
"""

from __future__ import annotations

import time
from typing import Callable, Iterable, Optional

import attrs

from cyrusquota.engine import protocol
from cyrusquota.engine.difference import Difference
from cyrusquota.engine.entry_guard import EntryGuard
from cyrusquota.engine.interface import Answer, Engine
from cyrusquota.engine.protocol import (
    BATCH,
    BEAT,
    LAPSE,
    MAX_BYTES,
    MAX_ENTRIES,
    MAX_KEY,
    NO_STAMP,
    Entries,
    Stamp,
    StoreStatus,
)
from cyrusquota.errors import BadStore, EngineError, count_of, quote
from cyrusquota.follow.notices import Notices
from cyrusquota.publish.guard import Limits, Rejection, rounded_up

#: Seconds: between two looks at a store that another publisher holds, or at a change that is held
#: back; after a failed request.
WATCH, RETRY_HELD, RETRY = 2.0, 5.0, 0.5
#: A mirror that has lost sight of a store wants to see two writes. So the first beats come early.
EARLY_BEATS, EARLY_BEAT = 2, 1.5
#: How often a publisher that has just been started tries to take over from one that is writing.
TRIES = 5


@attrs.frozen
class _Fenced:
    """Another publisher has the store, and this is its stamp since then."""

    since: float
    stamp: Stamp


@attrs.frozen
class _Sent:
    """A request that may have been carried out: what the store is then."""

    stamp: Stamp
    digest: int
    difference: Difference
    is_snapshot: bool = False

    def is_there(self, status: StoreStatus, holder: str) -> bool:
        return (self.stamp, self.digest, holder) == (status.stamp, status.digest, status.holder)


class StorePublisher:
    """Publishes one store. `holder` is the name of this publisher (`protocol.holder_name`)."""

    def __init__(
        self,
        engine: Engine,
        store: str,
        *,
        notices: Notices,
        holder: str,
        limits: Optional[Limits] = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self._engine = engine
        self._notices = notices
        self.holder = holder
        self._clock = clock
        self._guard = EntryGuard(limits or Limits(), clock)
        #: Whether the guard compares with what this publisher wrote, or has read.
        self._guards = False
        self._wanted: dict[bytes, bytes] = {}
        self._is_ready = False
        self._roots: Optional[int] = None
        self._unfit: set[bytes] = set()
        #: What the store holds as of `_stamp`, the digest of that, and the keys that differ.
        self._held: dict[bytes, bytes] = {}
        self._held_digest = 0
        self._pending: set[bytes] = set()
        #: None while everything has to be written.
        self._stamp: Optional[Stamp] = None
        self._sent: Optional[_Sent] = None
        #: The highest generation that this publisher has had.
        self._floor = 0
        self._fenced: Optional[_Fenced] = None
        self._rejection: Optional[Rejection] = None
        self._written = self._not_before = float("-inf")
        self._early_beats = 0

    # What the source says

    def publish(
        self,
        entries: Entries,
        changed: Optional[Iterable[bytes]] = None,
        *,
        roots: Optional[int] = None,
    ) -> None:
        """Take over what the store has to say; `changed` are the keys that may differ, if known.

        `roots` is the number of quota roots that the entries come from.
        """
        if changed is None:
            changed = [key for key, value in entries.items() if self._wanted.get(key) != value]
            changed += [key for key in self._wanted if key not in entries]
            self._unfit.intersection_update(entries)
        for key in changed:
            self._want(key, entries.get(key))
        self._roots = roots
        self._is_ready = True
        self._note_unfit()

    def suspend(self) -> None:
        """Write nothing until the next `publish`: the source cannot be read at present."""
        self._is_ready = False

    @property
    def summary(self) -> str:
        """What there is to say in a few words."""
        if self._fenced is not None:
            return f"store {self.store}: another publisher has it"
        if self._stamp is None or not self._is_ready:
            return f"store {self.store}: not published at present"
        return f"store {self.store}: {count_of(len(self._held), 'entry')} published"

    def _want(self, key: bytes, value: Optional[bytes]) -> None:
        self._unfit.discard(key)
        if value is not None and not protocol.is_entry(key, value):
            self._unfit.add(key)
            value = None
        if value is None:
            self._wanted.pop(key, None)
        else:
            self._wanted[key] = value
        if self._held.get(key) == value:
            self._pending.discard(key)
        else:
            self._pending.add(key)

    def _note_unfit(self) -> None:
        topic = f"store {self.store}: addresses"
        if not self._unfit:
            self._notices.right(topic)
            return
        self._notices.wrong(
            topic,
            f"store {self.store}: {count_of(len(self._unfit), 'user')} left out, whose address no"
            f" mail can have or is too long, as {quote(min(self._unfit))}; rename them",
        )

    # What is written

    def step(self) -> float:
        """Write what is due, and return the seconds until the next step."""
        begun = self._clock()
        if begun >= self._not_before and self._is_ready:
            try:
                self._write_if_due(begun)
                self._notices.right("engine")
            except EngineError as error:
                self._notices.wrong("engine", str(error))
                self._not_before = self._clock() + RETRY
        return max(0.0, self._due() - self._clock())

    def _due(self) -> float:
        if not self._is_ready:
            return self._clock() + RETRY_HELD
        if self._stamp is None:
            return self._not_before
        beat = EARLY_BEAT if self._early_beats else BEAT
        return max(self._written + (BATCH if self._pending else beat), self._not_before)

    def _write_if_due(self, now: float) -> None:
        if self._fenced is not None:
            self._watch(self._fenced, now)
        elif self._stamp is None:
            self._begin(now)
        elif now >= self._due():
            self._write(self._stamp, now)

    def _watch(self, fenced: _Fenced, now: float) -> None:
        """Look whether the publisher that has the store is silent; if it is, take over."""
        # Time during which nobody could be seen is no silence.
        self._fenced = attrs.evolve(fenced, since=float("inf"))
        status = self._status()
        stamp = NO_STAMP if status is None else status.stamp
        if fenced.stamp != stamp or fenced.since > now:
            fenced = _Fenced(now, stamp)
        self._fenced, self._not_before = fenced, now + WATCH
        if now - fenced.since > LAPSE:
            self._fenced, self._not_before = None, now
            self._floor = max(self._floor, stamp.gen)
            # What the other one wrote is what a change has to be plausible beside.
            self._guards = False

    def _status(self) -> Optional[StoreStatus]:
        try:
            return self._engine.status(self.store)
        except BadStore:
            return None

    def _begin(self, now: float) -> None:
        """Write everything, unless an earlier request turns out to have done so."""
        self._not_before = now + BATCH
        status = self._status()
        sent, self._sent = self._sent, None
        if sent is not None and status is not None and sent.is_there(status, self.holder):
            self._take(sent, status, now)
            return
        if self._is_taken(status):
            self._fence(status, now)
            return
        if not self._guards:
            self._compare_with_store(status)
        if self._is_held_back(status, now):
            return
        digest = protocol.digest(self._wanted)
        for _ in range(1 if self._floor else TRIES):
            answer = self._send_snapshot(status, digest)
            if answer.accepted:
                return
            status = answer.status
        if status is not None and status.stamp.gen > self._floor:
            self._fence(status, now)

    def _is_taken(self, status: Optional[StoreStatus]) -> bool:
        """Return whether somebody else has taken the store from this publisher."""
        if status is None or not self._floor:
            return False
        return status.stamp.gen > self._floor and status.holder != self.holder

    def _compare_with_store(self, status: Optional[StoreStatus]) -> None:
        """Let the guard compare with what is in the store, by any publisher."""
        content = None
        try:
            content = None if status is None else self._engine.read(self.store)
        except BadStore as error:
            self._notices.tell(f"{error}")
        if content is None or content.problem(self.store) is not None:
            # Nothing to compare with: whatever comes is accepted.
            self._guard.begin(len(self._wanted))
            self._hold(dict(self._wanted), 0)
        else:
            self._guard.begin(len(content.entries))
            self._hold(content.entries, content.status.digest)
        self._guards = True

    def _hold(self, entries: dict[bytes, bytes], digest: int) -> None:
        self._held, self._held_digest = entries, digest
        self._pending = set(Difference.between(entries, self._wanted).values)

    def _send_snapshot(self, status: Optional[StoreStatus], digest: int) -> Answer:
        expected = NO_STAMP if status is None else status.stamp
        entries = dict(self._wanted)
        stamp = Stamp(max(expected.gen, self._floor) + 1, expected.seq + 1)
        difference = Difference.between(self._held, entries)
        self._sent = _Sent(stamp, digest, difference, is_snapshot=True)
        answer = self._engine.begin(self.store, expected, self._floor, self.holder, entries, digest)
        sent, self._sent = self._sent, None
        if answer.accepted and answer.status is not None:
            self._take(sent, answer.status, self._clock())
        return answer

    def _write(self, at: Stamp, now: float) -> None:
        """Write what has changed, or a beat."""
        if self._pending and self._is_held_back(None, now):
            return
        difference, count = self._difference(), len(self._wanted)
        digest = difference.digest(self._held, self._held_digest)
        # Until there is an answer, nobody knows what the store holds.
        self._stamp, self._sent = None, _Sent(Stamp(at.gen, at.seq + 1), digest, difference)
        put, drop = difference.put, difference.drop
        answer = self._engine.write(self.store, at, put, drop, count, digest)
        sent, self._sent = self._sent, None
        status = answer.status
        if answer.accepted and status is not None:
            self._take(sent, status, now)
        elif status is not None and status.stamp.gen > self._floor:
            self._fence(status, now)

    def _difference(self) -> Difference:
        """Return what makes what the store holds what it should hold."""
        return Difference({key: self._wanted.get(key) for key in self._pending})

    def _take(self, sent: _Sent, status: StoreStatus, now: float) -> None:
        """Go on from what the store holds since `sent` was carried out."""
        change, held = sent.difference, self._held
        if self._rejection is not None:
            # Accepted all the same.
            self._guard.begin(status.entries)
        else:
            self._guard.accepted(change.added(held), change.removed(held))
        self._rejection = None
        self._notices.right(f"store {self.store}")
        change.apply(held)
        self._held_digest = sent.digest
        # What is wanted may have become what was there before the request.
        keys = self._pending.union(change.values)
        self._pending = {key for key in keys if held.get(key) != self._wanted.get(key)}
        if sent.is_snapshot:
            self._early_beats = EARLY_BEATS
        else:
            self._early_beats -= bool(self._early_beats and not change.values)
        self._stamp, self._written = status.stamp, now
        self._floor = max(self._floor, status.stamp.gen)

    def _fence(self, status: Optional[StoreStatus], now: float) -> None:
        stamp, holder = (NO_STAMP, "") if status is None else (status.stamp, status.holder)
        self._stamp, self._fenced, self._not_before = None, _Fenced(now, stamp), now + WATCH
        self._notices.wrong(
            f"store {self.store}",
            f"store {self.store}: another publisher has taken it over, {holder}; this one waits"
            f" until that one is silent for {LAPSE:g} seconds; stop one of them",
        )

    # What is held back

    def _is_held_back(self, status: Optional[StoreStatus], now: float) -> bool:
        """Return whether the change has to wait for an administrator, and say so."""
        reason = self._too_large() or self._implausible(status)
        if reason is None:
            return False
        self._not_before = now + RETRY_HELD
        self._notices.wrong(
            f"store {self.store}",
            f"store {self.store}: {reason}; nothing is published meanwhile, and after {LAPSE:g}"
            " seconds its users are not deferred",
        )
        return True

    def _too_large(self) -> Optional[str]:
        wanted = self._wanted
        size = 0 if len(wanted) * MAX_KEY < MAX_BYTES else sum(map(len, wanted))
        if len(wanted) <= MAX_ENTRIES and size <= MAX_BYTES:
            return None
        return (
            f"its {len(wanted)} entries are more than a store can have, which are {MAX_ENTRIES}"
            f" entries with {MAX_BYTES >> 20} MiB of addresses"
        )

    def _implausible(self, status: Optional[StoreStatus]) -> Optional[str]:
        difference = self._difference()
        added, removed = difference.added(self._held), difference.removed(self._held)
        rejection = self._guard.rejection(added, removed)
        if rejection is None and self._roots == 0 and removed:
            count = rounded_up(len(added) + len(removed))
            rejection = Rejection(
                "its source has no quota roots", f"accept up to {count} changes once", count
            )
        if rejection is None:
            self._rejection = None
            return None
        self._rejection = rejection
        status = self._status() if status is None else status
        accept = None if status is None else status.accept
        if accept is not None and len(added) + len(removed) <= accept:
            return None
        advice = "" if rejection.ceiling is None else f": {self._command(rejection.ceiling)}"
        return f"{rejection.reason}; check the quota database, or {rejection.advice}{advice}"

    def _command(self, count: int) -> str:
        return f"`cyrusquota stores --accept-change {self.store} {count}`"
