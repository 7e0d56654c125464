"""From a full mailbox in Cyrus to a 451 by Exim, and back when there is room again."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, Optional, Sequence

import pytest

from . import commands, exim
from .cyrus import DOMAIN, Cyrus
from .smtp import Reply

pytestmark = pytest.mark.integration

#: lmtpd's refusal of a full mailbox, and what Exim makes of it; anything else is the same in both.
DEFERRED = {452: 451, 250: 250}
DEFAULT_TEXT = "4.2.2 The user's mailbox is full. Please try re-sending your e-mail later."
OTHER_TEXT = "The users mailbox is full. Please try re-sending your e-mail later."


@pytest.fixture(scope="module", params=["quotalegacy", "twoskip"])
def cyrus(request: pytest.FixtureRequest, needs_cyrus: None) -> Iterator[Cyrus]:
    """A server on a backend; its users are those that the tests make, each test its own."""
    options = {} if request.param == "quotalegacy" else {"quota_db": request.param}
    with Cyrus(options) as server:
        server.start()
        yield server


def _address(local_part: str, domain: str = DOMAIN) -> str:
    return f"{local_part}@{domain}"


def _add(
    cyrus: Cyrus, user: str, *, storage_kib: Optional[int] = None, messages: Optional[int] = None
) -> None:
    cyrus.create_user(user)
    cyrus.set_quota(cyrus.mailbox(user), storage_kib, messages)


def _assert_they_agree(
    cyrus: Cyrus, overquota: Path, recipients: Sequence[str], key: Optional[str] = None
) -> dict[str, Reply]:
    """Exim defers whom lmtpd refuses, and accepts whom it accepts; gives back Exim's replies."""
    expected = {who: DEFERRED[cyrus.lmtp_rcpt(who).code] for who in recipients}
    replies = exim.replies_to(recipients, overquota, key)
    assert {who: reply.code for who, reply in replies.items()} == expected
    return replies


def test_only_users_over_quota_are_deferred(cyrus: Cyrus, overquota: Path) -> None:
    _add(cyrus, "jane", storage_kib=10)
    _add(cyrus, "bob", storage_kib=10000)
    _add(cyrus, "many", messages=1)
    _add(cyrus, "nolimit")
    cyrus.create_user("noroot")
    cyrus.fill("jane")
    cyrus.fill("many")
    for user in ("bob", "nolimit", "noroot"):
        assert cyrus.deliver(user, 20000).code == 250

    commands.export(cyrus.conf, overquota)

    users = ("jane", "jane+imap", "JANE", "bob", "bob+imap", "many", "nolimit", "noroot")
    replies = _assert_they_agree(cyrus, overquota, [_address(user) for user in users])
    full = {_address(user) for user in ("jane", "jane+imap", "JANE", "many")}
    assert {who: reply.text for who, reply in replies.items() if reply.code != 250} == (
        dict.fromkeys(full, DEFAULT_TEXT)
    )


def test_a_user_exactly_at_the_limit_is_not_deferred(cyrus: Cyrus, overquota: Path) -> None:
    _add(cyrus, "exact", messages=2)
    assert [cyrus.deliver("exact", 100).code for _ in range(2)] == [250, 250]
    commands.export(cyrus.conf, overquota)
    assert _assert_they_agree(cyrus, overquota, [_address("exact")])[_address("exact")].code == 250
    assert cyrus.deliver("exact", 100).code == 250
    commands.export(cyrus.conf, overquota)
    assert _assert_they_agree(cyrus, overquota, [_address("exact")])[_address("exact")].code == 451


def test_deleting_mail_opens_the_mailbox_again(cyrus: Cyrus, overquota: Path) -> None:
    _add(cyrus, "tidy", storage_kib=10)
    cyrus.fill("tidy")
    commands.export(cyrus.conf, overquota)
    assert exim.codes_for([_address("tidy")], overquota) == [451]

    cyrus.expunge("tidy")
    commands.export(cyrus.conf, overquota)
    _assert_they_agree(cyrus, overquota, [_address("tidy")])
    assert exim.codes_for([_address("tidy")], overquota) == [250]
    assert cyrus.deliver("tidy", 3000).code == 250


def test_a_higher_limit_opens_the_mailbox_again(cyrus: Cyrus, overquota: Path) -> None:
    _add(cyrus, "rich", storage_kib=10)
    cyrus.fill("rich")
    commands.export(cyrus.conf, overquota)
    assert exim.codes_for([_address("rich")], overquota) == [451]

    cyrus.set_quota(cyrus.mailbox("rich"), storage_kib=1000)
    commands.export(cyrus.conf, overquota)
    _assert_they_agree(cyrus, overquota, [_address("rich")])
    assert exim.codes_for([_address("rich")], overquota) == [250]


def test_the_sender_reads_the_text_that_was_asked_for(cyrus: Cyrus, overquota: Path) -> None:
    _add(cyrus, "text", storage_kib=5)
    cyrus.fill("text")
    commands.export(cyrus.conf, overquota, "--message", OTHER_TEXT)
    assert exim.replies_to([_address("text"), _address("else")], overquota) == {
        _address("text"): Reply(451, OTHER_TEXT),
        _address("else"): Reply(250, "Accepted"),
    }


def test_a_reply_code_in_the_text_is_sent(cyrus: Cyrus, overquota: Path) -> None:
    _add(cyrus, "code", storage_kib=5)
    cyrus.fill("code")
    commands.export(cyrus.conf, overquota, "--message", "452 4.2.2 Mailbox full")
    assert exim.replies_to([_address("code")], overquota) == {
        _address("code"): Reply(452, "4.2.2 Mailbox full")
    }


def test_a_full_folder_defers_nobody(cyrus: Cyrus, overquota: Path) -> None:
    """A quota root of its own below the INBOX does not govern the INBOX."""
    _add(cyrus, "filer", storage_kib=1000)
    _add(cyrus, "filer.archive")
    cyrus.file("filer", "archive", 3000)
    cyrus.set_quota(cyrus.mailbox("filer.archive"), storage_kib=1)
    commands.export(cyrus.conf, overquota)
    recipients = [_address("filer"), _address("filer+archive")]
    replies = _assert_they_agree(cyrus, overquota, recipients)
    assert [reply.code for reply in replies.values()] == [250, 250]


def test_a_dot_in_a_local_part_is_kept(needs_cyrus: None, overquota: Path) -> None:
    with Cyrus({"unixhierarchysep": "yes"}) as cyrus:
        cyrus.start()
        _add(cyrus, "jane", storage_kib=5)
        _add(cyrus, "jane.doe", storage_kib=5)
        cyrus.fill("jane.doe")
        commands.export(cyrus.conf, overquota)
        recipients = [_address("jane"), _address("jane.doe"), _address("jane.doe+imap")]
        replies = _assert_they_agree(cyrus, overquota, recipients)
        assert [reply.code for reply in replies.values()] == [250, 451, 451]


def test_users_of_two_domains_are_told_apart(needs_cyrus: None, overquota: Path) -> None:
    """Only the default domain is local to the Exim here, so that is where one sees a mix-up."""
    with Cyrus({"virtdomains": "userid", "defaultdomain": DOMAIN}) as cyrus:
        cyrus.start()
        here, there = (
            ("jane", "bob"),
            (_address("jane", "example.com"), _address("bob", "example.com")),
        )
        for user in (*here, *there):
            _add(cyrus, user, storage_kib=5)
        cyrus.fill("jane")
        cyrus.fill(there[1])
        commands.export(cyrus.conf, overquota)

        replies = _assert_they_agree(
            cyrus, overquota, [_address(user) for user in here], exim.ADDRESS_KEY
        )
        assert [reply.code for reply in replies.values()] == [451, 250]
        keys = [b"jane@example.net", b"bob@example.net", b"jane@example.com", b"bob@example.com"]
        found = exim.found_in(overquota, keys, absent=b"absent")
        assert [value == b"absent" for value in found] == [False, True, True, False]
