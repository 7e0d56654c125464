"""Users without a root of their own: who is refused because `user` or a whole domain is full."""

from __future__ import annotations

from typing import Iterator

import pytest

from .cyrus import DOMAIN, Cyrus
from .verdicts import assert_agreement

pytestmark = pytest.mark.integration

FULL = b"%(S (999999 1) M (0) AS (0) NF (0))"
ROOMY = b"%(S (5 100000) M (0) AS (0) NF (0))"


@pytest.fixture(params=["twoskip", "quotalegacy"])
def cyrus(request: pytest.FixtureRequest, needs_cyrus: None) -> Iterator[Cyrus]:
    options = {"quota_db": request.param, "virtdomains": "userid", "defaultdomain": DOMAIN}
    with Cyrus(options) as running:
        running.start()
        yield running


def _store(cyrus: Cyrus, root: str, value: bytes) -> None:
    cyrus.store(cyrus.lib / "quotas.db", cyrus.options["quota_db"], {root.encode(): value})


def _delete(cyrus: Cyrus, root: str) -> None:
    path, backend = str(cyrus.lib / "quotas.db"), cyrus.options["quota_db"]
    cyrus.run("cyr_dbtool", path, backend, "delete", root)


def test_a_full_root_user_refuses_those_whose_header_names_it(cyrus: Cyrus) -> None:
    cyrus.create_user("early")
    _store(cyrus, "user", FULL)
    users = ["early", "late", "own", "other@example.org"]
    for user in users[1:]:
        cyrus.create_user(user)
    assert_agreement(cyrus, users, {"late", "own"})

    cyrus.set_quota(cyrus.mailbox("own"), storage_kib=1000)
    assert_agreement(cyrus, users, {"late"})

    cyrus.run("quota", "-f")
    _store(cyrus, "user", FULL)
    assert_agreement(cyrus, users, {"early", "late"})

    # The header keeps its name, and lmtpd knows no such root any more.
    _delete(cyrus, "user.own")
    assert_agreement(cyrus, users, {"early", "late"})

    _store(cyrus, "user", ROOMY)
    assert_agreement(cyrus, users, set())


def test_a_full_domain_root_refuses_mailboxes_made_after_it(cyrus: Cyrus) -> None:
    cyrus.create_user("early@example.org")
    cyrus.set_quota("@example.org", storage_kib=1)
    _store(cyrus, "example.org!", FULL)
    users = ["early@example.org", "late@example.org", "own@example.org", "jane"]
    for user in users[1:]:
        cyrus.create_user(user)
    assert_agreement(cyrus, users, {"late@example.org", "own@example.org"})

    cyrus.set_quota(cyrus.mailbox("own@example.org"), storage_kib=1000)
    assert_agreement(cyrus, users, {"late@example.org"})


def test_a_root_whose_user_has_no_mailbox_is_not_listed(cyrus: Cyrus) -> None:
    cyrus.create_user("jane")
    cyrus.set_quota(cyrus.mailbox("jane"), storage_kib=10)
    _store(cyrus, "user.jane", FULL)
    _store(cyrus, "user.ghost", FULL)
    assert_agreement(cyrus, ["jane", "ghost"], {"jane"})


def test_the_nearest_root_governs(cyrus: Cyrus) -> None:
    """A roomy `example.org!user` shields from a full `example.org!`."""
    _store(cyrus, "example.org!", FULL)
    _store(cyrus, "example.org!user", ROOMY)
    cyrus.create_user("jane@example.org")
    assert_agreement(cyrus, ["jane@example.org"], set())

    _store(cyrus, "example.org!user", FULL)
    assert_agreement(cyrus, ["jane@example.org"], {"jane@example.org"})
