"""From quota records through the exporter's options to what a remote server hears."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from . import commands, exim, smtp
from .exim_daemon import VARIANTS, Daemon
from .smtp import Reply

pytestmark = pytest.mark.integration

RECORDS = {
    "user.jane": "%(S (200000 100))",
    "user.near": "%(S (100400 100))",
    "user.bob": "%(S (100 100))",
    "user.postmaster": "%(S (200000 100))",
    "user.spared": "%(S (200000 100))",
    "example.com!user.vic": "%(S (200000 100))",
    "example.com!user.jane": "%(S (100 100))",
    "example.com!user.spared": "%(S (200000 100))",
}
TEXT = "4.2.2 The user's mailbox is full. Please try re-sending your e-mail later."
ASKED = "The users mailbox is full. Please try re-sending your e-mail later."


def _reply(daemon: Daemon, recipient: str, options: str = "") -> Reply:
    with smtp.session(daemon.port) as talk:
        talk.begin(options=options)
        return talk.rcpt(recipient)


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        ("lsearch", []),
        ("address", []),
        ("cdb", ["--map-format", "cdb"]),
        ("headroom", ["--headroom", "3K"]),
        ("exemptions", []),
        ("refuse", []),
        ("headroom-refuse", ["--headroom", "3K"]),
    ],
)
def test_each_variant_takes_what_is_written_for_it(
    needs_exim: None, overquota: Path, variant: str, options: list[str]
) -> None:
    commands.export_dump(RECORDS, overquota, "--exempt", "spared", *options)
    with Daemon(overquota, VARIANTS[variant]) as daemon:
        users = ("jane", "jane+imap", "near", "bob", "postmaster", "spared")
        codes = smtp.codes(daemon.port, [f"{user}@example.net" for user in users])
        assert codes == [451, 451, 250, 250, 250, 250]
        assert _reply(daemon, "jane@example.net") == Reply(451, TEXT)


def test_users_of_a_virtual_domain(needs_exim: None, overquota: Path) -> None:
    """A bare key is for the default domain, an exempt address for its own."""
    commands.export_dump(RECORDS, overquota, "--exempt", "spared@example.com")
    with Daemon(overquota, VARIANTS["address"]) as daemon:
        there = ("vic@example.com", "jane@example.com", "spared@example.com")
        assert smtp.codes(daemon.port, there) == [451, 250, 250]
        assert smtp.codes(daemon.port, ["spared@example.net", "vic@example.net"]) == [451, 250]


def test_the_space_left_is_what_lmtpd_would_count(needs_exim: None, overquota: Path) -> None:
    """100 KiB less 100400 bytes; as many as that still fit."""
    commands.export_dump(RECORDS, overquota, "--headroom", "3K")
    with Daemon(overquota, VARIANTS["headroom"]) as daemon:
        codes = [_reply(daemon, "near@example.net", f" SIZE={size}").code for size in (2000, 2001)]
        assert codes == [250, 452]
        assert _reply(daemon, "bob@example.net", " SIZE=90000").code == 250


def test_a_refusal_for_good_on_request(needs_exim: None, overquota: Path) -> None:
    commands.export_dump(RECORDS, overquota, "--refuse", "--reserve", "3K")
    with Daemon(overquota, VARIANTS["refuse"]) as daemon:
        assert _reply(daemon, "jane@example.net") == Reply(552, "5.2.2 The user's mailbox is full.")
        assert _reply(daemon, "near@example.net") == Reply(451, TEXT)
    with Daemon(overquota) as daemon:
        assert _reply(daemon, "jane@example.net").code == 250


def test_refusals_for_good_and_the_space_left_in_one_map(needs_exim: None, overquota: Path) -> None:
    """As lmtpd with strict quotas and permanent failures, but what is too large may come later."""
    commands.export_dump(RECORDS, overquota, "--refuse", "--headroom", "3K")
    with Daemon(overquota, VARIANTS["headroom-refuse"]) as daemon:
        assert _reply(daemon, "jane@example.net") == Reply(552, "5.2.2 The user's mailbox is full.")
        codes = [_reply(daemon, "near@example.net", f" SIZE={size}").code for size in (2000, 2001)]
        assert codes == [250, 452]
        assert _reply(daemon, "bob@example.net", " SIZE=90000").code == 250


def test_a_text_of_ones_own_through_bh(needs_exim: None, overquota: Path) -> None:
    commands.export_dump(RECORDS, overquota, "--message", ASKED)
    recipients = [f"{user}@example.net" for user in ("jane", "jane+imap", "bob")]
    replies = list(exim.replies_to(recipients, overquota).values())
    assert replies == [Reply(451, ASKED), Reply(451, ASKED), Reply(250, "Accepted")]


@pytest.mark.parametrize("written", ["lsearch", "cdb"])
def test_a_run_that_changes_nothing_makes_the_map_believed_again(
    needs_exim: None, overquota: Path, written: str
) -> None:
    commands.export_dump(RECORDS, overquota, "--map-format", written)
    before = overquota.stat().st_ino
    with Daemon(overquota, VARIANTS[written]) as daemon:
        then = time.time() - 86400
        os.utime(overquota, (then, then))
        assert _reply(daemon, "jane@example.net").code == 250
        commands.export_dump(RECORDS, overquota, "--map-format", written)
        assert overquota.stat().st_ino == before
        assert _reply(daemon, "jane@example.net").code == 451
