"""Publish what a follower knows."""

from __future__ import annotations

from typing import AbstractSet, Iterator, Optional

import attrs

from cyrusquota.errors import count_of, printable
from cyrusquota.follow.map_entries import MapEntries
from cyrusquota.follow.state import FollowState
from cyrusquota.maps.header import MapHeader
from cyrusquota.publish.atomic import PublishResult, unguarded
from cyrusquota.publish.guard import Limits, MapSummary
from cyrusquota.publish.map_publisher import MapDocument, MapPublisher
from cyrusquota.publish.sliding_guard import SlidingGuard

#: More users than this are only counted.
MAX_NAMES = 20


@attrs.define
class FollowPublisher:
    """Puts one map after another in place, as far as the limits of a sliding guard allow.

    Without `limits` there is no guard.
    """

    maps: MapPublisher
    limits: Optional[Limits] = attrs.field(factory=Limits)
    #: What the map in place comes to.
    summary: str = "reading the source"
    #: Whether to find out who is added and removed, which costs time with large maps.
    names_changes: bool = False
    #: What `publish` changed: who was added and removed, a line for each.
    changes: tuple[str, ...] = ()
    #: Whether `publish` replaced the map, or was called for the first time.
    is_written: bool = False
    _guard: Optional[SlidingGuard] = None
    _has_put: bool = False

    def publish(self, state: FollowState) -> None:
        """Put the map of `state` in place. Raises as `Claim.put` does."""
        query = state.config.query
        header = MapHeader(
            state.config.source.name,
            query.policy.name,
            roots=state.roots,
            headers=query.headers,
        )
        self.put(state.map_entries, header)
        entries = count_of(len(state.map_entries), "entry")
        self.summary = f"{count_of(state.roots, 'quota root')}, {entries}"

    def put(self, found: MapEntries, header: MapHeader) -> None:
        """Put the map with these entries in place. Raises as `Claim.put` does."""
        document = self._document(found, header)
        self.changes = ()
        is_first, self._has_put = not self._has_put, True
        with self.maps.claim() as claim:
            # A large map is not read for nothing.
            is_compared = self.limits is not None or self.names_changes
            old = claim.in_place() if is_compared else None
            if self.limits is not None and (self._guard is None or not old):
                # Who removes the map accepts whatever comes.
                self._guard = SlidingGuard(self.maps.summarize, self.limits)
            guard = self._guard or unguarded
            result = self.maps.put(claim, document.content, guard, document)
        # What depends on the map may have missed a change before the start.
        self.is_written = is_first or result is PublishResult.WRITTEN
        if result is PublishResult.WRITTEN:
            if self._guard is not None:
                self._guard.accepted(document.content)
            self._note_change(old, document.content)

    def _note_change(self, old: Optional[bytes], content: bytes) -> None:
        if self.maps.converted is not None:
            self.changes += (f"was a map in the format {self.maps.converted}; it is converted",)
        elif self.names_changes:
            before = set() if old is None else self.maps.format.keys(old)
            after = self.maps.format.keys(content)
            self.changes += (*_named("added", after - before), *_named("removed", before - after))

    def _document(self, found: MapEntries, header: MapHeader) -> MapDocument:
        written = self.maps.format
        header = attrs.evolve(header, entries=len(found), near=found.near)
        keys = frozenset[bytes]() if self.limits is None else found.keys()
        summary = MapSummary(keys, header.roots, header.source)
        if written.IS_TEXT:
            head = written.document((), header.comments())
            return MapDocument(b"".join([head, *found.lines()]), summary, len(head))
        content = written.document(found.entries(), header.comments())
        return MapDocument(content, summary, found.body())


def _named(what: str, keys: AbstractSet[bytes]) -> Iterator[str]:
    """Yield a line that names the users who were added or removed, if there are any."""
    if not keys:
        return
    names = [printable(key) for key in sorted(keys)[:MAX_NAMES]]
    more = len(keys) - len(names)
    yield f"{what}: {', '.join(names)}{f' and {more} more' if more else ''}"
