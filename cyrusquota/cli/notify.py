"""cyrusquota notify: tell users by mail before their mailbox is full, and when it is."""

from __future__ import annotations

import os
import time
from email.headerregistry import Address
from typing import Iterable, Mapping, Optional, Sequence

import attrs
import click

from cyrusquota import errors, maps
from cyrusquota.cli import settings
from cyrusquota.cli.command import Command, Example, Heading, under
from cyrusquota.cli.json_format import format_option, json_text
from cyrusquota.cli.option_types import duration, file_names
from cyrusquota.cli.options import Options, RawOptions, source_options
from cyrusquota.cli.progress import progress
from cyrusquota.cli.run import Problems, complain
from cyrusquota.cyrus.names import inbox_of, recipient
from cyrusquota.display import sizes
from cyrusquota.errors import CyrusQuotaError, DataError, OptionError, count_of
from cyrusquota.notify import Plan, Post, memory, planned
from cyrusquota.notify.delivery import Fate, Lmtp, Sendmail
from cyrusquota.notify.letter import Stationery, Style, sender
from cyrusquota.notify.memory import Due, Memory
from cyrusquota.notify.thresholds import Standings, Threshold, watched
from cyrusquota.publish.privileges import reading_as
from cyrusquota.verdicts.selection import evaluate

DEFAULT_STATE = "/var/lib/cyrusquota/notify.db"
_THRESHOLDS = ("80%", "95%", "full")
_MAX_LETTERS = 500


def _thresholds(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[Threshold, ...]:
    return tuple(sorted({Threshold.of(one) for one in given or _THRESHOLDS}))


def _sender(
    context: click.Context, parameter: click.Parameter, given: Optional[str]
) -> Optional[Address]:
    return None if given is None else sender(given)


def _lmtp(
    context: click.Context, parameter: click.Parameter, given: Optional[str]
) -> Optional[Lmtp]:
    return None if given is None else Lmtp(given)


_who, _when, _letters, _run = map(
    under, (Heading.WHO, Heading.ALERTS, Heading.LETTERS, Heading.RUN)
)


@click.command(
    "notify",
    cls=Command,
    examples=(
        Example("Show who would get which letter", "cyrusquota notify --dry-run"),
        Example(
            "Show the same for other thresholds, as a program reads it",
            "cyrusquota notify --dry-run --at 80% --at full --repeat 1d --format json",
        ),
    ),
)
@source_options
@_who(
    "--exempt",
    metavar="ADDRESS",
    multiple=True,
    help="Never tell this address or local part (repeatable; postmaster is never told).",
)
@_when(
    "--at",
    "thresholds",
    metavar="PERCENT",
    multiple=True,
    callback=_thresholds,
    help="Tell users when they reach this percentage of a limit, or `full`: when their mail is"
    f" refused, or they have less than --reserve left (repeatable)."
    f"  [default: {', '.join(_THRESHOLDS)}]",
)
@_when(
    "--repeat",
    metavar="TIME",
    callback=duration,
    default="7d",
    show_default=True,
    help="Tell them again after this time, such as 7d or 12h, while it lasts.",
)
@_letters(
    "--templates",
    metavar="DIR",
    shell_complete=file_names,
    help="The directory of the templates: 80.txt for --at 80%, full.txt.  [default: those that are"
    " shipped]",
)
@_letters(
    "--from",
    "by",
    metavar="ADDRESS",
    callback=_sender,
    help="The sender, such as 'Mail service <help@example.org>'.  [default: postmaster in the"
    " user's domain]",
)
@_letters(
    "--domain",
    metavar="DOMAIN",
    help="The domain of users whose address has none, where virtdomains is off.",
)
@_letters(
    "--lmtp",
    metavar="SOCKET",
    callback=_lmtp,
    help="Deliver by LMTP, to the path of a Unix socket or to HOST:PORT; full mailboxes are"
    " reached, too.  [default: the socket of this Cyrus, from imapd.conf]",
)
@_letters(
    "--sendmail",
    metavar="FILE",
    shell_complete=file_names,
    help="Hand letters to this program instead, such as /usr/sbin/sendmail.",
)
@_run(
    "--state",
    metavar="FILE",
    shell_complete=file_names,
    default=DEFAULT_STATE,
    show_default=True,
    help="The file that remembers who was told what and when.",
)
@_run(
    "--max-letters",
    metavar="N",
    type=click.IntRange(min=1),
    default=_MAX_LETTERS,
    show_default=True,
    help="Send no more than this in one run; the others wait for the next one.",
)
@format_option("lines for people", needs="--dry-run")
@_run("-n", "--dry-run", is_flag=True, help="Print who would get which letter; send nothing.")
@_run("-v", "--verbose", is_flag=True, help="Print counts on standard error.")
@click.pass_context
def notify(
    context: click.Context,
    raw: RawOptions,
    exempt: tuple[str, ...],
    thresholds: tuple[Threshold, ...],
    repeat: int,
    templates: Optional[str],
    by: Optional[Address],
    domain: Optional[str],
    lmtp: Optional[Lmtp],
    sendmail: Optional[str],
    state: str,
    max_letters: int,
    form: str,
    dry_run: bool,
    verbose: bool,
) -> int:
    """Tell users by mail that their mailbox is nearly full, or full.

    Each user gets one letter, about the highest threshold that they have reached, once, and again
    after --repeat. When they were 5 points below a threshold, it counts again. Only users with an
    INBOX here and a quota root of their own are told. Run it from cron, or with
    cyrusquota-notify.timer.

    The exit status is 75 if a letter was refused, or was lost on the way; it is sent again by the
    next run. Nothing is printed when all is well.
    """
    _check_usage(raw, lmtp, sendmail, dry_run=dry_run)
    stationery = _stationery(context, thresholds, by, templates, domain)
    options = raw.load()
    with memory.opened(state, is_trial=dry_run) as remembered:
        now = int(time.time())
        remembered.begin(now, repeat)
        users = _Users(options, thresholds, exempt, domain)
        standings = users.standings()
        remembered.forget(standings.found, users.doubtful(remembered))
        plan = planned(standings.found, thresholds, remembered, now=now, repeat=repeat)
        for due in plan.due:
            # Raises where one has none.
            stationery.address(due.standing)
        _report_shared(standings.shared)
        this_run = _Run(plan, standings.shared, stationery, max_letters)
        if not dry_run:
            transport = Sendmail(sendmail) if sendmail is not None else lmtp or _own_lmtp(options)
            post = Post(stationery, transport, thresholds)
            return this_run.send(post, remembered, options.problems, verbose=verbose)
        this_run.print_json() if form == "json" else this_run.print_text()
        return errors.EX_OK


def _report_shared(roots: Mapping[str, int]) -> None:
    for name, count in sorted(roots.items()):
        complain(
            f"quota root {name!r} is full, and is not a user's own:"
            f" {count_of(count, 'user')} below it get no letter"
        )


def _check_usage(
    raw: RawOptions, lmtp: Optional[Lmtp], sendmail: Optional[str], *, dry_run: bool
) -> None:
    """Raise `OptionError` for options that do not go together."""
    if lmtp is not None and sendmail is not None:
        raise OptionError("--lmtp and --sendmail exclude one another; give one of them")
    if not raw.knows_mailboxes:
        raise OptionError(
            "only users with an INBOX here are told, so mailboxes.db is needed; name an imapd.conf"
            " with -C, or mailboxes.db with --mailboxes"
        )
    if not raw.needs_config and lmtp is None and sendmail is None and not dry_run:
        raise OptionError(
            "no imapd.conf is read here that says where to deliver to; give --lmtp, --sendmail or"
            " --dry-run"
        )


def _own_lmtp(options: Options) -> Lmtp:
    conf = options.conf
    assert conf is not None
    return Lmtp(conf.get("lmtpsocket") or os.path.join(conf.configdirectory, "socket", "lmtp"))


@attrs.define
class _Users:
    """The users who may be told, and those whose figures could not be read."""

    options: Options
    thresholds: Sequence[Threshold]
    exempt: Sequence[str]
    #: That of users who have none.
    domain: Optional[str]
    _roots: int = attrs.field(init=False, default=0)
    _unread: set[str] = attrs.field(init=False, factory=set)
    #: Whether there was a problem that may concern any user.
    _is_doubtful: bool = attrs.field(init=False, default=False)

    def standings(self) -> Standings:
        """Return how full users are, who are near a threshold; raise what reading raises."""
        options = self.options
        query = attrs.evolve(
            options.query(watched(self.thresholds, options.policy, options.reserve)),
            on_problem=self._note,
            # A catch-all that takes the mail of users who are full is no reason not to tell them.
            catchall=None,
        )
        is_exempt = maps.exemption(self.exempt)
        found = Standings(
            options.source.naming,
            options.policy,
            options.reserve,
            lambda to: is_exempt(to.within(self.domain)),
        )
        with reading_as(options.user):
            evaluation = evaluate(
                options.source, query, lambda counted: progress(counted, lambda: counted.count)
            )
        self._roots = evaluation.roots
        options.check_readable(self._roots)
        for verdict in evaluation.verdicts:
            found.add(verdict)
        return found

    def _note(self, problem: CyrusQuotaError) -> None:
        self.options.problems(problem)
        key = problem.place.key if isinstance(problem, DataError) else None
        inbox = None if key is None else inbox_of(key.decode("utf-8", "surrogateescape"))
        to = None if inbox is None else recipient(inbox, self.options.source.naming)
        if to is None:
            self._is_doubtful = True
        else:
            self._unread.add(str(to))

    def doubtful(self, remembered: Memory) -> Iterable[str]:
        """Return the users who may be full, though they have no standing."""
        return remembered.users if self._is_doubtful or not self._roots else self._unread


def _stationery(
    context: click.Context,
    thresholds: Sequence[Threshold],
    by: Optional[Address],
    templates: Optional[str],
    domain: Optional[str],
) -> Stationery:
    """Return what the options, and the settings file for single domains, ask for."""
    styles = {
        name: Style.of(given.get("by", by), given.get("templates", templates), thresholds)
        for name, given in settings.by_domain(context).items()
    }
    return Stationery(Style.of(by, templates, thresholds), styles, domain)


@attrs.frozen
class _Run:
    """A plan, and how much of it is for this run."""

    plan: Plan
    shared: Mapping[str, int]
    stationery: Stationery
    max_letters: int

    @property
    def waiting(self) -> int:
        """The number of letters that wait for the next run."""
        return max(0, len(self.plan.due) - self.max_letters)

    def print_text(self) -> None:
        """Print who would get which letter."""
        lines = [self._line(due) for due in self.plan.due[: self.max_letters]]
        count = count_of(len(lines), "letter")
        lines.append(f"{count} would be sent, {self._rest()}")
        click.echo("\n".join(lines))

    def _line(self, due: Due) -> str:
        one, usage = due.standing, due.standing.usage
        used, limit = (sizes.figure(one.resource, n) for n in (usage.used, usage.limit or 0))
        return (
            f"{due.threshold!s:<5} {self.stationery.address(one)}  {sizes.percent(usage)} of"
            f" {one.resource.value}, {used} of {limit}: {due.why.value}"
        )

    def _rest(self) -> str:
        return f"{self.waiting} wait, {count_of(self.plan.told, 'user')} told before"

    def print_json(self) -> None:
        """Print the same as one object."""
        letters = [
            {
                "address": str(self.stationery.address(due.standing)),
                "threshold": due.threshold.name,
                "why": due.why.name.lower(),
                "root": due.standing.root.name,
                "resource": due.standing.resource.value,
                "used": due.standing.usage.used,
                "limit": due.standing.usage.limit,
                "waits": at >= self.max_letters,
            }
            for at, due in enumerate(self.plan.due)
        ]
        shared = [{"root": root, "users": users} for root, users in self.shared.items()]
        click.echo(json_text({"letters": letters, "told": self.plan.told, "shared_roots": shared}))

    def send(self, post: Post, remembered: Memory, problems: Problems, *, verbose: bool) -> int:
        """Send the letters, report what went wrong, and return the exit status."""
        fates = dict.fromkeys(Fate, 0)
        for due, outcome in post.send(self.plan.due[: self.max_letters], remembered):
            fates[outcome.fate] += 1
            if outcome.fate is not Fate.SENT:
                address = self.stationery.address(due.standing)
                problems.warn(f"{address}: {_WENT_WRONG[outcome.fate]}: {outcome.reply}")
        if verbose:
            sent = count_of(fates[Fate.SENT], "letter")
            refused, unknown = fates[Fate.REFUSED], fates[Fate.UNKNOWN]
            complain(f"{sent} sent, {refused} refused, {unknown} perhaps lost, {self._rest()}")
        elif self.waiting:
            complain(
                f"{count_of(self.waiting, 'letter')} of {len(self.plan.due)} wait for the next"
                f" run; --max-letters is {self.max_letters}"
            )
        return errors.EX_OK if fates[Fate.SENT] == sum(fates.values()) else errors.EX_TEMPFAIL


_WENT_WRONG = {
    Fate.REFUSED: "the letter was refused, and is tried again by the next run",
    Fate.UNKNOWN: "the letter may be lost, and is sent again by the next run",
}
