"""Put maps in place, for a single run and for one that follows.

publisher = MapPublisher("/var/lib/cyrusquota/overquota", lsearch)
with publisher.claim() as claim:
    result = publisher.put(claim, content, Guard(publisher.summarize))
"""

from __future__ import annotations

from typing import Callable, ContextManager, Optional, Union

import attrs

from cyrusquota.maps import FORMATS, Format
from cyrusquota.maps.header import is_header
from cyrusquota.publish.atomic import Claim, Ownership, PublishResult, claim, in_place
from cyrusquota.publish.guard import MapSummary, Rejection
from cyrusquota.publish.target_directory import InPlace


@attrs.frozen
class MapDocument:
    """A whole map, and what it says."""

    content: bytes
    summary: MapSummary
    #: What counts of it, or where in the content that begins. A large map is kept once only.
    _body: Union[bytes, int]

    @classmethod
    def parsed(cls, written: Format, content: bytes) -> MapDocument:
        """Return what `content`, in the format `written`, says."""
        return cls(content, MapSummary.of(written, content), written.body(content))

    @property
    def body(self) -> Union[bytes, memoryview]:
        """What counts of it."""
        return memoryview(self.content)[self._body :] if isinstance(self._body, int) else self._body


@attrs.define
class MapPublisher:
    """Puts maps in one format at one path.

    It remembers the map in place and the one to be, so that no map is parsed twice. A map that
    cyrusquota wrote in another format is replaced; `converted` is then the name of that format.
    """

    path: str
    format: Format
    ownership: Ownership = attrs.field(factory=Ownership)
    #: Seconds to wait for another run that writes the same map.
    wait: float = 0.0
    follow_links: bool = False
    converted: Optional[str] = attrs.field(init=False, default=None)
    _new: Optional[MapDocument] = attrs.field(init=False, default=None)
    _old: Optional[MapDocument] = attrs.field(init=False, default=None)
    _in_place: Optional[InPlace] = attrs.field(init=False, default=None)

    def claim(self) -> ContextManager[Claim]:
        """Keep every other run from writing this map; raises as `publish.claim` does."""
        return claim(
            self.path, wait=self.wait, follow_links=self.follow_links, known=self._in_place
        )

    def in_place(self) -> Optional[bytes]:
        """Return the map in place, or None where there is none. Raises `MapError`."""
        return in_place(self.path, follow_links=self.follow_links)

    def put(
        self,
        claim: Claim,
        content: bytes,
        guard: Callable[[bytes, bytes], Optional[Rejection]],
        document: Optional[MapDocument] = None,
    ) -> PublishResult:
        """Make `content` the map; `document` says what is in it, where that is known already.

        Raises as `Claim.put` does, also for a file that cyrusquota did not write.
        """
        self._new = document or MapDocument.parsed(self.format, content)
        self.converted = None
        result = claim.put(
            content,
            self.ownership,
            body=self._body,
            is_ours=self._is_ours,
            guard=guard,
        )
        if result is PublishResult.WRITTEN:
            self._old, self._new = self._new, None
            self._in_place = claim.known
        return result

    def summarize(self, content: bytes) -> MapSummary:
        """Return the summary of a map in this format."""
        return self._document(content).summary

    def body(self, content: bytes) -> bytes:
        """Return the entries of a map in this format, or another one that cyrusquota writes."""
        return bytes(self._document(content).body)

    def _is_ours(self, old: bytes) -> bool:
        if is_header(self.format.comments(old)):
            return True
        self.converted = self._other_format(old)
        return self.converted is not None

    def _body(self, content: bytes) -> Union[bytes, memoryview]:
        # A map in another format is not current, whatever its entries are.
        if self.converted and content != self._new_content:
            return content
        return self._document(content).body

    @property
    def _new_content(self) -> Optional[bytes]:
        return None if self._new is None else self._new.content

    def _document(self, content: bytes) -> MapDocument:
        for known in (self._new, self._old):
            if known is not None and known.content == content:
                return known
        other = None
        if not is_header(self.format.comments(content)):
            other = self._other_format(content)
        self._old = MapDocument.parsed(FORMATS[other] if other else self.format, content)
        return self._old

    def _other_format(self, content: bytes) -> Optional[str]:
        """Return the name of another format in which cyrusquota wrote `content`, or None."""
        for name, other in FORMATS.items():
            is_other = other is not self.format and is_header(other.comments(content))
            if is_other and other.is_format_of(content):
                return name
        return None
