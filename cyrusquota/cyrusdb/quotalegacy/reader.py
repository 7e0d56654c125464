"""quotalegacy: one small file for each key, the default in every version (cyrusdb_quotalegacy.c).

    BASE/quota/<h>/<root>                       any root without a domain, or virtdomains off
    BASE/domain/<h>/<domain>/quota/<h>/<rest>   DOMAIN!REST
    BASE/domain/<h>/<domain>/quota/root         DOMAIN! itself

<h> is a letter, lower case, or upper case with fulldirhash. Cyrus replaces a file by renaming a
new one over it, so what one read gives is always one whole version of that key. A 0-byte file is a
key about to be created, `*.NEW` one about to be replaced. Switching fulldirhash or virtdomains
strands the old files; `fulldirhash` and `virtdomains` say which ones Cyrus looks at. Where that is
not known, all are read, and a key that has two files is a problem and left out.
"""

from __future__ import annotations

import os
import string
from functools import partial
from typing import Iterator, Optional

from cyrusquota.cyrus import dirhash
from cyrusquota.cyrusdb.database import Database, Snapshot
from cyrusquota.cyrusdb.parallel import SHARES, parallel, processors
from cyrusquota.cyrusdb.selection import BATCH, Picks, Sifted, Unusual, merged
from cyrusquota.errors import (
    AnyPath,
    DamagedDatabase,
    NoSuchSource,
    OnProblem,
    Place,
    printable,
    source_error,
)

_ROOT = b"root"
_UNFINISHED = b".NEW"
_PLAIN = frozenset(letter.encode() for letter in string.ascii_lowercase)
_FULL = frozenset(letter.encode() for letter in string.ascii_uppercase[:23])
_LINE_BREAK, _PERCENT = b"\n%"
_REPAIR = "restore the file, or let Cyrus write it anew with `quota -f` or SETQUOTA"


class QuotaTree(Database):
    """A quotalegacy tree; `path` is the directory that holds quota/ (and domain/), or quota/."""

    backend = "quotalegacy"

    def __init__(
        self,
        path: AnyPath,
        on_problem: OnProblem,
        *,
        fulldirhash: Optional[bool] = None,
        virtdomains: Optional[bool] = None,
    ) -> None:
        super().__init__(path, on_problem)
        self._hashes = _PLAIN | _FULL if fulldirhash is None else _FULL if fulldirhash else _PLAIN
        self._virtdomains = virtdomains
        self._times: dict[bytes, int] = {}
        self._files = self._found(os.fsencode(path))
        self._bytes = 0
        self._records = 0

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        self._bytes = self._records = 0
        for key, path in self._files.items():
            raw = self._contents(path, key)
            if not raw:
                continue
            if not raw.endswith(b"\n"):
                self._damaged(path, key, "a line break at the end", raw)
                continue
            self._bytes += len(raw)
            self._records += 1
            yield key, _value(raw)

    def snapshot(self) -> Snapshot:
        return Snapshot(self.backend, self._bytes, self._records)

    def has_changed(self) -> bool:
        """Every change of a key renames a file, which renews the time of its directory."""
        return any(_time(directory) != then for directory, then in self._times.items())

    def _contents(self, path: bytes, key: bytes) -> bytes:
        try:
            with open(path, "rb", buffering=0) as file:
                return file.read()
        except FileNotFoundError:
            # Removed since the directory was listed.
            return b""
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._damaged(path, key, f"a readable file ({reason})", None)
            return b""

    def _damaged(self, path: bytes, key: bytes, expected: str, found: Optional[bytes]) -> None:
        place = Place(os.fsdecode(path), key=key or None)
        self._on_problem(DamagedDatabase(expected, place=place, found=found, advice=_REPAIR))

    def _found(self, base: bytes) -> dict[bytes, bytes]:
        """The file of each key."""
        files: dict[bytes, bytes] = {}
        twice: dict[bytes, bytes] = {}
        for key, path in self._listed(base):
            if files.setdefault(key, path) != path:
                twice[key] = path
        for key, path in twice.items():
            other = printable(os.fsdecode(files.pop(key)))
            advice = "remove the stale one, or name imapd.conf with -C to tell which one counts"
            place = Place(os.fsdecode(path), key=key)
            problem = DamagedDatabase(
                f"one file for a root, but {other} exists too", place=place, advice=advice
            )
            self._on_problem(problem)
        return files

    def _listed(self, base: bytes) -> Iterator[tuple[bytes, bytes]]:
        quota, domain = os.path.join(base, b"quota"), os.path.join(base, b"domain")
        if not os.path.isdir(quota) and not os.path.isdir(domain):
            yield from self._quota_directory(self._bare(base), None)
            return
        if os.path.isdir(quota):
            yield from self._quota_directory(quota, None)
        if os.path.isdir(domain) and self._virtdomains is not False:
            for letter, name, path in self._hashed(domain):
                inner = os.path.join(path, b"quota")
                if os.path.isdir(inner) and self._is_in_place(letter, name, path, name + b"!"):
                    yield from self._quota_directory(inner, name)

    def _bare(self, path: bytes) -> bytes:
        """`path` if it is a quota/ itself rather than the directory that holds one."""
        entries = self._entries(path)
        is_quota = os.path.basename(os.path.normpath(path)) == b"quota"
        if not is_quota and not any(entry in _PLAIN | _FULL for entry in entries):
            raise NoSuchSource(
                f"{printable(os.fsdecode(path))}: expected a directory that holds quota/ or"
                " domain/, or quota/ itself; name the directory above quota/, or a database file"
            )
        return path

    def _quota_directory(
        self, path: bytes, domain: Optional[bytes]
    ) -> Iterator[tuple[bytes, bytes]]:
        prefix = b"" if domain is None else domain + b"!"
        if domain is not None and _ROOT in self._entries(path):
            yield prefix, os.path.join(path, _ROOT)
        for letter, name, file in self._hashed(path):
            # With virtdomains on, `!` in a name cannot be: its file lies below domain/.
            is_stranded = domain is None and self._virtdomains and b"!" in name
            _, dot, rest = name.partition(b".")
            hashed = rest if dot else name
            if not is_stranded and self._is_in_place(letter, hashed, file, prefix + name):
                yield prefix + name, file

    def _hashed(self, path: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
        """What lies in the one-letter directories of `path`: letter, name and where it is."""
        for letter in self._entries(path):
            if letter in self._hashes:
                within = os.path.join(path, letter)
                for name in self._entries(within):
                    if not name.startswith(b".") and not name.endswith(_UNFINISHED):
                        yield letter, name, os.path.join(within, name)

    def _is_in_place(self, letter: bytes, hashed: bytes, path: bytes, key: bytes) -> bool:
        """Whether Cyrus would look for `path` where it is; what it does not see, does not count."""
        right = dirhash.letter(hashed, full=letter in _FULL)
        if right.encode() != letter:
            self._damaged(path, key, f"it in the directory {right}, where Cyrus looks", None)
            return False
        return True

    def _entries(self, path: bytes) -> list[bytes]:
        # The time is taken first: what changes while the directory is read shows later.
        self._times[path] = _time(path)
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []
        except NotADirectoryError:
            self._damaged(path, b"", "a directory", None)
            return []
        except OSError as error:
            raise source_error(error, os.fsdecode(path)) from error


def _time(directory: bytes) -> int:
    try:
        return os.stat(directory).st_mtime_ns
    except OSError:
        return -1


def _value(raw: bytes) -> bytes:
    """The value behind the content of a file: up to 2.4, used and limit had a line each."""
    value = raw[:-1]
    return value if value.startswith(b"%") else value.replace(b"\n", b" ", 1)


# The fast path: all files of a directory by their names in it, a share for each processor


#: A directory, names of files in it, and the key of a file by its name: a prefix, or all of it.
_Part = tuple[bytes, list[bytes], bytes, bool]
#: Longer files than this are none of Cyrus's.
_LARGEST = 4096
_NO_UNFINISHED = -len(_UNFINISHED)


def sift(
    path: AnyPath,
    picks: Picks,
    *,
    fulldirhash: Optional[bool] = None,
    virtdomains: Optional[bool] = None,
) -> Optional[Sifted]:
    """What `picks` wants of the tree at `path`, or None where `QuotaTree` has to decide.

    That is wherever something lies in the wrong place, or is not a file of Cyrus's making.
    """
    hashes = _PLAIN | _FULL if fulldirhash is None else _FULL if fulldirhash else _PLAIN
    try:
        parts = list(_parts(os.fsencode(path), hashes, virtdomains))
        count = SHARES * processors()
        jobs = [partial(_share, parts, picks, index, count) for index in range(count)]
        return merged(parallel(jobs, processors()))
    except (OSError, ValueError, Unusual):
        return None


def _parts(base: bytes, hashes: frozenset[bytes], virtdomains: Optional[bool]) -> Iterator[_Part]:
    quota, domain = os.path.join(base, b"quota"), os.path.join(base, b"domain")
    if not os.path.isdir(quota) and not os.path.isdir(domain):
        if os.path.basename(os.path.normpath(base)) != b"quota":
            raise Unusual
        quota = base
    has_domains = os.path.isdir(domain) and virtdomains is not False
    if os.path.isdir(quota):
        for path, names in _hashed(quota, hashes):
            # Not seen with virtdomains on, or it may be the same root as one below domain/.
            if (virtdomains or has_domains) and any(b"!" in name for name in names):
                raise Unusual
            yield path, names, b"", False
    for within, domains in _hashed(domain, hashes) if has_domains else ():
        for name in domains:
            quota = os.path.join(within, name, b"quota")
            if os.path.isdir(quota):
                if os.path.exists(os.path.join(quota, _ROOT)):
                    yield quota, [_ROOT], name + b"!", True
                for path, names in _hashed(quota, hashes):
                    yield path, names, name + b"!", False


def _hashed(path: bytes, hashes: frozenset[bytes]) -> Iterator[tuple[bytes, list[bytes]]]:
    """The one-letter directories of `path`, and the names that count in each."""
    letters = [letter for letter in os.listdir(path) if letter in hashes]
    if not _PLAIN.issuperset(letters) and not _FULL.issuperset(letters):
        # A root may have a file in each way of hashing.
        raise Unusual
    for letter in letters:
        within = os.path.join(path, letter)
        names = [
            name
            for name in os.listdir(within)
            if name[:1] != b"." and name[_NO_UNFINISHED:] != _UNFINISHED
        ]
        if not _are_in_place(letter, names, is_domain=os.path.basename(path) == b"domain"):
            raise Unusual
        yield within, names


def _are_in_place(letter: bytes, names: list[bytes], *, is_domain: bool) -> bool:
    full = letter in _FULL
    hashed = names if is_domain else (name.partition(b".")[2] or name for name in names)
    # Without fulldirhash the first byte decides.
    different = set(hashed) if full else {name[:1] for name in hashed}
    return all(dirhash.letter(name, full=full).encode() == letter for name in different)


def _share(
    parts: list[_Part], picks: Picks, index: int, count: int
) -> Optional[tuple[int, list[tuple[bytes, bytes]]]]:
    """The `index`th of `count` shares: how many roots, and those that are wanted."""
    records, kept = 0, list[tuple[bytes, bytes]]()
    try:
        for number, (path, names, prefix, is_whole) in enumerate(parts):
            turn = (number + index) % count
            start, end = (len(names) * at // count for at in (turn, turn + 1))
            for at in range(start, end, BATCH):
                found, values = _read(path, names[at : min(end, at + BATCH)])
                records += len(found)
                for one in picks(found, values):
                    kept.append((prefix if is_whole else prefix + found[one], values[one]))
    except (OSError, Unusual):
        return None
    return records, kept


def _read(path: bytes, names: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The names and values of those of the files `names` that are there and not empty."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        files = [(name, raw) for name in names if (raw := _raw(name, directory))]
    finally:
        os.close(directory)
    if not all(raw[-1] == _LINE_BREAK and len(raw) < _LARGEST for _, raw in files):
        raise Unusual
    values = [raw[:-1] if raw[0] == _PERCENT else _value(raw) for _, raw in files]
    return [name for name, _ in files], values


def _raw(name: bytes, directory: int) -> bytes:
    try:
        file = os.open(name, os.O_RDONLY, dir_fd=directory)
    except FileNotFoundError:
        return b""
    try:
        return os.read(file, _LARGEST)
    finally:
        os.close(file)
