"""What a remote server hears from a Postfix that has our access table."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Mapping

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cyrusquota.maps import FORMATS, Entry

from . import commands, smtp
from .postfix import Postfix
from .smtp import Reply

pytestmark = pytest.mark.integration

FULL, ROOM = "%(S (200000 100))", "%(S (100 100))"
RECORDS = {
    "user.jane": FULL,
    "user.bob": ROOM,
    "user.postmaster": FULL,
    "example.com!user.vic": FULL,
    "example.com!user.jim^beam": FULL,
}
TEXT = "The user's mailbox is full. Please try re-sending your e-mail later."


@pytest.fixture
def table(needs_postfix: None, overquota: Path) -> Path:
    """Where to put a table; Postfix's map types have a suffix of their own."""
    return overquota


def _server(table: Path, *, kind: str = "cdb", behind: str = "") -> Postfix:
    """A Postfix, not yet started, that goes by the table, and then by what is `behind` it."""
    server = Postfix(f"check_recipient_access {kind}:{table}{behind}")
    if kind == "cdb":
        server.postmap(f"cdb:{table}")
    return server


def _replies(port: int, *recipients: str) -> dict[str, Reply]:
    with smtp.session(port) as talk:
        talk.begin()
        return {recipient: talk.rcpt(recipient) for recipient in recipients}


def _codes(port: int, *recipients: str) -> list[int]:
    return [reply.code for reply in _replies(port, *recipients).values()]


@pytest.mark.parametrize("kind", ["texthash", "cdb"])
def test_only_listed_users_are_deferred(table: Path, kind: str) -> None:
    commands.export_dump(RECORDS, table, "--map-format", "postfix")
    with _server(table, kind=kind) as server:
        full = (
            *("jane@example.net", "JANE@EXAMPLE.NET", "jane+imap@example.net"),
            *("vic@example.com", "vic+a+b@example.com", "jim.beam@example.com"),
        )
        replies = _replies(server.port, *full)
        assert {reply.code for reply in replies.values()} == {450}
        assert replies[full[0]].text == (
            f"4.2.2 <jane@example.net>: Recipient address rejected: {TEXT}"
        )
        others = ("bob@example.net", "bob+x@example.net", "jim@example.com", "beam@example.com")
        assert _codes(server.port, *others, "postmaster@example.net") == [250] * 5
        # A key without a domain counts in each.
        assert _codes(server.port, "jane@example.com") == [450]


def test_the_message_goes_to_the_others(table: Path) -> None:
    commands.export_dump(RECORDS, table, "--map-format", "postfix")
    server = _server(table)
    with server, smtp.session(server.port) as talk:
        talk.begin()
        codes = [talk.rcpt(f"{who}@example.net").code for who in ("bob", "jane", "bob+x")]
        assert codes == [250, 450, 250]
        assert talk.send("Subject: hello", "", "hello").code == 250


def _write(table: Path, values: Mapping[str, str]) -> None:
    entries = [Entry(key.encode(), value.encode()) for key, value in sorted(values.items())]
    table.write_bytes(FORMATS["postfix"].document(entries, ["a comment"]))


def test_a_later_refusal_for_good_wins_over_a_deferral_but_not_over_a_reply_code(
    table: Path,
) -> None:
    """Why DEFER_IF_PERMIT is the default: it may stand before every other restriction."""
    written = FORMATS["postfix"]
    values = {"jane": "4.2.2 Full", "bob": "452 4.2.2 Full", "x@else.example": "4.2.2 Full"}
    _write(table, {key: written.deferral(text).decode() for key, text in values.items()})
    with _server(table, behind=", reject") as server:
        assert _codes(server.port, "jane@example.net", "bob@example.net") == [554, 452]
        (reply,) = _replies(server.port, "x@else.example").values()
        assert "Relay access denied" in reply.text


def test_a_message_without_status_has_the_one_for_a_full_mailbox(table: Path) -> None:
    commands.export_dump(RECORDS, table, "--map-format", "postfix", "--message", "No room.")
    with _server(table) as server:
        (reply,) = _replies(server.port, "jane@example.net").values()
        assert reply == Reply(450, "4.2.2 <jane@example.net>: Recipient address rejected: No room.")


def test_a_refusal_for_good(table: Path) -> None:
    commands.export_dump(RECORDS, table, "--map-format", "postfix", "--refuse")
    with _server(table) as server:
        (reply,) = _replies(server.port, "jane@example.net").values()
        assert (reply.code, reply.text[:6]) == (552, "5.2.2 ")


def test_a_new_cdb_counts_at_once_and_without_one_everybody_is_deferred(table: Path) -> None:
    """The second half is Postfix's way with every table, and said in its README."""
    _write(table, {"jane": "DEFER_IF_PERMIT 4.2.2 Full"})
    with _server(table) as server:
        recipients = ("jane@example.net", "bob@example.net")
        assert _codes(server.port, *recipients) == [450, 250]
        _write(table, {"bob": "DEFER_IF_PERMIT 4.2.2 Full"})
        server.postmap(f"cdb:{table}")
        assert _codes(server.port, *recipients) == [250, 450]
        _write(table, {})
        server.postmap(f"cdb:{table}")
        assert _codes(server.port, *recipients) == [250, 250]
        table.with_name(f"{table.name}.cdb").unlink()
        assert _codes(server.port, *recipients) == [451, 451]


def test_the_readme_s_command_empties_a_table_that_nobody_renews(table: Path) -> None:
    readme = (commands.PROJECT / "postfix" / "README.md").read_text()
    (command,) = re.findall(r"^ +(find /var/lib/cyrusquota/overquota .*)$", readme, re.MULTILINE)
    command = command.replace("/var/lib/cyrusquota/overquota", str(table))
    _write(table, {"jane": "DEFER_IF_PERMIT 4.2.2 Full"})
    with _server(table) as server:
        server.run("sh", "-c", command)
        assert _codes(server.port, "jane@example.net") == [450]
        then = time.time() - 121 * 60
        os.utime(table, (then, then))
        server.run("sh", "-c", command)
        assert _codes(server.port, "jane@example.net") == [250]


#: Local parts that a table of Postfix can hold; the others are left out (see maps/postfix.py).
NASTY = [
    *("jane", "jane.doe", "user^name", "o'brien", "a,b", "a;b", "a{b}c", "$x", "${run{x}}", "%41"),
    *("*", "!neg", "+ext", "/etc/passwd", "[x]", "a|b", "mid#hash", "jane doe", "  lead", "trail "),
    *(" ", "a:b", ":", '"', 'a"b', '"quoted"', "back\\slash", "\\x41", "\\", "a..b", ".a", "a."),
    *("<x>", "(c)", "j\u00fcrgen", "~", "`", "=", "?", "_"),
]
ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+")
local_part = st.one_of(
    st.text(st.sampled_from(' "\\.,:;<>()[]{}$%!*a+='), min_size=1, max_size=12),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=30),
).filter(lambda text: text[0] not in "-#" and "@" not in text and not text.startswith("+"))


def _spoken(local: str) -> str:
    """A local part as a client says it (RFC 5321)."""
    if all(ATOM.fullmatch(part) for part in local.split(".")):
        return local
    return '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'


@given(locals_=st.lists(local_part.map(str.lower), min_size=20, max_size=60, unique=True))
@example(locals_=NASTY)
@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_every_key_is_found_with_its_own_text(table: Path, locals_: list[str]) -> None:
    texts = {local: f"number {number}." for number, local in enumerate(locals_)}
    _write(
        table,
        {f"{key}@example.com": f"DEFER_IF_PERMIT 4.2.2 {text}" for key, text in texts.items()},
    )
    server = _server(table)
    with server, smtp.session(server.port) as talk:
        talk.begin(options=" SMTPUTF8")
        heard = {local: talk.rcpt(f"{_spoken(local)}@example.com").text for local in locals_}
    assert {local: text.rpartition(": ")[2] for local, text in heard.items()} == texts
