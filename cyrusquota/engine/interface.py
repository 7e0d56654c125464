"""The interface of an engine: what publishers and mirrors ask of the server between the hosts.

Each call takes a bounded time, some seconds at most, and raises an `EngineError`: nobody may wait
for a server in trouble. A call that fails may have been carried out all the same, or be carried out
later. Nothing that an engine returns has been compared with a digest.
"""

from __future__ import annotations

from typing import Iterable, Mapping, Optional, Protocol, Sequence

import attrs

from cyrusquota.engine.protocol import Change, Entries, Stamp, StoreContent, StoreStatus
from cyrusquota.errors import EngineError


@attrs.frozen
class Answer:
    """Whether a write was carried out, and what the store says of itself now (None: it is gone)."""

    accepted: bool
    status: Optional[StoreStatus]


@attrs.frozen
class StoreNews:
    """What is new in a store: its status now, and the changes since the stamp that was asked for.

    `changes` has one for each write, and None where they cannot be told: the store has to be read.
    `error` says why nothing is known of the store; `status` is None then, as it is for a store that
    is not there.
    """

    status: Optional[StoreStatus] = None
    changes: Optional[tuple[Change, ...]] = None
    error: Optional[EngineError] = None


class Engine(Protocol):
    """A server that keeps stores, each written by one publisher and read by any mirror."""

    @property
    def name(self) -> str:
        """The URL of the server, without anything secret."""

    def status(self, store: str) -> Optional[StoreStatus]:
        """Return what a store says of itself, or None where there is none.

        Raises `BadStore` where that makes no sense; `begin` at `NO_STAMP` replaces it then. Raises
        `EngineMisfit` for a store in another format.
        """

    def begin(
        self, store: str, expected: Stamp, floor: int, holder: str, entries: Entries, digest: int
    ) -> Answer:
        """Write a snapshot if the stamp is still `expected` (`NO_STAMP` where there is no store).

        The new generation is one above the old one and above `floor`.
        """

    def write(
        self, store: str, at: Stamp, put: Entries, drop: Iterable[bytes], n: int, digest: int
    ) -> Answer:
        """Write a change, or a beat, if the stamp is still `at`; `n` entries are there then.

        Refused also where there would be another number of entries; the stamp is still `at` then.
        """

    def poll(self, have: Mapping[str, Stamp]) -> Mapping[str, StoreNews]:
        """Return what is new in each of these stores since the stamps; `NO_STAMP` asks for all."""

    def read(self, store: str) -> Optional[StoreContent]:
        """Return all entries of a store, as they were at one moment, or None if there is none."""

    def stores(self) -> Optional[Sequence[str]]:
        """Take a step of a search for stores, and return the names that the last search has found.

        None until the first search is complete. A new store is found some calls later, and one that
        is gone may still be named.
        """

    def accept(self, store: str, count: int) -> Answer:
        """Let the next write that changes anything change up to `count` entries."""

    def forget(self, store: str, at: Stamp) -> Answer:
        """Remove a store if its stamp is still `at`."""

    def close(self) -> None:
        """Close the connections."""
