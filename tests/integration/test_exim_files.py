"""The files in exim/: they belong together, Exim takes them, and they fail open."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Callable

import pytest

from . import exim

pytestmark = pytest.mark.integration

TEXT = "4.2.2 The user's mailbox is full. Please try re-sending your e-mail later."
LINE = f"jane: :defer: {TEXT}\n"
USERS = ["jane@example.net", "jane+imap@example.net", "bob@example.net"]


def _router(path: Path) -> str:
    """What stands between the marks in a configuration file."""
    blocks = re.findall(
        r"^# >>> cyrusquota router\n(.+?)^# <<< cyrusquota router\n",
        path.read_text(encoding="ascii"),
        re.DOTALL | re.MULTILINE,
    )
    assert len(blocks) == 1
    return str(blocks[0])


def test_both_files_hold_the_same_router() -> None:
    assert _router(exim.CONF) == _router(exim.ROUTER)


def test_exim_accepts_the_configuration(needs_exim: None) -> None:
    done = exim.check_configuration(exim.CONF)
    assert (done.returncode, done.stderr) == (0, b"")


def test_exim_accepts_the_router_as_an_included_file(needs_exim: None, overquota: Path) -> None:
    """Macros of the main section go before those in the file."""
    overquota.write_text(LINE)
    around = exim.CONF.read_text().replace(_router(exim.CONF), f".include {exim.ROUTER}\n")
    conf = overquota.with_name("exim.conf")
    conf.write_text(f"CYRUSQUOTA_MAP = {overquota}\n{around}")
    done = exim.verify("jane@example.net", overquota, conf=conf)
    assert done.returncode == 1
    assert TEXT.encode() in done.stdout


def test_a_listed_user_is_deferred_and_others_are_not(needs_exim: None, overquota: Path) -> None:
    overquota.write_text(LINE)
    assert exim.codes_for([*USERS, "JANE@EXAMPLE.NET"], overquota) == [451, 451, 250, 451]
    assert exim.replies_to(USERS[:1], overquota)[USERS[0]].text == TEXT


def test_postmaster_is_accepted_even_if_listed(needs_exim: None, overquota: Path) -> None:
    overquota.write_text(LINE.replace("jane", "postmaster"))
    assert exim.codes_for(["postmaster@example.net"], overquota) == [250]


def test_a_map_of_addresses_needs_the_other_key(needs_exim: None, overquota: Path) -> None:
    overquota.write_text(LINE.replace("jane", "jane@example.net"))
    assert exim.codes_for(USERS, overquota, exim.ADDRESS_KEY) == [451, 451, 250]
    assert exim.codes_for(USERS, overquota) == [250, 250, 250]


def test_verify_tells_what_a_sender_would_hear(needs_exim: None, overquota: Path) -> None:
    overquota.write_text(LINE)
    full, other = (exim.verify(f"{user}@example.net", overquota) for user in ("jane", "bob"))
    assert (full.returncode, other.returncode) == (1, 0)
    assert TEXT.encode() in full.stdout


def test_a_full_user_may_send(needs_exim: None, overquota: Path) -> None:
    """Verified as a sender, nobody is looked up in the map."""
    overquota.write_text(LINE)
    assert exim.verify("jane@example.net", overquota, as_sender=True).returncode == 0


def _absent(_: Path) -> None:
    pass


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def _empty(path: Path) -> None:
    path.touch()


def _unreadable(path: Path) -> None:
    path.write_text(LINE)
    path.chmod(0o600)


def _out_of_reach(path: Path) -> None:
    path.write_text(LINE)
    path.parent.chmod(0o700)


def _directory(path: Path) -> None:
    path.mkdir()


def _half_written(path: Path) -> None:
    path.write_text("bert: :defer: full\njane: :def")


def _malformed(path: Path) -> None:
    path.write_text("jane: defer: full\nbob: not an address at all <\n")


def _undelimited(path: Path) -> None:
    path.write_text("jane :defer: full\n")


def _foreign(path: Path) -> None:
    path.write_text("jane: :fail: no\nbob: :blackhole:\n")


def _garbage(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 16)


BROKEN = [
    _absent,
    _dangling,
    _empty,
    _unreadable,
    _out_of_reach,
    _directory,
    _half_written,
    _malformed,
    _undelimited,
    _foreign,
    _garbage,
]


@pytest.mark.parametrize("spoil", BROKEN, ids=lambda spoil: spoil.__name__.strip("_"))
def test_a_broken_map_defers_nobody(
    needs_exim: None, overquota: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(overquota)
    assert exim.codes_for(USERS, overquota) == [250, 250, 250]


def test_a_damaged_line_spares_the_other_entries(needs_exim: None, overquota: Path) -> None:
    overquota.write_text(f"bob: nonsense <\n{LINE}carl: :def")
    users = [*USERS, "carl@example.net"]
    assert exim.codes_for(users, overquota) == [451, 451, 250, 250]
