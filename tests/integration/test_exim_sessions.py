"""What a remote server hears from an Exim daemon with each variant of the router."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Iterator, Mapping

import pytest

from cyrusquota.maps import FORMATS, Entry

from . import exim, smtp
from .exim_daemon import RELAY_CLIENT, SECRET, VARIANTS, Daemon
from .smtp import Reply

pytestmark = pytest.mark.integration

TEXT = "4.2.2 The user's mailbox is full. Please try re-sending your e-mail later."
FULL = f":defer: {TEXT}"
ALIASES = {
    "sales": "jane",
    "chained": "sales",
    "filed": "jane+folder",
    "both": "jane, bob",
    "free": "bob",
    # An alias called like a full user, whose mail goes elsewhere.
    "moved": "bob",
}


def _write(overquota: Path, values: Mapping[str, str], variant: str = "lsearch") -> None:
    """Put a map in place as the exporter does: finished beside it, then renamed."""
    entries = sorted(Entry(key.encode(), value.encode()) for key, value in values.items())
    new = overquota.with_suffix(".new")
    new.write_bytes(FORMATS["cdb" if variant == "cdb" else "lsearch"].document(entries, []))
    new.chmod(0o644)
    new.rename(overquota)


def _at(local_part: str, domain: str = "example.net") -> str:
    return f"{local_part}@{domain}"


def _codes(daemon: Daemon, *local_parts: str) -> list[int]:
    return smtp.codes(daemon.port, [_at(local_part) for local_part in local_parts])


@pytest.fixture(scope="module", params=VARIANTS)
def served(request: pytest.FixtureRequest, needs_exim: None) -> Iterator[tuple[str, Daemon]]:
    """A daemon for each variant."""
    variant = VARIANTS[request.param]
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(exim.readable_directory())
        daemon = Daemon(directory / "overquota", variant, aliases=ALIASES)
        yield request.param, stack.enter_context(daemon)


@pytest.fixture
def variant(served: tuple[str, Daemon]) -> tuple[str, Daemon]:
    """The same, with a map in which jane is full, and moved, who has an alias."""
    name, daemon = served
    values = {"jane": FULL, "moved": FULL}
    if name == "address":
        values = {_at(user): value for user, value in values.items()}
    _write(daemon.overquota, values, name)
    return served


def test_an_alias_is_judged_by_the_user_behind_it(variant: tuple[str, Daemon]) -> None:
    _, daemon = variant
    codes = _codes(daemon, "jane", "jane+x", "sales", "chained", "filed", "free", "moved")
    assert codes == [451, 451, 451, 451, 451, 250, 250]


def test_an_alias_of_several_users_is_accepted(variant: tuple[str, Daemon]) -> None:
    assert _codes(variant[1], "both") == [250]


def test_each_recipient_has_a_reply_and_the_message_goes_to_the_others(
    variant: tuple[str, Daemon],
) -> None:
    _, daemon = variant
    with smtp.session(daemon.port) as talk:
        talk.begin()
        replies = [talk.rcpt(_at(who)) for who in ("bob", "jane", "nobody", "carl", "jane+x")]
        assert [reply.code for reply in replies] == [250, 451, 550, 250, 451]
        assert replies[1].text == TEXT
        assert talk.send("Subject: hello", "", "hello").code == 250
    queue = daemon.run("-bp")
    assert "bob@example.net" in queue and "carl@example.net" in queue
    assert "jane" not in queue


def test_a_full_user_may_send(variant: tuple[str, Daemon]) -> None:
    """The configuration here verifies senders."""
    with smtp.session(variant[1].port) as talk:
        talk.begin(sender="jane@example.net")
        assert talk.rcpt(_at("bob")).code == 250


def test_postmaster_is_always_accepted(variant: tuple[str, Daemon]) -> None:
    assert _codes(variant[1], "postmaster", "jane") == [250, 451]


def test_verify_tells_the_same(variant: tuple[str, Daemon]) -> None:
    """But for exemptions: there the ACL defers, of which -bv knows nothing."""
    name, daemon = variant
    done = exim.run("-bv", "jane+x@example.net", conf=daemon.conf)
    assert done.returncode == (0 if name == "exemptions" else 1)
    assert (TEXT.encode() in done.stdout) == (name != "exemptions")
    assert exim.run("-bv", "bob@example.net", conf=daemon.conf).returncode == 0


def test_a_reply_code_in_the_map_is_sent(variant: tuple[str, Daemon]) -> None:
    name, daemon = variant
    value = ":defer: 452 4.2.2 Mailbox full"
    _write(daemon.overquota, {_at("jane") if name == "address" else "jane": value}, name)
    with smtp.session(daemon.port) as talk:
        talk.begin()
        assert talk.rcpt(_at("jane")) == Reply(452, "4.2.2 Mailbox full")


def test_a_map_replaced_during_a_session_counts_from_the_next(
    variant: tuple[str, Daemon],
) -> None:
    """A session goes on with the map that it has opened; none is ever refused in between."""
    name, daemon = variant
    with smtp.session(daemon.port) as talk:
        talk.begin()
        assert [talk.rcpt(_at(who)).code for who in ("jane", "bob")] == [451, 250]
        _write(daemon.overquota, {_at("bob") if name == "address" else "bob": FULL}, name)
        assert [talk.rcpt(_at(who)).code for who in ("jane", "bob")] == [451, 250]
        assert _codes(daemon, "jane", "bob") == [250, 451]
        daemon.overquota.unlink()
        assert [talk.rcpt(_at(who)).code for who in ("carl", "bob")] == [250, 250]


def test_a_map_that_grows_old_during_a_session_stops_deferring(
    variant: tuple[str, Daemon],
) -> None:
    _, daemon = variant
    with smtp.session(daemon.port) as talk:
        talk.begin()
        assert talk.rcpt(_at("jane")).code == 451
        then = time.time() - 7201
        os.utime(daemon.overquota, (then, then))
        assert talk.rcpt(_at("jane")).code == 250
        os.utime(daemon.overquota)
        assert talk.rcpt(_at("jane")).code == 451


def test_the_limit_of_age_can_be_set(needs_exim: None, overquota: Path) -> None:
    _write(overquota, {"jane": FULL})
    then = time.time() - 7201
    os.utime(overquota, (then, then))
    with Daemon(overquota, macros={"CYRUSQUOTA_MAX_AGE": "86400"}) as daemon:
        assert _codes(daemon, "jane") == [451]


def test_a_bare_key_counts_in_the_default_domain_only(needs_exim: None, overquota: Path) -> None:
    _write(overquota, {"jane": FULL, "bob@example.com": FULL})
    everybody = [_at(who, domain) for who in ("jane", "bob") for domain in ("example.net",)]
    everybody += [_at(who, "example.com") for who in ("jane", "bob+x", "BOB")]
    with Daemon(overquota, VARIANTS["address"]) as daemon:
        assert smtp.codes(daemon.port, everybody) == [451, 250, 250, 451, 451]
    other = {"CYRUSQUOTA_DEFAULT_DOMAIN": "Example.COM"}
    with Daemon(overquota, VARIANTS["address"], macros=other) as daemon:
        assert smtp.codes(daemon.port, everybody) == [250, 250, 451, 451, 451]


def test_only_the_named_domains_are_looked_up(needs_exim: None, overquota: Path) -> None:
    _write(overquota, {"jane": FULL})
    with Daemon(overquota, macros={"CYRUSQUOTA_DOMAINS": "example.com"}) as daemon:
        recipients = [_at("jane"), _at("jane", "example.com")]
        assert smtp.codes(daemon.port, recipients) == [250, 451]


TOO_LARGE = Reply(452, "4.2.2 The message is too large for the space left in the mailbox.")


HEADROOM = ("headroom", "headroom-refuse")


@pytest.mark.parametrize("name", HEADROOM)
def test_a_message_larger_than_the_space_left_is_deferred(
    needs_exim: None, overquota: Path, name: str
) -> None:
    _write(overquota, {"near": "free=5000", "jane": FULL})
    accepted, deferred = ("", " SIZE=0", " SIZE=5000"), (" SIZE=5001", " SIZE=9999999")
    with Daemon(overquota, VARIANTS[name]) as daemon:
        for announced in (*accepted, *deferred):
            with smtp.session(daemon.port) as talk:
                talk.begin(options=announced)
                near = talk.rcpt(_at("near+folder"))
                assert near == (Reply(250, "Accepted") if announced in accepted else TOO_LARGE)
                assert talk.rcpt(_at("jane")) == Reply(451, TEXT)
                assert talk.rcpt(_at("bob")).code == 250


def test_space_left_means_nothing_to_the_other_variants(
    variant: tuple[str, Daemon],
) -> None:
    name, daemon = variant
    if name in HEADROOM:
        return
    values = dict.fromkeys(("jane", _at("jane")), "free=1")
    _write(daemon.overquota, values, name)
    with smtp.session(daemon.port) as talk:
        talk.begin(options=" SIZE=5000")
        assert talk.rcpt(_at("jane")).code == 250


@pytest.mark.parametrize("name", HEADROOM)
def test_what_is_no_number_is_no_space_left(needs_exim: None, overquota: Path, name: str) -> None:
    _write(overquota, {"a": "free=", "b": "free=12x", "c": "free=-1", "d": "used=1 free=1"})
    with Daemon(overquota, VARIANTS[name]) as daemon, smtp.session(daemon.port) as talk:
        talk.begin(options=" SIZE=5000")
        assert [talk.rcpt(_at(who)).code for who in "abcd"] == [250] * 4


def test_a_refusal_is_sent_only_by_the_variants_for_it(
    variant: tuple[str, Daemon],
) -> None:
    name, daemon = variant
    _write(daemon.overquota, dict.fromkeys(("jane", _at("jane")), ":fail: 552 5.2.2 Full"), name)
    with smtp.session(daemon.port) as talk:
        talk.begin()
        reply = talk.rcpt(_at("jane"))
        refuses = name in ("refuse", "headroom-refuse")
        assert reply == (Reply(552, "5.2.2 Full") if refuses else Reply(250, "Accepted"))


def test_who_is_exempt(needs_exim: None, overquota: Path) -> None:
    _write(overquota, {"jane": FULL, "abuse": FULL, "postmaster": FULL})
    with Daemon(overquota, VARIANTS["exemptions"], aliases=ALIASES) as daemon:
        everybody = _codes(daemon, "postmaster", "abuse", "jane", "bob", "sales")
        assert everybody == [250, 250, 451, 250, 451]
        assert smtp.codes(daemon.port, [_at("jane")], client=RELAY_CLIENT) == [250]
        with smtp.session(daemon.port) as bounce:
            bounce.begin(sender="")
            assert bounce.rcpt(_at("jane")).code == 250
        with smtp.session(daemon.port) as own:
            own.say("EHLO client.example.org")
            assert own.say(f"AUTH PLAIN {SECRET}").code == 235
            own.say("MAIL FROM:<sender@example.org>")
            assert own.rcpt(_at("jane")).code == 250


@pytest.mark.parametrize(("variant_name", "count"), [("lsearch", 10_000), ("cdb", 200_000)])
def test_a_large_map(needs_exim: None, overquota: Path, variant_name: str, count: int) -> None:
    users = [f"user{number:06}" for number in range(count)]
    _write(overquota, dict.fromkeys(users, FULL), variant_name)
    with Daemon(overquota, VARIANTS[variant_name]) as daemon:
        asked = [*users[:: count // 40], users[-1]]
        assert _codes(daemon, *asked) == [451] * len(asked)
        assert _codes(daemon, *(f"no{user}" for user in asked)) == [250] * len(asked)
