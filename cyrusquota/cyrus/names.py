"""Mailbox names: internal, external as `quota` prints them, and the recipient behind a root.

Internal names are `[DOMAIN!]COMPONENT[.COMPONENT...]`, where `^` stands for a dot inside a
component (imap/mboxname.c). They are str throughout, bytes that are not UTF-8 as surrogate escapes.
"""

from __future__ import annotations

import itertools
import re
import string
from typing import Iterator, Optional, Sequence

import attrs

#: The value of defaultdomain built into Cyrus since 3.0; it names no real domain.
BUILT_IN_DOMAIN = "internal"


#: What stands before the first `!` is a domain, except that with virtual domains a user name may
#: contain a `!`: `user.x!y` (while `user.example.org!user.max` is max in user.example.org).
_NAME = re.compile(r"(?:((?!user\.)[^!]+|user\.[^!]*(?=!(?:user\.|user$|$)))!)?(.*)", re.DOTALL)
#: The local parts that lmtpd can be given: it takes no quoted ones, nothing that is not ASCII,
#: and reads what stands behind a `+` as a folder (imap/lmtpengine.c).
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*/=?^_`{|}~.-]+")
#: The INBOX of a user whom mail can reach, as most are called: the domain, the local part with `^`.
_USUAL_INBOX = re.compile(r"(?:([a-z0-9.-]+)!)?user\.([a-z0-9_^-]+)")
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


@attrs.frozen
class Recipient:
    """The address of a user: a local part, and a domain where one is known."""

    local: str
    domain: Optional[str] = None

    def __str__(self) -> str:
        return self.local if self.domain is None else f"{self.local}@{self.domain}"

    def within(self, domain: Optional[str]) -> Recipient:
        """Return the address in `domain`, where it has none."""
        return self if self.domain is not None else Recipient(self.local, domain)


@attrs.frozen
class Naming:
    """How a server maps the addresses that lmtpd is given to user names.

    `virtdomains` is None where it is not known (no imapd.conf): a domain in a name counts then.
    `defaultdomain` is the domain of users who have none in their name, or None. `downcase` says
    that lmtpd folds local part and domain to lower case before the lookup (lmtp_downcase_rcpt), so
    that no mail reaches a name with capitals.
    """

    virtdomains: Optional[bool] = None
    defaultdomain: Optional[str] = None
    downcase: bool = True


def split_domain(name: str) -> tuple[Optional[str], str]:
    """Split an internal name into its domain (None if it has none) and the rest."""
    match = _NAME.fullmatch(name)
    assert match is not None
    domain, rest = match.groups()
    return domain, rest


def inbox_owner(name: str) -> Optional[tuple[Optional[str], str]]:
    """Return the domain and the local part of the user whose INBOX is called `name`.

    Return None for everything else: subfolders, shared folders, deleted mailboxes, whole domains.
    """
    domain, rest = split_domain(name)
    parts = rest.split(".")
    if len(parts) != 2 or parts[0] != "user" or not parts[1]:
        return None
    return domain, parts[1].replace("^", ".")


def inbox_of(root: str) -> Optional[str]:
    """Return the internal name of the INBOX of the user that a quota root belongs to, or None."""
    domain, rest = split_domain(root)
    parts = rest.split(".")
    if parts[0] != "user" or len(parts) < 2 or not parts[1]:
        return None
    name = f"user.{parts[1]}"
    return name if domain is None else f"{domain}!{name}"


def domain_of(name: str) -> Optional[str]:
    """Return the domain that a mailbox or quota root belongs to, None where it has none.

    Where 2.x kept whole addresses as user names (user.jane@example^org), it follows the `@`.
    """
    domain, rest = split_domain(name)
    if domain is not None:
        return domain
    kind, _, path = rest.partition(".")
    user, mark, behind = path.partition(".")[0].rpartition("@")
    return behind.replace("^", ".") if kind == "user" and mark and user and behind else None


#: Keys of quota roots of which each is a user's own, a line each; the domain is a group.
_OWN_ROOTS = re.compile(rb"^(?:((?!user\.)[^!\n]+)!)?user\.[^.!@\n]+$", re.MULTILINE)


def domain_runs(keys: Sequence[bytes]) -> Optional[list[tuple[Optional[str], int]]]:
    """Return the domains of many internal names in bytes, each with how many in a row are in it.

    The same as of `domain_of`. None where not all are the names of INBOXes by `inbox_owner`, or
    that is not certain at first sight.
    """
    text, count = b"\n".join(keys), len(keys)
    first = _OWN_ROOTS.fullmatch(min(keys, default=b""))
    if first is None or text.count(b"\n") >= count:
        return None
    # What the least key and the greatest begin with, all between them do.
    start = b"" if first[1] is None else first[1] + b"!"
    is_one = max(keys).startswith(start + b"user.")
    if is_one and all(
        text.count(mark) == count * (start + b"user.").count(mark) for mark in _MARKS
    ):
        return [(_text(first[1]), count)]
    found = _OWN_ROOTS.findall(text)
    if len(found) != count:
        return None
    return [(_text(domain), len([*group])) for domain, group in itertools.groupby(found)]


_MARKS = (b".", b"!", b"@")


def _text(domain: Optional[bytes]) -> Optional[str]:
    return domain.decode("utf-8", "surrogateescape") if domain else None


def ancestors(name: str, *, virtdomains: bool = True) -> Iterator[str]:
    """Yield the roots that can govern the mailbox `name`, nearest first, itself included.

    Source: quota_findroot in imap/quota_db.c.
    """
    domain, rest = split_domain(name)
    prefix = "" if domain is None else f"{domain}!"
    parts = rest.split(".")
    for count in range(len(parts), 0, -1):
        yield prefix + ".".join(parts[:count])
    if virtdomains and domain is not None:
        yield prefix


def recipient(name: str, naming: Naming) -> Optional[Recipient]:
    """Return the user whose mail the quota root `name` can bounce, or None if there is none."""
    usual = _USUAL_INBOX.fullmatch(name)
    if usual is not None:
        domain, local = usual[1], usual[2].replace("^", ".")
    else:
        owner = inbox_owner(name)
        if owner is None:
            return None
        domain, local = owner
    if domain is not None and (naming.virtdomains is False or domain == naming.defaultdomain):
        # lmtpd ignores the recipient's domain then, or the default one, and looks for user.LOCAL.
        return None
    if usual is not None and (domain is not None or not naming.virtdomains):
        return Recipient(local, domain)
    if domain is None and "@" in local:
        # 2.x without virtdomains kept whole addresses as user names: user.jane@example^org.
        local, _, domain = local.rpartition("@")
    elif domain is None and naming.virtdomains:
        domain = naming.defaultdomain
    to = Recipient(local, domain or None)
    address = str(to)
    if not _LOCAL_PART.fullmatch(local) or not address.isprintable():
        return None
    return None if naming.downcase and address != ascii_lower(address) else to


def inbox_of_user(user: str, naming: Naming) -> str:
    """Return the internal name of the INBOX of the user id `user`.

    Source: mbname_from_userid in imap/mboxname.c.
    """
    local, _, domain = user.rpartition("@") if "@" in user else (user, "", "")
    name = "user." + local.replace(".", "^")
    is_default = domain in ("", BUILT_IN_DOMAIN, naming.defaultdomain)
    return name if is_default else f"{domain}!{name}"


def ascii_lower(text: str) -> str:
    """Return `text` with ASCII capitals folded, as Cyrus and Exim do."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def internal_name(printed: str) -> str:
    """Return the internal name of a root that `quota` printed as `printed`.

    A slash is the hierarchy separator wherever there is one (unixhierarchysep; dots are literal
    then), a domain stands behind the last `@`. Names that are internal already, as Cyrus 2.5
    prints them, stay as they are.
    """
    if "!" in printed:
        return printed
    rest, mark, domain = printed.rpartition("@")
    if not mark or "/" in domain or (rest.count("/") == 0 and "^" in domain):
        # No domain; or user.jane@example^org, whose `@` belongs to the user name.
        rest, domain = printed, ""
    if "/" in rest:
        rest = rest.replace(".", "^").replace("/", ".")
    return f"{domain}!{rest}" if domain else rest


#: What fulldirhash spreads names over, A to W.
_HASH_LETTERS = 23


def hash_letter(name: bytes, *, full: bool) -> str:
    """Return the one-letter directory that Cyrus keeps the files of `name` in.

    It is the first letter of the name, or q where that is no letter; with `full` (fulldirhash) one
    of A to W. Source: dir_hash_c in lib/util.c.
    """
    if not full:
        first = name[:1].lower()
        return first.decode("ascii") if b"a" <= first <= b"z" else "q"
    mixed = 0
    for byte in name.partition(b".")[0]:
        mixed = (((mixed << 3) ^ (mixed >> 5)) ^ byte) & 0xFFFFFFFF
    return chr(ord("A") + mixed % _HASH_LETTERS)
