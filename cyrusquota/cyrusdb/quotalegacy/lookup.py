"""Look up single keys of a quotalegacy tree: the path of a key follows from its name."""

from __future__ import annotations

import os
from typing import AbstractSet, Iterator, Optional

from cyrusquota.cyrusdb.quotalegacy import layout
from cyrusquota.cyrusdb.quotalegacy.reader import QuotaTree
from cyrusquota.cyrusdb.skip_list import Values
from cyrusquota.errors import AnyPath, OnProblem


def lookup(
    path: AnyPath,
    keys: AbstractSet[bytes],
    on_problem: OnProblem,
    *,
    fulldirhash: Optional[bool] = None,
    virtdomains: Optional[bool] = None,
) -> Values:
    """Return the value of each key of the tree at `path`, None where there is none.

    No other files are opened. Raises what `QuotaTree` raises.
    """
    files = _Files(path, keys, on_problem, fulldirhash, virtdomains)
    return {**dict.fromkeys(keys), **dict(files)}


class _Files(QuotaTree):
    """The files of a tree in which Cyrus looks for `keys`."""

    def __init__(
        self,
        path: AnyPath,
        keys: AbstractSet[bytes],
        on_problem: OnProblem,
        fulldirhash: Optional[bool],
        virtdomains: Optional[bool],
    ) -> None:
        self._keys = keys
        self._ways = (False, True) if fulldirhash is None else (fulldirhash,)
        super().__init__(path, on_problem, fulldirhash=fulldirhash, virtdomains=virtdomains)

    def _listed(self, base: bytes) -> Iterator[tuple[bytes, bytes]]:
        quota, domain = os.path.join(base, layout.QUOTA), os.path.join(base, layout.DOMAIN)
        has_domains = os.path.isdir(domain)
        if not os.path.isdir(quota) and not has_domains:
            quota = self._bare(base)
        for key in self._keys:
            for path in self._paths(key, quota, domain if has_domains else None):
                if layout.counts(os.path.basename(path)) and os.path.isfile(path):
                    yield key, path

    def _paths(self, key: bytes, quota: bytes, domain: Optional[bytes]) -> Iterator[bytes]:
        """Yield where the file of `key` may be."""
        name, bang, rest = key.partition(b"!")
        if domain is not None and bang and self._virtdomains is not False:
            for full in self._ways:
                within = os.path.join(domain, layout.letter(name, full=full), name, layout.QUOTA)
                yield from self._hashed_paths(within, rest) if rest else (within + b"/root",)
        # With virtdomains on, `!` in a name cannot be: its file lies below domain/.
        if not (self._virtdomains and bang):
            yield from self._hashed_paths(quota, key)

    def _hashed_paths(self, within: bytes, name: bytes) -> Iterator[bytes]:
        if b"/" in name or not name:
            return
        for full in self._ways:
            letter = layout.letter(layout.hashed(name), full=full)
            yield os.path.join(within, letter, name)
