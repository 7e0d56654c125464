"""Interpret the rows of mailboxes.db, and the `cyrus.header` of a mailbox.

The rows tell who has an INBOX on this server, in every style from 2.2 to today (imap/mboxlist.c).
Only the header names the quota root that lmtpd goes by (imap/mailbox.c).
"""

from __future__ import annotations

import marshal
import os
import re
import struct
from itertools import chain, product, repeat
from typing import AbstractSet, Callable, Iterable, Iterator, Optional, Sequence

import attrs

from cyrusquota.cyrus import dlist
from cyrusquota.cyrus.names import hash_letter, split_domain

#: Since 3.6: `N` for a row by name, 0x1D behind the domain, 0x1F between levels, dots literal.
_NEW_KEY = re.compile(rb"N(?:([^\x1d\x1f]+)\x1d)?user\x1f([^\x1d\x1f]+)", re.DOTALL)
#: The user `x!y`: Cyrus itself splits their name at the `!` when it writes the row.
_ODD_KEY = re.compile(rb"N(user\.[^.\x1d\x1f]+)\x1d([^\x1d\x1f]+)", re.DOTALL)
#: Up to 3.4: the internal name.
_OLD_KEY = re.compile(rb"(?:[^!$]+!)?user\.[^.]+", re.DOTALL)
#: Any of them.
_INBOX_KEY = re.compile(b"|".join(one.pattern for one in (_NEW_KEY, _ODD_KEY, _OLD_KEY)), re.DOTALL)
#: Up to 2.4: `TYPE PARTITION ACL`; development versions have a list before it. Type 0 is mail.
_NUMBERED = re.compile(rb"(?:\([^)]*\) )?([0-9]+) ([^ ]+)(?: (?P<acl>.*))?", re.DOTALL)
_BANG = ord("!")
#: The type letters that a mail folder may have: `e` for mail, `l` for directories by name.
MAIL = frozenset(b"el")
LEGACY = b"l"

_HEADER_MAGIC = b"\xa1\x02\x8b\x0d"
_HEADER_LINES = 3


@attrs.frozen
class Inbox:
    """A user's INBOX: its internal name, and what its directories are found by.

    `is_live` is False for an INBOX that is deleted, moving, reserved, remote, or a placeholder.
    `uniqueid` is None where the directories go by name. `is_modern` says that Cyrus 3.6 or later
    wrote the row.
    """

    name: str
    is_live: bool
    partition: Optional[str] = None
    uniqueid: Optional[str] = None
    is_modern: bool = False


def inboxes(records: Iterable[tuple[bytes, bytes]]) -> Iterator[Inbox]:
    """Return every INBOX in the records of a mailboxes.db; one with a malformed row is not live."""
    for key, value in records:
        name = _modern_name(key)
        if name is not None or _OLD_KEY.fullmatch(key):
            shown = (key if name is None else name).decode("utf-8", "surrogateescape")
            yield _inbox(shown, value, by_id=name is not None)


def is_delivered_to(inbox: Inbox) -> bool:
    """Return whether lmtpd delivers mail to an INBOX here."""
    # Since 3.0, lmtpd makes a domain of what follows an @, so user.jane@example^org, the way of
    # 2.x, is out of reach.
    return inbox.is_live and not (inbox.is_modern and "@" in inbox.name)


def folder_keys(name: str) -> tuple[bytes, bytes]:
    """Return the keys that the row of a mailbox has up to 3.4, and since 3.6."""
    raw = name.encode("utf-8", "surrogateescape")
    domain, mark, rest = raw.rpartition(b"!")
    levels = (level.replace(b"^", b".") for level in rest.split(b"."))
    return raw, b"N" + domain + (b"\x1d" if mark else b"") + b"\x1f".join(levels)


@attrs.frozen
class Folder:
    """A mailbox that need not be an INBOX: its row, and what everybody may do with it.

    `rights` are the letters of those who have not logged in, as is lmtpd -a (lib/acl.c); None if
    the access list is not known. `others_post` says that some users may post who log in.
    """

    row: Inbox
    rights: Optional[frozenset[str]] = None
    others_post: bool = False


def folder(name: str, records: Iterable[tuple[bytes, bytes]]) -> Optional[Folder]:
    """Return the mailbox called `name`, which need not be an INBOX, or None."""
    raw, modern = folder_keys(name)
    for key, value in records:
        if key in (raw, modern):
            acl = _access_list(value)
            rights = None if acl is None else _granted(acl, _EVERYBODY)
            others = [who for who in acl or () if who not in _EVERYBODY and who[:1] != "-"]
            others_post = any("p" in _granted(acl or {}, {who}) for who in others)
            return Folder(_inbox(name, value, by_id=key == modern), rights, others_post)
    return None


#: Who has not logged in is a member of these (lib/auth_unix.c).
_EVERYBODY = frozenset(("anyone", "anonymous"))


def _access_list(value: bytes) -> Optional[dict[str, str]]:
    """Return the rights by identifier in the row of a mailbox; None for a row in bad format."""
    if value.startswith(b"%"):
        _, pairs = dlist.parse(value)
        granted = None if pairs is None else dlist.child(pairs, b"A")
        if not isinstance(granted, list):
            return None
        return {_decoded(who): _decoded(dlist.text(node) or b"") for who, node in granted}
    match = _NUMBERED.fullmatch(value)
    if match is None:
        return None
    words = [*map(_decoded, (match["acl"] or b"").split(b"\t"))]
    return dict(zip(words[::2], words[1::2]))


def _granted(acl: dict[str, str], identifiers: AbstractSet[str]) -> frozenset[str]:
    """Return the rights of `identifiers`: those that are given, without those that are denied."""
    given = "".join(rights for who, rights in acl.items() if who in identifiers)
    denied = "".join(acl.get(f"-{who}", "") for who in identifiers)
    return frozenset(given) - frozenset(denied)


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _modern_name(key: bytes) -> Optional[bytes]:
    """Return the internal name of the INBOX that a key of 3.6 or later is for, or None."""
    match = _NEW_KEY.fullmatch(key)
    if match is not None:
        domain = b"" if match[1] is None else match[1] + b"!"
        return domain + b"user." + match[2].replace(b".", b"^")
    odd = _ODD_KEY.fullmatch(key)
    return None if odd is None else odd[1] + b"!" + odd[2].replace(b".", b"^")


#: A dot in a user's name is a dot in some keys, and `^` in others.
_SPELLING = bytes.maketrans(b"^", b".")


class InboxKeys:
    """A predicate for keys of a mailboxes.db: those that a few INBOXes may have, in any style."""

    def __init__(self, names: Iterable[str]) -> None:
        self._keys = {key.translate(_SPELLING) for name in names for key in _row_keys(name)}

    def __call__(self, keys: Sequence[bytes], values: object = ()) -> list[int]:
        """Return the indexes of the wanted keys."""
        spelled = map(bytes.translate, keys, repeat(_SPELLING))
        return [index for index, key in enumerate(spelled) if key in self._keys]


#: More keys than this, and looking for each takes longer than it is worth.
_MOST_KEYS = 256


def row_keys(names: Iterable[str]) -> Optional[frozenset[bytes]]:
    """Return every key, in any style, that the rows of a few INBOXes may have; None if too many."""
    found = set[bytes]()
    for name in names:
        raw = name.encode("utf-8", "surrogateescape")
        if _OLD_KEY.fullmatch(raw):
            found.add(raw)
        for key in _row_keys(name):
            # What follows the last 0x1D or 0x1F is a user, each `^` in whose name may be a dot.
            at = max(key.rfind(b"\x1d"), key.rfind(b"\x1f")) + 1
            user = key[at:].split(b"^")
            if 1 << len(user) > _MOST_KEYS:
                return None
            for carets in product((b"^", b"."), repeat=len(user) - 1):
                parts = chain.from_iterable(zip(user, (*carets, b"")))
                spelled = key[:at] + b"".join(parts)
                if _modern_name(spelled) == raw:
                    found.add(spelled)
    return frozenset(found) if len(found) <= _MOST_KEYS else None


_WORD = rb"[!#$&'*+,./0-9:;<=>?@A-Z\[\]^_`a-z|~-]+"
_ACCESS_LIST = rb"A %%\((?:%b %b(?: %b %b)*)?\)" % ((_WORD,) * 4)
#: Most rows of INBOXes that mail is delivered to: no server, and before 3.6, which wrote the access
#: list first, no type.
_LIVE_ROW = re.compile(
    rb"%%\((?:%b )?(?:T [el]{1,2} )?I [0-9A-Za-z-]+ (?:J %b )?P [0-9A-Za-z_-]+"
    rb"(?: [VFCM] [0-9]+)*(?: %b)?\)" % (_ACCESS_LIST, _WORD, _ACCESS_LIST)
)


@attrs.frozen
class InboxCount:
    """Makes of rows: the first of them, how many are of INBOXes that get mail, and those wanted."""

    wanted: InboxKeys

    def __call__(
        self, keys: Sequence[bytes], values: Sequence[bytes]
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield one pair, of which the second has all, for `marshal`."""
        kept = [(keys[at], values[at]) for at in self.wanted(keys)]
        is_inbox, is_live = _INBOX_KEY.fullmatch, _LIVE_ROW.fullmatch
        count, others = 0, list[tuple[bytes, bytes]]()
        for key, value in zip(keys, values):
            # Half of the rows of 3.6 go by id, and need no pattern.
            if b"user" in key and is_inbox(key):
                if is_live(value) and b"@" not in key:
                    count += 1
                else:
                    others.append((key, value))
        count += sum(map(is_delivered_to, inboxes(others)))
        yield b"", marshal.dumps(((keys[0], values[0]), count, kept))


def _row_keys(name: str) -> Iterator[bytes]:
    """Return the keys that the row of an INBOX may have, whichever `!` ends its domain."""
    raw = name.encode("utf-8", "surrogateescape")
    yield raw
    for at in (-1, *(at for at, byte in enumerate(raw) if byte == _BANG)):
        prefix = b"N" + raw[:at] + b"\x1d" if at >= 0 else b"N"
        rest = raw[at + 1 :]
        yield prefix + rest
        yield prefix + rest.replace(b".", b"\x1f", 1)


def _inbox(name: str, value: bytes, *, by_id: bool) -> Inbox:
    if not value.startswith(b"%"):
        return attrs.evolve(_numbered(name, value), is_modern=by_id)
    _, pairs = dlist.parse(value)
    row = pairs or []
    letters = dlist.text(dlist.child(row, b"T")) or b""
    partition = _str(dlist.child(row, b"P"))
    # Where a row names a server, lmtpd checks no quota, not even if it is this one.
    is_here = dlist.text(dlist.child(row, b"S")) is None
    return Inbox(
        name,
        is_live=bool(pairs) and MAIL.issuperset(letters) and is_here and _is_local(partition),
        partition=partition,
        uniqueid=_str(dlist.child(row, b"I")) if by_id and LEGACY not in letters else None,
        is_modern=by_id,
    )


def _numbered(name: str, value: bytes) -> Inbox:
    """Return the INBOX `name` from a row of the form `TYPE PARTITION ACL`."""
    match = _NUMBERED.fullmatch(value)
    partition = _str(match[2]) if match is not None else None
    is_mail = match is not None and int(match[1][:9]) == 0
    return Inbox(name, is_live=is_mail and _is_local(partition), partition=partition)


def _is_local(partition: Optional[str]) -> bool:
    return partition is not None and "!" not in partition


def _str(node: Optional[dlist.Node]) -> Optional[str]:
    found = dlist.text(node)
    return None if found is None else _decoded(found)


# Paths, and the header of a mailbox


def directory_letter(name: str, *, full: bool) -> str:
    """Return the one-letter directory for `name`; `full` says that fulldirhash is on."""
    return hash_letter(name.encode("utf-8", "surrogateescape"), full=full)


@attrs.frozen
class Layout:
    """The layout of the mailbox directories by imapd.conf.

    `directory` returns where a partition keeps files of a kind (`header`, `index`), or None for an
    unknown partition. `full` says that fulldirhash is on, `hashed` that hashimapspool is.
    """

    directory: Callable[[str, str], Optional[str]]
    hashed: bool = False
    full: bool = False


def file_path(inbox: Inbox, kind: str, layout: Layout) -> Optional[str]:
    """Return the path of the cyrus.header or cyrus.index of an INBOX.

    None if its partition is unknown.
    """
    base = layout.directory(inbox.partition or "", kind)
    return None if base is None else os.path.join(base, *_within(inbox, layout), f"cyrus.{kind}")


def _within(inbox: Inbox, layout: Layout) -> Iterable[str]:
    """Return the directory of an INBOX within its partition, name by name."""
    if inbox.uniqueid is not None:
        unique = inbox.uniqueid
        return "uuid", unique[:1], unique[1:2], unique
    domain, rest = split_domain(inbox.name)
    levels = rest.split(".")
    # The hash is that of the second level, of the first where there is no other.
    hashed = ".".join(levels[1:]) or rest
    parts: list[str] = []
    if domain is not None:
        parts = ["domain", domain]
        if layout.hashed:
            parts.insert(1, directory_letter(domain, full=layout.full))
    if layout.hashed:
        parts.append(directory_letter(hashed.replace("^", "."), full=layout.full))
    return *parts, *levels


def header_root(content: bytes) -> Optional[str]:
    """Return the quota root that a header names, or None. Raises ValueError for a bad header."""
    if not content.startswith(_HEADER_MAGIC):
        raise ValueError("expected the header of a mailbox")
    lines = content.split(b"\n", _HEADER_LINES)
    if len(lines) <= _HEADER_LINES:
        raise ValueError("expected the lines of a mailbox header")
    body = lines[_HEADER_LINES].partition(b"\n")[0]
    if body.startswith(b"%("):
        _, pairs = dlist.parse(body)
        if pairs is None:
            raise ValueError("expected a complete list in the header of a mailbox")
        return _str(dlist.child(pairs, b"Q"))
    root = body.partition(b"\t")[0]
    return root.decode("utf-8", "surrogateescape") or None


#: cyrus.index is big-endian; the version says where the number of messages is (OFFSET_EXISTS in
#: imap/mailbox.h: 12 is that of 2.4).
_NUMBER = struct.Struct(">I")
_VERSION_AT = 8
_COUNT_AT = {**dict.fromkeys(range(12, 19), 84), 19: 60, 20: 60}
INDEX_SIZE = 96


def index_count(content: bytes) -> int:
    """Return the number of messages that the first `INDEX_SIZE` bytes of a cyrus.index tell.

    Messages that are expunged, but not yet removed, do not count. Raises ValueError for an index in
    bad format.
    """
    if len(content) < INDEX_SIZE:
        raise ValueError("expected the index of a mailbox")
    (version,) = _NUMBER.unpack_from(content, _VERSION_AT)
    if version not in _COUNT_AT:
        raise ValueError("expected the index of a mailbox, of version 12 to 20")
    return int(_NUMBER.unpack_from(content, _COUNT_AT[version])[0])
