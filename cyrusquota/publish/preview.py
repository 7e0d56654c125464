"""Tell what an export would make of the map in place, without writing it."""

from __future__ import annotations

from typing import Optional, Sequence

import attrs

from cyrusquota.maps import FORMATS, Entry
from cyrusquota.maps.installed import InstalledMap
from cyrusquota.publish.guard import Change, Limits, MapSummary, Rejection, check_change


@attrs.frozen
class Preview:
    """The next map, and what it changes.

    `rejection` is why the change would be held back, or None.
    """

    format: str
    content: bytes
    change: Change
    rejection: Optional[Rejection]

    def has(self, key: str) -> bool:
        """Return whether the next map has an entry for an address or a local part."""
        spelled = key.encode("utf-8", "surrogateescape").lower()
        return FORMATS[self.format].value(self.content, spelled) is not None


def preview(
    table: InstalledMap,
    entries: Sequence[Entry],
    *,
    roots: Optional[int],
    source: Optional[str],
    limits: Limits,
) -> Preview:
    """Return what becomes of the map `table` if the next one has `entries`.

    They come from so many quota `roots` of `source`; None where that is not known.
    """
    written = FORMATS[table.format]
    content = written.document(entries, ())
    old = MapSummary.of(written, table.content)
    new = MapSummary(written.keys(content), roots, source)
    rejection = check_change(old, new, limits)
    return Preview(table.format, content, Change.between(old.keys, new.keys), rejection)
