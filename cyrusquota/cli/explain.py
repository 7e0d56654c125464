"""cyrusquota explain: explain one user's quota status."""

from __future__ import annotations

from typing import Optional

import click

from cyrusquota.cli.command import Command, Example
from cyrusquota.cli.exim_options import exim_options
from cyrusquota.cli.json_format import format_option, json_text
from cyrusquota.cli.options import Options, RawOptions, source_options
from cyrusquota.explain import results, user
from cyrusquota.explain.render import Explanation, as_json, as_text
from cyrusquota.explain.results import EximAnswer
from cyrusquota.explain.user import User
from cyrusquota.maps.installed import DEFAULT_MAX_AGE, DEFAULT_PATH
from cyrusquota.mta.exim import Exim
from cyrusquota.publish.privileges import reading_as


@click.command(
    "explain",
    cls=Command,
    examples=(
        Example("Explain why a user gets no mail", "cyrusquota explain jane@example.org"),
        Example("Ask Cyrus and the map, not Exim", "cyrusquota explain --no-exim user.jane"),
        Example("Give the same to a program", "cyrusquota explain --format json jane"),
    ),
)
@source_options
@exim_options
@format_option()
@click.argument("asked", metavar="ADDRESS")
def explain_user(
    raw: RawOptions, path: Optional[str], mta: Optional[Exim], form: str, asked: str
) -> None:
    """Explain one user's quota status.

    ADDRESS is a mail address or a local part, with or without a +detail, or the name of a mailbox
    such as user.jane or example.org!user.jane. Show the quota root that governs the user, what
    lmtpd answers for the next message, what the map says, what Exim answers, and whether these
    agree. Nothing is changed or delivered. The exit status is 0 whatever the answer, and 67 for an
    unknown user.
    """
    user.check(asked)
    options = raw.load()
    with reading_as(options.user):
        found = user.found(asked, options.source, options.query(), options.conf)
    server = results.server_answer(found, for_good=_refuses_permanently(options))
    exim = _exim_answer(mta, found, asked, path)
    router = None if exim is None else exim.router
    table = results.map_answer(
        found,
        asked,
        path or (DEFAULT_PATH if router is None else router.map),
        DEFAULT_MAX_AGE if router is None else router.max_age,
    )
    differences = results.differences(found, server, table, exim)
    explanation = Explanation(asked, found, server, table, exim, differences)
    if form == "json":
        click.echo(json_text(as_json(explanation)))
    else:
        click.echo(as_text(explanation))


def _refuses_permanently(options: Options) -> bool:
    return options.conf is not None and options.conf.switch("lmtp_over_quota_perm_failure", False)


def _exim_answer(
    mta: Optional[Exim], found: User, asked: str, path: Optional[str]
) -> Optional[EximAnswer]:
    """Return what Exim says of the address asked for, or else of the user's own."""
    if mta is None:
        return None
    is_address = "@" in asked and "!" not in asked and "/" not in asked
    return results.exim_answer(mta, asked if is_address else str(found.address), path)
