"""The overquota router in an Exim's configuration, known by what it does and not by its name.

It is a redirect router that asks the map (exim/router.conf and its variants), or a router that
takes a note of what the map says for an ACL (exim/exemptions/). Read from what `exim -bP` prints,
where all macros are replaced.
"""

from __future__ import annotations

import re
from typing import Iterator, Optional, Sequence

import attrs

from cyrusquota.mta.exim import Exim, Router

#: The options by which a router may come to ask a file.
_ASKING = ("condition", "data", "address_data", "set", "local_parts", "require_files")
_FILE = re.compile(
    r"(?:\bexists *\{|\$\{stat:|\b(?:n?wild)?(?:lsearch|cdb|dbm)[a-z*@,=_]*[{;]) *(/[^{}\s:;]+)"
)
_LOOKUP = re.compile(r"\b(lsearch|cdb|dbm)[a-z*@,=_]*[{;] */")
_AGE = re.compile(r"\$tod_epoch *- *([0-9]+)")
#: What a condition may come to that skips the router (Exim's expand_check_condition).
_FALSE = re.compile(r"|0+|no|false", re.IGNORECASE)


@attrs.frozen
class OverquotaRouter:
    """The router, where in the order of all it stands (from 0), and the map that it asks."""

    router: Router
    position: int
    map: str

    @property
    def looks_at_age(self) -> bool:
        """Whether it may believe a map no more once it is old."""
        condition = self.router.text("condition")
        return "mtime" in condition and "$tod_epoch" in condition

    @property
    def max_age(self) -> Optional[int]:
        """The seconds after which it believes a map no more, None if it always does, or unsaid."""
        found = _AGE.search(self.router.text("condition"))
        return int(found[1]) if found is not None and self.looks_at_age else None

    @property
    def lookup(self) -> Optional[str]:
        """How it looks into the map itself: lsearch, cdb, dbm; None where an ACL does."""
        found = _LOOKUP.search(self._asked())
        return None if found is None else found[1]

    @property
    def asks_for_local_parts(self) -> bool:
        """Whether it looks for local parts only, so that keys with a domain are in vain."""
        return self.lookup is not None and "$domain" not in "\n".join(self.router.options.values())

    @property
    def only_notes(self) -> bool:
        """Whether it leaves it to an ACL to defer."""
        return ":defer:" not in self.router.text("data") and bool(self.router.text("address_data"))

    def is_skipped_without_map(self, exim: Exim) -> bool:
        """Whether its condition lets it pass where there is no map."""
        condition = self.router.text("condition")
        if not condition:
            return False
        # Below a file there is never one.
        result = exim.expanded(condition.replace(self.map, f"{self.map}/absent"))
        # A file that cannot be opened, asked in a condition, counts as no.
        return result is None or _FALSE.fullmatch(result.strip()) is not None

    def _asked(self) -> str:
        return _asked(self.router)


def overquota_routers(routers: Sequence[Router], path: str) -> Iterator[OverquotaRouter]:
    """Each router that asks a map; `path`, where one is expected, need not be the one it asks."""
    for position, router in enumerate(routers):
        files = _FILE.findall(_asked(router))
        if path in files:
            yield OverquotaRouter(router, position, path)
        elif files and _looks_like_ours(router):
            yield OverquotaRouter(router, position, files[0])


def _looks_like_ours(router: Router) -> bool:
    if router.text("driver") != "redirect":
        return False
    return ":defer:" in router.text("condition") or (
        router.is_on("verify_only")
        and (router.is_on("allow_defer") or bool(router.text("address_data")))
    )


def _asked(router: Router) -> str:
    return "\n".join(router.text(option) for option in _ASKING)
