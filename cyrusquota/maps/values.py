"""Choose the value for each verdict: defer, refuse, or how much room is left."""

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

    `message` is the administrator's own text. With `refuse`, mail for users who are certainly full
    is refused permanently; others are deferred, which delays mail but loses none. Users with less
    than `reserve` left count as full. Users with less than `headroom` bytes left who are not full
    get that number instead of a text.
    """

    format: Format
    message: Optional[str] = None
    refuse: bool = False
    reserve: Reserve = attrs.field(factory=Reserve)
    headroom: int = 0
    #: The value of full users, by whether that is certain.
    _texts: dict[bool, bytes] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    def check(self) -> None:
        """Raise `OptionError` for values that the format cannot have."""
        self._full(True)
        self._full(False)
        if self.headroom:
            self.format.space_left(0)

    @property
    def effective_reserve(self) -> Reserve:
        """How near to full the users are whose verdicts are needed."""
        if not self.headroom:
            return self.reserve
        least = max(self.headroom, self.reserve.amounts.get(Resource.STORAGE, 0))
        return attrs.evolve(self.reserve, amounts={**self.reserve.amounts, Resource.STORAGE: least})

    def values(self, verdicts: Iterable[Verdict]) -> Iterator[tuple[Recipient, bytes]]:
        """Return each recipient with the value of their entry."""
        for verdict in verdicts:
            is_certain = bool(verdict.over) and not verdict.is_approximate
            yield verdict.recipient, self.value(verdict.root, bool(verdict.over), is_certain)

    def value(self, root: QuotaRoot, is_over: bool, is_certain: bool) -> bytes:
        """Return the value of a user who is full, or nearly full, by `root`."""
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
