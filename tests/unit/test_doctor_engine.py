"""What the doctor finds about several hosts: each kind on a host that is healthy but for it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Callable, Optional

import attrs
import pytest

from cyrusquota.doctor import engine as engine_side
from cyrusquota.doctor.engine import InspectedEngine, SharedEngine
from cyrusquota.doctor.kinds_engine import ENGINE_KINDS
from cyrusquota.engine import functions, report, watch
from cyrusquota.engine.protocol import NO_STAMP, Stamp
from cyrusquota.engine.report import MirrorReport
from cyrusquota.errors import (
    BadStore,
    EngineForbidden,
    EngineMisfit,
    EngineUnreachable,
    OptionError,
)
from tests.simulated_engine import Server, SimulatedEngine


@attrs.define
class Inspected(SimulatedEngine):
    """An engine whose stores are written at each look, but for those that are `silent`."""

    loaded: str = functions.revision()
    policy: Optional[bytes] = None
    silent: tuple[str, ...] = ()
    error: Optional[Exception] = None

    def poll(self, have: Any) -> Any:
        for name, store in self.server.stores.items():
            if name not in self.silent and store.error is None:
                status = store.status
                self.server.write(name, status.stamp, {}, (), status.entries, status.digest)
        return super().poll(have)

    def revision(self) -> str:
        if self.error is not None:
            raise self.error
        return self.loaded

    def unneeded(self, *words: str) -> Optional[Any]:
        return None if self.policy is None else [b"maxmemory-policy", self.policy]


@attrs.define
class Host:
    """A backend with the store `store1`, or an MX."""

    engine: Inspected
    shared: SharedEngine

    def findings(self) -> dict[str, str]:
        return {one.kind.id: one.said for one in engine_side.examine(self.shared)}

    def has(self, **values: object) -> None:
        self.shared = attrs.evolve(self.shared, **values)  # type: ignore[arg-type]


def _engine() -> Inspected:
    server = Server()
    for number in (1, 2):
        server.begin(f"store{number}", NO_STAMP, 0, f"be{number}:ab", {}, 0)
    return Inspected(server)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(watch, "LOOK", 0.0)
    engine = _engine()
    return Host(engine, SharedEngine(lambda: engine, "store1", hostname="be1", seconds=0.05))


@pytest.fixture
def mx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Host:
    monkeypatch.setattr(watch, "LOOK", 0.0)
    engine, path = _engine(), str(tmp_path / "overquota")
    seen = MirrorReport("simulated:", time.time(), 0, 0, [])
    Path(report.place(path)).write_bytes(seen.content())
    shared = SharedEngine(
        lambda: engine, None, ("store1", "store2"), path, max_age=300, seconds=0.05
    )
    return Host(engine, shared)


def test_a_healthy_backend(backend: Host) -> None:
    assert backend.findings() == {"engine": "simulated:: answers; 1 store"}


def test_a_healthy_mx(mx: Host) -> None:
    assert mx.findings() == {"engine": "simulated:: answers; 2 stores"}


def _refused() -> InspectedEngine:
    raise OptionError("engine: expected a URL")


def _unreadable(host: Host) -> None:
    stores = host.engine.server.stores
    stores["store2"] = attrs.evolve(stores["store2"], error=BadStore("store2: makes no sense"))


def _expected(host: Host) -> None:
    host.has(expect=("store1", "store2", "store3"))


def _reported(age: float) -> Callable[[Host], None]:
    def spoil(host: Host) -> None:
        assert host.shared.map is not None
        seen = MirrorReport("simulated:", time.time() - age, 0, 0, [])
        Path(report.place(host.shared.map)).write_bytes(seen.content())

    return spoil


#: The host, how it is spoilt, and what is said then.
CASES: dict[str, tuple[str, Callable[[Host], None], str]] = {
    "engine": ("backend", lambda host: None, "answers"),
    "engine-options": ("backend", lambda host: host.has(opened=_refused), "expected a URL"),
    "engine-unreachable": (
        "mx",
        lambda host: setattr(host.engine, "error", EngineUnreachable("gone")),
        "gone",
    ),
    "engine-forbidden": (
        "mx",
        lambda host: setattr(host.engine, "error", EngineForbidden("no")),
        "no",
    ),
    "engine-misfit": (
        "backend",
        lambda host: setattr(host.engine, "error", EngineMisfit("no functions")),
        "no functions",
    ),
    "engine-functions": (
        "backend",
        lambda host: setattr(host.engine, "loaded", "0"),
        "has revision 0",
    ),
    "engine-plaintext": ("mx", lambda host: host.has(is_plain=True), "plaintext-over-network"),
    "engine-rights": (
        "backend",
        lambda host: setattr(host.engine, "policy", b"noeviction"),
        "may read its configuration",
    ),
    "engine-evicts": (
        "backend",
        lambda host: setattr(host.engine, "policy", b"allkeys-lru"),
        "maxmemory-policy is allkeys-lru",
    ),
    "store-silent": (
        "backend",
        lambda host: setattr(host.engine, "silent", ("store1",)),
        "store store1: silent",
    ),
    "store-taken": ("backend", lambda host: host.has(hostname="be9"), "is written by be1:ab"),
    "store-elsewhere": (
        "backend",
        lambda host: host.has(elsewhere="this is a replica"),
        "store store1: this is a replica",
    ),
    "stores-missing": ("mx", _expected, "store store3: missing"),
    "stores-unreadable": ("mx", _unreadable, "store2: makes no sense"),
    "mirror-stopped": ("mx", _reported(500), "reported 500 s ago"),
    "mirror-max-age": ("mx", lambda host: host.has(max_age=7200), "is 7200 seconds"),
}


def test_every_kind_has_a_case() -> None:
    assert set(CASES) == {kind.id for kind in ENGINE_KINDS}


@pytest.mark.parametrize("kind", CASES)
def test_each_kind_is_found(kind: str, request: pytest.FixtureRequest) -> None:
    where, spoil, said = CASES[kind]
    host: Host = request.getfixturevalue(where)
    healthy = set(host.findings())
    spoil(host)
    found = host.findings()
    assert said in found[kind]
    assert set(found) - healthy <= {kind, "engine-rights"}


def test_a_mirror_without_a_report_does_not_run(mx: Host) -> None:
    assert mx.shared.map is not None
    Path(report.place(mx.shared.map)).unlink()
    assert "there is no report" in mx.findings()["mirror-stopped"]


def test_a_store_that_is_not_written_is_missing_on_an_mx(mx: Host) -> None:
    mx.engine.silent = ("store2",)
    assert mx.findings()["stores-missing"] == "store store2: silent"


def test_a_short_maximum_age_does_not_fit_either(mx: Host) -> None:
    mx.has(max_age=20)
    assert "mirror-max-age" in mx.findings()


def test_the_stamp_of_a_store_is_watched_and_nothing_is_written_by_the_doctor(mx: Host) -> None:
    mx.engine.silent = ("store1", "store2")
    before = mx.engine.server.copy()
    mx.findings()
    assert mx.engine.server.stores == before
    assert before["store1"].status.stamp == Stamp(1, 1)
