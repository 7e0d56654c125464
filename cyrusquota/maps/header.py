"""The comments that a map begins with: what it was made from, and when.

This module alone knows their names; a format knows how a file keeps comments.
"""

from __future__ import annotations

import datetime
import re
from typing import Iterable, Iterator, Optional

import attrs

#: How the first comment of every map begins, whichever command wrote it.
_WRITTEN_BY = "Written by cyrusquota"
#: For strftime.
_TIME = "%Y-%m-%dT%H:%M:%S%z"


@attrs.frozen
class MapHeader:
    """What a map says of itself; None for what it does not say.

    `source` and `policy` are names, `roots` counts quota roots, `entries` the users listed, and
    `near` those among them who are not certainly full. Since `since` the map says what it says.
    `headers` tells whether the headers of mailboxes were read (`Query.headers`). `stores` counts
    the stores in the map of a mirror, and is None in that of an export.
    """

    source: Optional[str] = None
    policy: Optional[str] = None
    since: Optional[datetime.datetime] = None
    roots: Optional[int] = None
    entries: Optional[int] = None
    near: Optional[int] = None
    headers: Optional[str] = None
    stores: Optional[int] = None

    @property
    def program(self) -> str:
        """The program that wrote the map."""
        return "cyrusquota-export" if self.stores is None else "cyrusquota-mirror"

    @classmethod
    def of(cls, comments: Iterable[str]) -> Optional[MapHeader]:
        """Return the header that `comments` are, or None where another program wrote them."""
        lines = list(comments)
        if not is_header(lines):
            return None
        fields = {}
        for line in lines:
            name, colon, value = line.partition(": ")
            if colon:
                fields[name] = value
        roots, entries, near, stores = (
            _count(fields.get(name, "")) for name in ("roots", "entries", "near", "stores")
        )
        return cls(
            fields.get("source"),
            fields.get("policy"),
            _time(fields.get("since", "")),
            roots,
            entries,
            near,
            fields.get("headers"),
            stores,
        )

    def comments(self) -> Iterator[str]:
        """Return the comments, a line each; `since` is now unless it is given."""
        from cyrusquota import __version__

        yield f"Written by {self.program} {__version__}; do not edit, the next run replaces it."
        since = datetime.datetime.now().astimezone() if self.since is None else self.since
        fields = {**attrs.asdict(self), "since": since.strftime(_TIME)}
        for name, value in fields.items():
            if value is not None:
                yield f"{name}: {value}"


def is_header(comments: Iterable[str]) -> bool:
    """Return whether `comments` are those of a map that cyrusquota wrote."""
    return next(iter(comments), "").startswith(_WRITTEN_BY)


def _time(text: str) -> Optional[datetime.datetime]:
    try:
        return datetime.datetime.strptime(text, _TIME)
    except ValueError:
        return None


def _count(text: str) -> Optional[int]:
    return int(text) if re.fullmatch("[0-9]{1,18}", text, re.ASCII) else None
