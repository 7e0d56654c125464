"""A map over many runs, some of which fail: always whole, and nothing else in its directory."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Optional

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cyrusquota.errors import MapError
from cyrusquota.publish import Ownership, PublishResult, publish

_contents = st.sampled_from([b"", b"a: 1\n", b"b: 2\n"]) | st.binary(max_size=50)
_modes = st.sampled_from([0o600, 0o640, 0o644])
LONG_AGO = 1_000_000_000


class Map(RuleBasedStateMachine):
    """What is in place, in our own book-keeping."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.target = self.directory / "overquota"
        self.content: Optional[bytes] = None
        self.mode = 0

    @rule(content=_contents, mode=_modes)
    def run(self, content: bytes, mode: int) -> None:
        same = (content, mode) == (self.content, self.mode)
        if self.content is not None:
            os.utime(self.target, (LONG_AGO, LONG_AGO))
        outcome = publish(self.target, content, Ownership(mode))
        assert outcome is (PublishResult.REFRESHED if same else PublishResult.WRITTEN)
        assert self.target.stat().st_mtime > LONG_AGO
        self.content, self.mode = content, mode

    @rule(content=_contents, call=st.sampled_from(["rename", "fchmod", "fsync"]))
    def run_on_a_full_disk(self, content: bytes, call: str) -> None:
        if content == self.content:
            return

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"os.{call}", full)
            with pytest.raises(MapError):
                publish(self.target, content)

    @rule()
    def remove_the_map(self) -> None:
        self.target.unlink(missing_ok=True)
        self.content = None

    @rule(content=_contents)
    def edit_the_map(self, content: bytes) -> None:
        if self.content is not None:
            self.target.write_bytes(content)
            self.content = content

    @invariant()
    def the_map_is_whole_and_alone(self) -> None:
        found = sorted(self.directory.iterdir())
        if self.content is None:
            assert found == []
        else:
            assert found == [self.target]
            assert self.target.read_bytes() == self.content
            assert self.target.stat().st_mode & 0o7777 == self.mode

    def teardown(self) -> None:
        shutil.rmtree(self.directory)


Map.TestCase.settings = settings(stateful_step_count=15)
TestMap = Map.TestCase
