"""The method of 2005: ask a real imapd on loopback for the quota of one user after another."""

from __future__ import annotations

import imaplib
import time

from tests.integration.cyrus import ADMIN, HOST, PATIENCE, Cyrus


def seconds_per_user(users: int) -> float:
    """Return the seconds for a GETQUOTAROOT over an open connection, on a server of `users`."""
    with Cyrus() as server:
        server.start()
        names = server.create_with_root((f"name{number:05d}" for number in range(users)), 1024)
        with imaplib.IMAP4(HOST, server._imap_port, timeout=PATIENCE) as imap:
            imap.login(ADMIN, "any")
            before = time.perf_counter()
            for name in names:
                answer, _ = imap.getquotaroot(server.mailbox(name))
                if answer != "OK":
                    raise RuntimeError(f"imapd does not know the quota of {name}")
            return (time.perf_counter() - before) / len(names)
