"""What to tell about each verdict: not now, not at all, or how much room is left."""

from __future__ import annotations

from typing import Iterable, Iterator, Optional

import attrs

from cyrusquota.cyrus.names import Recipient
from cyrusquota.maps import DEFAULT_MESSAGE, DEFAULT_REFUSAL, Format
from cyrusquota.quota import QuotaRoot, Resource
from cyrusquota.verdicts.evaluator import Verdict
from cyrusquota.verdicts.policies import Reserve


@attrs.frozen
class MapValues:
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
    #: What is said of all who are full, once it has been put together.
    _texts: dict[bool, bytes] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    def check(self) -> None:
        """Raise `OptionError` now for what a map could not say later."""
        self._full(True)
        self._full(False)
        if self.headroom:
            self.format.space_left(0)

    @property
    def wanted(self) -> Reserve:
        """Which verdicts are needed beside the full users."""
        if not self.headroom:
            return self.reserve
        least = max(self.headroom, self.reserve.amounts.get(Resource.STORAGE, 0))
        return attrs.evolve(self.reserve, amounts={**self.reserve.amounts, Resource.STORAGE: least})

    def values(self, verdicts: Iterable[Verdict]) -> Iterator[tuple[Recipient, bytes]]:
        """Each recipient with the value of his entry."""
        for verdict in verdicts:
            is_certain = bool(verdict.over) and not verdict.is_approximate
            yield verdict.recipient, self.value(verdict.root, bool(verdict.over), is_certain)

    def value(self, root: QuotaRoot, is_over: bool, is_certain: bool) -> bytes:
        """What to say of whom `root` governs, and who is full by it or near that."""
        storage = root.storage
        if is_over or self.reserve.near(root) or storage.limit is None:
            return self._full(is_certain)
        return self.format.space_left(storage.limit - storage.used)

    def _full(self, is_certain: bool) -> bytes:
        if is_certain not in self._texts:
            self._texts[is_certain] = self._text(is_certain)
        return self._texts[is_certain]

    def _text(self, is_certain: bool) -> bytes:
        if self.refuse and is_certain:
            return self.format.refusal(DEFAULT_REFUSAL if self.message is None else self.message)
        own = None if self.refuse else self.message
        return self.format.deferral(DEFAULT_MESSAGE if own is None else own)
