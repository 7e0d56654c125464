"""quota_use_conversations: what counts is the user's totals, as the real lmtpd has them."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

import pytest

import cyrusquota
from cyrusquota.site.conversations import Totals
from cyrusquota.site.site import Site

from . import commands
from .cyrus import DOMAIN, Cyrus
from .verdicts import assert_agreement, listed

pytestmark = pytest.mark.integration

OPTIONS = {
    "quota_db": "twoskip",
    "conversations": "yes",
    "quota_use_conversations": "yes",
    "virtdomains": "userid",
    "defaultdomain": DOMAIN,
}


@pytest.fixture(params=["skiplist", "twoskip"])
def cyrus(request: pytest.FixtureRequest, needs_cyrus: None) -> Iterator[Cyrus]:
    with Cyrus({**OPTIONS, "conversations_db": request.param}) as running:
        running.start()
        yield running


def _totals(cyrus: Cyrus, user: str) -> Totals:
    conf = cyrusquota.load(cyrus.conf)
    return Site.from_config(conf).totals(f"user.{user}")


def _database(cyrus: Cyrus, user: str) -> Path:
    (found,) = cyrus.lib.glob("user/uuid/*/*/*/conversations.db")
    return found


def _figure(cyrus: Cyrus, user: str) -> int:
    """What the quota database has for a user, in bytes."""
    source = cyrusquota.from_config(cyrusquota.load(cyrus.conf))
    return next(root.storage.used for root in source.roots() if root.name == f"user.{user}")


def _assert_limit_is_at(cyrus: Cyrus, user: str, totals: Totals) -> None:
    """Refused with a limit one below the totals, accepted with one at or above them."""
    assert _totals(cyrus, user) == totals
    kib = -(-totals.size // 1024)
    for storage, messages, refused in (
        (kib, totals.messages, set()),
        (kib - 1, totals.messages, {user}),
        (kib, totals.messages - 1, {user}),
    ):
        cyrus.set_quota(cyrus.mailbox(user), storage, messages)
        assert_agreement(cyrus, [user], refused)


def test_a_copy_counts_once_and_a_deleted_message_not_at_all(cyrus: Cyrus) -> None:
    cyrus.create_user("jane")
    cyrus.set_quota(cyrus.mailbox("jane"), storage_kib=10000, messages=100)
    for _ in range(4):
        assert cyrus.deliver("jane", 5000).code == 250
    sizes = cyrus.sizes("jane")
    cyrus.copy("jane", 1, times=3)
    assert _figure(cyrus, "jane") == sum(sizes) + 3 * sizes[0]
    _assert_limit_is_at(cyrus, "jane", Totals(4, sum(sizes)))

    cyrus.set_quota(cyrus.mailbox("jane"), storage_kib=10000, messages=100)
    cyrus.flag("jane", 2, r"\Deleted")
    _assert_limit_is_at(cyrus, "jane", Totals(3, sum(sizes) - sizes[1]))


def test_a_missing_file_or_total_counts_as_nothing(cyrus: Cyrus) -> None:
    cyrus.create_user("jane")
    cyrus.set_quota(cyrus.mailbox("jane"), storage_kib=10000)
    assert cyrus.deliver("jane", 5000).code == 250
    cyrus.set_quota(cyrus.mailbox("jane"), storage_kib=1)
    assert_agreement(cyrus, ["jane"], {"jane"})
    database, backend = _database(cyrus, "jane"), cyrus.options["conversations_db"]
    for total in (b"1 %(E 1 S 9999 )", b"2 %(E 1 S 9999)", b"1 %(E 1 S 9999) ", b"nonsense"):
        cyrus.store(database, backend, {b"Q": total})
        assert_agreement(cyrus, ["jane"], set())
    cyrus.store(database, backend, {b"Q": b"1 %(E 1 S 1025)"})
    assert_agreement(cyrus, ["jane"], {"jane"})
    database.unlink()
    # Ours first: lmtpd makes the file anew.
    assert listed(cyrus, cyrusquota.LMTPD) == set()
    assert_agreement(cyrus, ["jane"], set())


def test_totals_that_stand_still_count_all_the_same(needs_cyrus: None) -> None:
    """`conversations: no` freezes them; here there are none, so nobody is full."""
    with Cyrus({**OPTIONS, "conversations": "no"}) as cyrus:
        cyrus.start()
        cyrus.create_user("jane")
        cyrus.set_quota(cyrus.mailbox("jane"), storage_kib=1)
        assert cyrus.deliver("jane", 5000).code == 250
        assert _figure(cyrus, "jane") > 5000
        assert_agreement(cyrus, ["jane"], set())


def test_a_damaged_database_leaves_its_user_unlisted_with_a_line(
    cyrus: Cyrus, overquota: Path
) -> None:
    for user in ("jane", "bob"):
        cyrus.create_user(user)
        cyrus.set_quota(cyrus.mailbox(user), storage_kib=10000)
        assert cyrus.deliver(user, 5000).code == 250
        cyrus.set_quota(cyrus.mailbox(user), storage_kib=1)
    conf = cyrusquota.load(cyrus.conf)
    path = Path(Site.from_config(conf).totals_path("user.jane"))
    path.write_bytes(path.read_bytes()[:40])
    done = commands.run_export(cyrus.conf, overquota)
    assert done.returncode == 0
    assert done.stderr.count(b"\n") == 1
    assert str(path).encode() in done.stderr
    keys = {line.split(b":")[0] for line in overquota.read_bytes().splitlines()}
    assert f"bob@{DOMAIN}".encode() in keys
    assert f"jane@{DOMAIN}".encode() not in keys


def test_list_shows_both_figures(cyrus: Cyrus) -> None:
    cyrus.create_user("jane")
    cyrus.set_quota(cyrus.mailbox("jane"), storage_kib=10000)
    assert cyrus.deliver("jane", 5000).code == 250
    cyrus.copy("jane", 1, times=1)
    (root,) = commands.listed(cyrus.conf)
    storage = root["resources"]["STORAGE"]
    assert storage["used"] == 2 * storage["enforced"] == _figure(cyrus, "jane")
