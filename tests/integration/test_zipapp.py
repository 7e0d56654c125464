"""cyrusquota.pyz: both programs in one file, on a python3 that has nothing installed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cyrusquota import __version__
from tests.integration.processes import until
from tests.recorded_fixtures import TWOSKIP

PATIENCE = 60
DB = str(TWOSKIP / "quotas.db")

pytestmark = pytest.mark.integration


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """With no packages to be found, neither the checkout's nor those of the site."""
    words = [sys.executable, "-I", "-S", *command]
    return subprocess.run(
        words, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE
    )


def test_it_runs_without_any_package_installed(zipapp: Path) -> None:
    done = run(str(zipapp), "--version")
    assert (done.stdout, done.stderr) == (f"cyrusquota.pyz, version {__version__}\n", "")
    assert re.search(r"^  export +Write the map", run(str(zipapp), "--help").stdout, re.MULTILINE)


def test_it_is_either_program_by_the_name_it_is_called(zipapp: Path, tmp_path: Path) -> None:
    link = tmp_path / "cyrusquota-export"
    link.symlink_to(zipapp)
    installed = str(shutil.copy(zipapp, tmp_path / "cyrusquota"))
    exported, command = run(str(link), "--db", DB), run(installed, "export", "--db", DB)
    assert exported.stdout.count(":defer:") == command.stdout.count(":defer:") == 21
    assert exported.stderr.startswith("cyrusquota-export: quota root 'example.org!' is full")
    assert command.stderr.startswith("cyrusquota: quota root 'example.org!' is full")
    assert run(installed, "list", "--db", DB, "--format", "jsonl").stdout.startswith('{"root"')


def test_what_to_do_names_the_command_that_was_given(zipapp: Path, tmp_path: Path) -> None:
    output = str(tmp_path / "overquota")
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.write_text("".join(f"user.u{n}\t1 10\n" for n in range(30)))
    full.write_text("".join(f"user.u{n}\t10241 10\n" for n in range(30)))
    assert run(str(zipapp), "export", "--dump", str(empty), "-o", output).returncode == 0
    words = ["export", "--dump", str(full), "-o", output]
    held = run(str(zipapp), *words)
    assert held.returncode == 75
    again = f"cyrusquota.pyz {' '.join(words)} --accept-change 30"
    assert again in held.stderr


def test_it_follows_a_tree_by_inotify(zipapp: Path, tmp_path: Path) -> None:
    """Nothing but Python itself is needed for that."""
    root, output = tmp_path / "quota" / "j" / "user.jane", tmp_path / "overquota"
    root.parent.mkdir(parents=True)
    root.write_text("1 1\n")
    words = ["export", "--db", str(tmp_path), "-o", str(output), "--follow", "--poll", "0.1"]
    running = subprocess.Popen([sys.executable, "-I", "-S", str(zipapp), *words], cwd="/")
    try:
        until(output.exists)
        opened = Path(f"/proc/{running.pid}/fd").iterdir()
        assert "anon_inode:inotify" in {os.readlink(one) for one in opened}
        root.with_name("user.jane.NEW").write_text("2000 1\n")
        root.with_name("user.jane.NEW").rename(root)
        until(lambda: "jane: :defer:" in output.read_text())
    finally:
        running.terminate()
        running.wait(PATIENCE)


def test_root_may_keep_it_where_only_root_looks(zipapp: Path, tmp_path: Path) -> None:
    """Reading with another user's rights imports nothing that he would have to read."""
    if os.geteuid() != 0:
        pytest.skip("only root can read as somebody else")
    hidden, quotas = tmp_path / "hidden", Path("/tmp") / f"cq{os.getpid()}.db"
    hidden.mkdir(0o700)
    shutil.copy(zipapp, hidden / "cyrusquota-export")
    try:
        shutil.copy(DB, quotas)
        quotas.chmod(0o644)
        done = run(str(hidden / "cyrusquota-export"), "--user", "65534", "--db", str(quotas))
    finally:
        quotas.unlink()
    assert (done.returncode, done.stdout.count(":defer:")) == (0, 21)
