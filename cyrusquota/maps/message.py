"""Check the text that a sender gets, before anything is written."""

from __future__ import annotations

import re
from typing import Optional

import attrs

from cyrusquota.errors import OptionError

DEFAULT_MESSAGE = "4.2.2 The user's mailbox is full. Please try re-sending your e-mail later."
DEFAULT_REFUSAL = "552 5.2.2 The user's mailbox is full."
#: Exim sends more than this as several lines.
MAX_MESSAGE = 75

_PRINTABLE = re.compile(r"[\x20-\x7e]*")
#: What MTAs take for a reply code and an enhanced status code.
_STATUS = re.compile(r"(?:(?P<code>[0-9]{3}) )?(?:(?P<status>[0-9]\.[0-9]{1,3}\.[0-9]{1,3}) )?")


@attrs.frozen
class Message:
    """A message, with its reply code and enhanced status where it begins with them."""

    code: Optional[str]
    status: Optional[str]
    text: str


def temporary(message: str) -> Message:
    """Parse `message` for a 4xx reply. Raises `OptionError` where the MTA would change it."""
    return _checked(message, "4")


def permanent(message: str) -> Message:
    """Parse `message` for a 5xx reply; 552 5.2.2 unless it has its own. Raises `OptionError`."""
    found = _checked(message, "5")
    full = Message(found.code or "552", found.status or "5.2.2", found.text)
    _checked(f"{full.code} {full.status} {full.text}", "5")
    return full


def _checked(message: str, kind: str) -> Message:
    match = _STATUS.match(message)
    assert match is not None
    found = Message(match["code"], match["status"], message[match.end() :])
    problem = _problem(message) or _kind_problem(found, kind)
    if problem:
        raise OptionError(
            f"--message {message!r}: the text {problem}; leave --message out for the usual one"
        )
    return found


def _problem(message: str) -> Optional[str]:
    if not message.strip():
        return "must not be empty"
    if message != message.strip():
        return "must not begin or end with a blank"
    if not _PRINTABLE.fullmatch(message):
        return "may hold printable ASCII characters only"
    if len(message) > MAX_MESSAGE:
        return f"has {len(message)} bytes, and Exim splits a reply of more than {MAX_MESSAGE}"
    return None


def _kind_problem(found: Message, kind: str) -> Optional[str]:
    verb = "defers" if kind == "4" else "refuses for good, as --refuse asks"
    if found.code == "421":
        return "must not begin with 421: only 4xx defers, and 421 closes the connection"
    if found.code is not None and not found.code.startswith(kind):
        return f"must not begin with {found.code}: only {kind}xx {verb}"
    if found.status is not None and not found.status.startswith(kind):
        return f"must not begin with a status other than {kind}.x.x in a {kind}xx reply"
    return None
