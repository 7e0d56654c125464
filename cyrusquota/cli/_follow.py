"""cyrusquota-export --follow: stay running until told to stop."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import time
from types import FrameType
from typing import Iterable, Optional

import attrs

from cyrusquota import maps
from cyrusquota.cli._map import advised
from cyrusquota.cli._notify import Manager
from cyrusquota.cli._run import complain
from cyrusquota.cli._source import Chosen
from cyrusquota.cyrus.names import Recipient
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.follow import FollowConfig, Follower, FollowPublisher, MapEntries, Notices, State
from cyrusquota.maps import Entry, KeyForm
from cyrusquota.maps.values import MapValues
from cyrusquota.publish import target_directory
from cyrusquota.publish.guard import Limits
from cyrusquota.publish.map_publisher import MapPublisher
from cyrusquota.publish.privileges import reading_as


@attrs.frozen
class Export:
    """What the options of `cyrusquota-export --follow` come to."""

    chosen: Chosen
    exempt: tuple[str, ...]
    form: KeyForm
    map_values: MapValues
    publisher: MapPublisher
    limits: Limits

    def run(self, poll: float, verbose: bool) -> None:
        """Until SIGTERM or SIGINT; SIGHUP reads imapd.conf anew."""
        gc.enable()
        # What can never be right should not wait for a service manager to find out.
        maps_at = self.publisher
        with target_directory.opened(maps_at.path, follow_links=maps_at.follow_links):
            pass
        notices = Notices(
            complain, complain if verbose else _nothing, with_records=not self.chosen.problems.quiet
        )
        publisher = FollowPublisher(self.publisher, self.limits)
        follower = Follower(
            _config(self.chosen, self.map_values),
            map_entries=self._listing,
            publish=lambda state: self._publish(publisher, state),
            notices=notices,
            poll=poll,
            rights=lambda: reading_as(self.chosen.user),
        )
        with _Signals() as signals, contextlib.closing(follower):
            _Service(self, follower, publisher, notices, signals).run()

    def _listing(self) -> MapEntries:
        return MapEntries(self._entries, self.map_values.format.row)

    def _publish(self, publisher: FollowPublisher, state: State) -> None:
        with advised(self.publisher.path):
            publisher.publish(state)

    def _entries(self, to: Recipient, value: bytes) -> Iterable[Entry]:
        return maps.entries(((to, value),), form=self.form, exempt=self.exempt)


def _nothing(line: str) -> None:
    pass


def _config(chosen: Chosen, map_values: MapValues) -> FollowConfig:
    return FollowConfig(chosen.source, chosen.query(map_values.wanted), map_values)


class _Signals:
    """Signals as something that can be waited for."""

    def __init__(self) -> None:
        self.stop = self.reload = False

    def __enter__(self) -> _Signals:
        self._read_end, write_end = os.pipe()
        for end in (self._read_end, write_end):
            os.set_blocking(end, False)
        self._write_end = write_end
        self._wakeup = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self._handlers = {number: signal.signal(number, self._noted) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read_end)
        os.close(self._write_end)

    def _noted(self, number: int, frame: Optional[FrameType]) -> None:
        if number == signal.SIGHUP:
            self.reload = True
        else:
            self.stop = True

    def wait(self, seconds: float, fds: list[int]) -> None:
        """Until a signal comes, something can be read, or the time is over."""
        ready, _, _ = select.select([self._read_end, *fds], [], [], seconds)
        if self._read_end in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._read_end, 4096)


@attrs.define
class _Service:
    export: Export
    follower: Follower
    publisher: FollowPublisher
    notices: Notices
    signals: _Signals
    manager: Manager = attrs.field(factory=Manager)

    def run(self) -> None:
        # Ready for signals; the source may come later, and the map with it.
        self.manager.tell(READY=1)
        try:
            while not self.signals.stop:
                if self.signals.reload:
                    self._reload()
                seconds = self.follower.step()
                self.manager.status(self._status())
                self.manager.feed()
                if self.manager.watchdog is not None:
                    seconds = min(seconds, self.manager.watchdog / 4)
                if not self.signals.stop and not self.signals.reload:
                    self.signals.wait(seconds, self.follower.fds())
        finally:
            self.manager.tell(STOPPING=1)

    def _reload(self) -> None:
        self.signals.reload = False
        self.manager.tell(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        again = self.export.chosen.again
        assert again is not None
        try:
            config = _config(again(), self.export.map_values)
        except CyrusQuotaError as error:
            self.notices.wrong("configuration", str(error))
        else:
            self.notices.right("configuration")
            self.follower.ask(config)
        self.manager.tell(READY=1)

    def _status(self) -> str:
        wrong = self.notices.first_wrong()
        return wrong if wrong is not None else self.publisher.summary
