"""Run as a service until told to stop: cyrusquota-export --follow, and cyrusquota-mirror.

SIGTERM and SIGINT end it, SIGHUP has it read its configuration again. The service manager, where
one started it, is told how things are (sd_notify(3)).
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
from typing import Callable, Optional, Protocol

import attrs

from cyrusquota.cli.on_change import ChangeCommand
from cyrusquota.cli.run import advised, complain
from cyrusquota.errors import CyrusQuotaError
from cyrusquota.follow import FollowPublisher, Notices
from cyrusquota.publish import target_directory


class Running(Protocol):
    """What a service does."""

    @property
    def summary(self) -> str:
        """How things are when nothing is wrong."""

    def step(self) -> float:
        """Do what is due, and return the seconds until the next step."""

    def fds(self) -> list[int]:
        """Return the descriptors to wait for besides the time."""

    def reload(self) -> None:
        """Read the configuration again; raise `CyrusQuotaError` where the old one stays."""


def notices(*, verbose: bool, with_records: bool = True) -> Notices:
    """Return notices that are lines on standard error."""
    return Notices(complain, complain if verbose else _ignore, with_records=with_records)


@attrs.frozen
class ServiceMap:
    """The map of a service, and the command to run after it has changed."""

    publisher: FollowPublisher
    command: ChangeCommand
    notices: Notices

    def __attrs_post_init__(self) -> None:
        """Raise `MapError` for a wrong path: that is nothing to wait for."""
        maps = self.publisher.maps
        with target_directory.opened(maps.path, follow_links=maps.follow_links):
            pass

    def put(self, put: Callable[[], None]) -> None:
        """Have the publisher put the map in place. Raises as `Claim.put` does."""
        path = self.publisher.maps.path
        with advised(path):
            put()
        if self.publisher.is_written:
            self.command.changed()
        for line in self.publisher.changes:
            self.notices.tell(f"{path}: {line}")


def serve(running: Running, notices: Notices) -> None:
    """Run a service until SIGTERM or SIGINT."""
    gc.enable()
    manager = ServiceManager()
    with _Signals() as signals:
        # Ready for signals; the source may come later, and the map with it.
        manager.send(READY=1)
        try:
            while not signals.stop:
                if signals.reload:
                    signals.reload = False
                    _reload(running, notices, manager)
                seconds = running.step()
                wrong = notices.first_wrong()
                manager.status(running.summary if wrong is None else wrong)
                manager.alive()
                if manager.watchdog is not None:
                    seconds = min(seconds, manager.watchdog / 4)
                if not signals.stop and not signals.reload:
                    signals.wait(seconds, running.fds())
        finally:
            manager.send(STOPPING=1)


def _reload(running: Running, notices: Notices, manager: ServiceManager) -> None:
    manager.send(RELOADING=1, MONOTONIC_USEC=time.monotonic_ns() // 1000)
    try:
        running.reload()
    except CyrusQuotaError as error:
        notices.wrong("configuration", str(error))
    else:
        notices.right("configuration")
    manager.send(READY=1)


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
