"""The engine in memory answers as every engine must; names, limits and encodings."""

from __future__ import annotations

from typing import Iterator

import pytest

from tests.engine_contract import EngineContract, Engines
from tests.simulated_engine import SimulatedEngine


class TestSimulatedEngine(EngineContract):
    @pytest.fixture
    def engines(self) -> Iterator[Engines]:
        one = SimulatedEngine()
        yield Engines(one, SimulatedEngine(one.server), SimulatedEngine(one.server))
