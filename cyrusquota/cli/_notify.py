"""Tell the service manager how things are (sd_notify(3)); without one, nobody is told."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Optional


class Manager:
    """The service manager that started this process, if one did."""

    def __init__(self) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._status = ""
        self._fed = float("-inf")
        #: Seconds within which it wants to hear from us, None if it does not.
        self.watchdog = _watchdog()

    def tell(self, **fields: object) -> None:
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
        """What `systemctl status` is to show."""
        if text != self._status:
            self._status = text
            self.tell(STATUS=text)

    def feed(self) -> None:
        """We are alive."""
        now = time.monotonic()
        if self.watchdog is not None and now - self._fed > self.watchdog / 4:
            self._fed = now
            self.tell(WATCHDOG=1)


def _watchdog() -> Optional[float]:
    text, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not text.isdigit() or (pid.isdigit() and int(pid) != os.getpid()):
        return None
    return int(text) / 1e6 or None
