"""The recorded fixtures: where they are, and what Cyrus is known to have meant by them."""

from __future__ import annotations

import ctypes
import json
import tarfile
from pathlib import Path
from typing import Any, Callable, Mapping, Optional

import attrs

from cyrusquota.quota import QuotaRoot, Resource, Usage

FIXTURES = Path(__file__).parent / "fixtures"
TWOSKIP = FIXTURES / "main" / "twoskip"

#: Resource, its code in expected.jsonl, what one unit of its limit is.
_RESOURCES = (
    (Resource.STORAGE, "S", 1024),
    (Resource.MESSAGE, "M", 1),
    (Resource.ANNOTATION_STORAGE, "AS", 1024),
    (Resource.MAILBOX, "NF", 1),
)


def jsonl(path: Path) -> list[dict[str, Any]]:
    """The objects of a file that has one a line."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


@attrs.frozen
class Expected:
    """A root as Cyrus has it: usage in bytes, limits in KiB or counts, and its verdict."""

    name: str
    used: Mapping[Resource, int]
    limit: Mapping[Resource, Optional[int]]
    over: frozenset[Resource]

    @property
    def root(self) -> QuotaRoot:
        """As the database has it."""
        return self._root(self._usage)

    @property
    def in_text(self) -> QuotaRoot:
        """As the text report has it: usage of storage cut to whole KiB."""

        def cut(resource: Resource, unit: int) -> Usage:
            usage = self._usage(resource, unit)
            if unit == 1:
                return usage
            whole = abs(usage.used) // unit * unit
            return Usage(whole if usage.used > 0 else -whole, usage.limit, exact=False)

        return self._root(cut)

    @property
    def in_old_text(self) -> QuotaRoot:
        """As the text report up to 2.4 has it: storage only."""
        return QuotaRoot(self.name, storage=self.in_text.storage)

    @property
    def in_json(self) -> QuotaRoot:
        """As `quota -J` has it: a limit that is not above 0 is not printed."""

        def positive(resource: Resource, unit: int) -> Usage:
            usage, limit = self._usage(resource, unit), self.limit[resource]
            shown = limit is not None and limit > 0
            return Usage(usage.used, usage.limit if shown else None)

        return self._root(positive)

    def _usage(self, resource: Resource, unit: int) -> Usage:
        limit = self.limit[resource]
        # C's arithmetic: 64 bits, signed, wrapping.
        most = None if limit is None else ctypes.c_int64(limit * unit).value
        return Usage(self.used[resource], most)

    def _root(self, usage: Callable[[Resource, int], Usage]) -> QuotaRoot:
        return QuotaRoot(self.name, *(usage(resource, unit) for resource, _, unit in _RESOURCES))


def expected(path: Path) -> dict[str, Expected]:
    """The roots of an expected.jsonl by name."""
    roots = {}
    for line in jsonl(path):
        name = line["root"]
        if "root_hex" in line:
            name = bytes.fromhex(line["root_hex"]).decode("utf-8", "surrogateescape")
        figures = line["resources"]
        roots[name] = Expected(
            name,
            used={resource: figures[code]["used"] for resource, code, _ in _RESOURCES},
            limit={resource: figures[code]["limit"] for resource, code, _ in _RESOURCES},
            over=frozenset(
                resource for resource, code, _ in _RESOURCES if code in line["over_lmtpd"]
            ),
        )
    return roots


def main_roots() -> dict[str, Expected]:
    """The 57 roots of main/, the same in each backend."""
    return expected(TWOSKIP / "expected.jsonl")


def unpacked(layout: str, into: Path) -> Path:
    """The configdirectory of main/quotalegacy-LAYOUT, unpacked below `into`."""
    with tarfile.open(FIXTURES / "main" / f"quotalegacy-{layout}" / "lib.tar.gz") as archive:
        # Pythons that have filters warn where none is chosen.
        if hasattr(tarfile, "data_filter"):
            archive.extractall(into, filter="data")
        else:
            archive.extractall(into)
    return into / "lib"


def latin1(state: Mapping[str, str]) -> dict[bytes, bytes]:
    """A recorded key/value state as bytes."""
    return {key.encode("latin-1"): value.encode("latin-1") for key, value in state.items()}


def stages(name: str = "twoskip") -> list[tuple[Path, dict[bytes, bytes]]]:
    """Each file of a history/ with the state it holds."""
    directory = FIXTURES / "history" / name
    return [
        (directory / line["file"], latin1(line["state"]))
        for line in jsonl(directory / "stages.jsonl")
    ]
