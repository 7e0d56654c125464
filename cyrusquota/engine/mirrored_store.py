"""What a mirror keeps of one store, and the union of what several say."""

from __future__ import annotations

from typing import Optional, Sequence

import attrs

from cyrusquota.engine.entry_guard import EntryGuard
from cyrusquota.engine.protocol import Stamp, StoreStatus
from cyrusquota.maps.status import NEAR, OVER, Status, free, size_left


@attrs.define(eq=False)
class MirroredStore:
    """One store as a mirror has it."""

    name: str
    guard: EntryGuard
    is_expected: bool = False
    status: Optional[StoreStatus] = None
    #: The highest stamp seen since the last lapse, and what the store had then.
    stamp: Optional[Stamp] = None
    entries: dict[bytes, Status] = attrs.field(factory=dict)
    digest: int = 0
    #: When a rise was seen last; None while the store is not fresh.
    seen: Optional[float] = None
    #: When the first rise was seen after a lapse.
    hint: Optional[float] = None
    #: The keys that were listed last. None until the store is first listed.
    accepted: Optional[frozenset[bytes]] = None
    #: When it is looked at again, and how often it could not be read since it last could.
    not_before: float = float("-inf")
    failures: int = 0
    problem: str = ""

    def forget(self) -> None:
        """Forget what was seen, so that it takes two rises again."""
        self.stamp = self.hint = self.seen = None


def union(statuses: Sequence[Status]) -> Status:
    """Return the status of a user whom several stores list: the one that loses no mail."""
    if all(status == OVER for status in statuses):
        return OVER
    sizes = [size_left(status) for status in statuses]
    known = [size for size in sizes if size is not None]
    return free(min(known)) if len(known) == len(sizes) else NEAR
