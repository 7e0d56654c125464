"""Find the INBOX that an administrator means by an address, a local part, or a mailbox name.

Addresses become names of INBOXes as in lmtpd (imap/lmtpd.c, imap/mboxname.c): what follows a `+` is
a folder, lmtp_downcase_rcpt turns capitals into small letters, a dot becomes `^`, and virtdomains
and defaultdomain decide about the domain.
"""

from __future__ import annotations

import difflib
import itertools
import re
from typing import Iterable, Iterator, Optional

import attrs

from cyrusquota.cyrus.imapdconf import ImapdConf
from cyrusquota.cyrus.names import (
    Naming,
    Recipient,
    ascii_lower,
    inbox_of,
    inbox_owner,
    internal_name,
    recipient,
    split_domain,
)

_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PAIR = re.compile(r"\\(.)")
#: How many similar names to suggest for an unknown one.
_OFFERED = 5
#: Limits of the comparison: number of names, difference in length, letters that differ.
_COMPARED = 10_000
LONGER = 3
_OTHER_LETTERS = 4


def inbox_names(asked: str, naming: Naming) -> tuple[str, ...]:
    """Return the internal names of the INBOXes that `asked` can mean, most likely first."""
    by_address = list(_by_address(asked, naming))
    by_name = list(_by_mailbox(asked, naming))
    # user.jane is a mailbox; user.jane@example.org is the address of a user called user.jane.
    is_address = "@" in asked and not re.search("[!/]", asked)
    names = by_address + by_name if is_address else by_name + by_address
    return tuple(dict.fromkeys(names))


def _by_mailbox(asked: str, naming: Naming) -> Iterator[str]:
    name = inbox_of(internal_name(asked))
    if name is not None:
        domain, rest = split_domain(name)
        yield rest if naming.virtdomains and domain == naming.defaultdomain else name


def _by_address(asked: str, naming: Naming) -> Iterator[str]:
    local, at, domain = asked.rpartition("@")
    if not at:
        local, domain = asked, ""
    quoted = _QUOTED.fullmatch(local)
    local = _PAIR.sub(r"\1", quoted[1]) if quoted is not None else local.partition("+")[0]
    if naming.downcase:
        local, domain = ascii_lower(local), ascii_lower(domain)
    if not local:
        return
    inbox = "user." + local.replace(".", "^")
    is_default = not domain or domain == naming.defaultdomain
    if naming.virtdomains is not False and not is_default:
        yield f"{domain}!{inbox}"
    if not naming.virtdomains or is_default:
        yield inbox
    if not naming.virtdomains and domain:
        # Cyrus 2.x used the whole address as the user name.
        yield f"{inbox}@{domain.replace('.', '^')}"


def is_mailbox_name(asked: str) -> bool:
    """Return whether `asked` is the name of a mailbox, not an address or a local part."""
    # What follows a + in an address may have slashes.
    if re.search("[!/]", asked.partition("+")[0]):
        return True
    return "@" not in asked and inbox_of(internal_name(asked)) is not None


def folder_of(asked: str, inbox: str, conf: Optional[ImapdConf]) -> Optional[str]:
    """Return the internal name of the folder below `inbox` that `asked` names, or None."""
    if is_mailbox_name(asked):
        name = internal_name(asked)
        return name if name.startswith(f"{inbox}.") else None
    local = asked.rpartition("@")[0] or asked
    detail = local.partition("+")[2]
    return f"{inbox}.{_levels(detail, conf)}" if detail else None


def _levels(detail: str, conf: Optional[ImapdConf]) -> str:
    """Return what stands behind a `+`, which has the hierarchy separator, as an internal name."""
    is_slash = conf is None or conf.switch("unixhierarchysep", True)
    levels = detail.split("/" if is_slash else ".")
    return ".".join(level.replace(".", "^") for level in levels)


def shared_folder(asked: str, conf: ImapdConf) -> Optional[str]:
    """Return the internal name of the shared folder that an address is for, or None.

    That is an address `POSTUSER+FOLDER`, where postuser is empty by default (imap/lmtpengine.c).
    """
    local, _, domain = asked.rpartition("@") if "@" in asked else (asked, "", "")
    user, plus, detail = local.partition("+")
    naming = conf.naming
    if naming.downcase:
        user, domain = ascii_lower(user), ascii_lower(domain)
    if not plus or not detail or user != (conf.get("postuser") or ""):
        return None
    name = _levels(detail, conf)
    has_domain = naming.virtdomains and domain not in ("", naming.defaultdomain)
    return f"{domain}!{name}" if has_domain else name


def address(name: str, naming: Naming) -> Recipient:
    """Return the address to show for the INBOX `name`, even if no mail can be sent to it."""
    to = recipient(name, naming)
    if to is not None:
        return to
    domain, local = inbox_owner(name) or (None, name)
    return Recipient(local, domain)


def unreachable_because(name: str, naming: Naming) -> str:
    """Return why no mail can be sent to the INBOX `name`, which `recipient` gives nobody for."""
    if recipient(name, attrs.evolve(naming, downcase=False)) is not None:
        return "it has capitals, and lmtp_downcase_rcpt is on"
    if recipient(name, Naming(virtdomains=True, downcase=naming.downcase)) is not None:
        setting = "virtdomains is off" if not naming.virtdomains else "that is the defaultdomain"
        return f"it has a domain, and {setting}"
    if "+" in address(name, naming).local:
        return "it has a +, behind which an address has the name of a folder"
    return "it has characters that lmtpd takes in no address"


def _resembling(wanted: str, names: Iterable[str]) -> Iterator[str]:
    """Return those of `names` that have about the same length and letters as `wanted`."""
    letters = set(wanted)
    for name in names:
        owner = inbox_owner(name)
        if owner is None or abs(len(owner[1]) - len(wanted)) > LONGER:
            continue
        if len(letters ^ set(ascii_lower(owner[1]))) <= _OTHER_LETTERS:
            yield name


def wanted_part(asked: str) -> str:
    """Return the part of `asked` that is compared with local parts."""
    return ascii_lower(re.split("[@+]", re.split("[!/]", asked)[-1])[0])


def nearest(asked: str, names: Iterable[str], naming: Naming) -> list[str]:
    """Return the users among the INBOXes `names` whose local part is similar to that of `asked`."""
    wanted = wanted_part(asked)
    known: dict[str, set[str]] = {}
    for name in itertools.islice(_resembling(wanted, names), _COMPARED):
        to = address(name, naming)
        # Without an address it is found by the name of its INBOX only.
        shown = name if recipient(name, naming) is None else str(to)
        known.setdefault(ascii_lower(to.local), set()).add(shown)
    alike = difflib.get_close_matches(wanted, known, n=_OFFERED, cutoff=0.7)
    return [shown for local in alike for shown in sorted(known[local])][:_OFFERED]
