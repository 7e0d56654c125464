"""A Cyrus murder: who knows that a user is full, before, while and after the user moves."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Callable, Iterator

import pytest

from cyrusquota.engine import functions

from . import network, smtp
from .commands import mapped
from .cyrus import Cyrus
from .many_hosts import LAPSE, chain
from .murder import LMTP, Murder, copying_waits
from .processes import until
from .redis_server import Redis

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


@contextlib.contextmanager
def half_moved(site: Murder, when_copying: Callable[[], object] = list) -> Iterator[None]:
    """Have jane move to the second backend; on both sides she is full now. Then end the move."""
    first, second = site.backends
    first.create("user.jane.archive")
    move = threading.Thread(target=site.move, args=("jane", first, second))
    with contextlib.ExitStack() as stack:
        stack.callback(move.join)
        with copying_waits(first, "user.jane.archive"):
            move.start()
            until(lambda: b"user.jane" in second.run("ctl_mboxlist", "-d"), "the INBOX is copied")
            when_copying()
            stack.enter_context(site.without_mupdate())
        until(lambda: b"user.jane" in second.run("quota"), "the quota is copied")
        yield
    until(lambda: site.location("jane") == second.host, "the frontend knows where jane is now")


def test_a_user_who_moves_is_listed_where_lmtpd_refuses_them(site: Murder) -> None:
    first, second = site.backends
    assert (listed(first), listed(second)) == ({"jane"}, set())

    def see_copy_without_quota() -> None:
        # The frontend still sends mail to the first backend.
        assert second.lmtp_rcpt("jane").code == 250
        assert (listed(first), listed(second)) == ({"jane"}, set())

    with half_moved(site, see_copy_without_quota):
        # From here on, until she is gone on the first backend, two stores claim the user.
        assert second.lmtp_rcpt("jane").code == 452
        assert (listed(first), listed(second)) == ({"jane"}, {"jane"})
    assert (listed(first), listed(second)) == (set(), {"jane"})
    assert (first.lmtp_rcpt("jane").code, second.lmtp_rcpt("jane").code) == (550, 452)
    assert site.frontend.lmtp_rcpt("jane").code == 250
    assert site.frontend.deliver("jane", 1000).code == 452
    second.expunge("jane")
    assert listed(second) == set()
    assert site.frontend.deliver("jane", 1000).code == 250


def test_a_full_user_is_deferred_before_the_frontend_wherever_they_are(
    site: Murder, needs_exim: None, needs_redis: None
) -> None:
    first, second = site.backends
    sources = {"be1": first.conf, "be2": second.conf}
    with (
        Redis(functions=functions.text()) as redis,
        chain(
            redis.url, sources, ("jane", "joe"), "mary", lmtp=(site.frontend.host, LMTP)
        ) as hosts,
    ):
        asker = hosts.asker
        asker.first("jane", 451, 0)
        begun = time.monotonic()
        with half_moved(site):
            until(lambda: "jane@" in redis.run("HKEYS", "cq:{be2}:e"), "both backends list her")
        moved = time.monotonic()
        asker.until(moved + LAPSE)
        assert asker.codes("jane", begun) == {451}
        second.expunge("jane")
        asker.first("jane", 250, moved)
        with smtp.session(hosts.exim.port) as talk:
            talk.begin()
            assert talk.rcpt("jane@example.net").code == 250
            assert talk.send("Subject: There is room", "", "again").code == 250
        until(lambda: len(second.sizes("jane")) == 1, "the message is on the second backend")
        assert asker.codes("joe", 0) == {250}
