"""What publishers, mirrors and the server must agree on: names, limits, times and encodings.

A store has three keys in the server, `cq:{STORE}:m`, `:e` and `:s`.

    m  a hash: format, gen, seq, n (number of entries), digest, holder, accept
    e  a hash: the entries, from key to value
    s  a stream: a change for each of the last writes, under the id GEN-SEQ

Each write is a compare-and-set on the stamp (gen, seq) and raises seq by one. A *beat* is a write
without changes. A *snapshot* replaces all entries and raises gen too.

The key of an entry is `local@domain`, or `local@` where no domain is known, in lower case. Its
value is a status (`maps.status`), so that each MX chooses its own texts. Entries travel as lines: a
key, a tab and a value; a line without a tab names a key to drop.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Iterable, Mapping, NamedTuple, Optional

import attrs

from cyrusquota.cyrus.names import Recipient
from cyrusquota.errors import BadStore, EngineMisfit, OptionError, printable, quote
from cyrusquota.maps.status import NEAR, OVER, PATTERN, Status

FORMAT = 1

#: Seconds: a publisher without changes writes that often, and one with changes not more often than
#: the second number; a store that a mirror saw no write of for the third is not fresh.
BEAT, BATCH, LAPSE = 10.0, 0.25, 60.0

#: Of a store: number of entries, and bytes of all their keys.
MAX_ENTRIES, MAX_BYTES = 500_000, 32 << 20
#: Bytes of a key and of a value.
MAX_KEY, MAX_VALUE = 1024, 32
#: A change of more bytes than this is not kept in the stream: mirrors read the whole store instead.
MAX_CHANGE = 64 << 10
#: Changes that the stream keeps; at one in `BATCH` seconds they last for `LAPSE`.
HISTORY = 240

_STORE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_HOLDER = r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}"
#: Either side of the `@` is at most half as long as a key.
_LOCAL, _DOMAIN = rb"[a-z0-9!#$%&'*/=?^_`{|}~.+-]{1,511}", rb"[^\x00-\x20\x7f@A-Z]{0,511}"
_LINE = re.compile(rb"^(%b@%b)(?:\t(%b))?\n" % (_LOCAL, _DOMAIN, PATTERN), re.MULTILINE)
#: Numbers of up to 15 digits are exact in the server's floating point.
_STATUS = re.compile(
    rf"(?P<gen>\d{{1,15}}) (?P<seq>\d{{1,15}}) (?P<n>\d{{1,6}}) (?P<digest>[0-9a-f]{{32}})"
    rf" (?P<holder>{_HOLDER}) (?P<accept>\d{{1,9}}|-)",
    re.ASCII,
)
_DIGEST_SIZE = 16


class Stamp(NamedTuple):
    """Generation and number of a write; a later write has a greater stamp."""

    gen: int
    seq: int

    def __str__(self) -> str:
        return f"{self.gen}-{self.seq}"


#: The stamp of a store that is not there, or whose stamp cannot be read.
NO_STAMP = Stamp(0, 0)

Entries = Mapping[bytes, Status]


@attrs.frozen
class StoreStatus:
    """What a store says of itself: its stamp, the number of its entries and their digest.

    `holder` names the publisher that wrote last. `accept` is the number of changes that an
    administrator accepts for the next write that changes anything.
    """

    stamp: Stamp
    entries: int
    digest: int
    holder: str
    accept: Optional[int] = None


@attrs.frozen
class Change:
    """Entries that a write has put, and keys that it has dropped."""

    put: Entries = attrs.field(factory=dict)
    drop: tuple[bytes, ...] = ()


@attrs.frozen
class StoreContent:
    """The entries of a store, and what the store says of itself at the same moment."""

    status: StoreStatus
    entries: dict[bytes, Status]

    def problem(self, store: str) -> Optional[BadStore]:
        """Return what is wrong if the entries are not those that the publisher wrote, or None."""
        if len(self.entries) == self.status.entries and digest(self.entries) == self.status.digest:
            return None
        return BadStore(
            f"store {store}: its {len(self.entries)} entries do not agree with their number and"
            " digest; somebody else has written there; its publisher, when it is restarted, writes"
            " all entries"
        )


def gone(store: str) -> BadStore:
    """Return the error for a store that is not there any more while it is read."""
    return BadStore(f"store {store}: was removed while it was read; nothing has to be done")


# Names


def is_store_name(name: str) -> bool:
    """Return whether `name` can be the name of a store."""
    return _STORE.fullmatch(name) is not None


def check_store_name(name: str) -> None:
    """Raise `OptionError` unless `name` can be the name of a store."""
    if not is_store_name(name):
        raise OptionError(
            f"store {quote(name.encode('utf-8', 'surrogateescape'))}: expected a name of at most 64"
            " letters, digits, dots, dashes and underscores, that begins with a letter or a digit"
        )


def holder_name(hostname: str, unique: str) -> str:
    """Return the name of a publisher, from those of its host and of the process."""
    host = re.sub(r"[^A-Za-z0-9._-]", "", hostname, flags=re.ASCII).lstrip("._-")[:63]
    return f"{host or 'unknown'}:{unique}"


def key_of(to: Recipient) -> bytes:
    """Return the key of a recipient."""
    address = f"{to.local}@{to.domain or ''}"
    return address.encode("utf-8", "surrogateescape").lower()


def recipient_of(key: bytes) -> Recipient:
    """Return the recipient with this key."""
    local, _, domain = key.decode("utf-8", "surrogateescape").rpartition("@")
    return Recipient(local, domain or None)


# Digests


def entry_digest(key: bytes, value: bytes) -> int:
    """Return the digest of one entry; that of many is all of theirs, joined by XOR."""
    return int.from_bytes(
        blake2b(b"%b\t%b" % (key, value), digest_size=_DIGEST_SIZE).digest(), "big"
    )


def digest(entries: Entries) -> int:
    """Return the digest of entries, whatever their order."""
    found = 0
    for key, value in entries.items():
        found ^= entry_digest(key, value)
    return found


def digest_text(found: int) -> str:
    """Return a digest as it is written."""
    return f"{found:032x}"


# Entries as lines


def lines(put: Entries, drop: Iterable[bytes] = ()) -> bytes:
    """Return entries and keys to drop as lines."""
    return b"".join(
        (
            *(b"%b\t%b\n" % entry for entry in put.items()),
            *(b"%b\n" % key for key in drop),
        )
    )


def is_entry(key: bytes, value: bytes) -> bool:
    """Return whether a store can have this entry."""
    line = b"%b\t%b\n" % (key, value)
    return _LINE.fullmatch(line) is not None and _is_text(line)


def change(content: bytes, store: str) -> Change:
    """Return the change that lines from the server say. Raises `BadStore` for any other bytes."""
    found = _LINE.findall(content)
    # Lines that are not recognised are missing in what was found.
    if len(found) != content.count(b"\n") or not content.endswith(b"\n" if content else b""):
        raise _bad_entry(store, content)
    if not _is_text(content):
        raise _bad_entry(store, content)
    return Change(
        {key: _known(value) for key, value in found if value},
        tuple([key for key, value in found if not value]),
    )


#: Two objects for most values, instead of one for each entry.
_COMMON = {OVER: OVER, NEAR: NEAR}


def _known(value: bytes) -> bytes:
    return _COMMON.get(value, value)


def _is_text(content: bytes) -> bool:
    if content.isascii():
        return True
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return text.translate({9: None, 10: None}).isprintable()


def _bad_entry(store: str, content: bytes) -> BadStore:
    wrong = next((line for line in content.split(b"\n") if not _LINE.fullmatch(line + b"\n")), b"")
    return BadStore(
        f"store {store}: expected an address and over, near or free=BYTES, found {quote(wrong)};"
        " somebody else has written there; its publisher, when it is restarted, writes all entries"
    )


# What a store says of itself


def status(line: bytes, store: str) -> Optional[StoreStatus]:
    """Return the status that the server's functions give as a line, or None where there is none.

    The line is empty for that, `damaged`, or begins with the format. Raises `EngineMisfit` for
    another format and `BadStore` for anything else.
    """
    if not line:
        return None
    number, _, rest = line[:400].decode("latin-1").partition(" ")
    if number.isdigit() and number != str(FORMAT):
        raise EngineMisfit(
            f"store {store}: is in format {number[:9]}, and this version reads format {FORMAT};"
            " upgrade cyrusquota on this host"
        )
    match = _STATUS.fullmatch(rest) if number == str(FORMAT) else None
    if match is None or int(match["n"]) > MAX_ENTRIES:
        raise BadStore(
            f"store {store}: expected format, gen, seq, n, digest and holder, found"
            f" {printable(line[:80])!r}; its publisher, when it is restarted, writes all entries"
        )
    accept = None if match["accept"] == "-" else int(match["accept"])
    return StoreStatus(
        Stamp(int(match["gen"]), int(match["seq"])),
        int(match["n"]),
        int(match["digest"], 16),
        match["holder"],
        accept,
    )


def keys(store: str) -> tuple[str, str, str]:
    """Return the names that the three keys of a store have in the server."""
    base = f"cq:{{{store}}}:"
    return f"{base}m", f"{base}e", f"{base}s"


def store_of(key: bytes) -> Optional[str]:
    """Return the store whose key `m` this is, or None."""
    match = re.fullmatch(r"cq:\{(.*)\}:m", key.decode("latin-1"))
    return match[1] if match is not None and is_store_name(match[1]) else None
