"""The files in exim/: they belong together, Exim takes them, and they fail open."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

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


def test_no_macro_name_is_part_of_another() -> None:
    """Exim refuses a macro whose name has that of an earlier one in it."""
    texts = (path.read_text() for path in exim.DIRECTORY.rglob("*") if path.is_file())
    names = {name for text in texts for name in re.findall(r"\bCYRUSQUOTA_[A-Z_]+\b", text)}
    assert len(names) > 8
    assert not [(one, other) for one in names for other in names if one != other and one in other]


def test_a_damaged_line_spares_the_other_entries(needs_exim: None, overquota: Path) -> None:
    overquota.write_text(f"bob: nonsense <\n{LINE}carl: :def")
    users = [*USERS, "carl@example.net"]
    assert exim.codes_for(users, overquota) == [451, 451, 250, 250]


def test_a_map_that_nobody_refreshes_is_not_believed(needs_exim: None, overquota: Path) -> None:
    overquota.write_text(LINE)
    for minutes, expected in ((119, 451), (121, 250)):
        then = time.time() - 60 * minutes
        os.utime(overquota, (then, then))
        assert exim.codes_for(USERS[:1], overquota) == [expected]
