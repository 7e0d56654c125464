"""cyrusquota-export --follow: keep the map up to date, and publish to other hosts."""

from __future__ import annotations

import contextlib
import secrets
import socket
from typing import Iterable, Optional

import attrs

from cyrusquota.cli import service
from cyrusquota.cli.map_options import MapOptions
from cyrusquota.cli.on_change import ChangeCommand
from cyrusquota.cli.options import Options
from cyrusquota.cli.service import ServiceMap
from cyrusquota.cyrus.names import Recipient
from cyrusquota.engine import protocol
from cyrusquota.engine.interface import Engine
from cyrusquota.engine.listing import StoreListing
from cyrusquota.engine.publisher import StorePublisher
from cyrusquota.follow import (
    FollowConfig,
    Follower,
    FollowPublisher,
    FollowState,
    MapEntries,
    Notices,
)
from cyrusquota.maps import Entry
from cyrusquota.maps.status import Status
from cyrusquota.publish.map_publisher import MapPublisher
from cyrusquota.publish.privileges import reading_as


@attrs.frozen
class Store:
    """A store to publish, and the engine that keeps it."""

    engine: Engine
    name: str


@attrs.frozen
class Service:
    """The options of `cyrusquota-export --follow`.

    `publisher` is None where this host needs no map, `store` where no other host does.
    """

    options: Options
    map_options: MapOptions
    publisher: Optional[MapPublisher]
    command: ChangeCommand
    store: Optional[Store] = None

    def run(self, poll: float, verbose: bool) -> None:
        """Follow the source until SIGTERM or SIGINT. Raises `MapError` where no map can be put."""
        notices = service.notices(verbose=verbose, with_records=not self.options.problems.quiet)
        with contextlib.closing(_Following(self, notices, poll, verbose)) as following:
            service.serve(following, notices)

    def config(self, options: Options) -> FollowConfig:
        """Return what to follow, by `options`."""
        return FollowConfig(
            options.source,
            options.query(self.map_options.values.effective_reserve),
            self.map_options.values,
        )


class _Following:
    """A follower, and what it publishes."""

    def __init__(self, given: Service, notices: Notices, poll: float, verbose: bool) -> None:
        self._given = given
        self._map: Optional[ServiceMap] = None
        if given.publisher is not None:
            limits = given.map_options.limits
            publisher = FollowPublisher(given.publisher, limits, names_changes=verbose)
            self._map = ServiceMap(publisher, given.command, notices)
        self._store: Optional[_Published] = None
        if given.store is not None:
            self._store = _Published.of(given.store, given.map_options, notices)
        self._follower = Follower(
            given.config(given.options),
            map_entries=self._map_entries,
            publish=self._publish,
            notices=notices,
            poll=poll,
            rights=lambda: reading_as(given.options.user),
        )

    @property
    def summary(self) -> str:
        store = () if self._store is None else (self._store.publisher.summary,)
        in_place = () if self._map is None else (self._map.publisher.summary,)
        return "; ".join((*in_place, *store))

    def step(self) -> float:
        seconds = self._follower.step()
        if self._store is not None:
            is_current, state = self._follower.is_current, self._follower.state
            seconds = min(seconds, self._store.step(state if is_current else None))
        self._given.command.step()
        return seconds

    def fds(self) -> list[int]:
        return self._follower.fds()

    def reload(self) -> None:
        self._follower.replace_config(self._given.config(self._given.options.reload()))

    def close(self) -> None:
        self._follower.close()
        if self._given.store is not None:
            self._given.store.engine.close()

    def _publish(self, state: FollowState) -> None:
        found = self._map
        if found is not None:
            found.put(lambda: found.publisher.publish(state))

    def _map_entries(self) -> MapEntries:
        also = None if self._store is None else self._store.new_listing()
        return MapEntries(self._entries, self._given.map_options.values.format.row, also)

    def _entries(self, to: Recipient, status: Status) -> Iterable[Entry]:
        return () if self._map is None else self._given.map_options.entry(to, status)


@attrs.define
class _Published:
    """The store that is published."""

    publisher: StorePublisher
    #: That of the present state of the follower, which is another one after each full scan.
    _listing: StoreListing = attrs.field(factory=StoreListing)
    _is_new: bool = True

    @classmethod
    def of(cls, store: Store, map_options: MapOptions, notices: Notices) -> _Published:
        holder = protocol.holder_name(socket.gethostname(), secrets.token_hex(4))
        return cls(
            StorePublisher(
                store.engine,
                store.name,
                notices=notices,
                holder=holder,
                limits=map_options.limits,
            )
        )

    def new_listing(self) -> StoreListing:
        """Return a listing for a new state of the follower."""
        self._listing, self._is_new = StoreListing(), True
        return self._listing

    def step(self, state: Optional[FollowState]) -> float:
        """Publish `state`, or nothing where the source is not known, and return the seconds."""
        if state is None:
            self.publisher.suspend()
        else:
            changed = None if self._is_new else self._listing.changed
            self.publisher.publish(self._listing.entries, changed, roots=state.roots)
            self._listing.changed.clear()
            self._is_new = False
        return self.publisher.step()
