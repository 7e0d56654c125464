"""Whatever the source does from run to run, the map in place is one that some run stood by."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Optional

import click.testing
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cyrusquota.cli.export import export
from cyrusquota.errors import CyrusQuotaError
from tests.failing_calls import failing, watched

FULL, FINE = "2048 1", "512 1"
ERRORS = (errno.EACCES, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.ENOSPC, errno.EROFS)

#: The option, and what each direction allows by it: percent, count.
LIMITS = {
    (): ((20, 20), (50, 50)),
    ("--max-change", "10%,5"): ((10, 5), (10, 5)),
    ("--max-change", "added=300%,1", "--max-change", "removed=0%,0"): ((300, 1), (0, 0)),
    ("--max-change", "off"): (None, None),
}


def exceeds(changed: int, of: int, limit: Optional[tuple[int, int]]) -> bool:
    """A change exceeds a limit if it exceeds both the share and the count."""
    if limit is None:
        return False
    share = Fraction(changed, of) if of else Fraction(10**9)
    return changed > limit[1] and share > Fraction(limit[0], 100)


class Publishing(RuleBasedStateMachine):
    """One map, one source, and whatever befalls the two."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="cyrusquota"))
        self.source = self.place / "quotas.flat"
        self.maps = self.place / "maps"
        self.maps.mkdir()
        self.map = self.maps / "overquota"
        #: Who has a quota, and of these who is full; None where the source is missing.
        self.users: Optional[set[int]] = set()
        self.full: set[int] = set()
        self.damaged = False
        #: What the last accepted run wrote: users listed, and the bytes.
        self.listed: Optional[set[int]] = None
        self.content: Optional[bytes] = None
        self.clock = 1_000_000_000

    def teardown(self) -> None:
        shutil.rmtree(self.place)

    # What happens to the source

    @rule(users=st.integers(0, 200), full=st.integers(0, 200))
    def settle(self, users: int, full: int) -> None:
        self.users, self.full, self.damaged = set(range(users)), set(range(min(users, full))), False

    @rule(more=st.integers(1, 60))
    def grow(self, more: int) -> None:
        self.users = (self.users or set()) | self.full | set(range(len(self.full) + more))
        self.full |= set(range(len(self.full) + more))

    @rule(fewer=st.integers(1, 60))
    def shrink(self, fewer: int) -> None:
        self.full = set(sorted(self.full)[fewer:])

    @rule(by=st.integers(1, 300))
    def change_places(self, by: int) -> None:
        self.full = {user + by for user in self.full}
        self.users = (self.users or set()) | self.full

    @rule()
    def wipe(self) -> None:
        self.users, self.full = set(), set()

    @rule()
    def lose(self) -> None:
        self.users, self.full = None, set()

    @rule()
    def damage(self) -> None:
        self.damaged = True

    @rule()
    def repair(self) -> None:
        self.damaged = False

    def _write_source(self) -> None:
        if self.users is None:
            self.source.unlink(missing_ok=True)
            return
        lines = [
            f"user.u{user}\t{FULL if user in self.full else FINE}\n" for user in sorted(self.users)
        ]
        self.source.write_text("".join(lines) + ("user.cut\t5" if self.damaged else ""))

    # What happens to the map

    @precondition(lambda self: self.content is not None)
    @rule()
    def remove(self) -> None:
        self.map.unlink()
        self.content = self.listed = None

    @rule(name=st.sampled_from([".overquota.new", ".overquota.lock"]))
    def die_before(self, name: str) -> None:
        (self.maps / name).write_bytes(b"# Written by cyrusquota-export\n")

    # Runs

    @rule(
        options=st.sampled_from(list(LIMITS)),
        accept=st.none() | st.integers(0, 200),
        fault=st.none() | st.tuples(st.integers(0, 30), st.sampled_from(ERRORS)),
    )
    def run(
        self,
        options: tuple[str, ...],
        accept: Optional[int],
        fault: Optional[tuple[int, int]],
    ) -> None:
        self._write_source()
        self.clock += 60
        if self.content is not None:
            os.utime(self.map, (self.clock, self.clock))
        status = self._status(options, accept, fault)
        if status == 0:
            self._accepted(options, accept)
            # Where removing the lock fails, the next run does it.
            assert fault is not None or os.listdir(self.maps) == ["overquota"]
        else:
            self._refused(status, options, accept, fault)

    def _status(
        self,
        options: tuple[str, ...],
        accept: Optional[int],
        fault: Optional[tuple[int, int]],
    ) -> int:
        arguments = ["--dump", str(self.source), "-o", str(self.map), *options]
        if accept is not None:
            arguments += ["--accept-change", str(accept)]
        at, number = fault or (-1, 0)
        with watched(failing(at, OSError(number, os.strerror(number)))):
            done = click.testing.CliRunner().invoke(export, arguments, standalone_mode=False)
        if done.exception is None:
            assert done.output == ""
            return 0
        assert isinstance(done.exception, CyrusQuotaError), done.exception
        assert "\n" not in str(done.exception)
        return done.exception.exit_status

    def _accepted(self, options: tuple[str, ...], accept: Optional[int]) -> None:
        assert self.users is not None
        assert not self.damaged
        assert not self._must_be_held(options, accept)
        self.content = self.map.read_bytes()
        self.listed = set(self.full)
        assert self.map.stat().st_mtime > self.clock

    def _refused(
        self,
        status: int,
        options: tuple[str, ...],
        accept: Optional[int],
        fault: Optional[tuple[int, int]],
    ) -> None:
        if self.content is not None:
            assert self.map.stat().st_mtime == self.clock
        if fault is not None:
            return
        expected = 66 if self.users is None else 65 if self.damaged else 75
        assert status == expected
        assert status != 75 or self._must_be_held(options, accept)

    def _must_be_held(self, options: tuple[str, ...], accept: Optional[int]) -> bool:
        if self.listed is None:
            return False
        if not self.users and self._roots_in_place() >= 10:
            return True
        added, removed = len(self.full - self.listed), len(self.listed - self.full)
        if accept is not None:
            return added + removed > accept
        limits = LIMITS[options]
        return exceeds(added, len(self.listed), limits[0]) or exceeds(
            removed, len(self.listed), limits[1]
        )

    def _roots_in_place(self) -> int:
        """As the header says: a map that is only renewed keeps it."""
        lines = (self.content or b"").splitlines()
        return next(int(line[9:]) for line in lines if line.startswith(b"# roots: "))

    # What holds at any time

    @invariant()
    def the_map_is_what_the_last_accepted_run_stood_by(self) -> None:
        found = self.map.read_bytes() if self.map.exists() else None
        assert found == self.content

    @invariant()
    def the_map_is_whole(self) -> None:
        if self.content is None or self.listed is None:
            return
        lines = [line for line in self.content.splitlines() if not line.startswith(b"#")]
        assert self.content.endswith(b"\n")
        assert {line.partition(b":")[0] for line in lines} == {b"u%d" % u for u in self.listed}


TestPublishing = Publishing.TestCase
