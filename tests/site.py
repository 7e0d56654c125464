"""A mail host in a directory: what the doctor looks at, healthy at first, for tests to spoil.

Everything is text (flat databases), and the map is written by the export itself; there is no
server. Exim's configuration is the working model in exim/.
"""

from __future__ import annotations

import os
import re
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Optional

from click.testing import CliRunner

from cyrusquota import doctor
from cyrusquota.cli.export import export
from cyrusquota.doctor import Finding, Host
from cyrusquota.mta.exim import Exim

EXIM = Path(__file__).resolve().parents[1] / "exim"
START, END = "# >>> cyrusquota router\n", "# <<< cyrusquota router\n"
#: A cyrus.header up to 3.4 (imap/mailbox.c): the root that counts, then uniqueid, flags and ACL.
HEADER = (
    b"\xa1\x02\x8b\x0dCyrus mailbox header\n"
    b'"The best thing about this system was that it had lots of goals."\n'
    b"\t--Jim Morris on Andrew\n"
    b"%b\t24088d0e5fb9c0de\n\n%b\tlrswipkxtecda\t\n"
)
#: A router that refuses whom the doctor invents.
UNKNOWN = """\
unknown:
  driver = redirect
  local_parts = ^cyrusquota-
  allow_fail
  data = :fail: no such user
"""
FULL = "%(S (999999 1) M (0) AS (0) NF (0))"
GOOD = "%(S (5 100000) M (0) AS (0) NF (0))"


class Site:
    """The files of a host below `directory`, and what the doctor finds there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.conf = directory / "imapd.conf"
        self.quotas = directory / "quotas.db"
        self.mailboxes = directory / "mailboxes.db"
        self.map = directory / "map" / "overquota"
        self.exim_conf = directory / "exim.conf"
        self.exim_log = directory / "log" / "mainlog"
        self.etc = directory / "root" / "etc"
        self.program = directory / "root" / "usr" / "local" / "sbin" / "cyrusquota-export"
        directory.mkdir(exist_ok=True)
        for made in (self.map.parent, self.etc / "cron.d", self.program.parent):
            made.mkdir(parents=True)
            made.chmod(0o755)
        self.spool = directory / "spool"
        self.conf.write_text(
            f"configdirectory: {directory}\nquota_db: flat\nmboxlist_db: flat\n"
            f"partition-default: {self.spool}\n"
        )
        self.users = {"jane": FULL, "bob": GOOD, "ann": GOOD}
        self.write_users()
        self.write_map()
        self.program.write_text("#!/bin/sh\n")
        self.program.chmod(0o755)
        self.cron(f"*/5 * * * * root /usr/local/sbin/cyrusquota-export -o {self.map}\n")

    def write_users(self) -> None:
        """Write both databases from `users`: a mailbox, whose header names it, and a root each."""
        rows = sorted(self.users.items())
        self.quotas.write_text("".join(f"user.{name}\t{value}\n" for name, value in rows))
        self.mailboxes.write_text(
            "".join(f"user.{name}\t0 default {name}\tlrswipcda\t\n" for name, _ in rows)
        )
        for name in self.users:
            self.write_header(name, f"user.{name}")

    def write_header(self, name: str, root: str) -> None:
        """Let the header of an INBOX name a quota root, which is empty for none."""
        header = self.spool / "user" / name / "cyrus.header"
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_bytes(HEADER % (root.encode(), name.encode()))

    def set(self, *options: str) -> None:
        """Add options to imapd.conf."""
        self.conf.write_text(self.conf.read_text() + "".join(f"{one}\n" for one in options))

    def write_map(self, *options: str, path: Optional[Path] = None) -> None:
        """Write the map, as the export does."""
        words = ["-C", str(self.conf), "-o", str(path or self.map), *options]
        done = CliRunner().invoke(export, words, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        (path or self.map).chmod(0o644)

    def age(self, seconds: float) -> None:
        """Make the map so old."""
        then = time.time() - seconds
        os.utime(self.map, (then, then))

    def cron(self, text: str, name: str = "cyrusquota") -> None:
        """Write a file into /etc/cron.d."""
        (self.etc / "cron.d" / name).write_text(text)

    def unit(self, name: str, text: str, *, wanted_by: Optional[str] = None) -> None:
        """Put a unit in place, and enable it."""
        directory = self.etc / "systemd" / "system"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
        if wanted_by is not None:
            wants = directory / f"{wanted_by}.wants"
            wants.mkdir(exist_ok=True)
            (wants / name).symlink_to(directory / name)

    def no_schedule(self) -> None:
        """Take the file in /etc/cron.d away."""
        (self.etc / "cron.d" / "cyrusquota").unlink()

    # --- Exim ---

    def write_exim(self, variant: str = ".") -> None:
        """Exim's configuration with the router of one of the directories in exim/."""
        acl = EXIM / variant / "acl.conf"
        text = (EXIM / "exim.conf").read_text()
        before, after = text[: text.index(START)], text[text.index(END) + len(END) :]
        if acl.exists():
            before = before.replace("begin acl\n", f"begin acl\n\n{acl.read_text()}\n")
        if variant == "exemptions":
            verify = "\n  require verify = recipient\n"
            before = before.replace(verify, f"{verify}  require acl = cyrusquota_defer\n")
        text = before + (EXIM / variant / "router.conf").read_text() + after
        macros = f"CYRUSQUOTA_MAP = {self.map}\nhostlist relay_from_hosts = 127.0.0.1\n"
        macros += f"log_file_path = {self.exim_log.parent}/%slog\n"
        self.exim_conf.write_text(macros + text.replace("\ncyrus:\n", f"\n{UNKNOWN}\ncyrus:\n"))
        self.exim_conf.chmod(0o644)
        self.exim_log.parent.mkdir(exist_ok=True)
        # For the Exim user.
        self.exim_log.parent.chmod(0o777)
        self.start_exim(in_seconds=3600)

    def start_exim(self, in_seconds: float) -> None:
        """Have the log say that a daemon has started, relative to now."""
        then = datetime.now(timezone.utc) + timedelta(seconds=in_seconds)
        line = "exim 4.96 daemon started: pid=4711, -q30m, listening for SMTP on port 25"
        self.exim_log.write_text(f"{then:%Y-%m-%d %H:%M:%S} +0000 {line}\n")

    def edit_exim(self, pattern: str, by: str = "") -> None:
        """Replace all that matches in Exim's configuration, which must be something."""
        text, count = re.subn(pattern, by, self.exim_conf.read_text(), flags=re.MULTILINE)
        assert count, pattern
        self.exim_conf.write_text(text)

    # --- what is found ---

    def host(self, exim: Optional[str] = None) -> Host:
        """The host that this is, with the Exim at the path `exim`."""
        mta = None if exim is None else Exim(exim, str(self.exim_conf))
        path = str(self.map) if exim is None else None
        return Host(str(self.conf), path, mta, root=self.etc.parent)

    def findings(self, host: Optional[Host] = None) -> dict[str, Finding]:
        """The findings by their kind, the last one of each."""
        return {one.kind.id: one for one in doctor.examine(host or self.host())}


def fake_systemctl(directory: Path, failed: str) -> str:
    """A systemctl for whom one unit has failed."""
    path = directory / "systemctl"
    path.write_text(f'#!/bin/sh\n[ "$*" = "is-failed --quiet {failed}" ]\n')
    path.chmod(0o755)
    return str(path)
