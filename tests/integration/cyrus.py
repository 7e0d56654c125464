"""A private Cyrus IMAP server: its own configuration, directories and ports, gone after the test.

Needs root: Cyrus's programs start as root and become the user cyrus. The passwords do not matter
(`alwaystrue`), because nothing but this machine reaches the server.
"""

from __future__ import annotations

import contextlib
import imaplib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Iterable, Iterator, Mapping, Optional

from . import processes
from .smtp import Reply, free_ports, greets, read_reply

PROGRAMS = Path("/usr/lib/cyrus/bin")
HOST = "127.0.0.1"
ADMIN = "cyrus"
#: A second lmtpd, with lmtp_strict_quota on; the option of that name counts for it alone.
STRICT = "lmtpstrict"
DOMAIN = "example.net"
#: Seconds that a server may take to start, to answer or to stop before the test fails.
PATIENCE = 30

_DIRECTORIES = ("lib/db", "lib/socket", "spool", "lock", "proc")


def missing() -> Optional[str]:
    """What keeps Cyrus from running here and what to do about it, or None."""
    if not (PROGRAMS / "master").exists():
        return "no Cyrus IMAP here: apt-get install cyrus-imapd"
    if os.geteuid() != 0:
        return "Cyrus's programs start as root only: run the integration tests as root"
    return None


class Cyrus:
    """A Cyrus server; with `start` it serves IMAP and LMTP, without it only its tools work.

    `options` go into its imapd.conf, over the defaults here. The lmtpd that delivers is the
    service `service`; with `service_options` it has an imapd.conf of its own, `lmtpd.conf`, which
    differs from the other by these.
    """

    def __init__(
        self,
        options: Optional[Mapping[str, str]] = None,
        *,
        service: str = "lmtp",
        service_options: Optional[Mapping[str, str]] = None,
        host: str = HOST,
    ) -> None:
        # Short, because the paths of Unix sockets are; and open to the user cyrus.
        self.directory = Path(tempfile.mkdtemp(prefix="cq", dir="/tmp"))
        self.host = host
        self.conf = self.directory / "imapd.conf"
        self.lib = self.directory / "lib"
        self.options = {**self._defaults(), **(options or {})}
        self._service, self._service_options = service, service_options
        self._master: Optional[subprocess.Popen[bytes]] = None
        self._imap_port, self._lmtp_port, self._strict_port, self._smmap_port = free_ports(4)
        self._write_files()

    def __enter__(self) -> Cyrus:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()

    def _defaults(self) -> dict[str, str]:
        base = self.directory
        return {
            "configdirectory": str(self.lib),
            "defaultpartition": "default",
            "partition-default": str(base / "spool"),
            "proc_path": str(base / "proc"),
            "mboxname_lockpath": str(base / "lock"),
            "admins": ADMIN,
            "allowplaintext": "yes",
            "sasl_mech_list": "PLAIN",
            "sasl_pwcheck_method": "alwaystrue",
            "duplicatesuppression": "no",
            "unixhierarchysep": "no",
            "altnamespace": "no",
            f"{STRICT}_lmtp_strict_quota": "yes",
        }

    def _write_files(self) -> None:
        for name in _DIRECTORIES:
            (self.directory / name).mkdir(parents=True)
        self.configure({})
        self.all_services.write_text(self._services((self._service, STRICT)))
        self.cyrus_conf.write_text(self._services((self._service,)))
        for path in (self.directory, *self.directory.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
            shutil.chown(path, "cyrus", "mail")

    def configure(self, options: Mapping[str, str]) -> None:
        """Set options in imapd.conf; the values may need the paths that are known only now."""
        self.options.update(options)
        self.conf.write_text(_option_lines(self.options))
        if self._service_options is not None:
            own = {**self.options, **self._service_options}
            self._service_conf.write_text(_option_lines(own))

    @property
    def _service_conf(self) -> Path:
        has_own = self._service_options is not None
        return self.directory / "lmtpd.conf" if has_own else self.conf

    @property
    def cyrus_conf(self) -> Path:
        """Beside imapd.conf, and without the second lmtpd, which is the tests' own affair."""
        return self.directory / "cyrus.conf"

    @property
    def all_services(self) -> Path:
        """The cyrus.conf that the master goes by."""
        return self.directory / "master.conf"

    def _services(self, lmtpds: Iterable[str]) -> str:
        """A cyrus.conf. The master does not hand on its own -C, so each command has one."""
        services = "".join(
            f' {name} cmd="{PROGRAMS}/{program} -C {conf}" '
            f'listen="{self.host}:{port}" proto="tcp4"\n'
            for name, program, port, conf in (
                ("imap", "imapd", self._imap_port, self.conf),
                (self._service, "lmtpd -a", self._lmtp_port, self._service_conf),
                (STRICT, "lmtpd -a", self._strict_port, self.conf),
                ("smmap", "smmapd", self._smmap_port, self.conf),
            )
            if program != "lmtpd -a" or name in lmtpds
        )
        if STRICT in lmtpds:
            socket_path = self.lib / "socket" / "lmtp"
            services += f' lmtpunix cmd="{PROGRAMS}/lmtpd -C {self.conf}" listen="{socket_path}"\n'
        recover = f'START {{\n recover cmd="{PROGRAMS}/ctl_cyrusdb -C {self.conf} -r"\n}}\n'
        return f"{recover}SERVICES {{\n{services}}}\n"

    def add_service(self, line: str) -> None:
        """Add a line for SERVICES in cyrus.conf, as the documents have it, before the start."""
        with_conf = re.sub(r'cmd="(\S+?)(?=[ "])', rf'cmd="{PROGRAMS}/\1 -C {self.conf}', line)
        assert with_conf != line
        for path in (self.cyrus_conf, self.all_services):
            services = path.read_text()
            path.write_text(services.replace("SERVICES {\n", f"SERVICES {{\n{with_conf}\n"))

    def start(self) -> None:
        """Start the server and wait until it answers."""
        # A session of its own: the master signals its whole process group when it ends.
        self._master = subprocess.Popen(
            self._command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _command(self) -> list[str]:
        command = [str(PROGRAMS / "master"), "-D", "-C", str(self.conf)]
        command += ["-M", str(self.all_services)]
        return [*command, "-p", f"{self.directory}/master.pid", "-L", f"{self.directory}/log"]

    def _greeting_ports(self) -> tuple[int, ...]:
        return self._imap_port, self._lmtp_port, self._strict_port

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        for port in self._greeting_ports():
            while not greets(port, self.host):
                assert self._master is not None
                if self._master.poll() is not None or time.monotonic() > deadline:
                    log = (self.directory / "log").read_text(errors="replace")
                    raise RuntimeError(f"Cyrus did not start: {log or 'see syslog'}")
                time.sleep(0.02)

    def halt(self) -> None:
        """End the server and wait for it; it can be started again."""
        master, self._master = self._master, None
        if master is not None:
            processes.end(master, signal.SIGQUIT)

    @property
    def pid(self) -> int:
        """The master; all processes of the server are in its session and process group."""
        assert self._master is not None
        return self._master.pid

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all processes of the server meanwhile; the kernel still accepts connections."""
        os.killpg(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End the server, wait for it, and remove all that it leaves."""
        self.halt()
        shutil.rmtree(self.directory, ignore_errors=True)

    # --- what an administrator does over IMAP ---

    def mailbox(self, user: str) -> str:
        """The name of a user's INBOX as the administrator writes it."""
        on = self.options["unixhierarchysep"] in ("yes", "on", "1", "true")
        return f"user{'/' if on else '.'}{user}"

    def create_user(self, user: str) -> None:
        self.create(self.mailbox(user))

    def create(self, *mailboxes: str) -> None:
        with self._imap(ADMIN) as imap:
            for mailbox in mailboxes:
                _done(imap.create(_quoted(mailbox)))

    def let_anyone_post(self, mailbox: str) -> None:
        self.set_acl(mailbox, {"anyone": "lrsp"})

    def set_acl(self, mailbox: str, rights: Mapping[str, str]) -> None:
        """Give identifiers these rights; the others keep theirs."""
        with self._imap(ADMIN) as imap:
            for identifier, letters in rights.items():
                _done(imap.setacl(_quoted(mailbox), identifier, letters))

    def create_with_root(self, users: Iterable[str], storage_kib: int) -> list[str]:
        """Those of `users` whom this Cyrus agrees to create and to give a quota root."""
        made = []
        with self._imap(ADMIN) as imap:
            for user in users:
                name = _quoted(self.mailbox(user))
                if imap.create(name)[0] != "OK":
                    continue
                if imap.setquota(name, f"(STORAGE {storage_kib})")[0] == "OK":
                    made.append(user)
        return made

    def set_quota(
        self, root: str, storage_kib: Optional[int] = None, messages: Optional[int] = None
    ) -> None:
        """Limit the quota root `root`, a mailbox name; None is unlimited."""
        assert self.ask_for_quota(root, storage_kib, messages) == "OK"

    def set_limit(self, root: str, resource: str, limit: int) -> None:
        """Limit one resource of the quota root `root`, under the name that SETQUOTA has for it."""
        with self._imap(ADMIN) as imap:
            _done(imap.setquota(_quoted(root), f"({resource} {limit})"))

    def ask_for_quota(
        self, root: str, storage_kib: Optional[int] = None, messages: Optional[int] = None
    ) -> str:
        """What SETQUOTA is answered, OK or NO."""
        limits = {"STORAGE": storage_kib, "MESSAGE": messages}
        given = " ".join(f"{name} {limit}" for name, limit in limits.items() if limit is not None)
        with self._imap(ADMIN) as imap:
            return imap.setquota(_quoted(root), f"({given})")[0]

    def file(self, user: str, folder: str, size: int) -> None:
        """Put a message of `size` bytes into a folder of the INBOX of `user`."""
        with self._imap(user) as imap:
            _done(imap.append(_quoted(f"INBOX.{folder}"), "", "", _message(size)))

    def expunge(self, user: str) -> None:
        """Delete every message in the INBOX of `user`."""
        with self._imap(user) as imap:
            _done(imap.select("INBOX"))
            _done(imap.store("1:*", "+FLAGS.SILENT", r"(\Deleted)"))
            _done(imap.expunge())

    def copy(self, user: str, message: int, times: int) -> None:
        """Copy a message within the INBOX of `user`."""
        with self._imap(user) as imap:
            _done(imap.select("INBOX"))
            for _ in range(times):
                _done(imap.copy(str(message), "INBOX"))

    def sizes(self, user: str) -> list[int]:
        """The size of each message in the INBOX of `user`."""
        with self._imap(user) as imap:
            _done(imap.select("INBOX"))
            _, answers = imap.fetch("1:*", "(RFC822.SIZE)")
            lines = b"".join(line for line in answers if isinstance(line, bytes))
            return [int(size) for size in re.findall(rb"RFC822\.SIZE (\d+)", lines)]

    def messages(self, user: str) -> list[bytes]:
        """The messages in the INBOX of `user`, oldest first."""
        with self._imap(user) as imap:
            _done(imap.select("INBOX", readonly=True))
            _, answers = imap.fetch("1:*", "(BODY.PEEK[])")
            return [answer[1] for answer in answers if isinstance(answer, tuple)]

    def flag(self, user: str, message: int, flag: str) -> None:
        with self._imap(user) as imap:
            _done(imap.select("INBOX"))
            _done(imap.store(str(message), "+FLAGS.SILENT", f"({flag})"))

    @contextlib.contextmanager
    def _imap(self, user: str) -> Iterator[imaplib.IMAP4]:
        with imaplib.IMAP4(self.host, self._imap_port, timeout=PATIENCE) as imap:
            imap._encoding = "utf-8"  # type: ignore[attr-defined]
            imap.login(user, "any")
            yield imap

    # --- what an MTA does over LMTP ---

    @property
    def lmtp_port(self) -> int:
        """Where an MTA delivers to."""
        return self._lmtp_port

    @property
    def smmap_port(self) -> int:
        """Where an MTA asks smmapd."""
        return self._smmap_port

    def lmtp_rcpt(self, recipient: str) -> Reply:
        """What lmtpd says to a recipient; nothing is delivered."""
        with self._lmtp() as lmtp:
            return lmtp.rcpt(recipient)

    def lmtp_rcpts(self, recipients: Iterable[str], *, strict: bool = False) -> list[Reply]:
        """What lmtpd, or the one with strict quotas, says to each of several recipients."""
        with self._lmtp(self._strict_port if strict else self._lmtp_port) as lmtp:
            return lmtp.rcpts(recipients)

    def lmtp_rcpt_ignoring_quota(self, recipient: str) -> Reply:
        """What lmtpd says where the MTA asks it to ignore the quota."""
        with self._lmtp() as lmtp:
            return lmtp.rcpts([recipient], parameters=" IGNOREQUOTA")[0]

    def smmap(self, recipients: Iterable[str]) -> list[str]:
        """What smmapd says of each recipient: `OK NAME`, `TEMP Over quota` and the like."""
        with socket.create_connection(
            (self.host, self._smmap_port), timeout=PATIENCE
        ) as connection:
            stream = connection.makefile("rb")
            answers = []
            for recipient in recipients:
                query = f"cyrus {recipient}".encode()
                connection.sendall(b"%d:%b," % (len(query), query))
                answers.append(_netstring(stream).decode())
            stream.close()
            return answers

    def deliver(self, user: str, size: int) -> Reply:
        """Deliver a message of `size` bytes and a few more; the reply to RCPT if it is refused."""
        with self._lmtp() as lmtp:
            reply = lmtp.rcpt(user if "@" in user else f"{user}@{DOMAIN}")
            return lmtp.data(_message(size)) if reply.code == 250 else reply

    def fill(self, user: str, size: int = 3000) -> None:
        """Deliver messages to `user` until lmtpd takes no more."""
        for _ in range(50):
            reply = self.deliver(user, size)
            if reply.code == 452:
                return
            assert reply.code == 250, reply
        raise AssertionError(f"{user} is still not over quota")

    @contextlib.contextmanager
    def _lmtp(self, port: Optional[int] = None) -> Iterator[_Lmtp]:
        where = (self.host, self._lmtp_port if port is None else port)
        with socket.create_connection(where, timeout=PATIENCE) as connection:
            lmtp = _Lmtp(connection)
            try:
                yield lmtp
            finally:
                lmtp.close()

    # --- what an administrator does in a shell ---

    def run(self, program: str, *arguments: str, stdin: bytes = b"") -> bytes:
        """The standard output of one of Cyrus's own programs, under this server's imapd.conf."""
        done = self.attempt(program, *arguments, stdin=stdin)
        assert done.returncode == 0, done
        return done.stdout

    def attempt(
        self, program: str, *arguments: str, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """The outcome of one of Cyrus's own programs, good or bad."""
        command = [str(PROGRAMS / program), "-C", str(self.conf), *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, timeout=PATIENCE)

    def on_terminal(self, program: str, *arguments: str) -> bytes:
        """What a program of Cyrus prints on a terminal, as `ssh -t` brings it home."""
        command = shlex.join([str(PROGRAMS / program), "-C", str(self.conf), *arguments])
        words = ["script", "-qec", command, "/dev/null"]
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done
        return done.stdout

    def store(self, path: Path, backend: str, records: Mapping[bytes, bytes]) -> None:
        """Put records into a database, which is made if there is none."""
        batch = b"".join(
            b"SET {%d+}\r\n%b {%d+}\r\n%b\n" % (len(key), key, len(value), value)
            for key, value in records.items()
        )
        self.run("cyr_dbtool", "-n", str(path), backend, "batch", stdin=batch)

    @property
    def quotas(self) -> Path:
        """The quota database, or for quotalegacy the name that stands for its tree."""
        return self.lib / "quotas.db"

    def set_rows(self, rows: Mapping[str, bytes]) -> None:
        """Put rows into the quota database behind the server's back."""
        records = {root.encode(): value for root, value in rows.items()}
        self.store(self.quotas, self.options["quota_db"], records)

    def delete_rows(self, roots: Iterable[str]) -> None:
        batch = b"".join(
            b"DELETE {%d+}\r\n%b\n" % (len(key), key) for key in map(str.encode, roots)
        )
        words = ("-n", str(self.quotas), self.options["quota_db"], "batch")
        self.run("cyr_dbtool", *words, stdin=batch)

    def row(self, root: str) -> bytes:
        """The value of a row of the quota database."""
        words = ("cyr_dbtool", str(self.quotas), self.options["quota_db"], "get", root)
        return self.run(*words).rstrip(b"\n")

    def header(self, user: str) -> Path:
        """The header of the INBOX of `user`."""
        directory = self.run("mbpath", self.mailbox(user)).decode().rstrip("\n")
        return Path(directory) / "cyrus.header"


class _Lmtp:
    """An LMTP session, as far as the greeting."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        assert read_reply(self._stream).code == 220
        assert self._say("LHLO localhost").code == 250

    def rcpt(self, recipient: str) -> Reply:
        return self.rcpts([recipient])[0]

    def rcpts(self, recipients: Iterable[str], parameters: str = "") -> list[Reply]:
        assert self._say("MAIL FROM:<sender@example.org>").code == 250
        return [self._say(f"RCPT TO:<{recipient}>{parameters}") for recipient in recipients]

    def data(self, message: bytes) -> Reply:
        assert self._say("DATA").code == 354
        self._connection.sendall(message)
        return self._say(".")

    def close(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            self._say("QUIT")
        self._stream.close()

    def _say(self, line: str) -> Reply:
        self._connection.sendall(line.encode("utf-8", "surrogateescape") + b"\r\n")
        return read_reply(self._stream)


def _option_lines(options: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\n" for name, value in options.items())


def _netstring(stream: BinaryIO) -> bytes:
    length = b""
    while not length.endswith(b":"):
        length += stream.read(1) or _gone()
    return stream.read(int(length[:-1]) + 1)[:-1]


def _gone() -> bytes:
    raise EOFError("smmapd has gone")


def _message(size: int) -> bytes:
    head = f"From: sender@example.org\r\nMessage-ID: <{uuid.uuid4()}@example.org>\r\n\r\n".encode()
    line = b"x" * 62 + b"\r\n"
    return head + line * (max(size - len(head), 0) // len(line)) + line


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace("\\", "\\\\").replace('"', '\\"'))


def _done(answer: tuple[str, Any]) -> None:
    assert answer[0] == "OK", answer
