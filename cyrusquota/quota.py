"""The model: a quota root, with usage and limit of its four resources.

Sizes are bytes, counts are counts. The arithmetic is Cyrus's: signed, 64 bits wide, wrapping.
"""

from __future__ import annotations

import enum
import gc
from collections import deque
from itertools import repeat
from typing import Any, Iterator, Mapping, Optional, Sequence, TypeVar

import attrs

T = TypeVar("T")

KIB = 1024


class Resource(enum.Enum):
    """A resource that a quota root can limit, under its RFC 9208 name (imap/quota_db.c)."""

    STORAGE = "STORAGE"
    MESSAGE = "MESSAGE"
    ANNOTATION_STORAGE = "ANNOTATION-STORAGE"
    MAILBOX = "MAILBOX"

    # Members are keys wherever there are quota roots, and the hash of Enum is a slow one.
    __hash__ = object.__hash__

    @property
    def code(self) -> bytes:
        """Return the key of this resource in a database value."""
        return _CODES[self]

    @property
    def unit(self) -> int:
        """Return the unit of limits: 1024 bytes, or 1 for counts."""
        return KIB if self in _MEASURED else 1


_CODES = {
    Resource.STORAGE: b"S",
    Resource.MESSAGE: b"M",
    Resource.ANNOTATION_STORAGE: b"AS",
    Resource.MAILBOX: b"NF",
}
_RESOURCES = tuple(Resource)
_MEASURED = frozenset((Resource.STORAGE, Resource.ANNOTATION_STORAGE))

#: What `quota` calls the resources: since Cyrus 3.10 as RFC 9208 does, before two otherwise.
PRINTED_NAMES = {resource.value: resource for resource in Resource}
PRINTED_NAMES["X-ANNOTATION-STORAGE"] = Resource.ANNOTATION_STORAGE
PRINTED_NAMES["X-NUM-FOLDERS"] = Resource.MAILBOX


def wrap64(number: int) -> int:
    """Return `number` as a signed 64-bit integer of C holds it."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


@attrs.frozen
class Usage:
    """The usage of one resource, and its limit.

    Both are bytes (STORAGE, ANNOTATION-STORAGE) or counts (MESSAGE, MAILBOX). A limit of None
    means unlimited, 0 that nothing is allowed. A limit below 0 comes of one that does not fit 64
    bits when it is multiplied by 1024. `exact` is False where the source cut `used` down to KiB:
    up to 1023 bytes more may be in use then.
    """

    used: int = 0
    limit: Optional[int] = None
    exact: bool = True

    @classmethod
    def in_units(
        cls, resource: Resource, used: int, limit: Optional[int], *, exact: bool = True
    ) -> Usage:
        """Return the usage for a limit in units, as Cyrus reads it: below 0 is unlimited."""
        if limit is None or limit < 0:
            return cls(used, None, exact)
        return cls(used, wrap64(limit * resource.unit), exact)

    def is_over(self, more: int = 0) -> bool:
        """Return whether Cyrus refuses `more` in addition: usage strictly above the limit.

        Source: quota_check in imap/quota_db.c. Where the usage is not exact this is True only
        if it is certain.
        """
        return self.limit is not None and wrap64(self.used + more) > self.limit

    def reaches(self, percent: float) -> bool:
        """Return whether at least `percent` of the limit is used; False without a limit."""
        if self.limit is None:
            return False
        # A product of floats would not be to the byte.
        number, of = percent.as_integer_ratio()
        return self.used * 100 * of >= self.limit * number


UNSET = Usage()


@attrs.frozen
class QuotaRoot:
    """A quota root: its internal mailbox name and its usage of each resource.

    Names that are not UTF-8 carry surrogate escapes.
    """

    name: str
    storage: Usage = UNSET
    message: Usage = UNSET
    annotation_storage: Usage = UNSET
    mailbox: Usage = UNSET

    @classmethod
    def of(cls, name: str, usages: Mapping[Resource, Usage]) -> QuotaRoot:
        """Return the root `name`; a resource that `usages` leaves out is unused and unlimited."""
        return cls(name, *(usages.get(resource, UNSET) for resource in Resource))

    def usages(self) -> Iterator[tuple[Resource, Usage]]:
        """Return each resource with its usage, in Cyrus's order."""
        return zip(_RESOURCES, (self.storage, self.message, self.annotation_storage, self.mailbox))


# Many at once


def made(kind: type[T], *columns: Sequence[Any]) -> list[T]:
    """Return one object of the frozen class `kind` for each row of all its fields.

    They are those that the class itself makes, in a fraction of the time.
    """
    was_enabled = gc.isenabled()
    # It would look at all that was made again and again, and there are no cycles.
    gc.disable()
    try:
        objects = [*map(object.__new__, repeat(kind, len(columns[0])))]
        for name, column in zip(kind.__slots__, columns):  # type: ignore[attr-defined]
            deque(map(kind.__dict__[name].__set__, objects, column), maxlen=0)
    finally:
        if was_enabled:
            gc.enable()
    return objects
