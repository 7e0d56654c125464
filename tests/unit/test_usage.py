"""The command line: wrong usage is found before anything is read; help has groups and examples."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import re
import shlex
from pathlib import Path
from typing import Any, Callable, Iterator
from unittest import mock

import click
import pytest

from cyrusquota import errors
from cyrusquota.cli import service
from cyrusquota.cli.command import Command, Heading
from cyrusquota.cli.engine_options import EngineOptions
from cyrusquota.cli.follow import Service
from cyrusquota.cli.run import run
from cyrusquota.engine import watch
from cyrusquota.engine.protocol import NO_STAMP
from tests import error_cases
from tests.error_cases import ErrorCase
from tests.mailboxes import Mailboxes
from tests.simulated_engine import Server, SimulatedEngine
from tests.unit.programs import Ran
from tools.docs import CHECKOUT, commands

Cli = Callable[[str], Ran]

#: How to call each command that has the options for the source.
WITH_SOURCE = {
    "cyrusquota-export": "cyrusquota-export",
    **{
        f"cyrusquota {name}": f"cyrusquota {name}"
        for name in ("list", "report", "check", "metrics", "notify")
    },
    "cyrusquota explain": "cyrusquota explain jane",
}
#: What is wrong with any of them.
OF_THE_SOURCE = (
    "--db gone.db --dump -",
    "--db gone.db --quota-output -",
    "--quota-output - --dump -",
    "--backend twoskip",
    "--dump - --backend twoskip",
    "--db gone.db --backend nonsense",
    "--mailboxes gone --no-mailboxes",
    "--policy nonsense",
    "--reserve lots",
    "--reserve SPAM=1",
    "--reserve -1",
    "--reserve 50",
    "--reserve STORAGE=50",
    "--reserve 101%",
    "--reserve MESSAGE=100.5%",
    f"--reserve {'9' * 400}",
    f"--reserve {'9' * 400}%",
    "--user no-such-user",
    "--user 4000000000",
    "--user 99999999999",
    *(f"{name} ''" for name in ("-C", "--db", "--dump", "--quota-output", "--mailboxes")),
    "--no-such-option",
    "--config",
    "--report gone",
)
OF_ONE_COMMAND = {
    "cyrusquota-export": (
        "extra",
        "-o ''",
        "-n --format lsearch",
        "--map-format xml",
        "--map-format postfix --headroom 50M",
        "--key nonsense",
        "--headroom lots",
        "--headroom 5%",
        f"--headroom {'9' * 400}",
        "--message ''",
        "--message ' full'",
        "--message '421 4.2.2 full'",
        "--message '552 5.2.2 full'",
        "--message '5.2.2 full'",
        "--message 'voll: ü'",
        f"--message {'x' * 76}",
        "--refuse --message '452 4.2.2 full'",
        "-o map --mode rw",
        "-o map --mode 1777",
        "-o map --mode -1",
        "-o map --mode 0o644",
        "-o map --owner no-such-user",
        "-o map --owner 99999999999",
        "-o map --group no-such-group",
        "-o map --group 99999999999",
        "-o map -n --owner no-such-user",
        "-o map --max-change 20",
        "-o map --max-change 20%",
        "-o map --max-change added=x",
        "-o map --max-change sideways=20%,20",
        "-o map --accept-change -1",
        "-o map --accept-change some",
        "-o map --wait -1",
        "-o map --wait nan",
        "-o map --wait inf",
        "-o map --follow --poll 0",
        "-o map --follow --poll 60",
        "-o map --follow --poll nan",
        "--follow",
        "--follow -o -",
        "--follow -o map -n",
        "--follow -o map --accept-change 1",
        "--follow -o map --dump -",
        "--follow -o map --dump gone",
        "--follow -o map --quota-output -",
        "--follow --store store1",
        "--follow --engine redis://localhost",
        "--follow -o map --engine redis://localhost",
        "--follow --engine redis://localhost --store ''",
        "--follow --engine redis://localhost --store -x",
        f"--follow --engine redis://localhost --store {'x' * 65}",
        "--follow --engine redis://localhost --store store1 --dump -",
    ),
    "cyrusquota-mirror": (
        "extra",
        "--engine redis://localhost",
        "--engine redis://localhost -o -",
        "--engine redis://localhost -o ''",
        "--engine redis://localhost -o map --expect 'a b'",
        "--engine redis://localhost -o map --max-change x",
        "--engine redis://localhost -o map --key nonsense",
        "--engine redis://localhost -o map --message 'voll: ü'",
        "--engine redis://localhost -o map --store store1",
        "--engine redis://localhost -o map --headroom 50M",
        "-o map",
    ),
    "cyrusquota stores": (
        "",
        "extra",
        "--engine redis://localhost --format xml",
        "--engine redis://localhost --watch -1",
        "--engine redis://localhost --watch nan",
        "--engine redis://localhost --expect -",
        "--engine redis://localhost --accept-change store1",
        "--engine redis://localhost --accept-change store1 -1",
        "--engine redis://localhost --accept-change store1 1 --forget store1",
    ),
    "cyrusquota engine": (
        "",
        "nonsense",
        "acl",
        "acl --backend store1 --mirror",
        "acl --admin --mirror",
        "acl --backend ''",
        "acl --backend 'a b'",
        "functions --mirror",
        "functions --name x",
    ),
    "cyrusquota list": ("--near lots", "--near 0", "--sort size", "--format xml", "--unit stone"),
    "cyrusquota report": (
        "extra",
        "--near lots",
        "--top -1",
        "--rows -1",
        f"--top {'9' * 30}",
        f"--rows {'9' * 30}",
        "--html page --mode rw",
        "--html page --owner no-such-user",
        "--html gone/page --group no-such-group",
        "--html ''",
    ),
    "cyrusquota check": (
        "extra",
        "--map ''",
        "--key nonsense",
        "--headroom lots",
        "--max-change x",
        "--no-map -w map_age=60",
        "-w x",
        "-w 5:1",
        "-w speed=1",
        "-c map_age=",
        "-c near=1",
        "-w near=1",
        "--quiet",
    ),
    "cyrusquota metrics": (
        "extra",
        "-o ''",
        "--map ''",
        "-o gone.prom --near lots",
        "-o gone.prom --key nonsense",
        "-o gone.prom --headroom lots",
        "-o gone.prom --max-change x",
    ),
    "cyrusquota notify": (
        "extra",
        "--at 9%",
        "--at 101%",
        "--at 0.9",
        "--at over",
        "--repeat 7",
        "--repeat 0d",
        "--repeat -1d",
        f"--repeat {'9' * 30}d",
        "--from ''",
        "--from jane",
        "--from 'jane@example.org, max@example.org'",
        "--from 'jane@example.org\nBcc: max@example.org'",
        "--from 'Jane <jane@example.org'",
        "--lmtp ''",
        "--lmtp localhost",
        "--lmtp localhost:0",
        "--lmtp localhost:65536",
        "--lmtp socket",
        "--sendmail ''",
        "--templates ''",
        "--state ''",
        "--max-letters 0",
        "--max-letters some",
        "--dry-run --format lines",
        "--dry-run --no-mailboxes",
    ),
    "cyrusquota explain": (
        "max",
        "--map ''",
        "--exim ''",
        "--exim-config ''",
        "--format xml",
        "--no-exim --exim x",
        "--no-exim --exim-config x",
    ),
    "cyrusquota doctor": (
        "extra",
        "--format xml",
        "--root gone",
        "--root ''",
        "--map ''",
        "-C ''",
        "--no-exim --exim x",
        "--no-exim --exim-config x",
        "--no-exim --domain example.org",
        "--db gone.db",
    ),
}
CASES = [
    *(f"{line} {wrong}" for line in WITH_SOURCE.values() for wrong in OF_THE_SOURCE),
    *(
        f"{WITH_SOURCE.get(name, name)} {wrong}"
        for name, wrongs in OF_ONE_COMMAND.items()
        for wrong in wrongs
    ),
    "cyrusquota explain",
    "cyrusquota explain ''",
    "cyrusquota explain @",
    "cyrusquota explain @example.org",
    "cyrusquota nonsense",
    "cyrusquota --nonsense",
    "cyrusquota",
]
#: Options that have no effect alone, and what they need.
WITHOUT_EFFECT = (
    ("cyrusquota-export --dump - --poll 1", "--follow"),
    ("cyrusquota-export --dump - -o map --poll 1", "--follow"),
    *(
        (f"cyrusquota-export --dump - {output}{option}", "-o FILE")
        for output in ("", "-o - ")
        for option in (
            "--owner 1",
            "--group 1",
            "--mode 0600",
            "--accept-change 5",
            "--wait 5",
            "--follow-links",
            "--on-change true",
            "--dry-run --accept-change 5",
        )
    ),
    ("cyrusquota-export --dump - --max-change 30%,5", "-o FILE or --store"),
    ("cyrusquota-export --dump - -o - --max-change 30%,5", "-o FILE or --store"),
    ("cyrusquota-export --dump - --engine redis://localhost", "--follow"),
    ("cyrusquota-export --dump - -o map --store store1", "--follow"),
    ("cyrusquota-mirror --engine redis://localhost --on-change true", "-o FILE"),
    ("cyrusquota report --dump - --owner 1", "--html FILE"),
    ("cyrusquota report --dump - --group 1", "--html FILE"),
    ("cyrusquota report --dump - --mode 0644", "--html FILE"),
    ("cyrusquota report --dump - --html - --mode 0644", "--html FILE"),
    ("cyrusquota-export --dump - --format json", "--dry-run"),
    ("cyrusquota notify --format json", "--dry-run"),
    ("cyrusquota metrics --dump - --follow-links", "-o FILE"),
    ("cyrusquota list --dump - --format csv --unit MiB", "--format table"),
)
#: Wrong only together with what imapd.conf or the data says.
NEEDS_DATA = (
    *("--dump - --key address", "-C imapd.conf --no-mailboxes", "--service lmtp"),
    "--state state --dry-run",
)


class _Unread(io.RawIOBase):
    """A standard input that nobody may read."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        raise AssertionError("standard input was read")


@contextlib.contextmanager
def _nothing_is_opened() -> Iterator[None]:
    def refuse(path: object, *_: object, **__: object) -> None:
        raise AssertionError(f"{path!r} was opened")

    stdin = io.TextIOWrapper(io.BufferedReader(_Unread()))
    with contextlib.ExitStack() as patches:
        for module, name in ((builtins, "open"), (io, "open"), (os, "open"), (os, "scandir")):
            patches.enter_context(mock.patch.object(module, name, refuse))
        patches.enter_context(mock.patch("sys.stdin", stdin))
        yield


@pytest.fixture
def cli(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Cli:
    """Run a command line in an empty directory, without an imapd.conf."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cyrusquota.cyrus.imapdconf.DEFAULT_PATH", str(tmp_path / "no-imapd.conf"))

    def call(line: str) -> Ran:
        name, *arguments = shlex.split(line)
        with pytest.raises(SystemExit) as caught:
            run(commands.PROGRAMS[name], name, arguments)
        out, err = capfdbinary.readouterr()
        assert isinstance(caught.value.code, int)
        return Ran(caught.value.code, out.decode(), err.decode())

    return call


# Wrong usage


def _is_wrong_usage(line: str, done: Ran, directory: Path) -> bool:
    assert list(directory.iterdir()) == []
    if line.startswith("cyrusquota check"):
        # A plugin has no other way to say so, and must not write to standard error.
        return done.status == 3 and done.out.startswith("CYRUSQUOTA UNKNOWN - ") and not done.err
    return done.status == errors.EX_USAGE and not done.out and "Traceback" not in done.err


@pytest.mark.parametrize("line", CASES)
def test_wrong_usage_is_found_before_anything_is_read(line: str, cli: Cli, tmp_path: Path) -> None:
    with _nothing_is_opened():
        done = cli(line)
    assert _is_wrong_usage(line, done, tmp_path), done


@pytest.mark.parametrize(
    "line", [line for line in CASES if " " in line and "nonsense" not in line.split()[1]]
)
def test_a_configuration_that_is_missing_does_not_hide_wrong_usage(
    line: str, cli: Cli, tmp_path: Path
) -> None:
    program, *rest = line.split(" ", 2 if line.startswith("cyrusquota ") else 1)
    words = [program, *rest[:-1], "-C", "gone.conf", *rest[-1:]]
    if line.startswith("cyrusquota ") and len(rest) == 1:
        words = [program, *rest, "-C", "gone.conf"]
    with _nothing_is_opened():
        done = cli(" ".join(words))
    assert _is_wrong_usage(line, done, tmp_path), done


@pytest.mark.parametrize(("line", "needs"), WITHOUT_EFFECT)
def test_an_option_without_effect_is_wrong_usage(
    line: str, needs: str, cli: Cli, tmp_path: Path
) -> None:
    with _nothing_is_opened():
        done = cli(line)
    assert _is_wrong_usage(line, done, tmp_path), done
    option = [word for word in line.split() if word.startswith("--")][-1]
    assert f" {option} has no effect without {needs}; " in done.err


def test_an_option_with_what_it_needs_is_right_usage(cli: Cli) -> None:
    written = "--owner 0 --group 0 --mode 0600" if os.geteuid() == 0 else "--mode 0600"
    export = f"-o map --max-change 30%,5 --accept-change 5 --wait 5 --follow-links {written}"
    assert cli(f"cyrusquota-export --dump /dev/null {export}").status == 0
    assert cli(f"cyrusquota report --dump /dev/null --html page {written}").status == 0
    assert cli("cyrusquota metrics --dump /dev/null -o a.prom --follow-links").status == 0
    assert cli("cyrusquota list --dump /dev/null --format table --unit MiB").status == 0


def _of_usage() -> list[ErrorCase]:
    """Return every error case of wrong usage; another test sees that none is missing."""
    return [
        case
        for case in error_cases.CASES
        if case.error is errors.OptionError or issubclass(case.error, click.ClickException)
        if not case.command.endswith(NEEDS_DATA) and "--settings" not in case.command
    ]


def test_every_case_of_wrong_usage_is_found_before_anything_is_read(
    cli: Cli, tmp_path: Path
) -> None:
    found = _of_usage()
    assert len(found) > 20
    for case in found:
        with case.meanwhile(), _nothing_is_opened():
            done = cli(case.command)
        assert _is_wrong_usage(case.command, done, tmp_path), (case, done)


def test_what_is_wrong_only_with_the_data_is_few() -> None:
    assert len([one for one in error_cases.CASES if one.command.endswith(NEEDS_DATA)]) == 5


def test_without_an_imapd_conf_a_right_line_is_78(cli: Cli) -> None:
    """So the tests above would notice if it was read first."""
    assert cli("cyrusquota-export").status == errors.EX_CONFIG
    assert cli("cyrusquota list").status == errors.EX_CONFIG


def test_wrong_usage_leaves_the_metrics_in_place(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "x.prom").write_text("# HELP cyrusquota_up x\n")
    assert cli("cyrusquota metrics -o x.prom --max-change x").status == errors.EX_USAGE
    assert (tmp_path / "x.prom").read_text() == "# HELP cyrusquota_up x\n"


# Standard output as -o -


@pytest.mark.parametrize("command", ["cyrusquota-export", "cyrusquota metrics"])
def test_a_dash_is_standard_output(command: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(b"user.jane\t2000 1\n")
    plain = cli(f"{command} --dump dump")
    dashed = cli(f"{command} --dump dump -o -")
    assert (plain.status, dashed.status, dashed.err) == (0, 0, "")
    times = re.compile(r"since: .*|(?:timestamp|duration)_seconds [0-9.e+-]+")
    assert times.sub("", dashed.out) == times.sub("", plain.out) != ""
    assert [path.name for path in tmp_path.iterdir()] == ["dump"]


def test_a_dry_run_for_standard_output_is_one_without_a_map(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(b"user.jane\t2000 1\n")
    done = cli("cyrusquota-export --dump dump -n -o -")
    assert done.out.splitlines()[-1] == "1 entry would be added, 0 removed, 0 kept"


# Help


EVERY = [command.name for command in commands.every()]
DOCUMENTED = [name for name in EVERY if name != "cyrusquota"]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_help_groups_the_options_in_one_order(
    name: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = cli(f"{name} --help").out
    titles = [heading.value for heading in Heading]
    sections = re.findall(r"^([A-Z].*):$", shown, re.MULTILINE)
    assert sections[-1] == "Examples"
    assert sections[:-1] == [title for title in titles if title in sections]
    assert sections[-2] == Heading.RUN.value
    assert "<=" not in shown and ">=" not in shown
    assert "..." not in re.sub(r"(?:PATTERN|COMMAND)\]\.\.\.|`cyr_dbtool \.\.\. show`", "", shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_the_help_of_the_export_has_the_groups_of_the_manual(cli: Cli) -> None:
    shown = cli("cyrusquota-export --help").out
    parts = re.split(r"^(\S.*):$", shown, flags=re.MULTILINE)
    sections = dict(zip(parts[1::2], parts[2::2]))
    for title, names in {
        "Where the quotas are": "--config --mailboxes --no-mailboxes --db --backend --quota-output"
        " --dump --service --user",
        "Who is over": "--policy --reserve --headers --exempt",
        "What is written": "--output --format --map-format --key --message --refuse --headroom"
        " --owner --group --mode --max-change --accept-change --wait --follow-links --on-change",
        "How it runs": "--follow --poll --dry-run --quiet --verbose --settings --version --help",
    }.items():
        listed = re.findall(r"^  (?:-\w, )?(--[\w-]+)", sections[title], re.MULTILINE)
        assert sorted(listed) == sorted(names.split())


def test_no_summary_is_cut(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = " ".join(cli("cyrusquota --help").out.partition("Commands:")[2].split())
    for name in commands.subcommands("cyrusquota"):
        command = commands.command(name)
        first = " ".join(command.paragraphs[0].split())
        assert f"{name.split()[1]} {first}" in shown
    assert "..." not in shown


@pytest.mark.parametrize("name", EVERY)
def test_the_form_of_what_is_printed_and_of_a_map_have_their_names(name: str) -> None:
    names = {name for option in commands.command(name).options for name in option.names}
    assert not names & {"--report"}
    writes_maps = ("cyrusquota-export", "cyrusquota-mirror", "cyrusquota router")
    assert ("--map-format" in names) == (name in writes_maps)


EXAMPLES = [(name, example) for name in EVERY for example in commands.command(name).examples]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_each_command_has_two_or_three_examples(name: str) -> None:
    assert len(commands.command(name).examples) in (2, 3)


CONF = """\
configdirectory: {0}
quota_db: flat
quota_db_path: {0}/quotas.db
mboxlist_db: flat
mboxlist_db_path: {0}/mailboxes.db
partition-default: {0}
virtdomains: on
defaultdomain: example.org
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A server with a full user, read by whoever runs the tests; without Exim."""
    (tmp_path / "imapd.conf").write_text(CONF.format(tmp_path))
    (tmp_path / "quotas.db").write_bytes(b"user.jane\t2000 1\nuser.max\t5 1\n")
    for name in ("user.jane", "user.max"):
        Mailboxes(tmp_path).add(name, name)
    monkeypatch.setattr("cyrusquota.mta.exim.installed", lambda: None)
    for module in ("options", "export", "scan", "list", "explain", "notify"):
        monkeypatch.setattr(
            f"cyrusquota.cli.{module}.reading_as", lambda user: contextlib.nullcontext()
        )
    return tmp_path


@pytest.mark.parametrize(("name", "line"), [(name, example.line) for name, example in EXAMPLES])
def test_every_example_runs(
    name: str, line: str, cli: Cli, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cyrusquota.cyrus.imapdconf.DEFAULT_PATH", str(site / "imapd.conf"))
    followed, served = mock.Mock(), mock.Mock()
    monkeypatch.setattr(Service, "run", followed)
    monkeypatch.setattr(service, "serve", served)
    server = Server()
    for store in ("store1", "old"):
        server.begin(store, NO_STAMP, 0, "be:1", {}, 0)
    monkeypatch.setattr(EngineOptions, "opened", lambda self: SimulatedEngine(server))
    monkeypatch.setattr(watch, "LOOK", 0.0)
    assert cli(f"cyrusquota-export -o {site}/overquota").status == 0
    assert line.startswith(f"{name} ") or line == name
    line = f"{line} --map {site}/overquota" if name == "cyrusquota check" else line
    # Nobody writes to the stores.
    line = line.replace("stores", "stores --watch 0", line == "cyrusquota stores")
    done = cli(re.sub(r"/var/lib/(?:cyrusquota|prometheus/node-exporter)/", f"{site}/", line))
    if name == "cyrusquota doctor":
        assert done.status in (0, 1, 2)
        assert done.out
    else:
        assert (done.status, done.err) == (0, "")
    assert followed.called == ("--follow" in line)
    assert served.called == (name == "cyrusquota-mirror")


def test_the_examples_are_in_the_manual() -> None:
    for page in ("cyrusquota-export.8", "cyrusquota-mirror.8", "cyrusquota.1"):
        text = (CHECKOUT / "man" / page).read_text("utf-8")
        plain = text.replace("\\-", "-").replace("\\(aq", "'")
        lines = [one.line for name, one in EXAMPLES if name.split()[0] == page.rpartition(".")[0]]
        assert [line for line in lines if f"\n{line}\n" not in plain] == []


def test_an_option_under_no_heading_would_be_noticed() -> None:
    """Only click's own have none, which are how a command runs."""
    for program in commands.PROGRAMS.values():
        inner = program.commands.values() if isinstance(program, click.Group) else [program]
        for command in inner:
            assert isinstance(command, Command)
            bare = {
                option.name
                for option in command.params
                if isinstance(option, click.Option) and not hasattr(option, "heading")
            }
            assert bare <= {"version"}, command.name
