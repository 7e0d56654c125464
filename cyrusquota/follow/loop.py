"""Stay running: follow the source, and let the map say within a second who is full.

    follower = Follower(question, listing=..., publish=..., voice=...)
    while True:
        wait(follower.step(), follower.fds())

`step` does what is due and says how long nothing will be; it never waits and never raises for
anything that may pass. The first full reading, and each that is needed later, is made by another
process while this one goes on following, and taken over together with the positions it was made
at, so that nothing is missed and the result is that of a full reading.

A map is renewed only while the source can be read and followed. Otherwise it gets old, and a router
that checks its age stops believing it.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Callable, ContextManager, Optional

import attrs

from cyrusquota.cyrusdb import follow
from cyrusquota.cyrusdb.follow import Changes, Followed, NeedsRescan
from cyrusquota.cyrusdb.quotalegacy.follow import FollowedTree
from cyrusquota.errors import CyrusQuotaError, HeldBack, MapLocked
from cyrusquota.follow.map_entries import MapEntries
from cyrusquota.follow.notices import Notices
from cyrusquota.follow.scan import FollowConfig, Scan, scanned
from cyrusquota.follow.state import FollowState
from cyrusquota.follow.worker import Failed, ForkedWorker, Work, Worker, WorkResult

#: Seconds: between two maps, until a map is renewed, until a failed one is tried again, and until
#: one that was held back is.
DEBOUNCE, RENEW, RETRY, RETRY_HELD = 0.5, 30.0, 1.0, 5.0
#: How long another run may have the map before that is worth a word.
LOCKED = 10.0
#: Seconds after which a full reading confirms what was followed.
CONFIRM = 3600.0
#: What a full reading took, times this, must pass before the next one that is not urgent.
SHARE = 15
#: Seconds after a failed or an urgent one; doubled with each failure, up to the second number.
AGAIN, PATIENCE = 0.5, 10.0
#: But after one that failed for its data, not longer than this.
MOST = 60.0
#: Looking for changes takes at most one part in so many of the time.
LOOKING = 12
_WEIGHT = 0.1


@attrs.define
class _Tails:
    """The tails of the quotas and of the mailboxes."""

    quota: Followed
    mailboxes: Optional[Followed]

    def begin(self, scan: Scan) -> None:
        self.quota.begin(scan.quota)
        if self.mailboxes is not None and scan.mailboxes is not None:
            self.mailboxes.begin(scan.mailboxes)

    def close(self) -> None:
        self.quota.close()
        if self.mailboxes is not None:
            self.mailboxes.close()


def opened(config: FollowConfig) -> _Tails:
    """The tails of what `config` is about. Raises `SourceError` or `NeedsRescan`."""
    source, site = config.source, config.query.site
    assert source.path is not None
    quota: Followed
    if source.fulldirhash is not None:
        quota = FollowedTree(
            source.path, fulldirhash=source.fulldirhash, virtdomains=source.naming.virtdomains
        )
    elif os.path.isdir(source.path):
        quota = FollowedTree(source.path)
    else:
        quota = follow.open(source.path)
    try:
        path = None if site is None else site.path
        return _Tails(quota, None if path is None else follow.open(path))
    except BaseException:
        quota.close()
        raise


class Follower:
    """Keeps a map right. `publish` puts a listing in place, and raises what `Claim.put` does."""

    def __init__(
        self,
        config: FollowConfig,
        *,
        map_entries: Callable[[], MapEntries],
        publish: Callable[[FollowState], None],
        notices: Notices,
        poll: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
        start: Callable[[Work], Worker] = ForkedWorker,
        rights: Callable[[], ContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self._config = config
        self._new_map_entries = map_entries
        self._publish = publish
        self._notices = notices
        self._poll = poll
        self._clock = clock
        self._start = start
        self._rights = rights
        self.state: Optional[FollowState] = None
        #: None while what changes cannot be followed.
        self._tails: Optional[_Tails] = None
        self._scanning: Optional[Worker] = None
        self._next_tails: Optional[_Tails] = None
        self._scan_started = self._scan_ended = self._scan_not_before = 0.0
        self._wants_scan = True
        self._soft_not_before = 0.0
        self._failures = 0
        self._published: Optional[tuple[int, int]] = None
        self._published_at = self._publish_not_before = float("-inf")
        self._locked_since: Optional[float] = None
        self._scans = 0
        self._looking = 0.0

    # For whoever waits

    def fds(self) -> list[int]:
        """What to wait for besides the time."""
        return [] if self._scanning is None or self._scanning.fd is None else [self._scanning.fd]

    @property
    def is_current(self) -> bool:
        """Whether the state is that of the source."""
        return self._tails is not None and self.state is not None

    def replace_config(self, config: FollowConfig) -> None:
        """Follow this from now on, after a full reading; the map in place stays until then."""
        self._config = config
        self._lose()
        self._stop_scanning()
        self._failures, self._scan_not_before = 0, self._clock()

    def close(self) -> None:
        """Let go of everything."""
        self._stop_scanning()
        if self._tails is not None:
            self._tails.close()
        self._tails = None

    def step(self) -> float:
        """Do what is due; gives back the seconds until more may be."""
        begun = self._clock()
        self._collect()
        looked = self._clock()
        self._follow()
        self._looking += _WEIGHT * (self._clock() - looked - self._looking)
        self._scan_if_due()
        self._publish_if_due()
        now = self._clock()
        due = max(begun + self._poll, now + (LOOKING - 1) * self._looking)
        if self._is_unpublished():
            due = min(due, max(self._publish_not_before, self._published_at + DEBOUNCE))
        if self._scanning is None and self._wants_scan:
            due = min(due, self._scan_due())
        return max(0.0, due - now)

    # Full readings

    def _scan_due(self) -> float:
        if self._tails is None:
            return self._scan_not_before
        return max(self._scan_not_before, self._soft_not_before)

    def _scan_if_due(self) -> None:
        now = self._clock()
        if self.is_current and now - self._scan_ended >= CONFIRM:
            self._wants_scan = True
        if self._scanning is not None or not self._wants_scan or now < self._scan_due():
            return
        self._scan_started = now
        config = self._config
        try:
            with self._rights():
                self._next_tails = opened(config)
                self._scanning = self._start(lambda: scanned(config))
        except (CyrusQuotaError, NeedsRescan, OSError) as error:
            self._stop_scanning()
            self._scan_failed(str(error))
            return
        self._wants_scan = False
        self._collect()

    def _collect(self) -> None:
        result = None if self._scanning is None else self._scanning.result()
        if result is not None:
            tails, self._next_tails, self._scanning = self._next_tails, None, None
            assert tails is not None
            self._take(result, tails)

    def _take(self, result: WorkResult, tails: _Tails) -> None:
        if isinstance(result, Failed):
            tails.close()
            self._scan_failed(result.reason)
            return
        try:
            tails.begin(result)
        except NeedsRescan:
            tails.close()
            self._wants_scan = True
            self._scan_ended = self._clock()
            self._scan_not_before = self._scan_ended + AGAIN
            return
        try:
            self.state = FollowState(self._config, result, self._new_map_entries())
        except CyrusQuotaError as error:
            tails.close()
            self._scan_failed(str(error))
            return
        if self._tails is not None:
            self._tails.close()
        self._tails = tails
        self._wants_scan = False
        now = self._clock()
        self._scans += 1
        self._failures = 0
        self._scan_ended = now
        self._scan_not_before = now + AGAIN
        self._soft_not_before = now + SHARE * (now - self._scan_started)
        self._notices.right("source")
        self._notices.records(result.problems)
        self._notices.tell(
            f"{result.roots} quota roots read in {now - self._scan_started:.1f} seconds"
        )
        self._follow()

    def _scan_failed(self, reason: str) -> None:
        """The map in place stays, and gets old, even where what changed can still be followed."""
        self._notices.wrong("source", reason)
        self._lose()
        self._scan_ended = self._clock()
        took = self._scan_ended - self._scan_started
        wait = min(AGAIN * 2**self._failures, PATIENCE)
        self._failures = min(self._failures + 1, 10)
        self._scan_not_before = self._scan_ended + max(wait, min(SHARE * took, MOST))

    def _stop_scanning(self) -> None:
        if self._scanning is not None:
            self._scanning.end()
        if self._next_tails is not None:
            self._next_tails.close()
        self._scanning = self._next_tails = None

    # What changed since

    def _follow(self) -> None:
        tails, state = self._tails, self.state
        if tails is None or state is None:
            return
        try:
            with self._rights():
                rows = Changes() if tails.mailboxes is None else tails.mailboxes.changes()
                changes = tails.quota.changes()
            state.inboxes(rows.by_key)
            state.quotas(changes.by_key)
            state.counted(changes.records)
            self._wants_scan |= not (rows.is_complete and changes.is_complete)
        except (CyrusQuotaError, NeedsRescan) as error:
            self._notices.tell(f"reading everything anew: {error}")
            self._lose()
            return
        if state.needs_scan:
            state.needs_scan = False
            self._wants_scan = True

    def _lose(self) -> None:
        if self._tails is not None:
            self._tails.close()
        self._tails = None
        self._wants_scan = True

    # The map

    def _is_unpublished(self) -> bool:
        state = self.state
        return self.is_current and state is not None and self._published != self._version(state)

    def _version(self, state: FollowState) -> tuple[int, int]:
        return self._scans, state.map_entries.version

    def _publish_if_due(self) -> None:
        now, state = self._clock(), self.state
        if not self.is_current or state is None or now < self._publish_not_before:
            return
        since = now - self._published_at
        if since < DEBOUNCE or (since < RENEW and not self._is_unpublished()):
            return
        self._publish_not_before = now + RETRY
        try:
            self._publish(state)
        except MapLocked as error:
            self._locked_since = now if self._locked_since is None else self._locked_since
            if now - self._locked_since >= LOCKED:
                self._notices.wrong("map", str(error))
            return
        except HeldBack as error:
            self._notices.wrong("map", str(error))
            self._publish_not_before = now + RETRY_HELD
            return
        except CyrusQuotaError as error:
            self._notices.wrong("map", str(error))
            return
        self._locked_since = None
        self._notices.right("map")
        self._published, self._published_at = self._version(state), now
        self._publish_not_before = now
