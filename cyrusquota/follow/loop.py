"""Follow the source, and publish within a second of each change.

    follower = Follower(config, map_entries=..., publish=..., notices=..., poll=0.4)
    while True:
        wait(follower.step(), follower.fds())

`step` does what is due and returns the seconds until more will be; it never waits, and never raises
for anything that may pass. The first full scan, and each one that is needed later, is made by
another process while this one goes on following. The result is taken over together with the
positions in the databases at which it was made, so nothing is missed.

A map is renewed only while the source can be read and followed. Otherwise it gets old, and a router
that checks its age ignores it in the end.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import Callable, ContextManager, Optional

import attrs

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb import follow
from cyrusquota.cyrusdb.follow import Changes, ComparedFile, Followed, NeedsRescan, WatchedFile
from cyrusquota.cyrusdb.quotalegacy.follow import FollowedTree
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.follow.map_entries import MapEntries
from cyrusquota.follow.notices import Notices
from cyrusquota.follow.pace import MapPace
from cyrusquota.follow.scan import FollowConfig, HeaderCheck, Scan, checked_headers, scanned
from cyrusquota.follow.state import FollowState
from cyrusquota.follow.worker import Failed, ForkedWorker, Work, Worker

#: Seconds after which a full scan confirms what was followed.
CONFIRM = 3600.0
#: Seconds after which headers are read again. They are then at most five minutes old, also where a
#: scan takes half a minute.
HEADERS = 240.0
#: Seconds after which conversations totals are read again.
TOTALS = 60.0
#: After a full scan, this many times its duration passes before one that is not urgent; the second
#: number is for sources of which nothing but full scans tells anything.
SHARE, SHARE_UNFOLLOWED = 15, 4
#: The same for a check of headers.
CHECK_SHARE = 4
#: Seconds after a failed or urgent scan; doubled with each failure, up to the second number.
AGAIN, PATIENCE = 0.5, 10.0
#: But after a scan that failed for its data, not longer than this.
MOST = 60.0
#: Looking for changes takes at most one part in so many of the time.
LOOKING = 12
_WEIGHT = 0.1


@attrs.define
class _Databases:
    """The databases of quotas and mailboxes, followed."""

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


def opened(config: FollowConfig) -> _Databases:
    """Return the databases of `config`, followed. Raises `SourceError` or `NeedsRescan`."""
    source, site = config.source, config.query.site
    assert source.path is not None and source.opened is not None
    quota: Followed
    if source.fulldirhash is not None:
        quota = FollowedTree(
            source.path, fulldirhash=source.fulldirhash, virtdomains=source.naming.virtdomains
        )
    elif os.path.isdir(source.path):
        quota = FollowedTree(source.path)
    elif cyrusdb.guess(source.path) is None:
        quota = ComparedFile(source.path, source.opened)
    else:
        quota = follow.open(source.path)
    try:
        path = None if site is None else site.path
        return _Databases(quota, None if path is None else follow.open(path))
    except BaseException:
        quota.close()
        raise


class Follower:
    """Keeps a map up to date. `publish` puts a state in place, and raises what `Claim.put` does.

    `rights` returns a context in which the source may be read. `poll` is the time in seconds
    between two looks; `headers` and `totals` are the ages at which headers and conversations totals
    are read again. `scans` counts full scans.
    """

    def __init__(
        self,
        config: FollowConfig,
        *,
        map_entries: Callable[[], MapEntries],
        publish: Callable[[FollowState], None],
        notices: Notices,
        poll: float,
        headers: float = HEADERS,
        totals: float = TOTALS,
        clock: Callable[[], float] = time.monotonic,
        start: Callable[[Work], Worker] = ForkedWorker,
        rights: Callable[[], ContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self._config = config
        self._new_map_entries = map_entries
        self._publish = publish
        self._notices = notices
        self._poll = poll
        self._headers = headers
        self._totals = totals
        self._clock = clock
        self._start = start
        self._rights = rights
        self.state: Optional[FollowState] = None
        #: None while changes cannot be followed.
        self._databases: Optional[_Databases] = None
        self._scanning: Optional[Worker] = None
        self._next_databases: Optional[_Databases] = None
        self._scan_started = self._scan_ended = self._scan_not_before = 0.0
        self._wants_scan = True
        self._soft_not_before = 0.0
        self._failures = 0
        self._checking: Optional[Worker] = None
        #: The users whose headers are being read, and whether they are all who matter.
        self._checked: frozenset[str] = frozenset()
        self._checks_all = False
        self._check_started = self._check_not_before = self._headers_read = 0.0
        self._pace = MapPace(notices, clock)
        self.scans = 0
        self._looking = 0.0

    # What a caller waits for

    def fds(self) -> list[int]:
        """Return the descriptors to wait for besides the time."""
        workers = (self._scanning, self._checking)
        found = (None if worker is None else worker.fd for worker in workers)
        return [fd for fd in found if fd is not None]

    @property
    def is_current(self) -> bool:
        """Whether the state is that of the source."""
        return self._databases is not None and self.state is not None

    def replace_config(self, config: FollowConfig) -> None:
        """Follow `config` from the next full scan on; the map in place stays until then."""
        self._config = config
        self._lose()
        self._stop_scanning()
        self._failures, self._scan_not_before = 0, self._clock()

    def close(self) -> None:
        """Stop the workers and close the files."""
        self._stop_scanning()
        self._stop_checking()
        if self._databases is not None:
            self._databases.close()
        self._databases = None

    def step(self) -> float:
        """Do what is due, and return the seconds until the next step."""
        begun = self._clock()
        self._collect_scan()
        looked = self._clock()
        self._follow()
        self._looking += _WEIGHT * (self._clock() - looked - self._looking)
        self._collect_check()
        self._scan_if_due()
        self._check_if_due()
        self._publish_if_due()
        now = self._clock()
        due = max(begun + self._poll, now + (LOOKING - 1) * self._looking)
        if self.is_current and self.state is not None:
            due = min(due, self._pace.due(self._version(self.state)))
        if self._scanning is None and self._wants_scan:
            due = min(due, self._scan_due())
        if self._wants_check():
            due = min(due, self._check_not_before)
        return max(0.0, due - now)

    # Full scans

    def _scan_due(self) -> float:
        if self._databases is None:
            return self._scan_not_before
        return max(self._scan_not_before, self._soft_not_before)

    def _most_between_scans(self) -> float:
        """Return the age at which a full scan is replaced, whatever has changed since."""
        if self._config.uses_totals:
            return self._totals
        rests_on_headers = self.state is not None and self.state.rests_on_headers
        return self._headers if rests_on_headers else CONFIRM

    def _scan_if_due(self) -> None:
        now = self._clock()
        if self.is_current and now - self._scan_ended >= self._most_between_scans():
            self._wants_scan = True
        if self._scanning is not None or not self._wants_scan or now < self._scan_due():
            return
        self._scan_started = now
        config = self._config
        try:
            with self._rights():
                self._next_databases = opened(config)
                self._scanning = self._start(lambda: scanned(config))
        except (CyrusQuotaError, NeedsRescan, OSError) as error:
            self._stop_scanning()
            self._scan_failed(str(error))
            return
        self._wants_scan = False
        self._collect_scan()

    def _collect_scan(self) -> None:
        result = None if self._scanning is None else self._scanning.result()
        if result is not None:
            databases, self._next_databases, self._scanning = self._next_databases, None, None
            assert databases is not None
            self._take(result, databases)

    def _take(self, result: object, databases: _Databases) -> None:
        if isinstance(result, Failed):
            databases.close()
            self._scan_failed(result.reason)
            return
        assert isinstance(result, Scan)
        try:
            databases.begin(result)
        except NeedsRescan:
            databases.close()
            self._wants_scan = True
            self._scan_ended = self._clock()
            self._scan_not_before = self._scan_ended + AGAIN
            return
        try:
            self.state = FollowState(self._config, result, self._new_map_entries())
        except CyrusQuotaError as error:
            databases.close()
            self._scan_failed(str(error))
            return
        if self._databases is not None:
            self._databases.close()
        self._databases = databases
        self._stop_checking()
        self._headers_read, self._check_not_before = self._scan_started, 0.0
        self._wants_scan = False
        now = self._clock()
        took = now - self._scan_started
        self.scans += 1
        self._failures = 0
        self._scan_ended = now
        self._scan_not_before = now + AGAIN
        is_followed = self._config.is_by_root and not isinstance(databases.quota, WatchedFile)
        share = SHARE if is_followed else SHARE_UNFOLLOWED
        # Where scans are needed in time, no longer than that.
        self._soft_not_before = now + min(share * took, max(took, self._headers))
        self._notices.right("source")
        self._notices.records(result.problems)
        self._notices.tell(f"{result.roots} quota roots read in {took:.1f} seconds")
        self._follow()

    def _scan_failed(self, reason: str) -> None:
        """Let the map in place get old, even where changes can still be followed."""
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
        if self._next_databases is not None:
            self._next_databases.close()
        self._scanning = self._next_databases = None

    # Headers

    def _wants_check(self) -> bool:
        is_possible = self.is_current and self._checking is None
        return is_possible and self.state is not None and bool(self.state.unchecked)

    def _check_if_due(self) -> None:
        now, state = self._clock(), self.state
        if state is None or not self.is_current or self._checking is not None:
            return
        is_old = now - self._headers_read >= self._headers
        if now < self._check_not_before or not (is_old or state.unchecked):
            return
        self._checks_all = is_old
        self._checked = state.to_check() if is_old else frozenset(state.unchecked)
        if is_old:
            self._headers_read = now
        if not self._checked:
            state.forget_headers(self._checked)
            return
        config, names = self._config, self._checked
        self._check_started = now
        try:
            with self._rights():
                self._checking = self._start(lambda: checked_headers(config, names))
        except (CyrusQuotaError, OSError) as error:
            self._check_failed(str(error))
            return
        self._collect_check()

    def _collect_check(self) -> None:
        result = None if self._checking is None else self._checking.result()
        state = self.state
        if result is None or state is None:
            return
        self._checking = None
        if isinstance(result, Failed):
            self._check_failed(result.reason)
            return
        assert isinstance(result, HeaderCheck)
        now = self._clock()
        self._check_not_before = now + CHECK_SHARE * (now - self._check_started)
        if self._checks_all:
            state.forget_headers(self._checked)
        state.note_headers(self._checked, result)
        self._note_needs_scan(state)

    def _check_failed(self, reason: str) -> None:
        """Let a full scan find out what is wrong, and do without following until then."""
        self._notices.tell(f"re-reading everything: {reason}")
        self._lose()

    def _stop_checking(self) -> None:
        if self._checking is not None:
            self._checking.end()
        self._checking = None

    # Changes

    def _follow(self) -> None:
        databases, state = self._databases, self.state
        if databases is None or state is None:
            return
        try:
            with self._rights():
                rows = Changes() if databases.mailboxes is None else databases.mailboxes.changes()
                changes = databases.quota.changes()
            state.note_inboxes(rows.by_key)
            state.note_deletions(changes.gaps)
            state.note_roots(changes.by_key)
            state.note_records(changes.records)
            # Which INBOXes there are is kept without their names.
            self._wants_scan |= not (rows.is_complete and changes.is_complete) or bool(rows.gaps)
        except (CyrusQuotaError, NeedsRescan) as error:
            self._notices.tell(f"re-reading everything: {error}")
            self._lose()
            return
        self._note_needs_scan(state)

    def _note_needs_scan(self, state: FollowState) -> None:
        self._wants_scan |= state.needs_scan
        state.needs_scan = False

    def _lose(self) -> None:
        self._stop_checking()
        if self._databases is not None:
            self._databases.close()
        self._databases = None
        self._wants_scan = True

    # The map

    def _version(self, state: FollowState) -> tuple[int, int]:
        return self.scans, state.map_entries.version

    def _publish_if_due(self) -> None:
        state = self.state
        if self.is_current and state is not None:
            self._pace.step(self._version(state), lambda: self._publish(state))
