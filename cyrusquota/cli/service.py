"""cyrusquota-export --follow: run as a service until told to stop.

SIGTERM and SIGINT end it, SIGHUP reads imapd.conf again. The service manager, where one started it,
is told how things are (sd_notify(3)).
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import time
from types import FrameType
from typing import Iterable, Optional

import attrs

from cyrusquota.cli.map_options import MapOptions
from cyrusquota.cli.on_change import ChangeCommand
from cyrusquota.cli.options import Options
from cyrusquota.cli.run import advised, complain
from cyrusquota.cyrus.names import Recipient
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.follow import (
    FollowConfig,
    Follower,
    FollowPublisher,
    FollowState,
    MapEntries,
    Notices,
)
from cyrusquota.maps import Entry
from cyrusquota.maps.status import Status
from cyrusquota.publish import target_directory
from cyrusquota.publish.map_publisher import MapPublisher
from cyrusquota.publish.privileges import reading_as


@attrs.frozen
class Service:
    """The options of `cyrusquota-export --follow`."""

    options: Options
    map_options: MapOptions
    publisher: MapPublisher
    command: ChangeCommand

    def run(self, poll: float, verbose: bool) -> None:
        """Follow the source until SIGTERM or SIGINT. Raises `MapError` where no map can be put."""
        gc.enable()
        path = self.publisher.path
        # A wrong path is an error at the start, and not something to wait for.
        with target_directory.opened(path, follow_links=self.publisher.follow_links):
            pass
        with_records = not self.options.problems.quiet
        notices = Notices(complain, complain if verbose else _ignore, with_records=with_records)
        publisher = FollowPublisher(self.publisher, self.map_options.limits, names_changes=verbose)

        def publish(state: FollowState) -> None:
            with advised(path):
                publisher.publish(state)
            if publisher.is_written:
                self.command.changed()
            for line in publisher.changes:
                notices.tell(f"{path}: {line}")

        follower = Follower(
            self.config(self.options),
            map_entries=lambda: MapEntries(self._entries, self.map_options.values.format.row),
            publish=publish,
            notices=notices,
            poll=poll,
            rights=lambda: reading_as(self.options.user),
        )
        with _Signals() as signals, contextlib.closing(follower):
            _Loop(self, follower, publisher, notices, signals).run()

    def config(self, options: Options) -> FollowConfig:
        """Return what to follow, by `options`."""
        return FollowConfig(
            options.source,
            options.query(self.map_options.values.effective_reserve),
            self.map_options.values,
        )

    def _entries(self, to: Recipient, status: Status) -> Iterable[Entry]:
        return self.map_options.entries([(to, status)])


def _ignore(line: str) -> None:
    pass


class _Signals:
    """Notes SIGTERM, SIGINT and SIGHUP, and waits for them."""

    def __init__(self) -> None:
        self.stop = self.reload = False

    def __enter__(self) -> _Signals:
        self._read_end, write_end = os.pipe()
        for end in (self._read_end, write_end):
            os.set_blocking(end, False)
        self._write_end = write_end
        self._wakeup = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        self._handlers = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._read_end)
        os.close(self._write_end)

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        if number == signal.SIGHUP:
            self.reload = True
        else:
            self.stop = True

    def wait(self, seconds: float, fds: list[int]) -> None:
        """Return when a signal comes, when one of `fds` can be read, or after `seconds`."""
        ready, _, _ = select.select([self._read_end, *fds], [], [], seconds)
        if self._read_end in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._read_end, 4096)


class ServiceManager:
    """The service manager that started this process. Without one, nothing is sent."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._status = ""
        self._last_alive = float("-inf")
        #: Seconds within which it expects `alive`, None if it does not.
        self.watchdog = _watchdog()

    def send(self, **fields: object) -> None:
        """Send fields such as READY=1."""
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = f"\0{address[1:]}"
        message = "\n".join(f"{name}={value}" for name, value in fields.items())
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as sender:
            sender.setblocking(False)
            sender.sendto(message.encode("utf-8", "backslashreplace"), address)

    def status(self, text: str) -> None:
        """Set what `systemctl status` shows."""
        if text != self._status:
            self._status = text
            self.send(STATUS=text)

    def alive(self) -> None:
        """Send a sign of life, if one is due."""
        now = time.monotonic()
        if self.watchdog is not None and now - self._last_alive > self.watchdog / 4:
            self._last_alive = now
            self.send(WATCHDOG=1)


def _watchdog() -> Optional[float]:
    text, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not text.isdigit() or (pid.isdigit() and int(pid) != os.getpid()):
        return None
    return int(text) / 1e6 or None


@attrs.define
class _Loop:
    service: Service
    follower: Follower
    publisher: FollowPublisher
    notices: Notices
    signals: _Signals
    manager: ServiceManager = attrs.field(factory=ServiceManager)

    def run(self) -> None:
        # Ready for signals; the source may come later, and the map with it.
        self.manager.send(READY=1)
        try:
            while not self.signals.stop:
                if self.signals.reload:
                    self._reload()
                seconds = self.follower.step()
                self.service.command.step()
                wrong = self.notices.first_wrong()
                self.manager.status(self.publisher.summary if wrong is None else wrong)
                self.manager.alive()
                if self.manager.watchdog is not None:
                    seconds = min(seconds, self.manager.watchdog / 4)
                if not self.signals.stop and not self.signals.reload:
                    self.signals.wait(seconds, self.follower.fds())
        finally:
            self.manager.send(STOPPING=1)

    def _reload(self) -> None:
        self.signals.reload = False
        self.manager.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
        try:
            config = self.service.config(self.service.options.reload())
        except CyrusQuotaError as error:
            self.notices.wrong("configuration", str(error))
        else:
            self.notices.right("configuration")
            self.follower.replace_config(config)
        self.manager.send(READY=1)
