"""The alert rules in docs/monitoring, by Prometheus's own promtool.

They get what `cyrusquota metrics` writes beside a real Cyrus. The command that an alert names as
its runbook is run as it is, but for the place of the map and of the metrics.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Iterator

import attrs
import pytest

from . import commands
from .cyrus import Cyrus
from .verdicts import FULL

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("needs_promtool")]

MONITORING = commands.PROJECT / "docs" / "monitoring"
RULES, TESTS = MONITORING / "alerts.yml", MONITORING / "alerts_test.yml"
#: Where the runbooks have the map and the metrics.
MAP = "/var/lib/cyrusquota/overquota"
METRICS = "/var/lib/prometheus/node-exporter/cyrusquota.prom"
#: When the rules are evaluated, in seconds, and how many samples there are until then.
AT, SAMPLES = 12_000, 200
RULE = re.compile(r"- alert: (?P<name>\w+)\n.*?(?=\n      - alert|\Z)", re.DOTALL)
BLOCKS = {match["name"]: match[0] for match in RULE.finditer(RULES.read_text())}


def _promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True)


def test_the_rules_are_valid_and_pass_their_tests() -> None:
    for command, path in (("check", RULES), ("test", TESTS)):
        done = _promtool(command, "rules", str(path))
        assert done.returncode == 0, done
    assert len(BLOCKS) == RULES.read_text().count("- alert: ") == 12


def _limits() -> Iterator[tuple[str, str, str]]:
    """Each number of a rule, with more in its place."""
    for name, block in BLOCKS.items():
        for line in re.findall(r"(?:expr|for): .*[0-9].*", block):
            number = re.findall("[0-9]+", line)[-1]
            more = line[: line.rindex(number)] + str(int(number) + 1 + int(number) // 10)
            yield name, line, more + line[line.rindex(number) + len(number) :]


@pytest.mark.parametrize(("name", "line", "changed"), list(_limits()))
def test_the_tests_of_the_rules_notice_a_change(
    name: str, line: str, changed: str, tmp_path: Path
) -> None:
    text, block = RULES.read_text(), BLOCKS[name]
    (tmp_path / RULES.name).write_text(text.replace(block, block.replace(line, changed)))
    (tmp_path / TESTS.name).write_text(TESTS.read_text())
    assert _promtool("check", "rules", str(tmp_path / RULES.name)).returncode == 0
    assert _promtool("test", "rules", str(tmp_path / TESTS.name)).returncode == 1


# --- beside a real Cyrus ---


@attrs.frozen
class Host:
    """A Cyrus, the map and the metrics of its users, and a shell that has the two programs."""

    cyrus: Cyrus
    directory: Path

    @property
    def map(self) -> Path:
        return self.directory / "overquota"

    @property
    def metrics(self) -> Path:
        return self.directory / "cyrusquota.prom"

    def sh(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the administrator of this host would."""
        here = command.replace(MAP, str(self.map)).replace(METRICS, str(self.metrics))
        environment = {
            **os.environ,
            "PATH": f"{self.directory}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(commands.PROJECT),
            "CYRUSQUOTA_SETTINGS": str(self.directory / "settings"),
        }
        words = ["sh", "-c", here]
        return subprocess.run(words, capture_output=True, text=True, env=environment)

    def assert_alerts(self, *names: str) -> None:
        """Check which alerts fire on what `cyrusquota metrics` writes now."""
        self.sh(f"cyrusquota metrics -o {METRICS}")
        self.assert_fire(*names)

    def assert_fire(self, *names: str) -> None:
        """Check which alerts fire on the metrics that were written."""
        samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in names]
        asked = {
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": f"{AT}s",
            "exp_samples": samples,
        }
        test = {
            "interval": "1m",
            "input_series": list(self._series()),
            "promql_expr_test": [asked],
        }
        rules = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}
        path = self.directory / "test.yml"
        path.write_text(json.dumps(rules))
        done = _promtool("test", "rules", str(path))
        assert done.returncode == 0, done.stderr

    def _series(self) -> Iterator[dict[str, str]]:
        """What was written, as if it were so all the time until the rules are evaluated."""
        found = re.findall(r"^(cyrusquota_\w+) (\S+)$", self.metrics.read_text(), re.MULTILINE)
        assert found
        for name, value in found:
            shift = AT - time.time() if name.endswith("_timestamp_seconds") else 0
            yield {"series": name, "values": f"{float(value) + shift:.3f}x{SAMPLES}"}


@pytest.fixture
def host(needs_cyrus: None, tmp_path: Path) -> Iterator[Host]:
    with Cyrus({"quota_db": "twoskip"}) as cyrus:
        for name in ("jane", "bob"):
            cyrus.store(cyrus.quotas, "twoskip", {f"user.{name}".encode(): FULL})
        host = Host(cyrus, tmp_path)
        (tmp_path / "bin").mkdir()
        for name, module in (
            ("cyrusquota", "cyrusquota.cli"),
            ("cyrusquota-export", "cyrusquota.cli.export"),
        ):
            program = tmp_path / "bin" / name
            program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
            program.chmod(0o755)
        (tmp_path / "settings").write_text(
            f"[common]\nconfig = {cyrus.conf}\nno-mailboxes = yes\n[export]\noutput = {host.map}\n"
            f"[doctor]\nno-exim = yes\nroot = {tmp_path}\n"
        )
        commands.export(cyrus.conf, host.map, "--no-mailboxes")
        yield host


def test_a_host_that_is_well_has_no_alert(host: Host) -> None:
    host.assert_alerts()


def _unreadable(host: Host) -> None:
    host.cyrus.quotas.write_bytes(host.cyrus.quotas.read_bytes()[:100])


def _aged(seconds: float) -> Callable[[Host], None]:
    def age(host: Host) -> None:
        then = time.time() - seconds
        os.utime(host.map, (then, then))

    return age


def _many_more(host: Host) -> None:
    rows = {f"user.u{number}".encode(): FULL for number in range(30)}
    host.cyrus.store(host.cyrus.quotas, "twoskip", rows)


def _bad_record(host: Host) -> None:
    host.cyrus.set_rows({"user.bad": b"garbage"})


def _no_metrics_for_long(host: Host) -> None:
    """The run fails, so the time of the last success stays."""
    host.sh(f"cyrusquota metrics -o {METRICS}")
    text = host.metrics.read_text()
    old = f"\\g<1> {time.time() - 4000}"
    host.metrics.write_text(re.sub("^(cyrusquota_last_success\\S+) .*", old, text, flags=re.M))
    _unreadable(host)


#: What goes wrong, which alerts fire, and what the runbook of the first prints.
SITUATIONS = {
    "CyrusquotaSourceUnreadable": (_unreadable, set(), "error    quota-db-bad: "),
    "CyrusquotaMapMissing": (lambda host: host.map.unlink(), set(), "2 entries"),
    "CyrusquotaMapLate": (_aged(2000), set(), "2 entries"),
    "CyrusquotaMapIgnored": (_aged(8000), {"CyrusquotaMapLate"}, "2 entries"),
    "CyrusquotaMapFromTheFuture": (_aged(-4000), set(), ""),
    "CyrusquotaMapHeldBack": (_many_more, set(), "+ u29: :defer: "),
    "CyrusquotaProblems": (_bad_record, set(), "quota root 'user.bad': expected "),
    "CyrusquotaMetricsStale": (
        _no_metrics_for_long, {"CyrusquotaSourceUnreadable"}, "quotas.db, offset ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(SITUATIONS))
def test_an_alert_fires_and_its_runbook_leads_on(name: str, host: Host) -> None:
    break_it, others, said = SITUATIONS[name]
    break_it(host)
    host.assert_alerts(name, *others)
    match = re.search("runbook: (.*)", BLOCKS[name])
    assert match is not None
    done = host.sh(match[1])
    assert said in done.stdout + done.stderr
    if name.startswith("CyrusquotaMap") and "--dry-run" not in match[1]:
        assert done.returncode == 0
        host.assert_alerts()


def test_without_a_file_of_metrics_there_is_an_alert_that_says_how_to_write_it(host: Host) -> None:
    host.metrics.write_text("cyrusquota_nothing_of_this_kind 1\n")
    host.assert_fire("CyrusquotaNoMetrics")
    host.metrics.unlink()
    match = re.search("runbook: (.*)", BLOCKS["CyrusquotaNoMetrics"])
    assert match is not None
    assert host.sh(match[1]).returncode == 0
    host.assert_fire()
