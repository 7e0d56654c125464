"""A private Cyrus murder: a mupdate master, backends and a frontend, each an address of its own.

A murder wants the same ports on all its hosts, so it runs in a network of its own. Its frontend
finds the backends' lmtpd by /etc/services, where Debian has none; here it has another such file.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
from pathlib import Path
from types import TracebackType
from typing import Iterator, Mapping, Optional

from . import cyrus, network
from .cyrus import ADMIN, PROGRAMS, Cyrus

MUPDATE, BACKENDS, FRONTEND = "127.0.0.10", ("127.0.0.11", "127.0.0.12"), "127.0.0.13"
_IMAP, _MUPDATE = 143, 3905
#: An lmtpd for everybody on this host, and one for the frontend, which must log in.
LMTP, _LMTP_PROXIED = 24, 2003
#: Where a frontend's smmapd asks (imap/smmapd.c).
_SMMAP = 12345
_PROXY = "mailproxy"


def missing() -> Optional[str]:
    """What keeps a murder from running here and what to do about it, or None."""
    if not (PROGRAMS / "mupdate").exists():
        return "no mupdate here: apt-get install cyrus-murder"
    return cyrus.missing() or network.missing()


class _Member(Cyrus):
    """One host of a murder. What it serves is in `services`: a name, a command, and a port."""

    def __init__(
        self, host: str, services: Mapping[str, tuple[str, int]], options: Mapping[str, str]
    ) -> None:
        self._served = services
        always = {
            "servername": host,
            "mupdate_authname": _PROXY,
            "mupdate_username": _PROXY,
            "mupdate_password": "any",
            "proxy_authname": _PROXY,
            "proxy_password": "any",
            "force_sasl_client_mech": "PLAIN",
            "admins": f"{ADMIN} {_PROXY}",
        }
        super().__init__({**always, **options}, host=host)
        self._imap_port, self._lmtp_port, self._smmap_port = _IMAP, LMTP, _SMMAP

    def _services(self, lmtpds: object) -> str:
        served = "".join(
            f' {name} cmd="{PROGRAMS}/{command} -C {self.conf}" '
            f'listen="{self.host}:{port}" proto="tcp4" prefork=1\n'
            for name, (command, port) in self._served.items()
        )
        recover = f' recover cmd="{PROGRAMS}/ctl_cyrusdb -C {self.conf} -r"\n'
        return f"START {{\n{recover}}}\nSERVICES {{\n{served}}}\n"

    def _greeting_ports(self) -> tuple[int, ...]:
        return tuple(port for command, port in self._served.values() if command != "smmapd")


class Murder:
    """A murder, in the network that the test has entered; see `network.private`.

    `options` go into the imapd.conf of each host.
    """

    def __init__(self, options: Optional[Mapping[str, str]] = None) -> None:
        shared = dict(options or {})
        inside = {**shared, "mupdate_server": MUPDATE}
        behind = {**inside, "proxyservers": _PROXY, "lmtp_admins": _PROXY, "allowusermoves": "yes"}
        self.mupdate = _Member(MUPDATE, {"mupdate": ("mupdate -m", _MUPDATE)}, shared)
        served = {
            "imap": ("imapd", _IMAP),
            "lmtp": ("lmtpd -a", LMTP),
            "smmap": ("smmapd", _SMMAP),
        }
        proxied = {"lmtpproxied": ("lmtpd", _LMTP_PROXIED)}
        self.backends = [_Member(host, {**served, **proxied}, behind) for host in BACKENDS]
        served = {**served, "mupdate": ("mupdate", _MUPDATE)}
        self.frontend = _Member(FRONTEND, served, inside)

    @property
    def members(self) -> list[_Member]:
        return [self.mupdate, *self.backends, self.frontend]

    def __enter__(self) -> Murder:
        services = self.mupdate.directory / "services"
        lines = f"lmtp {_LMTP_PROXIED}/tcp\nmupdate {_MUPDATE}/tcp\n"
        services.write_text(Path("/etc/services").read_text() + lines)
        network.mount("none", "bind", str(services), Path("/etc/services"))
        try:
            for member in self.members:
                member.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()

    def stop(self) -> None:
        for member in reversed(self.members):
            member.stop()

    def move(self, user: str, source: Cyrus, target: Cyrus) -> None:
        """Move a user from one backend to another with XFER."""
        with source._imap(ADMIN) as imap:
            assert imap.xatom("XFER", source.mailbox(user), target.host)[0] == "OK"

    def location(self, user: str) -> Optional[str]:
        """The backend that the frontend sends mail for a user to; None while they move."""
        rows = self.frontend.run("ctl_mboxlist", "-d").decode()
        found = re.search(rf'"name": "user\.{user}".*"server": "([^"!]+)', rows)
        return None if found is None else found[1]

    @contextlib.contextmanager
    def without_mupdate(self) -> Iterator[None]:
        """Freeze the mupdate master, for which a move waits before the user changes over."""
        assert self.mupdate._master is not None
        os.killpg(self.mupdate._master.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.mupdate._master.pid, signal.SIGCONT)


@contextlib.contextmanager
def copying_waits(source: Cyrus, mailbox: str) -> Iterator[None]:
    """Let a move wait at this mailbox; a lock that readers hold does it."""
    index = Path(source.run("mbpath", mailbox).decode().rstrip("\n")) / "cyrus.index"
    with index.open("rb") as stream:
        fcntl.lockf(stream, fcntl.LOCK_SH)
        yield
