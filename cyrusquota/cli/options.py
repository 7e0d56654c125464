"""The options that say where the quotas are and who is over, the same for every command."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, Optional

import attrs
import click

from cyrusquota import cyrusdb, maps, parse
from cyrusquota.cli import input_files
from cyrusquota.cli.command import Heading, under
from cyrusquota.cli.option_types import file_names, reserve
from cyrusquota.cli.run import Problems
from cyrusquota.cyrus import imapdconf
from cyrusquota.cyrus.imapdconf import ImapdConf
from cyrusquota.cyrus.names import Naming
from cyrusquota.errors import DataError, NoSuchSource, OptionError, printable, source_error
from cyrusquota.publish.privileges import reading_as, user_id
from cyrusquota.site import source
from cyrusquota.site.source import Source
from cyrusquota.verdicts.evaluator import Query
from cyrusquota.verdicts.policies import LMTPD, LMTPD_STRICT, POLICIES, Policy, Reserve

if TYPE_CHECKING:
    from cyrusquota.site.site import Site


def _backend(
    context: click.Context, parameter: click.Parameter, name: Optional[str]
) -> Optional[str]:
    if name is not None:
        cyrusdb.check_backend(name)
    return name


def _user(context: click.Context, parameter: click.Parameter, name: Optional[str]) -> Optional[str]:
    if name is not None:
        user_id(name)
    return name


_where, _who, _how = under(Heading.SOURCE), under(Heading.WHO), under(Heading.RUN)
_OPTIONS = (
    _where(
        "-C",
        "--config",
        metavar="FILE",
        shell_complete=file_names,
        help=f"The imapd.conf to follow.  [default: {imapdconf.DEFAULT_PATH}]",
    ),
    _where(
        "--service",
        metavar="NAME",
        help="The name in cyrus.conf of the lmtpd that the MTA hands its mail to: its options and"
        " its imapd.conf count.  [default: lmtpunix, lmtp, or else the first]",
    ),
    _where(
        "--mailboxes",
        metavar="PATH",
        shell_complete=file_names,
        help="A mailboxes.db, or a dump by `ctl_mboxlist -d`.  [default: from imapd.conf]",
    ),
    _where(
        "--no-mailboxes",
        is_flag=True,
        help="Do not use mailboxes.db. Only users with a quota root of their own are found, whether"
        " or not they have an INBOX on this server.",
    ),
    _where(
        "--db",
        metavar="PATH",
        shell_complete=file_names,
        help="A quota database file, or a quotalegacy tree: the directory that holds quota/ (and"
        " domain/), or quota/ itself.",
    ),
    _where(
        "--backend",
        metavar="NAME",
        callback=_backend,
        help=f"With --db: its format, {', '.join(cyrusdb.BACKENDS)}.  [default: detect]",
    ),
    _where(
        "--quota-output",
        metavar="FILE",
        shell_complete=file_names,
        help="The output of `quota`, text or JSON; - is standard input.",
    ),
    _where(
        "--dump",
        metavar="FILE",
        shell_complete=file_names,
        help="The output of `cyr_dbtool ... show` or `db_dump`, or a flat file; - is standard"
        " input.",
    ),
    _where(
        "--user",
        metavar="NAME",
        callback=_user,
        help="As root: read the quotas and mailboxes with the rights of this user only, such as"
        " cyrus.",
    ),
    _who(
        "--policy",
        type=click.Choice(list(POLICIES)),
        help="The rule that decides who is over.  [default: what imapd.conf makes lmtpd do]",
    ),
    _who(
        "--reserve",
        metavar="AMOUNT",
        multiple=True,
        callback=lambda context, parameter, given: reserve(given),
        help="Include users with less than this left: 50M or 512K of STORAGE, 2% of any resource,"
        " or RESOURCE=AMOUNT such as MESSAGE=100 (repeatable).",
    ),
    _who(
        "--headers",
        type=click.Choice(["read", "trust-rows"]),
        default="read",
        show_default=True,
        help="lmtpd goes by the quota root that the header of an INBOX names. read: read the header"
        " of each user who would be listed; trust-rows: not for users with a quota root of their"
        " own.",
    ),
    _how("-q", "--quiet", is_flag=True, help="Do not report single unreadable records."),
)
#: For a command that is always quiet.
_ALL_BUT_QUIET = _OPTIONS[:-1]


@attrs.frozen
class Options:
    """What the options amount to, together with imapd.conf."""

    source: Source
    site: Optional[Site]
    policy: Policy
    reserve: Reserve
    #: Whether a quota root of a user's own counts whatever the header of their INBOX names.
    trusts_rows: bool
    problems: Problems
    #: The user with whose rights to read (`reading_as`).
    user: Optional[str]
    #: The imapd.conf that was followed, if any.
    conf: Optional[ImapdConf]
    #: Reads imapd.conf again and returns the options with it; raises what `RawOptions.load` does.
    reload: Callable[[], Options]

    def query(self, reserve: Optional[Reserve] = None) -> Query:
        """Return what is asked of the source; `reserve` replaces the one that was given."""
        return Query(
            self.source.naming,
            self.policy,
            self.reserve if reserve is None else reserve,
            self.site,
            self.problems,
            trusts_rows=self.trusts_rows,
            catchall=None if self.conf is None else self.conf.catchall_inbox,
        )

    def check_readable(self, roots: int) -> None:
        """Release the problems; raise `DataError` if there are some and no `roots` were read."""
        if not roots and self.problems.in_data:
            error, first = self.source.unreadable(), self.problems.first_in_data
            raise DataError(error.expected, advice=f"{error.advice}; the first problem: {first}")
        self.problems.release()


@attrs.frozen
class RawOptions:
    """The options as they were given, checked as far as the command line alone allows.

    A command checks its own options first and then calls `load`, so that wrong usage is reported
    before anything is opened.
    """

    config: Optional[str]
    service: Optional[str]
    mailboxes: Optional[str]
    no_mailboxes: bool
    db: Optional[str]
    backend: Optional[str]
    quota_output: Optional[str]
    dump: Optional[str]
    policy: Optional[str]
    reserve: Reserve
    headers: str
    user: Optional[str]
    problems: Problems

    def __attrs_post_init__(self) -> None:
        """Raise `OptionError` for options that do not go together, or an unknown user."""
        if sum(path is not None for path in self._sources) > 1:
            raise OptionError(
                "--db, --quota-output and --dump exclude one another; give one of them"
            )
        if self.backend is not None and self.db is None:
            raise OptionError(
                "--backend goes with --db; leave it out where imapd.conf names the backend"
            )
        if self.service is not None and not self.needs_config:
            raise OptionError(
                "--service goes with imapd.conf, which is not read here; name it with -C, or leave"
                " --service out"
            )
        if self.mailboxes is not None and self.no_mailboxes:
            raise OptionError(
                "--mailboxes and --no-mailboxes exclude one another; give one of them"
            )
        with reading_as(self.user):
            # Nothing is read: an unknown user is refused now instead of later.
            pass

    @property
    def needs_config(self) -> bool:
        """Return whether imapd.conf is read."""
        return self.config is not None or not any(path is not None for path in self._sources)

    @property
    def _sources(self) -> tuple[Optional[str], ...]:
        return self.db, self.quota_output, self.dump

    @property
    def is_stream(self) -> bool:
        """Return whether the quotas come from something that can be read only once."""
        return self.quota_output is not None or self.dump is not None

    @property
    def knows_mailboxes(self) -> bool:
        """Return whether there is a list of mailboxes, from imapd.conf or by --mailboxes."""
        return not self.no_mailboxes and (self.needs_config or self.mailboxes is not None)

    def load(self, *, waits: bool = False) -> Options:
        """Read imapd.conf, if it is needed, and open what can be read only once.

        A Cyrus that has never been started is `NoSuchSource`, unless the caller `waits`. Raises
        `ConfigError` for an imapd.conf that cannot be followed, `OptionError` for options that do
        not fit it, `DataError` for a file that is not what its option is for, and `NoSuchSource` or
        another `SourceError` for a stream.
        """
        if self.user is not None:
            import_all()
        with reading_as(self.user):
            conf = None
            if self.needs_config:
                conf = imapdconf.load(self.config or imapdconf.DEFAULT_PATH, self.service)
                for warning in conf.warnings:
                    self.problems.warn(warning)
            if self.db is not None and self.backend is None:
                input_files.check_database_file(self.db)
            if self.mailboxes is not None:
                input_files.check_mailboxes_file(self.mailboxes)
            found, site = _source(self, conf), _site(self, conf)
            is_configured = not any(map(bool, self._sources)) and self.mailboxes is None
            if conf is not None and site is not None and is_configured and not waits:
                input_files.check_started(conf, found, site)
            return Options(
                found,
                site,
                _policy(self, conf),
                self.reserve,
                self.headers == "trust-rows",
                self.problems,
                self.user,
                conf,
                reload=functools.partial(self.load, waits=waits),
            )


def source_options(command: Callable[..., Any], *, is_quiet: bool = False) -> Callable[..., Any]:
    """Give a command the options, and `raw`, which has their values.

    With `is_quiet` the command has no --quiet, and never reports problems by itself.
    """
    names = [field.name for field in attrs.fields(RawOptions) if field.name != "problems"]

    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        problems = Problems(quiet=options.pop("quiet", is_quiet))
        raw = RawOptions(**{name: options.pop(name) for name in names}, problems=problems)
        try:
            return command(raw=raw, **options)
        except DataError:
            # Where the source as a whole is damaged, that is the one thing to report.
            problems.discard()
            raise
        finally:
            problems.close()

    for option in reversed(_ALL_BUT_QUIET if is_quiet else _OPTIONS):
        wrapped = option(wrapped)
    return wrapped


#: What is used where it is installed; Python itself may have been built without the first.
_EXTRAS = ("ctypes", "xxhash")


def import_all() -> None:
    """Import now what is otherwise imported when it is needed.

    The target user may not be able to read this installation, in root's home for example.
    """
    import pkgutil

    for parent in (cyrusdb, maps, parse):
        for module in pkgutil.walk_packages(parent.__path__, f"{parent.__name__}."):
            importlib.import_module(module.name)
    importlib.import_module("cyrusquota.site.site")
    for package in _EXTRAS:
        with contextlib.suppress(ImportError):
            importlib.import_module(package)


def _source(raw: RawOptions, conf: Optional[ImapdConf]) -> Source:
    naming = Naming() if conf is None else conf.naming
    if raw.db is not None:
        return source.from_database(raw.db, raw.backend, naming)
    if raw.quota_output is not None:
        return source.from_report(*_stream(raw.quota_output), naming)
    if raw.dump is not None:
        return source.from_dump(*_stream(raw.dump), naming)
    assert conf is not None
    return source.from_config(conf)


def _site(raw: RawOptions, conf: Optional[ImapdConf]) -> Optional[Site]:
    if raw.mailboxes is None and conf is None:
        return None
    from cyrusquota.site.site import Site

    if conf is not None and not raw.no_mailboxes:
        return Site.from_config(conf, raw.mailboxes)
    if conf is not None and conf.switch("quota_use_conversations", False):
        raise OptionError(
            f"--no-mailboxes: {conf.path} has quota_use_conversations on, and the totals that"
            " count then are found through mailboxes.db; leave --no-mailboxes out"
        )
    return None if raw.mailboxes is None else Site.from_mailboxes(raw.mailboxes)


def _policy(raw: RawOptions, conf: Optional[ImapdConf]) -> Policy:
    if raw.policy is not None:
        return POLICIES[raw.policy]
    is_strict = conf is not None and conf.switch("lmtp_strict_quota", False)
    return LMTPD_STRICT if is_strict else LMTPD


def _stream(path: str) -> tuple[BinaryIO, str]:
    if path == "-":
        if sys.stdin is None:
            raise NoSuchSource("standard input is closed; give it the data, or name a file")
        return sys.stdin.buffer, "standard input"
    try:
        return click.get_current_context().with_resource(Path(path).open("rb")), path
    except IsADirectoryError:
        raise NoSuchSource(f"{printable(path)}: a directory; name the file that is in it") from None
    except OSError as error:
        raise source_error(error, path) from error
