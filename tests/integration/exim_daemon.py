"""A private Exim daemon around one of the routers in exim/, which runs as the Exim user."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Mapping, Optional

import attrs

from . import exim, processes, smtp

#: From here a client may relay; it is the loopback too.
RELAY_CLIENT = "127.0.0.3"
SECRET = "AGphbmUAc2VjcmV0"  # AUTH PLAIN: jane, "secret"

_CONF = """\
{macros}
primary_hostname = mail.example.net
qualify_domain = example.net
domainlist local_domains = example.net : example.com
hostlist relay_from_hosts = {relay_client}
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
log_selector = -host_lookup_failed
pid_file_path = {directory}/pid
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
smtp_banner = $primary_hostname ESMTP
smtp_accept_max = 100
smtp_accept_max_per_connection = 0
recipients_max = 0
rfc1413_query_timeout = 0s
.ifdef _OPT_MAIN_TLS_ADVERTISE_HOSTS
tls_advertise_hosts =
.endif
.ifdef _OPT_MAIN_KEEP_ENVIRONMENT
keep_environment =
.endif
acl_smtp_rcpt = acl_check_rcpt
{delivery}

begin acl

{acls}

acl_check_rcpt:
  require message = relay not permitted
          domains = +local_domains
  accept  local_parts = postmaster
  require verify = sender
  require verify = recipient
  {conditions}
  accept

begin routers

elsewhere:
  driver = redirect
  domains = ! +local_domains
  data = :blackhole:

aliases:
  driver = redirect
  data = ${{lookup{{${{lc:$local_part}}}}lsearch{{{directory}/aliases}}}}

{router}

cyrus:
  driver = accept
  domains = +local_domains
  local_parts = ! nobody
  local_part_suffix = +*
  local_part_suffix_optional
  transport = cyrus_lmtp

begin transports

cyrus_lmtp:
  driver = smtp
  protocol = lmtp
  hosts = {lmtp_host}
  port = {lmtp_port}
  hosts_override
  allow_localhost
  rcpt_include_affixes

{transport}

begin retry

* * F,2h,15m

begin authenticators

plain:
  driver = plaintext
  public_name = PLAIN
  server_condition = yes
  server_set_id = $auth2
"""


@attrs.frozen
class Variant:
    """Files of exim/ that belong together: a router, and what it needs elsewhere."""

    router: Path
    #: Goes into the ACL section.
    acl: Optional[Path] = None
    #: Goes into the ACL for RCPT, behind the verification.
    condition: str = ""
    #: Goes into the transports section.
    transport: Optional[Path] = None


VARIANTS = {
    "lsearch": Variant(exim.ROUTER),
    "address": Variant(exim.DIRECTORY / "address/router.conf"),
    "cdb": Variant(exim.DIRECTORY / "cdb/router.conf", acl=exim.DIRECTORY / "cdb/acl.conf"),
    "headroom": Variant(exim.DIRECTORY / "headroom/router.conf"),
    "refuse": Variant(exim.DIRECTORY / "refuse/router.conf"),
    "headroom-refuse": Variant(exim.DIRECTORY / "headroom-refuse/router.conf"),
    "exemptions": Variant(
        exim.DIRECTORY / "exemptions/router.conf",
        acl=exim.DIRECTORY / "exemptions/acl.conf",
        condition="require acl = cyrusquota_defer",
    ),
}


class Daemon:
    """An Exim that serves SMTP on `port` while it is entered.

    `overquota` is its map. Messages wait in the queue unless `lmtp_port` says where to deliver, at
    `lmtp_host`.
    """

    def __init__(
        self,
        overquota: Path,
        variant: Variant = VARIANTS["lsearch"],
        *,
        macros: Optional[Mapping[str, str]] = None,
        aliases: Optional[Mapping[str, str]] = None,
        lmtp_port: Optional[int] = None,
        lmtp_host: str = smtp.HOST,
    ) -> None:
        self.overquota = overquota
        self.directory = Path(tempfile.mkdtemp(prefix="cq", dir="/tmp"))
        self.conf = self.directory / "exim.conf"
        (self.port,) = smtp.free_ports(1)
        self._process: Optional[subprocess.Popen[bytes]] = None
        lines = [f"{key}: {value}\n" for key, value in (aliases or {}).items()]
        (self.directory / "aliases").write_text("".join(lines))
        all_macros = {"CYRUSQUOTA_MAP": str(overquota), **(macros or {})}
        self.conf.write_text(
            _CONF.format(
                macros="\n".join(f"{name} = {value}" for name, value in all_macros.items()),
                directory=self.directory,
                port=self.port,
                relay_client=RELAY_CLIENT,
                delivery="queue_only" if lmtp_port is None else "",
                acls=_include(variant.acl),
                conditions=variant.condition,
                router=_include(variant.router),
                transport=_include(variant.transport),
                lmtp_port=lmtp_port or 1,
                lmtp_host=lmtp_host,
            )
        )
        for name in ("spool", "log"):
            (self.directory / name).mkdir()
        user = exim.user()
        for path in (self.directory, *self.directory.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
            if path != self.conf:
                shutil.chown(path, user)

    def __enter__(self) -> Daemon:
        command = [str(exim.program()), "-C", str(self.conf), "-bdf"]
        with (self.directory / "stderr").open("wb") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._end()
            raise
        return self

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + smtp.PATIENCE
        # If the port is taken, Exim waits for it, and another server may answer there.
        while "daemon started" not in self.log() or not smtp.greets(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self.directory / "stderr").read_text() + self.log("panic")
                raise RuntimeError(f"Exim did not start: {said or self.log()}")
            time.sleep(0.02)

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            processes.end(process)
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        """The daemon; its processes are in its session."""
        assert self._process is not None
        return self._process.pid

    def hang_up(self) -> None:
        """Send SIGHUP, upon which the daemon starts again."""
        os.kill(self.pid, signal.SIGHUP)

    def reload(self) -> None:
        """Have the daemon read its configuration again."""
        starts = self.log().count("daemon started")
        self.hang_up()
        self.wait_for_start(starts + 1)

    def wait_for_start(self, count: int) -> None:
        """Wait until the daemon has started so often, and answers."""
        deadline = time.monotonic() + smtp.PATIENCE
        while self.log().count("daemon started") < count:
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)
        self._wait_until_ready()

    def uid(self) -> int:
        """The user that the daemon runs as."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        match = re.search(r"^Uid:\s+[0-9]+\s+([0-9]+)", status, re.MULTILINE)
        assert match is not None
        return int(match[1])

    def log(self, kind: str = "main") -> str:
        path = self.directory / "log" / f"{kind}log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for_log(self, text: str) -> str:
        """The first line of the main log with `text` in it, as soon as there is one."""
        deadline = time.monotonic() + smtp.PATIENCE
        while time.monotonic() < deadline:
            for line in self.log().splitlines():
                if text in line:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"{text!r} is not in the log: {self.log()}")

    def run(self, *arguments: str) -> str:
        """The standard output of an Exim command under this configuration."""
        return exim.run(*arguments, conf=self.conf).stdout.decode()


def _include(path: Optional[Path]) -> str:
    return "" if path is None else f".include {path}"
