"""The alert rules in docs/monitoring, as far as that can be told without Prometheus."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cyrusquota.engine import report
from cyrusquota.engine.report import MirrorReport, StoreReport
from cyrusquota.maps.installed import DEFAULT_MAX_AGE, DEFAULT_PATH
from tests.unit.programs import Program, program
from tools.docs import CHECKOUT
from tools.docs.commands import PROGRAMS

MONITORING = CHECKOUT / "docs" / "monitoring"
RULES, TESTS = ((MONITORING / name).read_text() for name in ("alerts.yml", "alerts_test.yml"))
NAMES = re.findall(r"- alert: (\w+)", RULES)


def test_every_metric_in_a_rule_is_written(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    overquota = tmp_path / "overquota"
    overquota.write_text("# Written by cyrusquota-export\n# roots: 1\n")
    metrics: Program = program(capfdbinary, monkeypatch, "metrics", "--map", str(overquota))
    done = metrics("--dump", "-", stdin=b"user.jane\t2000 1\n")
    assert done.status == 0
    stores = [StoreReport("store1", "fresh", True, 1.0, 0, "be1:a", None)]
    Path(report.place(overquota)).write_bytes(MirrorReport("redis:", 0, 0, 0, stores).content())
    mirrored = metrics("--mirror")
    assert mirrored.status == 0
    written = set(re.findall(r"^(cyrusquota_\w+)[ {]", done.out + mirrored.out, re.MULTILINE))
    for text in (RULES, TESTS):
        named = set(re.findall(r"\bcyrusquota_\w+", text))
        assert len(named) > 5
        assert named <= written


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tested_and_in_the_documents(name: str) -> None:
    assert f'alertname="{name}"' in TESTS
    assert name in (CHECKOUT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("line", re.findall("runbook: (.*)", RULES))
def test_a_runbook_is_a_whole_command(line: str) -> None:
    name, *words = shlex.split(line)
    assert not re.search("[A-Z]{2,}|\\.\\.\\.", line)
    if name != "touch":
        command = PROGRAMS[name]
        command.make_context(name, words, resilient_parsing=True)
    of_settings = [f"cyrusquota {words}" for words in ("doctor --quiet", "doctor --mirror --quiet")]
    of_settings.append("cyrusquota check --mirror")
    assert DEFAULT_PATH in line or ".prom" in line or line in of_settings


def test_a_map_is_ignored_when_the_router_ignores_it() -> None:
    ignored = RULES.partition("CyrusquotaMapIgnored")[2].partition("- alert")[0]
    assert f"cyrusquota_map_timestamp_seconds > {DEFAULT_MAX_AGE}\n" in ignored
    assert RULES.count("runbook: ") == len(NAMES) == len(set(NAMES))
