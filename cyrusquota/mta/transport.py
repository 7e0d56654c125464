"""Recognise transports to Cyrus, and those that tell it to ignore quotas (IGNOREQUOTA in LMTP).

Over one of the latter, lmtpd refuses nobody for STORAGE or MESSAGE; it still refuses for the other
two resources (imap/lmtpd.c, verify_user). Exim's drivers lmtp and smtp have an option for it, and a
pipe may lead to Cyrus's `deliver -q`.
"""

from __future__ import annotations

import getopt
import os
import shlex
from typing import Optional

from cyrusquota.mta.exim import Driver
from cyrusquota.quota import Resource

#: What lmtpd does not look at then.
IGNORED = (Resource.STORAGE, Resource.MESSAGE)
#: Names of Cyrus's program; Debian has it in the PATH as cyrdeliver.
_DELIVER = ("deliver", "cyrdeliver")
#: The options of all versions (imap/deliver.c).
_SHORT = "C:df:r:m:a:F:eE:lqD"
_LONG = ["return-path=", "mailbox=", "auth-id=", "ignore-quota", "lmtp"]


def leads_to_cyrus(transport: Driver) -> bool:
    """Return whether `transport` speaks LMTP, or runs `deliver`."""
    driver = transport.text("driver")
    if driver == "pipe":
        return _deliver_options(transport.text("command")) is not None
    return driver == "lmtp" or (driver == "smtp" and transport.text("protocol") == "lmtp")


def quota_ignored_by(transport: Driver) -> Optional[str]:
    """Return the option by which `transport` has Cyrus ignore quotas, or None."""
    driver = transport.text("driver")
    if driver == "lmtp" and transport.is_on("ignore_quota"):
        return "ignore_quota"
    # Without the protocol, the option has no effect (transports/smtp.c).
    is_lmtp = driver == "smtp" and transport.text("protocol") == "lmtp"
    if is_lmtp and transport.is_on("lmtp_ignore_quota"):
        return "lmtp_ignore_quota"
    options = _deliver_options(transport.text("command")) if driver == "pipe" else None
    return "deliver -q" if not {"-q", "--ignore-quota"}.isdisjoint(options or ()) else None


def _deliver_options(command: str) -> Optional[list[str]]:
    """Return the names of the options with which `command` runs `deliver`, None if it does not."""
    try:
        words = shlex.split(command)
        if not words or os.path.basename(words[0]) not in _DELIVER:
            return None
        return [name for name, _ in getopt.gnu_getopt(words[1:], _SHORT, _LONG)[0]]
    except (ValueError, getopt.GetoptError):
        return None
