"""Two backends, an engine, a mirror and an Exim, as the fault matrix breaks them."""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import Callable, Iterator, Mapping, Optional, Sequence

import attrs

from .exim import readable_directory
from .many_hosts import MAX_AGE, SHORT_TIMES, TIMES, Backend, Chain, chain

STORES = ("store1", "store2")
#: Full from the beginning, one on each backend; full on the first from the fault on; full with a
#: second publisher of the first store only; never full.
FULL, LATE, SECOND, UNLISTED = ("jane", "mary"), "late", "second", "free"

#: Names the document whose table is to be replaced; see `make fault-matrix`.
DOCUMENT = "CYRUSQUOTA_FAULT_MATRIX"
_TABLE = re.compile(r"(<!-- measured: faults -->\n).*?(<!-- end -->)", re.DOTALL)


@attrs.frozen
class Row:
    """What a fault did. Seconds count from its end, or from its beginning where it has no end."""

    fault: str
    meanwhile: str
    right_again: float
    slowest: float
    asked: int


@attrs.frozen
class Site:
    """The hosts, and what a fault does to them."""

    backends: Mapping[str, Backend]
    chain: Chain

    def row(
        self,
        fault: str,
        begin: Callable[[], object],
        end: Callable[[], object],
        *,
        seconds: float = 0,
        accepted: Sequence[str] = (),
    ) -> Row:
        """Break something, have a user become full, repair it, and wait until the map is right.

        `accepted` are the full users whom Exim accepts meanwhile: the store has lapsed, or the map
        is too old. The others are deferred all the time.
        """
        asker = self.chain.asker
        begun = time.monotonic()
        begin()
        self.backends[STORES[0]].full(LATE)
        lapsed = max((asker.first(user, 250, begun) for user in accepted), default=0)
        asker.until(begun + seconds)
        ended = time.monotonic()
        end()
        right = max(asker.first(user, 451, ended) for user in (*FULL, LATE))
        for user in set(FULL) - set(accepted):
            assert asker.codes(user, begun) == {451}, user
        meanwhile = f"accepted after {lapsed:.1f} s" if accepted else "deferred all the time"
        if len(accepted) == 1:
            meanwhile = f"those of {STORES[0]} {meanwhile}, the others deferred all the time"
        return self.result(fault, meanwhile, right)

    def result(self, fault: str, meanwhile: str, right: float) -> Row:
        asker = self.chain.asker
        asker.check()
        return Row(fault, meanwhile, right, asker.slowest, len(asker.answers))


@contextlib.contextmanager
def site(
    url: str,
    *,
    settings: Optional[Mapping[str, Mapping[str, str]]] = None,
    map_directory: Optional[Path] = None,
) -> Iterator[Site]:
    """Start everything but the engine, which is there, and wait until Exim defers full users."""
    with readable_directory() as directory:
        backends = {store: Backend(directory / store) for store in STORES}
        for backend, user in zip(backends.values(), FULL):
            backend.full(user)
            backend.fine(UNLISTED, LATE)
        started = chain(
            url,
            {store: backend.conf for store, backend in backends.items()},
            (*FULL, LATE, SECOND),
            UNLISTED,
            options=["--no-mailboxes"],
            settings=settings,
            map_directory=map_directory,
        )
        with started as found:
            for user in FULL:
                found.asker.first(user, 451, 0)
            yield Site(backends, found)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the matrix."""
    (beat, lapse), (real_beat, real_lapse) = SHORT_TIMES, TIMES
    yield f"A beat comes every {beat:.0f} s here (else {real_beat:.0f} s), a store lapses after"
    yield f"{lapse:.0f} s (else {real_lapse:.0f} s), a map is too old after {MAX_AGE} s (else 300)."
    yield "The third column counts from the end of the fault; for a failover from its beginning."
    yield ""
    yield "| fault | full users meanwhile | map right again after | longest RCPT | asked |"
    yield "| --- | --- | ---: | ---: | ---: |"
    for row in rows:
        times = f"{row.right_again:.1f} s | {row.slowest * 1000:.0f} ms"
        yield f"| {row.fault} | {row.meanwhile} | {times} | {row.asked} |"


def report(rows: Sequence[Row]) -> None:
    """Print the matrix, and put it into the document that the environment names, if any."""
    text = "".join(f"{line}\n" for line in table(rows))
    print(f"\n{text}")
    if os.environ.get(DOCUMENT):
        path = Path(os.environ[DOCUMENT])
        document, count = _TABLE.subn(lambda match: match[1] + text + match[2], path.read_text())
        assert count == 1, f"{path}: no table of faults"
        path.write_text(document)
