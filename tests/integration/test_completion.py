"""The completion scripts in the shells they are for, with the click that is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools.docs import CHECKOUT

pytestmark = pytest.mark.integration

SCRIPTS = CHECKOUT / "completion"
PROGRAM = """#!{python}
import sys
sys.path.insert(0, {checkout!r})
from cyrusquota.cli.{module} import main
main()
"""
BASH = """
source "$1"
complete -p "$2" || exit 1
COMP_WORDS=("${@:2}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { echo compopt "$@"; }
function=$(complete -p "$2"); function=${function##*-F }
"${function% *}" "$2"
if ((${#COMPREPLY[@]})); then printf '%s\\n' "${COMPREPLY[@]}"; fi
"""
#: As when the completion system calls it for the first time, with what it would offer printed.
ZSH = """
fpath=($1:h)
autoload -U $1:t
compadd() { print -l -- ${(P)@[-1]} }
_describe() { print -l -- ${(P)3} }
_path_files() { print -- files }
words=(${@[2,-1]})
CURRENT=$#words
$1:t
"""
FISH = "source $argv[1]; complete -C(string join -- ' ' $argv[2..-1])"


@pytest.fixture
def programs(tmp_path: Path) -> str:
    """A PATH on which both programs are."""
    for name, module in (("cyrusquota-export", "export"), ("cyrusquota", "main")):
        text = PROGRAM.format(python=sys.executable, checkout=str(CHECKOUT), module=module)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return f"{tmp_path}:/usr/bin:/bin"


def _offered(path: str, shell: list[str], *arguments: str) -> list[str]:
    done = subprocess.run(
        [*shell, *arguments],
        env={"PATH": path, "HOME": "/nonexistent", "LC_ALL": "C.UTF-8", "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b""), done
    return done.stdout.decode().splitlines()


@pytest.fixture
def bash(programs: str, needs_bash: None) -> str:
    return programs


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["cyrusquota-export", "--max"], ["--max-change"]),
        (["cyrusquota-export", "--policy", "lmtpd-"], ["lmtpd-strict"]),
        (["cyrusquota-export", "--map-format", "c"], ["cdb"]),
        (["cyrusquota", "li"], ["list"]),
        (["cyrusquota", "list", "--no"], ["--no-mailboxes"]),
        (["cyrusquota-export", "--nonsense"], []),
    ],
)
def test_bash_completes(words: list[str], offered: list[str], bash: str) -> None:
    script = SCRIPTS / "bash" / words[0]
    found = _offered(bash, ["bash", "--norc", "-c", BASH, "bash"], str(script), *words)
    assert found[0].startswith("complete ")
    assert found[1:] == offered


@pytest.mark.parametrize("option", ["--db", "-o", "--config", "--quota-output", "--mailboxes"])
def test_bash_completes_files_where_a_file_is_meant(option: str, bash: str) -> None:
    words = ["cyrusquota-export", option, "quo"]
    script = SCRIPTS / "bash" / words[0]
    found = _offered(bash, ["bash", "--norc", "-c", BASH, "bash"], str(script), *words)
    assert found[1:] == ["compopt -o default"]


def test_zsh_completes(programs: str, needs_zsh: None) -> None:
    zsh = ["zsh", "-f", "-c", ZSH, "zsh"]
    script = str(SCRIPTS / "zsh" / "_cyrusquota-export")
    found = _offered(programs, zsh, script, "cyrusquota-export", "--max")
    assert [line.partition(":")[0] for line in found] == ["--max-change"]
    found = _offered(programs, zsh, script, "cyrusquota-export", "--policy", "lmtpd-")
    assert found == ["lmtpd-strict"]
    assert _offered(programs, zsh, script, "cyrusquota-export", "--db", "quo") == ["files"]


def test_fish_completes(programs: str, needs_fish: None) -> None:
    fish = ["fish", "--no-config", "-c", FISH]
    script = str(SCRIPTS / "fish" / "cyrusquota-export.fish")
    found = _offered(programs, fish, script, "cyrusquota-export", "--max")
    assert [line.split("\t")[0] for line in found] == ["--max-change"]
    found = _offered(programs, fish, script, "cyrusquota-export", "--policy", "lmtpd-")
    assert found == ["lmtpd-strict"]
