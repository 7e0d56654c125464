"""A private Postfix: its own configuration, queue and port, gone after the test.

Debian's packages of Postfix and Exim exclude one another, so Postfix is not installed here but
unpacked (`.ci/unpack-postfix`), and told where everything is. It needs root, and two accounts that
nobody else uses; those that every Debian has for news and UUCP will do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Optional

from . import processes, smtp

UNPACKED = Path(__file__).resolve().parents[2] / "build" / "postfix"
LIBRARIES = UNPACKED / "usr/lib/postfix"
OWNER, GROUP = "news", "uucp"

_PRIVATE = ("active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming")
_QUEUE = (*_PRIVATE, "private", "saved", "trace")

_MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
meta_directory = {directory}/meta
daemon_directory = {libraries}/sbin
command_directory = {unpacked}/usr/sbin
shlib_directory = {libraries}
import_environment = LD_LIBRARY_PATH MAIL_CONFIG MAIL_LOGTAG POSTLOG_SERVICE POSTLOG_HOSTNAME
mail_owner = {owner}
setgid_group = {group}
maillog_file = {directory}/log
maillog_file_prefixes = {directory}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.net
mydestination = example.net
mynetworks =
alias_maps =
local_recipient_maps = inline:{{ jane=x, bob=x, postmaster=x }}
virtual_mailbox_domains = example.com
virtual_mailbox_maps = static:all
virtual_transport = discard:
local_transport = discard:
swap_bangpath = no
allow_percent_hack = no
allow_untrusted_routing = yes
recipient_delimiter = +
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
smtpd_soft_error_limit = 10000
smtpd_hard_error_limit = 10000
{restrictions}
"""

_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
discard unix - - n - - discard
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
postlog unix-dgram n - n - 1 postlogd
"""


def missing() -> Optional[str]:
    """What keeps Postfix from running here and what to do about it, or None."""
    if not (LIBRARIES / "sbin" / "master").exists():
        return "no Postfix here: .ci/unpack-postfix (it cannot be installed beside Exim)"
    if os.geteuid() != 0:
        return "Postfix starts as root only: run the integration tests as root"
    return None


class Postfix:
    """A Postfix that serves SMTP on `port` while it is entered.

    `restrictions` is what smtpd_recipient_restrictions has before reject_unauth_destination.
    """

    def __init__(self, restrictions: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="cq", dir="/tmp"))
        self._conf = self.directory / "conf"
        (self.port,) = smtp.free_ports(1)
        self._master: Optional[subprocess.Popen[bytes]] = None
        for name in ("conf", "data", "meta", "queue"):
            (self.directory / name).mkdir()
        self._write_conf(restrictions)
        self._make_queue()

    def _write_conf(self, restrictions: str) -> None:
        main = _MAIN.format(
            directory=self.directory,
            unpacked=UNPACKED,
            libraries=LIBRARIES,
            owner=OWNER,
            group=GROUP,
            restrictions=f"smtpd_recipient_restrictions = {restrictions}",
        )
        (self._conf / "main.cf").write_text(main)
        # Postfix reads no main.cf that was changed within the last seconds.
        os.utime(self._conf / "main.cf", (0, 0))
        (self._conf / "master.cf").write_text(_MASTER.format(port=self.port))
        cdb = "cdb postfix-cdb.so dict_cdb_open mkmap_cdb_open\n"
        (self.directory / "meta" / "dynamicmaps.cf").write_text(cdb)

    def _make_queue(self) -> None:
        self.directory.chmod(0o755)
        shutil.chown(self.directory / "data", OWNER)
        queue = self.directory / "queue"
        (queue / "pid").mkdir()
        for name in _QUEUE:
            (queue / name).mkdir(mode=0o700)
            shutil.chown(queue / name, OWNER)
        for name, mode in (("public", 0o2710), ("maildrop", 0o1730)):
            (queue / name).mkdir()
            shutil.chown(queue / name, OWNER, GROUP)
            (queue / name).chmod(mode)

    def __enter__(self) -> Postfix:
        self._master = subprocess.Popen(
            [str(LIBRARIES / "sbin" / "master"), "-c", str(self._conf), "-d"],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self._end()
            raise
        return self

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{UNPACKED}/usr/sbin:{os.environ.get('PATH', '/usr/bin:/bin')}",
            "LD_LIBRARY_PATH": str(LIBRARIES),
            "MAIL_CONFIG": str(self._conf),
        }

    def _wait_until_ready(self) -> None:
        assert self._master is not None
        deadline = time.monotonic() + smtp.PATIENCE
        while not smtp.greets(self.port):
            if self._master.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Postfix did not start: {self.log() or 'see syslog'}")
            time.sleep(0.02)

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._end()

    def _end(self) -> None:
        master, self._master = self._master, None
        if master is not None:
            processes.end(master)
        shutil.rmtree(self.directory, ignore_errors=True)

    def log(self) -> str:
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def postmap(self, *arguments: str) -> None:
        """Run postmap under this configuration; it must be content."""
        self.run(str(UNPACKED / "usr/sbin/postmap"), *arguments)

    def run(self, *command: str) -> None:
        """Run a command with Postfix's own in the path; it must be content."""
        done = subprocess.run(
            command,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=smtp.PATIENCE,
        )
        assert (done.returncode, done.stderr) == (0, b""), done
