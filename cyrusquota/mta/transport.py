"""Recognise transports that tell Cyrus to ignore quotas (IGNOREQUOTA in LMTP).

Over such a transport, lmtpd refuses nobody for STORAGE or MESSAGE; it still refuses for the other
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


def quota_ignored_by(transport: Driver) -> Optional[str]:
    """Return the option by which `transport` has Cyrus ignore quotas, or None."""
    driver = transport.text("driver")
    if driver == "lmtp" and transport.is_on("ignore_quota"):
        return "ignore_quota"
    # Without the protocol, the option has no effect (transports/smtp.c).
    is_lmtp = driver == "smtp" and transport.text("protocol") == "lmtp"
    if is_lmtp and transport.is_on("lmtp_ignore_quota"):
        return "lmtp_ignore_quota"
    return "deliver -q" if driver == "pipe" and _ignores(transport.text("command")) else None


def _ignores(command: str) -> bool:
    """Return whether `command` is a `deliver` that ignores quotas."""
    try:
        words = shlex.split(command)
        if not words or os.path.basename(words[0]) not in _DELIVER:
            return False
        options = getopt.gnu_getopt(words[1:], _SHORT, _LONG)[0]
    except (ValueError, getopt.GetoptError):
        return False
    return any(name in ("-q", "--ignore-quota") for name, _ in options)
