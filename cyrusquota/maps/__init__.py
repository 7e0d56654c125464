"""Make maps: from verdicts to entries, and from these to a file in one of several formats.

A format is one module that offers what `Format` says, named in `FORMATS`.
"""

from __future__ import annotations

import enum
import importlib
from typing import AbstractSet, Callable, Iterable, Iterator, Mapping, Optional, Sequence, cast

import attrs

from cyrusquota.cyrus.names import Recipient
from cyrusquota.errors import OptionError
from cyrusquota.maps._entry import Entry, Format, Row
from cyrusquota.maps.header import MapHeader
from cyrusquota.maps.message import DEFAULT_MESSAGE, DEFAULT_REFUSAL, MAX_MESSAGE
from cyrusquota.maps.redirect import deferral

#: Never listed, in any domain: somebody must be able to hear of trouble.
ALWAYS_EXEMPT = "postmaster"

__all__ = [
    "ALWAYS_EXEMPT",
    "DEFAULT_MESSAGE",
    "DEFAULT_REFUSAL",
    "FORMATS",
    "MAX_MESSAGE",
    "Entry",
    "Format",
    "KeyForm",
    "MapHeader",
    "Row",
    "deferral",
    "document",
    "entries",
    "exemption",
    "key_of",
    "never_listed",
]


class _Formats(Mapping[str, Format]):
    """The formats by name; each module is imported when it is first used."""

    _NAMES = ("lsearch", "cdb", "postfix")

    def __getitem__(self, name: str) -> Format:
        if name not in self._NAMES:
            raise KeyError(name)
        return cast(Format, importlib.import_module(f"{__name__}.{name}"))

    def __iter__(self) -> Iterator[str]:
        return iter(self._NAMES)

    def __len__(self) -> int:
        return len(self._NAMES)


FORMATS: Mapping[str, Format] = _Formats()


class KeyForm(enum.Enum):
    """Which part of a recipient is the key of the map."""

    AUTO = "auto"
    LOCAL = "local"
    ADDRESS = "address"


def entries(
    values: Iterable[tuple[Recipient, bytes]],
    *,
    form: KeyForm = KeyForm.AUTO,
    exempt: Iterable[str] = (),
) -> list[Entry]:
    """Return the entries for recipients and their values, sorted, one for each key.

    Keys are in lower case, because MTAs ignore case. Where two recipients share a key and have
    different values, neither is listed. `exempt` has local parts or addresses never to list.
    Raises `OptionError` where `form` asks for the address of a recipient without a domain.
    """
    spared, found, unclear = never_listed(exempt), dict[bytes, bytes](), set[bytes]()
    for recipient, value in values:
        key = key_of(recipient, form, spared)
        if key is not None and found.setdefault(key, value) != value:
            unclear.add(key)
    return [Entry(key, value) for key, value in sorted(found.items()) if key not in unclear]


def document(written: Format, entries: Sequence[Entry], header: MapHeader) -> bytes:
    """Return a whole map in the format `written`; its header counts the `entries`.

    Raises `MapError` where the format cannot hold so many.
    """
    return written.document(entries, attrs.evolve(header, entries=len(entries)).comments())


def never_listed(exempt: Iterable[str]) -> frozenset[bytes]:
    """Return the local parts and addresses never to list, for `key_of`."""
    return frozenset([_lower(name) for name in (ALWAYS_EXEMPT, *exempt)])


def exemption(exempt: Iterable[str]) -> Callable[[Recipient], bool]:
    """Return a function that says whether a recipient is never to be listed, or told."""
    spared = never_listed(exempt)
    return lambda recipient: key_of(recipient, KeyForm.LOCAL, spared) is None


def key_of(recipient: Recipient, form: KeyForm, spared: AbstractSet[bytes]) -> Optional[bytes]:
    """Return the key of a recipient, or None for one who is in `spared`.

    Raises `OptionError` as `entries` does.
    """
    local = _lower(recipient.local)
    address = local if recipient.domain is None else local + b"@" + _lower(recipient.domain)
    if local in spared or address in spared:
        return None
    if form is KeyForm.ADDRESS and recipient.domain is None:
        raise OptionError(
            f"--key address: no domain is known for {recipient.local!r}; use --key auto, or name"
            " an imapd.conf with virtdomains and defaultdomain by -C"
        )
    return local if form is KeyForm.LOCAL else address


def _lower(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape").lower()
