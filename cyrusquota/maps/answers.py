"""What to tell about each verdict: not now, not at all, or how much room is left."""

from __future__ import annotations

from typing import Iterable, Iterator, Optional

import attrs

from cyrusquota.mailbox import Recipient
from cyrusquota.maps import DEFAULT_MESSAGE, DEFAULT_REFUSAL, FORMATS, Format
from cyrusquota.overquota import Reserve, Verdict
from cyrusquota.quota import Resource


@attrs.frozen
class Answers:
    """The values that a map in `format` has for full and for nearly full users.

    `message` is the administrator's own text. With `refuse` those who are certainly full are
    refused for good, since that loses mail where a deferral only delays it. `reserve` says who
    counts as full before he is; who has less than `headroom` bytes left, and is not full, gets
    the number of bytes instead of a text.
    """

    format: Format
    message: Optional[str] = None
    refuse: bool = False
    reserve: Reserve = attrs.field(factory=Reserve)
    headroom: int = 0

    def check(self) -> None:
        """Raise `OptionError` now for what a map could not say later."""
        self._full(True)
        self._full(False)
        if self.headroom:
            self.format.space_left(0)

    @property
    def are_plain(self) -> bool:
        """Whether a map has lines of an lsearch file that defer, and nothing else."""
        return self.format is FORMATS["lsearch"] and not self.refuse and not self.headroom

    @property
    def wanted(self) -> Reserve:
        """Which verdicts are needed beside the full users."""
        least = max(self.headroom, self.reserve.amounts.get(Resource.STORAGE, 0))
        return attrs.evolve(self.reserve, amounts={**self.reserve.amounts, Resource.STORAGE: least})

    def values(self, verdicts: Iterable[Verdict]) -> Iterator[tuple[Recipient, bytes]]:
        """Each recipient with the value of his entry."""
        for verdict in verdicts:
            yield verdict.recipient, self._value(verdict)

    def _value(self, verdict: Verdict) -> bytes:
        storage = verdict.root.storage
        if verdict.over or self.reserve.near(verdict.root) or storage.limit is None:
            return self._full(bool(verdict.over) and not verdict.is_approximate)
        return self.format.space_left(storage.limit - storage.used)

    def _full(self, is_certain: bool) -> bytes:
        if self.refuse and is_certain:
            return self.format.refusal(DEFAULT_REFUSAL if self.message is None else self.message)
        own = None if self.refuse else self.message
        return self.format.deferral(DEFAULT_MESSAGE if own is None else own)
