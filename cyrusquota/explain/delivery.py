"""Where Exim delivers mail for the address asked about: to Cyrus, elsewhere, or to several."""

from __future__ import annotations

from typing import Optional

import attrs

from cyrusquota.mta.exim import Exim
from cyrusquota.mta.routing import Destination, destinations
from cyrusquota.mta.transport import leads_to_cyrus


@attrs.frozen
class Delivery:
    """The destinations of mail for `asked`; those in `to_cyrus` have a transport to Cyrus."""

    asked: str
    destinations: tuple[Destination, ...] = ()
    to_cyrus: tuple[Destination, ...] = ()

    @property
    def is_direct(self) -> bool:
        """Whether no alias, list or forward is between; also where Exim delivers nothing."""
        return all(not one.parents and one.is_address for one in self.destinations)

    @property
    def alias_of(self) -> Optional[str]:
        """The one address at Cyrus to which an alias leads, or None."""
        if self.is_direct or len(self.destinations) != 1 or not self.to_cyrus:
            return None
        return self.to_cyrus[0].target

    @property
    def is_split(self) -> bool:
        """Whether an alias leads to several places, or not to Cyrus."""
        goes = any(one.problem is None for one in self.destinations)
        return goes and not self.is_direct and self.alias_of is None

    @property
    def leaves(self) -> bool:
        """Whether mail is delivered, and nothing of it to Cyrus."""
        problems = [one.problem for one in self.destinations]
        return bool(problems) and not any(problems) and not self.to_cyrus


def delivered(exim: Exim, asked: str) -> Delivery:
    """Return where `exim` delivers mail for `asked`. Raises `EximError`."""
    found = destinations(exim, asked)
    cyrus = {one.name for one in exim.transports() if leads_to_cyrus(one)}
    return Delivery(asked, found, tuple(one for one in found if one.transport in cyrus))
