"""Hand letters over: by LMTP to Cyrus, or to a sendmail program.

The return path is empty, so that nothing is answered. By LMTP, Cyrus is asked to ignore the quota
where it offers that (IGNOREQUOTA, a parameter of RCPT; imap/lmtpengine.c); it still refuses users
who are full in ANNOTATION-STORAGE or MAILBOX.
"""

from __future__ import annotations

import contextlib
import enum
import re
import smtplib
import socket
import subprocess
from typing import Optional, Protocol

import attrs

from cyrusquota.errors import DeliveryError, OptionError, printable

#: Seconds for one reply. lmtpd may wait for a lock on the mailbox.
_PATIENCE = 300
_PLACE = re.compile(
    r"(?:\[(?P<literal>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})"
)
_OK, _CLOSING = 250, 421


class Fate(enum.Enum):
    """What became of a letter."""

    SENT = "sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@attrs.frozen
class Outcome:
    """The fate of a letter, and the reply of the server or what went wrong."""

    fate: Fate
    reply: str


class Transport(Protocol):
    """A way to hand letters over."""

    def connect(self) -> None:
        """Make ready for a letter. Raises `DeliveryError` where none can be handed over."""

    def deliver(self, address: str, letter: bytes) -> Outcome:
        """Hand a letter over. Raises `DeliveryError` where it and all others are refused."""

    def close(self) -> None:
        """End the session."""


@attrs.define
class Lmtp:
    """An LMTP server, at the path of a Unix socket or at `HOST:PORT`."""

    target: str
    _session: Optional[smtplib.LMTP] = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        """Raise `OptionError` for a target that is neither a path nor a host and a port."""
        self._place()

    def _place(self) -> tuple[str, int]:
        if self.target.startswith("/"):
            return self.target, 0
        match = _PLACE.fullmatch(self.target)
        if match is None or not 0 < int(match["port"]) < 1 << 16:
            raise OptionError(
                "--lmtp: expected the path of a socket, such as /run/cyrus/socket/lmtp, or"
                f" HOST:PORT, found {printable(self.target)!r}"
            )
        return match["literal"] or match["host"], int(match["port"])

    def connect(self) -> None:
        """Connect, unless the last session still lasts."""
        if self._session is not None:
            return
        host, port = self._place()
        session = smtplib.LMTP(local_hostname=socket.gethostname(), timeout=_PATIENCE)
        try:
            code, reply = session.connect(host, port)
            if code == 220:
                code, reply = session.ehlo()
            if code != _OK:
                raise smtplib.SMTPResponseException(code, reply)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            session.close()
            raise self._error(_reason(error)) from error
        self._session = session

    def deliver(self, address: str, letter: bytes) -> Outcome:
        """Hand a letter over in the session that `connect` has made."""
        session, may_arrive = self._session, False
        assert session is not None
        try:
            code, reply = session.mail("")
            if code != _OK:
                self.close()
                raise self._error(_text(code, reply))
            ignoring = " IGNOREQUOTA" if session.has_extn("ignorequota") else ""
            # smtplib's own method would parse the address, and may change it.
            code, reply = session.docmd("RCPT", f"TO:<{address}>{ignoring}")
            if code == _OK:
                may_arrive = True
                code, reply = _data(session, letter)
        except (OSError, smtplib.SMTPException) as error:
            self.close()
            return Outcome(Fate.UNKNOWN if may_arrive else Fate.REFUSED, _reason(error))
        if code == _OK:
            return Outcome(Fate.SENT, _text(code, reply))
        self._reset()
        return Outcome(Fate.REFUSED, _text(code, reply))

    def _reset(self) -> None:
        """Make the session ready for another letter, or end it."""
        assert self._session is not None
        try:
            code, _ = self._session.rset()
        except (OSError, smtplib.SMTPException):
            code = _CLOSING
        if code != _OK:
            self.close()

    def close(self) -> None:
        """End the session, if there is one."""
        session, self._session = self._session, None
        if session is not None:
            with contextlib.suppress(OSError, smtplib.SMTPException):
                session.quit()
            session.close()

    def _error(self, reason: str) -> DeliveryError:
        return DeliveryError(
            f"{printable(self.target)}: takes no letters: {reason}; is Cyrus running, and is this"
            " where its lmtpd listens? See --lmtp and --sendmail"
        )


def _data(session: smtplib.LMTP, letter: bytes) -> tuple[int, bytes]:
    try:
        return session.data(letter)
    except smtplib.SMTPDataError as error:
        # The server did not want the letter, and has not got it.
        return error.smtp_code, _bytes(error.smtp_error)


def _bytes(reply: bytes | str) -> bytes:
    return reply if isinstance(reply, bytes) else reply.encode()


def _text(code: int, reply: bytes | str) -> str:
    return printable(b"%d %b" % (code, _bytes(reply).replace(b"\n", b" ")))


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        return _text(error.smtp_code, error.smtp_error)
    return printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)


@attrs.frozen
class Sendmail:
    """A sendmail program, which queues letters as any other mail."""

    program: str

    def connect(self) -> None:
        """Do nothing: each letter is one run."""

    def deliver(self, address: str, letter: bytes) -> Outcome:
        """Hand a letter over."""
        command = [self.program, "-i", "-f", "<>", "--", address]
        try:
            done = subprocess.run(
                command,
                input=letter.replace(b"\r\n", b"\n"),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=_PATIENCE,
            )
        except subprocess.TimeoutExpired:
            return Outcome(Fate.UNKNOWN, f"{self.program} took more than {_PATIENCE} seconds")
        except (OSError, ValueError) as error:
            raise DeliveryError(
                f"{printable(self.program)}: cannot be run: {_reason(error)}; name another program"
                " with --sendmail, or use --lmtp"
            ) from error
        if not done.returncode:
            return Outcome(Fate.SENT, "")
        said = printable(done.stdout.decode("utf-8", "surrogateescape").strip().partition("\n")[0])
        status = f"{self.program} ended with status {done.returncode}"
        fate = Fate.REFUSED if done.returncode > 0 else Fate.UNKNOWN
        return Outcome(fate, f"{status}: {said}" if said else status)

    def close(self) -> None:
        """Do nothing."""
