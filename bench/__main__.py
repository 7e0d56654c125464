"""Time cyrusquota-export beside other ways to find out who is over quota; see `make bench`."""

from __future__ import annotations

import argparse
import compileall
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Sequence

import attrs

import cyrusquota
from bench import data, imap, timing
from bench.timing import Command, Run, medians

_PARTS = (
    *("twoskip", "commands", "mailboxes", "deletions", "quotalegacy", "growth", "explain"),
    *("notify", "imap"),
)
_EXPORT = (sys.executable, "-m", "cyrusquota.cli.export")


class _Bench:
    def __init__(self, asked: argparse.Namespace, directory: Path) -> None:
        self.asked = asked
        self.directory = directory
        self.map = directory / "map"
        self.with_mailboxes: set[data.Site] = set()
        # All sites share one map, so it changes completely each time.
        self.output = ("-o", str(self.map), "--max-change", "off")

    def export(
        self, *words: str, name: str = "cyrusquota-export", one_core: bool = False
    ) -> Command:
        return Command(name, [*_EXPORT, *words, *self.output], one_core=one_core)

    def site(self, backend: str, count: int) -> data.Site:
        directory = self.directory / f"{backend}{count}"
        if directory.exists():
            return data.Site(directory, backend)
        made = data.made(directory, backend, count, self.asked.over)
        self.agree(made, count)
        return made

    def agree(self, site: data.Site, count: int) -> None:
        """Raise unless cyrusquota-export and `quota` list exactly the users who are over."""
        whole = {root.name for root in data.roots(count, self.asked.over) if root.is_over}
        want = {name.partition("!")[2] if site.backend == "quotalegacy" else name for name in whole}
        subprocess.run([*_EXPORT, "--db", str(site.path), *self.output], check=True)
        ours = {_root_of(line) for line in self.map.read_text().splitlines() if line[0] != "#"}
        if site.backend == "twom":
            # The installed Cyrus may be too old for it.
            self._must_be(site, ours, want)
            return
        with subprocess.Popen(site.quota(), stdout=subprocess.PIPE, text=True) as quota:
            lines = quota.stdout or ()
            theirs = {_internal(line.split()[-1]) for line in lines if _is_over(line)}
        if quota.returncode:
            raise RuntimeError(f"{site.backend}: quota failed with status {quota.returncode}")
        self._must_be(site, theirs, want)
        self._must_be(site, ours, want)

    @staticmethod
    def _must_be(site: data.Site, listed: set[str], want: set[str]) -> None:
        if listed != want:
            raise RuntimeError(f"{site.backend}: {len(want)} roots are over, not those listed")

    def show(self, title: str, commands: Sequence[Command], count: int) -> None:
        """Print a table of medians, and of ratios to the first command."""
        print(f"\n### {title}\n", flush=True)
        print("| whole process | seconds | ratio | CPU seconds | ratio | peak MB | µs a root |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        found = medians(commands, self.asked.runs)
        for command, run in zip(commands, found):
            print(_row(command.name, run, found[0], count), flush=True)

    def twoskip(self) -> None:
        count = self.asked.roots
        site = self.site("twoskip", count)
        db = ("--db", str(site.path))
        show, quota = site.tool("show"), site.quota()
        self.show(
            f"twoskip, {count} roots",
            [
                self.export(*db),
                Command("cyr_dbtool show", show),
                Command("quota", quota),
            ],
            count,
        )
        self.show(
            f"twoskip, {count} roots, on one core",
            [self.export(*db, one_core=True), Command("cyr_dbtool show", show, one_core=True)],
            count,
        )
        dump, report = self.directory / "dump", self.directory / "report"
        for path, words in ((dump, show), (report, quota)):
            with path.open("wb") as stream:
                subprocess.run(words, stdout=stream, check=True)
        sites = [self.site(backend, count) for backend in ("skiplist", "twom", "flat")]
        self.show(
            f"other sources of the same {count} roots",
            [
                self.export(*db, name="twoskip"),
                self.export("--dump", str(dump), name="dump by cyr_dbtool"),
                self.export("--quota-output", str(report), name="report by quota"),
                self.export("--quota-output", str(report), name="report, one core", one_core=True),
                *(self.export("--db", str(one.path), name=one.backend) for one in sites),
            ],
            count,
        )

    def deletions(self) -> None:
        """Delete a hundredth, a fifth and then half of all roots, at random."""
        count = self.asked.roots
        whole = self.site("twoskip", count)
        path = self.directory / "twoskip-deletions"
        rows = [root.name for root in data.roots(count, self.asked.over)]
        random.Random(1).shuffle(rows)
        commands = [self.export("--db", str(whole.path), name="no deletions")]
        for share in (100, 5, 2):
            site = data.made(
                path.with_name(f"{path.name}{share}"), "twoskip", count, self.asked.over
            )
            gone = count // share
            data.delete(site, rows[:gone])
            name = f"{gone} deletions"
            commands.append(self.export("--db", str(site.path), name=name))
            commands.append(Command(f"cyr_dbtool show, {name}", site.tool("show")))
        self.show(f"twoskip, {count} roots, and deletions in the log", commands, count)

    def commands(self) -> None:
        """Time every command that reads all roots, and the library, beside cyr_dbtool."""
        count = self.asked.roots
        for backend in ("twoskip", "skiplist", "twom"):
            site = self.site(backend, count)
            # The installed Cyrus may be too old for twom: the same roots in twoskip then.
            twoskip = data.Site(self.directory / f"twoskip{count}", "twoskip")
            shown = twoskip if backend == "twom" else site
            show = shown.tool("show")
            db = ("--db", str(site.path))
            self.show(
                f"{backend}, {count} roots, every command",
                [
                    Command("cyr_dbtool show", show),
                    Command("quota", shown.quota()),
                    self.export(*db),
                    _command("check", "--no-map", *db),
                    _command("metrics", *db),
                    _command("report", *db),
                    _command("report", *db, "--html", "-"),
                    _command("list", *db, "--format", "csv"),
                    _command("list", *db, "--format", "jsonl"),
                    _command("list", *db, "--format", "csv", "--over"),
                    _command("list", *db, "--format", "csv", "--near", "90%"),
                    _command("list", *db, "--format", "csv", f"name{count // 2:07}"),
                ],
                count,
            )
            reading = [sys.executable, "-m", "bench.read", str(site.path)]
            self.show(
                f"{backend}, {count} roots, on one core",
                [
                    Command("cyr_dbtool show", show, one_core=True),
                    Command("cyrusquota.read(), all figures added up", reading, one_core=True),
                    self.export(*db, one_core=True),
                ],
                count,
            )

    def mailboxes(self) -> None:
        """Time the commands with a mailboxes.db, and the headers of those who are over."""
        count = self.asked.roots
        twoskip = self.site("twoskip", count)
        for backend in ("twoskip", "skiplist", "twom"):
            site = self.site(backend, count)
            self.add_mailboxes(site)
            for number, root in enumerate(data.roots(count, self.asked.over)):
                if root.is_over:
                    data.add_header(site, number)
            conf = ("-C", str(site.conf))
            shown = twoskip if backend == "twom" else site
            self.show(
                f"{backend}, {count} roots, with as many mailboxes and the headers that count",
                [
                    Command("cyr_dbtool show", shown.tool("show")),
                    self.export(*conf),
                    _command("check", "--no-map", *conf),
                    _command("metrics", *conf),
                    _command("report", *conf),
                    _command("list", *conf, "--format", "csv"),
                    _command("list", *conf, "--format", "csv", "--over"),
                ],
                count,
            )

    def add_mailboxes(self, site: data.Site) -> None:
        """Give a site as many mailboxes as roots, and see that they count, unless it has them."""
        count = self.asked.roots
        if site in self.with_mailboxes:
            return
        data.add_mailboxes(site, count)
        self.with_mailboxes.add(site)
        check = _command("check", "--no-map", "-C", str(site.conf)).words
        # It warns, as the headers are not there yet.
        said = subprocess.run(check, capture_output=True, text=True, check=False).stdout
        if f" of {count} users over quota" not in said:
            raise RuntimeError(f"{site.backend}: {count} users have mailboxes, but: {said}")

    def quotalegacy(self) -> None:
        count = self.asked.files
        site = self.site("quotalegacy", count)
        bare = (sys.executable, "-m", "bench.bare")
        start = [*_EXPORT, "--version"]
        self.show(
            f"quotalegacy, {count} roots, in the cache",
            [
                Command("open, read, close", [*bare, str(site.path / "quota")]),
                self.export("--db", str(site.path)),
                Command("cyrusquota-export --version", start),
                Command("quota", site.quota()),
            ],
            count,
        )
        if not self.asked.disk:
            return
        if not os.access(timing.DROP_CACHES, os.W_OK):
            print(f"\nNot measured with a cold cache: {timing.DROP_CACHES} cannot be written")
            return
        with tempfile.TemporaryDirectory(dir=self.asked.disk) as disk:
            # Copied, as Cyrus would sync each file.
            subprocess.run(["cp", "-a", str(site.path / "quota"), disk], check=True)
            kind = ["findmnt", "-no", "FSTYPE", "-T", disk]
            on = subprocess.run(kind, capture_output=True, text=True, check=True).stdout.strip()
            export = self.export("--db", disk)
            words = [*bare, f"{disk}/quota"]
            self.show(
                f"quotalegacy, {count} roots, on {on} with a cold cache"
                f" (sync; echo 3 >{timing.DROP_CACHES}), but the programs in it",
                [
                    Command("open, read, close", words, is_cold=True, warm=start),
                    attrs.evolve(export, is_cold=True, warm=start),
                ],
                count,
            )

    def growth(self) -> None:
        print("\n### Growth with the number of roots (twoskip)\n")
        print("| roots | seconds | CPU seconds | times the row above | peak MB |")
        print("| ---: | ---: | ---: | ---: | ---: |")
        before, count = 0.0, 1000
        while count <= self.asked.roots:
            site = self.site("twoskip", count)
            (run,) = medians([self.export("--db", str(site.path))], self.asked.runs)
            ratio = f"{run.cpu / before:.1f}" if before else ""
            print(f"| {count} | {run.wall:.2f} | {run.cpu:.2f} | {ratio} | {run.peak:.0f} |")
            before, count = run.cpu, 10 * count
        small = data.Site(self.directory / "twoskip1000", "twoskip")
        nothing = Command("python3 -c pass", [sys.executable, "-c", "pass"])
        self.show("A small site: 1000 roots", [nothing, self.export("--db", str(small.path))], 1000)

    def explain(self) -> None:
        """Time one user of many; the headers of the others are not there, as nobody reads them."""
        count = self.asked.roots
        for backend in ("twoskip", "skiplist", "twom"):
            site = self.site(backend, count)
            self.add_mailboxes(site)
            root, address = data.add_header(site, count // 3)
            nobody = f"nobody@{address.partition('@')[2]}"
            explain = (sys.executable, "-m", "cyrusquota.cli", "explain", "--no-exim")
            conf = ("-C", str(site.conf))
            commands = [
                Command("python3 -c pass", [sys.executable, "-c", "pass"]),
                Command("explain ADDRESS --no-exim", [*explain, *conf, address]),
            ]
            if backend != "twom":
                # The installed Cyrus may be too old for it.
                external = f"{root.partition('!')[2]}@{root.partition('!')[0]}"
                commands += [
                    Command("cyr_dbtool get", site.tool("get", root)),
                    Command("quota USER", site.quota(external)),
                ]
            title = f"One user of {count} roots and {count} mailboxes, {backend}"
            self.show(title, commands, count)
            self.unknown(f"{backend}: a user who does not exist", [*explain, *conf, nobody])

    def notify(self) -> None:
        """Time the letters to most users of a site, beside the export that lists the same users."""
        count = min(self.asked.roots, 100_000)
        site = data.made(self.directory / "notify", "twoskip", count, self.asked.over)
        data.add_mailboxes(site, count)
        source = ("-C", str(site.conf), "--headers", "trust-rows")
        # A threshold counts again 5 points below it, so that many more users are looked at.
        trial = ("--dry-run", "--at", "10%", "--max-letters", str(count))
        (self.directory / "10.txt").write_text("Subject: $percent\n\n$used of $limit\n")
        files = ("--templates", str(self.directory), "--state", str(self.directory / "state"))
        self.show(
            f"letters to most of {count} users",
            [
                self.export(*source, "--reserve", "95%", name="cyrusquota-export --reserve 95%"),
                Command(
                    "cyrusquota notify --dry-run --at 10%",
                    [sys.executable, "-m", "cyrusquota.cli", "notify", *source, *trial, *files],
                ),
            ],
            count,
        )

    def unknown(self, title: str, words: Sequence[str]) -> None:
        """Print what it takes to look for similar names, which ends with status 67."""
        found = [timing.run(Command(title, words, status=67)) for _ in range(self.asked.runs)]
        wall = statistics.median(run.wall for run in found)
        print(f"\n{title}: {wall:.2f} seconds to suggest similar names")

    def imap(self) -> None:
        users = self.asked.users
        each = imap.seconds_per_user(users)
        print(f"\n### IMAP, one GETQUOTAROOT after another, {users} users on loopback\n")
        print(f"{each * 1e6:.0f} µs a user; EXTRAPOLATED to {self.asked.roots} users:", end=" ")
        print(f"{each * self.asked.roots:.0f} seconds")


def _command(name: str, *words: str) -> Command:
    shown = " ".join(word for word in words if not word.startswith(("--db", "-C", "/")))
    return Command(
        f"cyrusquota {name} {shown}".strip(), [sys.executable, "-m", "cyrusquota.cli", name, *words]
    )


def _row(name: str, run: Run, first: Run, count: int) -> str:
    return (
        f"| {name} | {run.wall:.3f} | {run.wall / first.wall:.2f} | {run.cpu:.3f} |"
        f" {run.cpu / first.cpu:.2f} | {run.peak:.0f} | {run.wall / count * 1e6:.2f} |"
    )


def _root_of(line: str) -> str:
    key = line.partition(":")[0]
    local, _, domain = key.partition("@")
    return f"{domain}!user.{local}" if domain else f"user.{local}"


def _internal(printed: str) -> str:
    name, _, domain = printed.partition("@")
    return f"{domain}!{name}" if domain else name


def _is_over(line: str) -> bool:
    words = line.split()
    return len(words) == 5 and words[3] == "STORAGE" and int(words[2]) > int(words[0])


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--roots", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=200_000, help="roots of the quotalegacy tree")
    parser.add_argument("--users", type=int, default=2000, help="users asked for over IMAP")
    parser.add_argument("--over", type=float, default=0.02, help="share of roots over quota")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--directory", default="/dev/shm", help="where the data is made")
    parser.add_argument(
        "--disk", default="/var/tmp", help="what to read with a cold cache; empty for nothing"
    )
    parser.add_argument("--only", choices=_PARTS, action="append")
    asked = parser.parse_args()
    # As in every installation, also where PYTHONDONTWRITEBYTECODE is set.
    compileall.compile_dir(os.path.dirname(cyrusquota.__file__), quiet=1)
    directory = Path(tempfile.mkdtemp(prefix="cyrusquota-bench", dir=asked.directory))
    directory.chmod(0o755)
    try:
        bench = _Bench(asked, directory)
        for part in asked.only or _PARTS:
            getattr(bench, part)()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
