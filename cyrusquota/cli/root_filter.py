"""Select quota roots by domain and by glob patterns, and know which of these found nothing."""

from __future__ import annotations

import fnmatch
import re
import string
from itertools import repeat
from typing import Callable, Iterable, Iterator, Mapping, Optional, Sequence

import attrs

from cyrusquota.cyrus.names import Naming, ascii_lower, domain_of, inbox_of, inbox_owner
from cyrusquota.parse.prefilter import Prefilter

Pattern = Callable[[str], Optional["re.Match[str]"]]


def _pattern(text: str) -> Pattern:
    return re.compile(fnmatch.translate(ascii_lower(text))).match


#: Folds ASCII capitals, and writes the dots in users' names as dots.
_SPELLING = bytes.maketrans(
    b"^" + string.ascii_uppercase.encode(), b"." + string.ascii_lowercase.encode()
)


@attrs.frozen
class KeyFilter:
    """Selects the keys that have one of some texts in them, and values in an unusual form."""

    texts: tuple[bytes, ...]
    _unusual: Prefilter = attrs.field(factory=lambda: Prefilter({}), init=False)

    def __call__(self, keys: Sequence[bytes], values: Sequence[bytes]) -> list[int]:
        """Return the indexes of the records."""
        spelled = [*map(bytes.translate, keys, repeat(_SPELLING))]
        found = set(self._unusual(keys, values))
        for text in self.texts:
            found.update(at for at, key in enumerate(spelled) if text in key)
        return sorted(found)


@attrs.frozen
class RootFilter:
    """Selects quota roots by domain and name. Case does not matter; an empty filter selects all."""

    naming: Naming
    domains: frozenset[str] = frozenset()
    #: Patterns, and what matches each.
    patterns: Mapping[str, Pattern] = attrs.field(factory=dict)

    @classmethod
    def of(cls, naming: Naming, domains: Iterable[str], patterns: Iterable[str]) -> RootFilter:
        """Return the filter for domains and glob patterns from the command line."""
        compiled = {text: _pattern(text) for text in patterns}
        return cls(naming, frozenset(map(ascii_lower, domains)), compiled)

    def selects(self, name: str) -> bool:
        """Return whether the root `name` is in one of the domains and matches one pattern."""
        if self.domains and self.domain(name) not in self.domains:
            return False
        return not self.patterns or any(self.matching(name, self.patterns))

    def keys(self) -> Optional[KeyFilter]:
        """Return a quick way to leave out most keys, None where there is none."""
        texts = [self._literal(pattern) for pattern in self.patterns]
        return KeyFilter(tuple(texts)) if texts and all(texts) else None

    def _literal(self, pattern: str) -> bytes:
        """Return what each key has in it whose root matches `pattern`; empty if nothing is sure."""
        if "[" in pattern:
            return b""
        # The domain of an address may be defaultdomain, which no key has.
        local = pattern.partition("@")[0] if self.naming.defaultdomain else pattern
        literals = re.split("[*?!@]", local)
        return max(literals, key=len).encode("utf-8", "surrogateescape").translate(_SPELLING)

    def matching(self, name: str, patterns: Iterable[str]) -> Iterator[str]:
        """Yield those of `patterns` that the root `name` matches."""
        spellings = [ascii_lower(name), *self._addresses(name)]
        for text in patterns:
            if any(map(self.patterns[text], spellings)):
                yield text

    def domain(self, name: str) -> str:
        """Return the domain of the root `name` in lower case, '' for the site itself."""
        return ascii_lower(domain_of(name) or self.naming.defaultdomain or "")

    def _addresses(self, name: str) -> list[str]:
        """Return the user of a root, without and with the domain; nothing if it is no user's."""
        inbox = inbox_of(name)
        owner = inbox_owner(inbox) if inbox is not None else None
        if owner is None:
            return []
        local, domain = ascii_lower(owner[1]), self.domain(name)
        if owner[0] is None and "@" in local:
            local = local.rpartition("@")[0]
        return [local, f"{local}@{domain}"] if domain else [local]


@attrs.define
class Unmatched:
    """The domains and patterns of a filter in which no root was found so far."""

    root_filter: RootFilter
    domains: set[str] = attrs.field(init=False)
    patterns: set[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.domains, self.patterns = set(self.root_filter.domains), set(self.root_filter.patterns)

    def note(self, name: str) -> None:
        """Take off what the root `name` is in or matches."""
        if self.domains:
            self.domains.discard(self.root_filter.domain(name))
        if self.patterns:
            self.patterns.difference_update([*self.root_filter.matching(name, self.patterns)])

    def lines(self, roots: str) -> Iterator[str]:
        """Yield what to report; `roots` is what was looked for."""
        wanted = self.root_filter.domains
        for domain in sorted(self.domains):
            yield f"no {roots} in the domain {domain!r}"
        if wanted and wanted == self.domains:
            return
        where = f" in the domain {', '.join(map(repr, sorted(wanted)))}" if wanted else ""
        for text in self.root_filter.patterns:
            if text in self.patterns:
                yield f"no {roots}{where} matches {text!r}"
