"""check and metrics on an MX: what they make of the report of a mirror."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from cyrusquota.engine import report
from cyrusquota.engine.report import MirrorReport, StoreReport
from cyrusquota.maps import FORMATS, Entry, MapHeader, document
from tests.metric_samples import metric_samples
from tests.unit.programs import Program

pytestmark = pytest.mark.usefixtures("here")

FINE = StoreReport("store1", "fresh", True, 2.0, 1, "be1:a", None)
LAPSED = StoreReport("store2", "lapsed", False, None, 0, "be2:b", "nothing was written for 60 s")
MISSING = StoreReport("store3", "missing", True, None, 0, None, "is not there")
WAITING = StoreReport("store4", "waiting", True, None, 0, "be4:d", None)
DOUBTED = StoreReport("store5", "fresh", True, 2.0, 7, "be5:e", "grew too much")


def _mirrored(*stores: StoreReport, claimed: int = 0, nameless: int = 0, age: float = 0.0) -> None:
    """Write a map, and the report of a mirror that saw these stores."""
    entries = [Entry(b"jane@a.org", b":defer: full")]
    header = MapHeader("redis://host", stores=1)
    Path("map").write_bytes(document(FORMATS["lsearch"], entries, header))
    seen = MirrorReport("redis://host", time.time() - age, claimed, nameless, stores)
    Path(report.place("map")).write_bytes(seen.content())


def test_all_is_well(run: Program) -> None:
    _mirrored(FINE, WAITING)
    done = run("check", "--mirror", "--map", "map")
    assert (done.status, done.err) == (0, "")
    text, figures = done.out.split(" | ")
    assert text == "CYRUSQUOTA OK - 1 of 2 stores written, map 0 s old"
    assert "stores=1;;;0 stores_missing=0;;0;0 stores_doubted=0;0;;0" in figures


def test_a_store_that_is_not_written_is_critical(run: Program) -> None:
    _mirrored(FINE, LAPSED, MISSING)
    done = run("check", "--mirror", "--map", "map")
    assert done.status == 2
    assert "store2 lapsed: nothing was written for 60 s; store3 missing: is not there" in done.out
    assert "[critical: stores_missing above 0]" in done.out
    assert run("check", "--mirror", "--map", "map", "-c", "stores_missing=2").status == 0


def test_a_change_that_is_not_believed_is_a_warning(run: Program) -> None:
    _mirrored(FINE, DOUBTED)
    done = run("check", "--mirror", "--map", "map")
    assert done.status == 1
    assert "store5 fresh: grew too much [warning: stores_doubted above 0]" in done.out


def test_users_in_two_stores_are_told_and_can_be_a_warning(run: Program) -> None:
    _mirrored(FINE, claimed=3)
    done = run("check", "--mirror", "--map", "map")
    assert done.status == 0
    assert "3 users in more than one store" in done.out
    assert run("check", "--mirror", "--map", "map", "-w", "claimed_twice=2").status == 1


def test_users_without_a_domain_are_a_warning(run: Program) -> None:
    _mirrored(FINE, nameless=3)
    done = run("check", "--mirror", "--map", "map")
    assert done.status == 1
    said = "3 users not listed, as no domain is known [warning: without_domain above 0]"
    assert said in done.out
    assert run("check", "--mirror", "--map", "map", "-w", "without_domain=3").status == 0
    found = metric_samples(run("metrics", "--mirror", "--map", "map").out.encode())
    assert found.value("without_domain") == 3


def test_a_mirror_that_does_not_run_is_critical(run: Program) -> None:
    _mirrored(FINE, age=500)
    done = run("check", "--mirror", "--map", "map", "--format", "json")
    assert done.status == 2
    assert "cyrusquota-mirror does not run" in json.loads(done.out)["text"]


def test_neither_map_nor_report_is_critical(run: Program) -> None:
    done = run("check", "--mirror", "--map", "map")
    assert done.status == 2
    assert "map_age=U" in done.out
    assert "map.stores: there is no report of a mirror" in done.out


def test_what_is_no_report_is_critical(run: Program) -> None:
    _mirrored(FINE)
    Path("map.stores").write_text("{}")
    done = run("check", "--mirror", "--map", "map")
    assert done.status == 2
    assert "map.stores: expected the report of a mirror" in done.out


def test_measures_of_the_other_kind_are_wrong_usage(run: Program) -> None:
    assert run("check", "--mirror", "-w", "over=3").status == 3
    assert run("check", "-w", "stores=3").status == 3


def test_the_metrics_have_each_store(run: Program) -> None:
    _mirrored(FINE, LAPSED, DOUBTED, WAITING, claimed=3)
    found = metric_samples(run("metrics", "--mirror", "--map", "map").out.encode())
    assert found.by_label("store_fresh", "store") == {
        "store1": 1,
        "store2": 0,
        "store4": 0,
        "store5": 1,
    }
    assert found.by_label("store_missing", "store")["store2"] == 1
    assert found.by_label("store_missing", "store")["store4"] == 0
    assert found.by_label("store_doubted", "store")["store5"] == 1
    assert found.by_label("store_entries", "store")["store5"] == 7
    assert found.by_label("store_silence_seconds", "store") == {"store1": 2, "store5": 2}
    assert found.value("claimed_twice") == 3
    assert found.value("up") == found.value("map_entries") == 1


def test_of_a_dead_mirror_no_store_is_fresh(run: Program) -> None:
    _mirrored(FINE, age=500)
    found = metric_samples(run("metrics", "--mirror", "--map", "map").out.encode())
    assert found.by_label("store_fresh", "store") == {"store1": 0}


def test_without_a_report_the_metrics_say_so(run: Program) -> None:
    _mirrored(FINE)
    Path("map.stores").unlink()
    done = run("metrics", "--mirror", "--map", "map", "-o", "a.prom")
    assert done.status == 66
    assert "cyrusquota_up 0\n" in Path("a.prom").read_text()
