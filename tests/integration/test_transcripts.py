"""The transcripts in exim/README.md and docs/choosing.md are those of real sessions.

Each stands there between `<!-- recorded: NAME -->` and `<!-- end -->`, and is compared with a fresh
one. With CYRUSQUOTA_RECORD=1 the fresh ones are written into the document instead.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Iterator

import pytest

from . import commands, exim, recipes, smtp
from .cyrus import Cyrus
from .exim_daemon import VARIANTS, Daemon, Variant
from .recipes import RECIPES

pytestmark = pytest.mark.integration

README = commands.PROJECT / "exim" / "README.md"
CHOOSING = commands.PROJECT / "docs" / "choosing.md"
#: What differs from one session to the next, and what stands for it.
_PASSING = (
    (r"\b20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\b", "2026-01-31 12:00:00"),
    (r"\b[0-9A-Za-z]{6}-[0-9A-Za-z]{6,11}-[0-9A-Za-z]{2,4}\b", "1vmEyz-00000A-0A"),
    (r"/tmp/cq\w+/overquota", "/var/lib/cyrusquota/overquota"),
    (r"/tmp/cq\w+", "/etc/exim4"),
    (r"^ *\d+m +\d+ ", " 0m   300 "),
    (r"\(0\.\d+\)", "(0.1)"),
    (r" DT=\S+| SESSIONID=<[^>]*>", ""),
    (r" S=\d+", " S=300"),
    (r"(\[127\.0\.0\.1\]):\d+", r"\1"),
)


def _settled(text: str) -> str:
    for pattern, replacement in _PASSING:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return "".join(f"{line.rstrip()}\n" for line in text.strip("\n").splitlines())


def _assert_recorded(name: str, fresh: str, document: Path = README) -> None:
    text = document.read_text()
    block = re.compile(
        rf"(<!-- recorded: {name} -->\n\n```text\n)(.*?)(```\n\n<!-- end -->)", re.DOTALL
    )
    match = block.search(text)
    assert match is not None, f"no place for {name!r} in {document}"
    fresh = _settled(fresh)
    if os.environ.get("CYRUSQUOTA_RECORD"):
        document.write_text(text[: match.start(2)] + fresh + text[match.end(2) :])
    else:
        assert match[2] == fresh


def _dialogue(talk: smtp.Session) -> str:
    """What was said from MAIL on, the client's lines marked."""
    start = next(number for number, line in enumerate(talk.heard) if line.startswith("MAIL"))
    return "".join(f"{line}\n" for line in talk.heard[start:])


@pytest.fixture(scope="module")
def cyrus(needs_cyrus: None) -> Iterator[Cyrus]:
    """A server on which jane is full and bob is not."""
    with Cyrus() as server:
        _start(server)
        yield server


def _start(server: Cyrus) -> None:
    server.start()
    for user in ("jane", "bob"):
        server.create_user(user)
        server.set_quota(server.mailbox(user), storage_kib=10 if user == "jane" else 1000)
    server.fill("jane")


def _send(daemon: Daemon, *recipients: str) -> str:
    with smtp.session(daemon.port) as talk:
        talk.begin()
        for recipient in recipients:
            talk.rcpt(recipient)
        talk.send("Subject: hello", "", "Hello.")
    return _dialogue(talk)


def test_the_dialogue_and_the_log(cyrus: Cyrus, overquota: Path) -> None:
    commands.export(cyrus.conf, overquota)
    with Daemon(overquota, lmtp_port=cyrus.lmtp_port) as daemon:
        said = _send(daemon, "jane@example.net", "jane+imap@example.net", "bob@example.net")
        _assert_recorded("dialogue", said)
        daemon.wait_for_log("Completed")
        # Not the lines about the daemon itself.
        lines = [
            line for line in daemon.log().splitlines() if "example.org" in line or "=>" in line
        ]
        _assert_recorded("log", "\n".join(lines))
        assert daemon.run("-bp") == ""


def test_the_map(cyrus: Cyrus, overquota: Path) -> None:
    commands.export(cyrus.conf, overquota)
    entries = [line for line in overquota.read_text().splitlines() if not line.startswith("#")]
    _assert_recorded("map", "\n".join(entries))


def test_what_bh_says(needs_exim: None, overquota: Path) -> None:
    """With the complete configuration and without a daemon, as the README has one try a map."""
    overquota.write_text("jane: :defer: 4.2.2 The user's mailbox is full.\n")
    lines = ["EHLO client.example.org", "MAIL FROM:<sender@example.org>"]
    lines += [f"RCPT TO:<{who}@example.net>" for who in ("jane", "jane+imap", "bob")]
    replies = exim.replies_to([line[9:-1] for line in lines[2:]], overquota)
    said = "".join(
        f"RCPT TO:<{who}>\n{reply.code} {reply.text}\n" for who, reply in replies.items()
    )
    _assert_recorded("bh", said)


def test_what_bv_says(cyrus: Cyrus, overquota: Path) -> None:
    commands.export(cyrus.conf, overquota)
    said = ""
    for address in ("jane@example.net", "bob@example.net"):
        done = exim.verify(address, overquota)
        said += f"# exim4 -bv {address}; echo $?\n{done.stdout.decode()}{done.returncode}\n"
    _assert_recorded("bv", said)


def test_a_dry_run(cyrus: Cyrus, overquota: Path) -> None:
    """The message is accepted, and the log says what would have been deferred."""
    commands.export(cyrus.conf, overquota)
    exempting = VARIANTS["exemptions"]
    trying = Variant(exempting.router, exempting.acl, "warn acl = cyrusquota_defer")
    with Daemon(overquota, trying) as daemon:
        assert smtp.codes(daemon.port, ["jane@example.net", "bob@example.net"]) == [250, 250]
        _assert_recorded("dry-run", daemon.wait_for_log("Warning"))
        assert "bob" not in daemon.log()


def test_what_stays_in_the_queue(cyrus: Cyrus, overquota: Path) -> None:
    """Without a map, Exim accepts what Cyrus then does not."""
    with Daemon(overquota, lmtp_port=cyrus.lmtp_port) as daemon:
        _send(daemon, "jane@example.net")
        _assert_recorded("late", daemon.wait_for_log("Over quota"))
        _assert_recorded("queue", daemon.run("-bp"))


def test_an_unknown_user_leads_to_a_bounce(cyrus: Cyrus, overquota: Path) -> None:
    with Daemon(overquota, lmtp_port=cyrus.lmtp_port) as daemon:
        _send(daemon, "carl@example.net")
        daemon.wait_for_log("<= <>")
        lines = [line for line in daemon.log().splitlines() if "carl" in line or "<= <>" in line]
        _assert_recorded("bounce", "\n".join(lines))


@pytest.mark.parametrize("way", RECIPES)
def test_the_ways_of_choosing(way: str, needs_cyrus: None, overquota: Path) -> None:
    with Cyrus() as server:
        there = recipes.install(server, RECIPES[way])
        _start(server)
        commands.export(server.conf, overquota, "--service", "lmtp")
        with Daemon(overquota, there.recipe.variant, macros=there.macros) as daemon:
            with smtp.session(daemon.port) as talk:
                talk.begin(options=" SIZE=2000000")
                for recipient in ("jane", "jane+imap", "bob", "carl"):
                    talk.rcpt(f"{recipient}@example.net")
            _assert_recorded(way, _dialogue(talk), CHOOSING)
