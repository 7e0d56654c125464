"""docs/policies.md says what is done about each option of Cyrus that touches a quota.

An integration test asks the Cyrus that is installed for its options; here are recorded ones.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Iterable

import pytest

from tools.docs import CHECKOUT

TABLE = CHECKOUT / "docs" / "policies.md"
#: What `cyr_info conf-all` of 3.6.1 lists.
RECORDED = Path(__file__).parents[1] / "fixtures" / "options" / "3.6.1.txt"
#: Added after 3.6.1 (lib/imapoptions of 3.13.7).
LATER = ["mboxname_userpath", "quotawarnpercent", "quotawarnsize"]
_ABOUT_QUOTAS = re.compile("quota|maxmessages|overquota|catchall")


def _documented() -> set[str]:
    """Return the options in the first column of the table."""
    text = TABLE.read_text("utf-8").split("## Options of imapd.conf")[1]
    cells = re.findall(r"^\|([^|]*)\|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([a-z_]+)`", cell)}


def _undocumented(names: Iterable[str]) -> set[str]:
    """Return those of `names` that touch a quota and have no row."""
    return {name for name in names if _ABOUT_QUOTAS.search(name)} - _documented()


def test_every_recorded_option_about_quotas_is_documented() -> None:
    names = RECORDED.read_text("utf-8").split()
    assert {"lmtp_strict_quota", "lmtp_catchall_mailbox", "mailbox_maxmessages_email"} < set(names)
    assert _undocumented(names) == set()


@pytest.mark.parametrize("name", LATER)
def test_a_later_option_is_documented(name: str) -> None:
    assert name in _documented()


def test_a_new_option_would_be_noticed() -> None:
    names = ["servername", "quota_grace", "lmtp_overquota_mailbox", "quota_db"]
    assert _undocumented(names) == {"quota_grace", "lmtp_overquota_mailbox"}
