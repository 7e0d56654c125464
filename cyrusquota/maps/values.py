"""Choose the status for each verdict, and the value of a map for each status."""

from __future__ import annotations

from typing import Iterable, Iterator, Optional

import attrs

from cyrusquota.cyrus.names import Recipient
from cyrusquota.maps import DEFAULT_MESSAGE, DEFAULT_REFUSAL, Format
from cyrusquota.maps.status import NEAR, OVER, Status, free, size_left
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
    #: The values of `OVER` and `NEAR`.
    _texts: dict[Status, bytes] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    def check(self) -> None:
        """Raise `OptionError` for values that the format cannot have."""
        self.of(OVER)
        self.of(NEAR)
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
        return ((recipient, self.of(status)) for recipient, status in self.statuses(verdicts))

    def statuses(self, verdicts: Iterable[Verdict]) -> Iterator[tuple[Recipient, Status]]:
        """Return each recipient with their status."""
        for verdict in verdicts:
            is_certain = bool(verdict.over) and not verdict.is_approximate
            yield verdict.recipient, self.status(verdict.root, bool(verdict.over), is_certain)

    def status(self, root: QuotaRoot, is_over: bool, is_certain: bool) -> Status:
        """Return the status of a user who is full, or nearly full, by `root`."""
        storage = root.storage
        if is_over or self.reserve.near(root) or storage.limit is None:
            return OVER if is_certain else NEAR
        return free(storage.limit - storage.used)

    def of(self, status: Status) -> bytes:
        """Return the value for a status; `OptionError` for a size if the MTA cannot compare it."""
        known = self._texts.get(status)
        if known is not None:
            return known
        size = size_left(status)
        if size is not None:
            return self.format.space_left(size)
        return self._texts.setdefault(status, self._text(is_certain=status == OVER))

    def _text(self, *, is_certain: bool) -> bytes:
        if self.refuse and is_certain:
            return self.format.refusal(DEFAULT_REFUSAL if self.message is None else self.message)
        own = None if self.refuse else self.message
        return self.format.deferral(DEFAULT_MESSAGE if own is None else own)
