"""cyrusquota metrics: what Prometheus learns."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from cyrusquota import __version__
from tests.metric_samples import MetricSamples, metric_samples
from tests.recorded_fixtures import FIXTURES, TWOSKIP, main_roots
from tests.unit.programs import Program, Ran, exporter, program

DB = ("--db", str(TWOSKIP / "quotas.db"))
DAMAGED = ("--db", str(FIXTURES / "crash" / "twoskip" / "cut-half.db"))
SITE = (
    b"user.jane\t2000 1\nuser.bob\t1000 1 M 5 4\nuser.max\t5 -1\n"
    b"example.org!user.mia\t300 1\nshared\t5 1\n"
)


@pytest.fixture
def metrics(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Program:
    """Run `cyrusquota metrics` beside a map of which there may be none."""
    return program(capfdbinary, monkeypatch, "metrics", "--map", str(tmp_path / "overquota"))


def told(done: Ran) -> MetricSamples:
    assert (done.status, done.err) == (0, "")
    return metric_samples(done.out.encode())


def export(path: Path, *users: str, roots: int = 5) -> None:
    lines = "".join(f"{user}: :defer: full\n" for user in users)
    path.write_text(f"# Written by cyrusquota-export\n# roots: {roots}\n{lines}")


def test_a_small_site(metrics: Program) -> None:
    before = time.time()
    found = told(metrics("--dump", "-", stdin=SITE))
    assert found.value("up") == 1
    assert found.value("build_info", version=__version__) == 1
    assert before - 1 < found.value("last_success_timestamp_seconds") < time.time() + 1
    assert found.value("roots") == 5
    resources = ("STORAGE", "MESSAGE", "ANNOTATION-STORAGE", "MAILBOX")
    for name, counts in {
        "limited_roots": (4, 1, 0, 0),
        "over_roots": (1, 1, 0, 0),
        "near_roots": (1, 0, 0, 0),
    }.items():
        assert found.by_label(name, "resource") == dict(zip(resources, counts))
    assert found.by_label("promised_bytes", "domain") == {"": 3 * 1024, "example.org": 1024}
    assert found.by_label("used_bytes", "domain") == {"": 3010, "example.org": 300}
    assert (found.value("users"), found.value("refused_users")) == (4, 2)
    assert found.value("problems") == 0
    assert 0 < found.value("read_duration_seconds") < 60
    assert found.value("map_found") == 0
    assert not [
        name
        for name in found.names()
        if name.startswith("cyrusquota_map_") and name[15:] != "found"
    ]


def test_every_metric_is_ours_a_gauge_and_explained(metrics: Program, tmp_path: Path) -> None:
    export(tmp_path / "overquota", "jane")
    found = told(metrics("--dump", "-", "--per-user", stdin=SITE))
    assert all(re.fullmatch("cyrusquota_[a-z_]+", name) for name in found.names())
    assert set(found.kinds.values()) == {"gauge"}
    assert all(text.endswith(".") for text in found.helps.values())


def test_as_many_users_are_refused_as_lmtpd_refused(metrics: Program) -> None:
    """Of the recorded roots, one of a whole domain is full, which is a problem to be told."""
    done = metrics(*DB, "-q")
    found = told(done)
    roots = main_roots().values()
    assert found.value("roots") == len(roots)
    for resource, count in found.by_label("over_roots", "resource").items():
        assert count == sum(resource in [kind.value for kind in root.over] for root in roots)
    assert found.value("problems") == 1


def test_near_may_be_chosen(metrics: Program) -> None:
    found = told(metrics("--dump", "-", "--near", "20", stdin=SITE))
    assert found.by_label("near_roots", "resource")["STORAGE"] == 2


def test_no_user_is_named_unless_asked(metrics: Program) -> None:
    done = metrics("--dump", "-", stdin=SITE)
    assert not re.search("jane|bob|max|mia", done.out)


def test_each_root_if_asked(metrics: Program) -> None:
    found = told(metrics("--dump", "-", "--per-user", stdin=SITE + b"user.b\xff\t7 8\n"))
    assert found.by_label("root_storage_used_bytes", "root") == {
        "user.jane": 2000,
        "user.bob": 1000,
        "user.max": 5,
        "example.org!user.mia": 300,
        "shared": 5,
        r"user.b\xff": 7,
    }
    assert found.by_label("root_storage_limit_bytes", "root") == {
        "user.jane": 1024,
        "user.bob": 1024,
        "example.org!user.mia": 1024,
        "shared": 1024,
        r"user.b\xff": 8192,
    }
    assert found.by_label("root_messages_used", "root") == {"user.bob": 5}
    assert found.by_label("root_messages_limit", "root") == {"user.bob": 4}
    assert "cyrusquota_root_mailboxes_used" not in found.names()


def test_a_root_that_is_there_twice_is_told_once(metrics: Program) -> None:
    found = told(metrics("--dump", "-", "--per-user", stdin=b"user.a\t5 1\nuser.a\t6 1\n"))
    assert found.by_label("root_storage_used_bytes", "root") == {"user.a": 6}


# The map in place, and the guard


def test_the_map_in_place(metrics: Program, tmp_path: Path) -> None:
    path = tmp_path / "overquota"
    export(path, "jane", "bob")
    os.utime(path, (1e9, 1e9))
    found = told(metrics("--dump", "-", stdin=SITE))
    assert (found.value("map_found"), found.value("map_entries")) == (1, 2)
    assert found.value("map_timestamp_seconds") == 1e9
    assert found.value("map_age_seconds") == pytest.approx(time.time() - 1e9, abs=60)
    assert found.value("map_held_back") == 0
    assert found.by_label("map_pending_entries", "change") == {"added": 0, "removed": 0}


@pytest.mark.parametrize(
    ("options", "held", "added", "removed"),
    [
        ((), 0, 1, 1),
        (("--max-change", "0%,0"), 1, 1, 1),
        (("--max-change", "added=0%,0", "--exempt", "bob"), 0, 0, 1),
        (("--max-change", "added=0%,1", "--reserve", "100%"), 1, 2, 1),
        (("--max-change", "added=0%,1", "--headroom", "1K"), 1, 2, 1),
    ],
)
def test_the_guard_is_asked_as_the_export_would(
    options: tuple[str, ...],
    held: int,
    added: int,
    removed: int,
    metrics: Program,
    tmp_path: Path,
) -> None:
    path = tmp_path / "overquota"
    export(path, "jane", "gone")
    content, status = path.read_bytes(), path.stat()
    found = told(metrics("--dump", "-", *options, stdin=SITE))
    assert found.by_label("map_pending_entries", "change") == {"added": added, "removed": removed}
    assert found.value("map_held_back") == held
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (content, status.st_mtime_ns)
    assert os.listdir(tmp_path) == ["overquota"]


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("lsearch", ()),
        ("cdb", ("--max-change", "0%,0")),
        ("postfix", ("--max-change", "0%,0")),
        ("lsearch", ("--max-change", "added=0%,0")),
        ("cdb", ("--max-change", "removed=0%,0", "--key", "local")),
        ("postfix", ("--max-change", "added=0%,2", "--reserve", "100%", "--exempt", "jane")),
        ("lsearch", ("--max-change", "added=0%,1", "--headroom", "1M", "--policy", "smmapd")),
    ],
)
def test_the_guard_says_what_the_export_then_does(
    form: str,
    options: tuple[str, ...],
    metrics: Program,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    map_options = ("-o", str(tmp_path / "overquota"), "--map-format", form)
    export_ = exporter(capfdbinary, monkeypatch)
    source = ("--dump", str(tmp_path / "dump"))
    (tmp_path / "dump").write_bytes(b"user.jane\t2000 1\nuser.gone\t2000 1\n")
    assert export_(*source, *map_options).status == 0
    (tmp_path / "dump").write_bytes(SITE)
    found = told(metrics(*source, *options))
    would = export_(*source, *map_options, *options, "--dry-run").out
    added, removed = re.findall(r"([0-9]+) (?:entr(?:y|ies) would be added|removed)", would)[:2]
    changes = {"added": int(added), "removed": int(removed)}
    assert found.by_label("map_pending_entries", "change") == changes
    held = found.value("map_held_back")
    assert export_(*source, *map_options, *options).status == (75 if held else 0)


def test_a_source_without_roots_would_be_held_back(metrics: Program, tmp_path: Path) -> None:
    export(tmp_path / "overquota", "jane", roots=10)
    found = told(metrics("--dump", "-", stdin=b""))
    assert (found.value("roots"), found.value("map_held_back")) == (0, 1)


def test_what_is_no_map_is_told_after_all_else(metrics: Program, tmp_path: Path) -> None:
    (tmp_path / "overquota").write_text("root: joe\n")
    done = metrics("--dump", "-", "-o", str(tmp_path / "x.prom"), stdin=SITE)
    assert done.status == 65
    assert "was not written by this program" in done.err
    found = metric_samples((tmp_path / "x.prom").read_bytes())
    assert (found.value("up"), found.value("map_found")) == (1, 0)


# The file


def test_the_collector_can_read_the_file(metrics: Program, tmp_path: Path) -> None:
    path, old_mask = tmp_path / "cyrusquota.prom", os.umask(0o077)
    try:
        done = metrics("--dump", "-", "-o", str(path), stdin=SITE)
    finally:
        os.umask(old_mask)
    assert (done.status, done.out, done.err) == (0, "", "")
    assert path.stat().st_mode & 0o7777 == 0o644
    assert os.listdir(tmp_path) == ["cyrusquota.prom"]
    assert metric_samples(path.read_bytes()).value("roots") == 5


def test_a_file_of_others_stays(metrics: Program, tmp_path: Path) -> None:
    path = tmp_path / "apt.prom"
    path.write_text("# HELP apt_upgrades Apt.\n")
    for source in (("--dump", "-"), DAMAGED):
        done = metrics(*source, "-o", str(path), stdin=SITE)
        assert done.status == (73 if source[0] == "--dump" else 65)
        assert path.read_text() == "# HELP apt_upgrades Apt.\n"


def test_where_there_is_no_directory_there_is_no_file(metrics: Program, tmp_path: Path) -> None:
    done = metrics("--dump", "-", "-o", str(tmp_path / "no" / "x.prom"), stdin=SITE)
    assert done.status == 73
    assert done.err.count("\n") == 1
    assert "does not exist; make it first" in done.err


# When it fails


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (DAMAGED, 65),
        (("--db", "/nonexistent/quotas.db"), 66),
        (("-C", "/nonexistent/imapd.conf"), 78),
        (("--dump", "-"), 65),
    ],
)
def test_a_failed_run_says_so_and_when_all_was_well(
    options: tuple[str, ...], status: int, metrics: Program, tmp_path: Path
) -> None:
    path = tmp_path / "x.prom"
    export(tmp_path / "overquota", "jane")
    assert metrics("--dump", "-", "-o", str(path), stdin=SITE).status == 0
    last = metric_samples(path.read_bytes()).value("last_success_timestamp_seconds")
    for _ in range(2):
        done = metrics(*options, "-q", "-o", str(path), stdin=b"garbage\n")
        assert done.status == status
        assert (done.out, done.err.count("\n")) == ("", 1)
        found = metric_samples(path.read_bytes())
        assert found.value("up") == 0
        assert found.value("last_success_timestamp_seconds") == last
        assert {name[11:] for name in found.names()} == {
            "up",
            "build_info",
            "last_success_timestamp_seconds",
            "map_found",
            "map_entries",
            "map_timestamp_seconds",
            "map_age_seconds",
        }


def test_a_first_run_that_fails_says_so(metrics: Program, tmp_path: Path) -> None:
    path = tmp_path / "x.prom"
    assert metrics(*DAMAGED, "-o", str(path)).status == 65
    found = metric_samples(path.read_bytes())
    assert found.value("up") == 0
    assert "cyrusquota_last_success_timestamp_seconds" not in found.names()


def test_without_a_file_a_failure_is_printed(metrics: Program) -> None:
    done = metrics(*DAMAGED)
    assert done.status == 65
    assert metric_samples(done.out.encode()).value("up") == 0


def test_a_mistake_of_ours_is_a_failure(
    metrics: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("cyrusquota.cli.metrics.scan", broken)
    assert metrics(*DB, "-o", str(tmp_path / "x.prom")).status == 70
    assert metric_samples((tmp_path / "x.prom").read_bytes()).value("up") == 0


@pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="no promtool here: apt-get install --no-install-recommends prometheus",
)
def test_promtool_has_nothing_to_say(metrics: Program, tmp_path: Path) -> None:
    export(tmp_path / "overquota", "jane")
    done = metrics("--dump", "-", "--per-user", stdin=SITE + b'a"b\\\xff\r!user.x\t5 1\n')
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=done.out.encode(), capture_output=True
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
