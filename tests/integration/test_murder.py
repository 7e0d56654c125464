"""A Cyrus murder: who knows that a user is full, before, while and after the user moves."""

from __future__ import annotations

import contextlib
import threading
from typing import Iterator

import pytest

from . import network
from .commands import mapped
from .cyrus import Cyrus
from .murder import Murder, copying_waits
from .redis_server import until

pytestmark = pytest.mark.integration


@pytest.fixture
def site(needs_murder: None) -> Iterator[Murder]:
    """A murder with jane and joe on the first backend, and mary on the second; jane is full."""
    with network.private(), Murder() as found:
        first, second = found.backends
        for backend, users in ((first, ("jane", "joe")), (second, ("mary",))):
            for user in users:
                backend.create_user(user)
                backend.set_quota(backend.mailbox(user), 10)
        first.fill("jane")
        until(lambda: found.location("jane") == first.host, "the frontend knows where jane is")
        yield found


def listed(backend: Cyrus) -> set[str]:
    """Whom an export on this backend lists."""
    done, keys = mapped("-C", str(backend.conf))
    assert (done.returncode, done.stderr) == (0, b"")
    return keys


def test_only_the_backend_refuses_a_full_user_at_rcpt(site: Murder) -> None:
    first, frontend = site.backends[0], site.frontend
    assert first.lmtp_rcpt("jane").code == 452
    assert listed(first) == {"jane"}
    assert frontend.lmtp_rcpt("jane").code == 250
    assert frontend.deliver("jane", 1000).code == 452  # after DATA
    assert frontend.deliver("joe", 1000).code == 250
    # smmapd there asks port 12345 of the backend, and passes on one answer for a connection.
    assert [frontend.smmap([user]) for user in ("jane", "joe")] == [["TEMP Over quota"], ["OK joe"]]


def test_a_user_who_moves_is_listed_where_lmtpd_refuses_them(site: Murder) -> None:
    first, second = site.backends
    first.create("user.jane.archive")
    assert (listed(first), listed(second)) == ({"jane"}, set())
    move = threading.Thread(target=site.move, args=("jane", first, second))
    with contextlib.ExitStack() as stack:
        with copying_waits(first, "user.jane.archive"):
            move.start()
            until(lambda: b"user.jane" in second.run("ctl_mboxlist", "-d"), "the INBOX is copied")
            # The copy has no quota root yet. The frontend still sends mail to the first backend.
            assert second.lmtp_rcpt("jane").code == 250
            assert (listed(first), listed(second)) == ({"jane"}, set())
            stack.enter_context(site.without_mupdate())
        until(lambda: b"user.jane" in second.run("quota"), "the quota is copied")
        # From here on, until it is gone on the first backend, two stores claim the user.
        assert second.lmtp_rcpt("jane").code == 452
        assert (listed(first), listed(second)) == ({"jane"}, {"jane"})
    move.join()
    assert (listed(first), listed(second)) == (set(), {"jane"})
    assert (first.lmtp_rcpt("jane").code, second.lmtp_rcpt("jane").code) == (550, 452)
    until(lambda: site.location("jane") == second.host, "the frontend knows where jane is now")
    assert site.frontend.lmtp_rcpt("jane").code == 250
    assert site.frontend.deliver("jane", 1000).code == 452
    second.expunge("jane")
    assert listed(second) == set()
    assert site.frontend.deliver("jane", 1000).code == 250
