"""Publish what a follower knows."""

from __future__ import annotations

from typing import Optional

import attrs

from cyrusquota.errors import count_of
from cyrusquota.follow.state import FollowState
from cyrusquota.maps.header import MapHeader
from cyrusquota.publish.atomic import PublishResult
from cyrusquota.publish.guard import Limits, MapSummary
from cyrusquota.publish.map_publisher import MapDocument, MapPublisher
from cyrusquota.publish.sliding_guard import SlidingGuard


@attrs.define
class FollowPublisher:
    """Puts one map after another in place, as far as the limits of a sliding guard allow."""

    maps: MapPublisher
    limits: Limits = attrs.field(factory=Limits)
    #: What the map in place comes to.
    summary: str = "reading the source"
    _guard: Optional[SlidingGuard] = None

    def publish(self, state: FollowState) -> None:
        """Put the map of `state` in place. Raises as `Claim.put` does."""
        document = self._document(state)
        with self.maps.claim() as claim:
            guard = self._guard
            if guard is None or not claim.in_place():
                # Who removes the map accepts whatever comes.
                guard = self._guard = SlidingGuard(self.maps.summarize, self.limits)
            result = self.maps.put(claim, document.content, guard, document)
        if result is PublishResult.WRITTEN:
            guard.accepted(document.content)
        entries = count_of(len(state.map_entries), "entry")
        self.summary = f"{count_of(state.roots, 'quota root')}, {entries}"

    def _document(self, state: FollowState) -> MapDocument:
        written, found, query = self.maps.format, state.map_entries, state.config.query
        source = state.config.source.name
        header = MapHeader(
            source,
            query.policy.name,
            roots=state.roots,
            entries=len(found),
            near=found.near,
            headers=query.headers,
        )
        body = found.body()
        if written.IS_TEXT:
            content = written.document((), header.comments()) + body
        else:
            content = written.document(found.entries(), header.comments())
        return MapDocument(content, body, MapSummary(found.keys(), state.roots, source))
