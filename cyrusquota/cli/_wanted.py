"""Which quota roots a command is about: those of a domain, of users, of a state."""

from __future__ import annotations

import fnmatch
import re
from typing import Callable, Iterable, Optional

import attrs

from cyrusquota.cyrus.names import Naming, ascii_lower, domain_of, inbox_of, inbox_owner

Pattern = Callable[[str], Optional["re.Match[str]"]]


def _pattern(text: str) -> Pattern:
    return re.compile(fnmatch.translate(ascii_lower(text))).match


@attrs.frozen
class Wanted:
    """Roots by name. Capitals do not count; nothing asked for is everything wanted."""

    naming: Naming
    domains: frozenset[str] = frozenset()
    patterns: tuple[Pattern, ...] = ()

    @classmethod
    def of(cls, naming: Naming, domains: Iterable[str], patterns: Iterable[str]) -> Wanted:
        """From the domains and glob patterns on the command line."""
        return cls(naming, frozenset(map(ascii_lower, domains)), tuple(map(_pattern, patterns)))

    def has(self, name: str) -> bool:
        """Whether the root `name` is wanted."""
        return self._is_in_domain(name) and self._fits(name)

    def _domain(self, name: str) -> str:
        return ascii_lower(domain_of(name) or self.naming.defaultdomain or "")

    def _is_in_domain(self, name: str) -> bool:
        return not self.domains or self._domain(name) in self.domains

    def _fits(self, name: str) -> bool:
        if not self.patterns:
            return True
        spellings = [ascii_lower(name), *self._user(name)]
        return any(fits(spelling) for fits in self.patterns for spelling in spellings)

    def _user(self, name: str) -> list[str]:
        """The user whom a root belongs to, without and with his domain; nothing for nobody's."""
        inbox = inbox_of(name)
        owner = inbox_owner(inbox) if inbox is not None else None
        if owner is None:
            return []
        local, domain = ascii_lower(owner[1]), self._domain(name)
        if owner[0] is None and "@" in local:
            local = local.rpartition("@")[0]
        return [local, f"{local}@{domain}"] if domain else [local]
