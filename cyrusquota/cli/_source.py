"""The options that say where the quotas are and who is over, the same for every command."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Callable, Optional

import attrs
import click

from cyrusquota import cyrusdb, imapdconf, maps, parse, source
from cyrusquota.cli._complete import file_names
from cyrusquota.cli._run import Problems
from cyrusquota.cyrusdb import bulk
from cyrusquota.errors import OptionError, source_error
from cyrusquota.imapdconf import ImapdConf
from cyrusquota.mailbox import Naming
from cyrusquota.overquota import LMTPD, LMTPD_STRICT, POLICIES, Policy, Reserve
from cyrusquota.privileges import reading_as
from cyrusquota.quota import Resource
from cyrusquota.source import Source

if TYPE_CHECKING:
    from cyrusquota.server import Server

_OPTIONS = (
    click.option(
        "-C",
        "--config",
        metavar="FILE",
        shell_complete=file_names,
        help=f"imapd.conf to follow.  [default: {imapdconf.DEFAULT_PATH}]",
    ),
    click.option(
        "--mailboxes",
        metavar="PATH",
        shell_complete=file_names,
        help="mailboxes.db, or a dump by `ctl_mboxlist -d`.  [default: ask imapd.conf]",
    ),
    click.option(
        "--no-mailboxes",
        is_flag=True,
        help="Do without: only users with a quota root of their own are found, whether they have"
        " an INBOX here or not.",
    ),
    click.option(
        "--db",
        metavar="PATH",
        shell_complete=file_names,
        help="A quota database file, or a quotalegacy tree: the directory that holds quota/ (and"
        " domain/), or quota/ itself.",
    ),
    click.option(
        "--backend",
        metavar="NAME",
        help=f"With --db: {', '.join(cyrusdb.BACKENDS)}.  [default: guess]",
    ),
    click.option(
        "--report",
        metavar="FILE",
        shell_complete=file_names,
        help="Output of `quota`, text or JSON; - is standard input.",
    ),
    click.option(
        "--dump",
        metavar="FILE",
        shell_complete=file_names,
        help="Output of `cyr_dbtool ... show` or `db_dump`, or a flat file; - is standard input.",
    ),
    click.option(
        "--policy",
        type=click.Choice(list(POLICIES)),
        help="Whose rule decides who is over.  [default: what imapd.conf makes lmtpd do]",
    ),
    click.option(
        "--reserve",
        metavar="AMOUNT",
        multiple=True,
        help="Also users with less than this left: 50M or 512K of STORAGE, 2% of any resource, or"
        " RESOURCE=AMOUNT (repeatable).",
    ),
    click.option(
        "--user",
        metavar="NAME",
        help="As root: read all this with the rights of NAME alone, such as cyrus.",
    ),
    click.option("-q", "--quiet", is_flag=True, help="Say nothing of single unreadable records."),
)
#: For a command that always is.
_BUT_QUIET = _OPTIONS[:-1]


@attrs.frozen
class Chosen:
    """What the options come to."""

    source: Source
    server: Optional[Server]
    policy: Policy
    reserve: Reserve
    problems: Problems
    #: With whose rights to read (`reading_as`).
    user: Optional[str] = None
    #: The same options with imapd.conf as it is by now.
    again: Optional[Callable[[], Chosen]] = None
    #: The imapd.conf that was followed, if any.
    conf: Optional[ImapdConf] = None


@attrs.frozen
class _Asked:
    """The options as they were given."""

    config: Optional[str]
    mailboxes: Optional[str]
    no_mailboxes: bool
    db: Optional[str]
    backend: Optional[str]
    report: Optional[str]
    dump: Optional[str]
    policy: Optional[str]
    reserve: tuple[str, ...]
    user: Optional[str]
    quiet: bool


def source_options(command: Callable[..., Any], *, is_quiet: bool = False) -> Callable[..., Any]:
    """Give a command the options, and `chosen`, which is what they come to.

    With `is_quiet` it never speaks of problems by itself, and has no option for it.
    """
    names = [field.name for field in attrs.fields(_Asked)]

    @functools.wraps(command)
    def wrapped(**options: Any) -> Any:
        options.setdefault("quiet", is_quiet)
        asked = _Asked(**{name: options.pop(name) for name in names})
        problems = Problems(quiet=asked.quiet)

        if asked.user is not None:
            _import_all()

        def again() -> Chosen:
            with reading_as(asked.user):
                return attrs.evolve(_chosen(asked, problems), again=again)

        try:
            return command(chosen=again(), **options)
        finally:
            problems.close()

    for option in reversed(_BUT_QUIET if is_quiet else _OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _import_all() -> None:
    """Import now what else is imported when it is needed.

    Whoever it is to be read as may not look where this program lies, such as root's home.
    """
    for package in (cyrusdb, bulk, maps, parse):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    importlib.import_module("cyrusquota.server")


def _chosen(asked: _Asked, problems: Problems) -> Chosen:
    others = (asked.db, asked.report, asked.dump)
    if sum(place is not None for place in others) > 1:
        raise OptionError("--db, --report and --dump exclude one another; give one of them")
    if asked.backend is not None and asked.db is None:
        raise OptionError(
            "--backend goes with --db; leave it out where imapd.conf names the backend"
        )
    if asked.mailboxes is not None and asked.no_mailboxes:
        raise OptionError("--mailboxes and --no-mailboxes exclude one another; give one of them")
    conf = None
    if asked.config is not None or others == (None, None, None):
        conf = imapdconf.load(asked.config or imapdconf.DEFAULT_PATH)
        for warning in conf.warnings:
            problems.say(warning)
    return Chosen(
        _source(asked, conf),
        _server(asked, conf),
        _policy(asked, conf),
        reserve(asked.reserve),
        problems,
        asked.user,
        conf=conf,
    )


def _source(asked: _Asked, conf: Optional[ImapdConf]) -> Source:
    naming = Naming() if conf is None else conf.naming
    if asked.db is not None:
        return source.database(asked.db, asked.backend, naming)
    if asked.report is not None:
        return source.reported(*_stream(asked.report), naming)
    if asked.dump is not None:
        return source.dumped(*_stream(asked.dump), naming)
    assert conf is not None
    return source.configured(conf)


def _server(asked: _Asked, conf: Optional[ImapdConf]) -> Optional[Server]:
    if asked.mailboxes is None and conf is None:
        return None
    from cyrusquota import server

    if conf is not None and not asked.no_mailboxes:
        return server.configured(conf, asked.mailboxes)
    if conf is not None and conf.switch("quota_use_conversations", False):
        raise OptionError(
            f"--no-mailboxes: {conf.path} has quota_use_conversations on, and the totals that"
            " count then are found through mailboxes.db; leave --no-mailboxes out"
        )
    return None if asked.mailboxes is None else server.listed(asked.mailboxes)


def _policy(asked: _Asked, conf: Optional[ImapdConf]) -> Policy:
    if asked.policy is not None:
        return POLICIES[asked.policy]
    is_strict = conf is not None and conf.switch("lmtp_strict_quota", False)
    return LMTPD_STRICT if is_strict else LMTPD


def _stream(path: str) -> tuple[BinaryIO, str]:
    if path == "-":
        return sys.stdin.buffer, "standard input"
    try:
        return click.get_current_context().with_resource(Path(path).open("rb")), path
    except OSError as error:
        raise source_error(error, path) from error


_AMOUNT = re.compile(
    r"(?:(?P<resource>[A-Za-z-]+)=)?(?P<number>[0-9]+(?:\.[0-9]+)?)(?P<unit>[KMGT%]?)", re.ASCII
)
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size(option: str, given: str) -> int:
    """The bytes that `given` (50M, 512K) stands for; raises `OptionError` for what is no size."""
    match = _AMOUNT.fullmatch(given)
    if match is None or match["resource"] is not None or match["unit"] == "%":
        raise OptionError(f"{option}: expected a size such as 50M or 512K, found {given!r}")
    return int(float(match["number"]) * _UNITS.get(match["unit"], 1))


def reserve(amounts: tuple[str, ...]) -> Reserve:
    """What `--reserve` asks for, by resource; raises `OptionError` for what is no amount."""
    sizes: dict[Resource, int] = {}
    shares: dict[Resource, float] = {}
    names = {resource.value: resource for resource in Resource}
    for given in amounts:
        match = _AMOUNT.fullmatch(given)
        name = match["resource"] if match is not None else None
        if match is None or (name is not None and name.upper() not in names):
            raise OptionError(
                f"--reserve: expected an amount such as 50M, 2% or MESSAGE=100, found {given!r};"
                f" resources are {', '.join(names)}"
            )
        number, unit = float(match["number"]), match["unit"]
        if unit == "%":
            for resource in Resource if name is None else (names[name.upper()],):
                shares[resource] = number
        else:
            resource = Resource.STORAGE if name is None else names[name.upper()]
            sizes[resource] = int(number * _UNITS.get(unit, 1))
    return Reserve(sizes, shares)
