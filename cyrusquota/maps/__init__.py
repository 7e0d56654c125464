"""From verdicts to the entries of a map, whatever the map's format.

A format is one module with a `document` that gives the bytes of the whole map.
"""

from __future__ import annotations

import enum
import re
from typing import Iterable, Optional

import attrs

from cyrusquota.errors import OptionError
from cyrusquota.mailbox import Recipient

DEFAULT_MESSAGE = "4.2.2 The user's mailbox is full. Please try re-sending your e-mail later."
#: Exim sends more than this as several lines.
MAX_MESSAGE = 75
#: Who is never listed, in any domain: somebody must be able to hear of trouble.
ALWAYS_EXEMPT = "postmaster"

_PRINTABLE = re.compile(r"[\x20-\x7e]*")
#: What Exim takes for a reply code of the administrator's own, and what it makes of others.
_CODE = re.compile(r"(?P<code>[0-9]{3}) |(?P<enhanced>[0-9])\.[0-9]{1,3}\.[0-9]{1,3} ")


class KeyForm(enum.Enum):
    """What of a recipient the map is keyed by."""

    AUTO = "auto"
    LOCAL = "local"
    ADDRESS = "address"


@attrs.frozen(order=True)
class Entry:
    """One line of a map: what Exim looks up, and what it finds."""

    key: bytes
    value: bytes


def entries(
    recipients: Iterable[Recipient],
    *,
    message: str = DEFAULT_MESSAGE,
    form: KeyForm = KeyForm.AUTO,
    exempt: Iterable[str] = (),
) -> list[Entry]:
    """The entries that defer mail to `recipients` with `message`, sorted, one a key.

    Keys are folded to lower case, as Exim compares them. `exempt` has local parts or addresses
    never to list. Raises `OptionError` for a message Exim would not send as it is, and where
    `form` asks for the address of a recipient without a domain.
    """
    value = deferral(message)
    spared = {_folded(name) for name in (ALWAYS_EXEMPT, *exempt)}
    keys = {
        _folded(_key(recipient, form))
        for recipient in recipients
        if not spared & {_folded(recipient.local), _folded(str(recipient))}
    }
    return [Entry(key, value) for key in sorted(keys)]


def deferral(message: str) -> bytes:
    """The redirect data by which Exim answers 451, or the 4xx code in `message`, and its text.

    Raises `OptionError`, saying why, for a text that Exim would alter, split or not send.
    """
    problem = _problem(message)
    if problem:
        raise OptionError(f"the message {problem}: {message!r}")
    return b":defer: " + message.encode("ascii")


def _problem(message: str) -> Optional[str]:
    if not message.strip():
        return "must not be empty"
    if message != message.strip():
        return "must not begin or end with a blank"
    if not _PRINTABLE.fullmatch(message):
        return "may hold printable ASCII characters only"
    if len(message) > MAX_MESSAGE:
        return f"has {len(message)} bytes, and Exim splits a reply of more than {MAX_MESSAGE}"
    return _code_problem(message)


def _code_problem(message: str) -> Optional[str]:
    code = _CODE.match(message)
    if code is None:
        return None
    if code["code"] is None:
        wrong = code["enhanced"] != "4"
        return "must not begin with a status other than 4.x.x in a 4xx reply" if wrong else None
    if not code["code"].startswith("4") or code["code"] == "421":
        return f"must not begin with {code['code']}: only 4xx defers, and 421 closes the connection"
    behind = message[len(code[0]) :]
    return _code_problem(behind) if re.match(r"[0-9]\.", behind) else None


def _key(recipient: Recipient, form: KeyForm) -> str:
    if form is KeyForm.LOCAL:
        return recipient.local
    if form is KeyForm.ADDRESS and recipient.domain is None:
        raise OptionError(
            f"--key address: no domain is known for {recipient.local!r}; use --key auto, or name"
            " an imapd.conf with virtdomains and defaultdomain by -C"
        )
    return str(recipient)


def _folded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape").lower()
