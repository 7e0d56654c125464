"""docs/policies.md says what is done about each option of Cyrus that touches a quota."""

from __future__ import annotations

import pytest

from tests.imapd_options import RECORDED, documented, undocumented

#: Added after 3.6.1 (lib/imapoptions of 3.13.7).
LATER = ["mboxname_userpath", "quotawarnpercent", "quotawarnsize"]


def test_every_recorded_option_about_quotas_is_documented() -> None:
    names = RECORDED.read_text("utf-8").split()
    assert {"lmtp_strict_quota", "lmtp_catchall_mailbox", "mailbox_maxmessages_email"} < set(names)
    assert undocumented(names) == set()


@pytest.mark.parametrize("name", LATER)
def test_a_later_option_is_documented(name: str) -> None:
    assert name in documented()


def test_a_new_option_would_be_noticed() -> None:
    names = ["servername", "quota_grace", "lmtp_overquota_mailbox", "quota_db"]
    assert undocumented(names) == {"quota_grace", "lmtp_overquota_mailbox"}
