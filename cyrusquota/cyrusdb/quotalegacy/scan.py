"""The fast path of quotalegacy; the plain reader defines what is right.

All files of a directory are read by their names in it, a share for each processor. Wherever
something lies in the wrong place, or is not a file that Cyrus made, the plain reader decides.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Iterator, Optional

from cyrusquota.cyrusdb.database import descriptor_of
from cyrusquota.cyrusdb.parallel import SHARES, parallel, processors
from cyrusquota.cyrusdb.quotalegacy import layout
from cyrusquota.cyrusdb.selection import BATCH, FastPathUnsupported, Selected, Work, merged, results
from cyrusquota.errors import AnyPath

#: A directory, names of files in it, and the key of a file by its name: a prefix, or all of it.
_Part = tuple[bytes, list[bytes], bytes, bool]
#: Longer files than this are none of Cyrus's.
_LARGEST = 4096


def select(
    path: AnyPath,
    work: Work,
    *,
    fulldirhash: Optional[bool] = None,
    virtdomains: Optional[bool] = None,
) -> Optional[Selected]:
    """Return what `work` wants or makes of a tree, or None where `QuotaTree` decides."""
    letters = layout.letters(fulldirhash)
    try:
        parts = list(_parts(os.fsencode(path), letters, virtdomains))
        count = SHARES * processors()
        jobs = [partial(_part_of_tree, parts, work, index, count) for index in range(count)]
        return merged(parallel(jobs, processors()))
    except (OSError, ValueError, FastPathUnsupported):
        return None


def _parts(base: bytes, letters: frozenset[bytes], virtdomains: Optional[bool]) -> Iterator[_Part]:
    quota, domain = os.path.join(base, layout.QUOTA), os.path.join(base, layout.DOMAIN)
    if not os.path.isdir(quota) and not os.path.isdir(domain):
        if os.path.basename(os.path.normpath(base)) != layout.QUOTA:
            raise FastPathUnsupported
        quota = base
    has_domains = os.path.isdir(domain) and virtdomains is not False
    if os.path.isdir(quota):
        for path, names in _hashed(quota, letters):
            # Not seen with virtdomains on, or it may be the same root as one below domain/.
            if (virtdomains or has_domains) and any(b"!" in name for name in names):
                raise FastPathUnsupported
            yield path, names, b"", False
    for within, domains in _hashed(domain, letters) if has_domains else ():
        for name in domains:
            quota = os.path.join(within, name, layout.QUOTA)
            if os.path.isdir(quota):
                if os.path.exists(os.path.join(quota, layout.ROOT)):
                    yield quota, [layout.ROOT], name + b"!", True
                for path, names in _hashed(quota, letters):
                    yield path, names, name + b"!", False


def _hashed(path: bytes, letters: frozenset[bytes]) -> Iterator[tuple[bytes, list[bytes]]]:
    """Return the one-letter directories of `path`, and the names that count in each."""
    found = [letter for letter in os.listdir(path) if letter in letters]
    if not layout.PLAIN.issuperset(found) and not layout.FULL.issuperset(found):
        # A root may have a file in each way of hashing.
        raise FastPathUnsupported
    for letter in found:
        within = os.path.join(path, letter)
        names = list(filter(layout.counts, os.listdir(within)))
        if not _are_in_place(letter, names, is_domain=os.path.basename(path) == layout.DOMAIN):
            raise FastPathUnsupported
        yield within, names


def _are_in_place(letter: bytes, names: list[bytes], *, is_domain: bool) -> bool:
    full = letter in layout.FULL
    hashed = names if is_domain else map(layout.hashed, names)
    # Without fulldirhash the first byte decides.
    different = set(hashed) if full else {text[:1] for text in hashed}
    return all(layout.letter(text, full=full) == letter for text in different)


def _part_of_tree(
    parts: list[_Part], work: Work, index: int, count: int
) -> Optional[tuple[int, list[tuple[bytes, bytes]]]]:
    """Return the `index`th of `count` shares: how many roots, and those that are wanted."""
    records, kept = 0, list[tuple[bytes, bytes]]()
    try:
        for number, (path, names, prefix, is_whole) in enumerate(parts):
            turn = (number + index) % count
            start, end = (len(names) * at // count for at in (turn, turn + 1))
            for at in range(start, end, BATCH):
                found, values = _read(path, names[at : min(end, at + BATCH)])
                records += len(found)
                if prefix:
                    found = [prefix if is_whole else prefix + name for name in found]
                kept += results(work, found, values)
    except (OSError, FastPathUnsupported):
        return None
    return records, kept


def _read(path: bytes, names: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return the names and values of those of the files `names` that are there and not empty."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        files = [(name, raw) for name in names if (raw := _raw(name, directory))]
    finally:
        os.close(directory)
    if not all(raw.endswith(layout.LINE_BREAK) and len(raw) < _LARGEST for _, raw in files):
        raise FastPathUnsupported
    value_of = layout.value
    values = [value_of(raw) for _, raw in files]
    return [name for name, _ in files], values


def _raw(name: bytes, directory: int) -> bytes:
    try:
        file = descriptor_of(os.fsdecode(name), directory)
    except FileNotFoundError:
        return b""
    try:
        return os.read(file, _LARGEST)
    finally:
        os.close(file)
