"""Recognise the overquota router in Exim's configuration by what it does, not by its name.

It is a redirect router that looks recipients up in the map (exim/router.conf and its variants), or
a router that stores the value of the map in $address_data for an ACL (exim/exemptions/). `exim -bP`
prints it with all macros replaced.
"""

from __future__ import annotations

import re
from typing import Iterator, Optional, Sequence

import attrs

from cyrusquota.mta.exim import Driver, Exim
from cyrusquota.mta.transport import leads_to_cyrus

#: The options in which a router can use a file.
_ASKING = ("condition", "data", "address_data", "set", "local_parts", "require_files")
_FILE = re.compile(
    r"(?:\bexists *\{|\$\{stat:|\b(?:n?wild)?(?:lsearch|cdb|dbm)[a-z*@,=_]*[{;]) *(/[^{}\s:;]+)"
)
_LOOKUP = re.compile(r"\b(lsearch|cdb|dbm)[a-z*@,=_]*[{;] */")
_AGE = re.compile(r"\$tod_epoch *- *([0-9]+)")
#: Values of a condition that skip the router (Exim's expand_check_condition).
_FALSE = re.compile(r"|0+|no|false", re.IGNORECASE)


@attrs.frozen
class OverquotaRouter:
    """The router, its position among all routers (from 0), and the map that it uses."""

    router: Driver
    position: int
    map: str

    @property
    def checks_age(self) -> bool:
        """Whether it ignores a map that is too old."""
        condition = self.router.text("condition")
        return "mtime" in condition and "$tod_epoch" in condition

    @property
    def max_age(self) -> Optional[int]:
        """The age in seconds from which it ignores the map; None if unlimited or unknown."""
        found = _AGE.search(self.router.text("condition"))
        return int(found[1]) if found is not None and self.checks_age else None

    @property
    def lookup(self) -> Optional[str]:
        """Its kind of lookup: lsearch, cdb or dbm; None if an ACL does the lookup."""
        found = _LOOKUP.search(self._asked())
        return None if found is None else found[1]

    @property
    def looks_up_local_parts(self) -> bool:
        """Whether it looks up local parts only, and never finds keys with a domain."""
        return self.lookup is not None and "$domain" not in "\n".join(self.router.options.values())

    @property
    def defers_by_acl(self) -> bool:
        """Whether an ACL defers, and not the router itself."""
        return ":defer:" not in self.router.text("data") and bool(self.router.text("address_data"))

    def is_skipped_without_map(self, exim: Exim) -> bool:
        """Return whether its condition is false when there is no map."""
        condition = self.router.text("condition")
        if not condition:
            return False
        # There is no file below a file.
        result = exim.expanded(condition.replace(self.map, f"{self.map}/absent"))
        # In a condition, a file that cannot be opened counts as false.
        return result is None or _FALSE.fullmatch(result.strip()) is not None

    def _asked(self) -> str:
        return _asked(self.router)


def overquota_routers(routers: Sequence[Driver], path: str) -> Iterator[OverquotaRouter]:
    """Return each router that uses a map, at `path` or elsewhere."""
    for position, router in enumerate(routers):
        files = _FILE.findall(_asked(router))
        if path in files:
            yield OverquotaRouter(router, position, path)
        elif files and _is_overquota_router(router):
            yield OverquotaRouter(router, position, files[0])


def alias_routers(routers: Sequence[Driver]) -> Iterator[tuple[int, Driver]]:
    """Return the routers that look aliases up when recipients are verified, with their position.

    Those for local accounts only, such as Debian's lowuid_aliases, are none.
    """
    for position, router in enumerate(routers):
        looks_up = "lookup" in router.text("data") or bool(router.text("file"))
        verifies = router.is_on("verify_recipient") and not router.is_on("verify_only")
        is_for_users = router.text("driver") == "redirect" and not router.is_on("check_local_user")
        if is_for_users and verifies and looks_up:
            yield position, router


def delivering_routers(routers: Sequence[Driver], transports: Sequence[Driver]) -> list[Driver]:
    """Return the routers that may deliver to Cyrus."""
    names = {one.name for one in transports if leads_to_cyrus(one)}
    # A name with a `$` is expanded for each message, and may be any.
    return [
        router
        for router in routers
        if router.text("transport") in names or (names and "$" in router.text("transport"))
    ]


def _is_overquota_router(router: Driver) -> bool:
    if router.text("driver") != "redirect":
        return False
    return ":defer:" in router.text("condition") or (
        router.is_on("verify_only")
        and (router.is_on("allow_defer") or bool(router.text("address_data")))
    )


def _asked(router: Driver) -> str:
    return "\n".join(router.text(option) for option in _ASKING)
