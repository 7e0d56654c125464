"""Follow an address through Exim's routers: where its mail goes, and what each router does with it.

`exim -bt` prints the destinations of a message, behind all aliases, lists and forwards. What
`exim -d+route+lookup -bv` prints besides tells what each router does with a recipient at RCPT, and
which keys it looks up in which file; Exim shows that to its administrators only.
"""

from __future__ import annotations

import re
from typing import Iterator, Optional

import attrs

from cyrusquota.cyrus.names import ascii_lower
from cyrusquota.mta.exim import Exim

_PARENT = re.compile(r" +<-- (?P<address>.+)")
_ROUTE = re.compile(r"  (?:router = (?P<router>\w+), )?transport = (?P<transport>\S+)")
_NOT_AN_ADDRESS = re.compile(r"(?P<address>.+?) -> (?P<target>[|/>].*)")
_DISCARDED = re.compile(r"mail to (?P<address>.+) is discarded")
_FAILED = re.compile(
    r"(?P<address>\S.*?) (?:is undeliverable|cannot be resolved at this time)(?:: (?P<why>.*))?"
)


@attrs.frozen
class Destination:
    """One place that mail for an address goes to.

    `target` is an address, a file, or a command behind a `|`; None where the mail is discarded.
    `parents` are the addresses that lead there, the nearest first and the one asked about last.
    `problem` is Exim's text where it delivers nothing.
    """

    target: Optional[str]
    parents: tuple[str, ...] = ()
    router: Optional[str] = None
    transport: Optional[str] = None
    problem: Optional[str] = None

    @property
    def is_address(self) -> bool:
        """Whether it is a mail address."""
        return self.target is not None and self.target[:1] not in ("|", "/", ">")


def destinations(exim: Exim, address: str) -> tuple[Destination, ...]:
    """Return where `exim` delivers mail for an address; empty where that is not known."""
    return tuple(_destinations(exim.routing(address)))


def _destinations(printed: str) -> Iterator[Destination]:
    blocks: list[list[str]] = []
    for line in printed.splitlines():
        if line[:1].isspace() and blocks:
            blocks[-1].append(line)
        elif line.strip():
            blocks.append([line])
    for first, *rest in blocks:
        parents = tuple(match["address"] for match in map(_PARENT.fullmatch, rest) if match)
        route = next(filter(None, map(_ROUTE.fullmatch, rest)), None)
        found = _destination(first, parents, route)
        if found is not None:
            yield found


def _destination(
    first: str, parents: tuple[str, ...], route: Optional[re.Match[str]]
) -> Optional[Destination]:
    discarded, failed = _DISCARDED.fullmatch(first), _FAILED.fullmatch(first)
    if discarded is not None:
        return Destination(None, (*parents, discarded["address"]))
    if failed is not None:
        return Destination(failed["address"], parents, problem=failed["why"] or "undeliverable")
    if route is None:
        return None
    other = _NOT_AN_ADDRESS.fullmatch(first)
    if other is not None:
        target, parents = other["target"], (other["address"], *parents)
    else:
        target = first.strip()
    return Destination(target, parents, route["router"], route["transport"])


@attrs.frozen
class Lookup:
    """A key that a router looked up in a file, and the value; None if it is not there."""

    file: str
    key: str
    value: Optional[str] = None


@attrs.frozen
class Step:
    """What one router did with an address.

    `outcome` is Exim's word for it: `routed`, `declined`, `skipped: domains mismatch`, `defer for
    jane@example.org`. `opened` has the kind of lookup for each file that it tried to open, and
    `unopened` Exim's reason where it says why it could not.
    """

    router: str
    address: str = ""
    outcome: str = ""
    lookups: tuple[Lookup, ...] = ()
    opened: tuple[tuple[str, str], ...] = ()
    unopened: Optional[str] = None

    def keys(self, file: str) -> tuple[str, ...]:
        """Return the keys that were looked up in `file`; an empty one is never found."""
        found = (one.key for one in self.lookups if one.file == file)
        return tuple(dict.fromkeys(filter(None, found)))

    def kind(self, file: str) -> Optional[str]:
        """Return the kind of lookup by which it tried to open `file`, or None if it did not."""
        return next((kind for kind, opened in self.opened if opened == file), None)


def trace(exim: Exim, address: str) -> Optional[tuple[Step, ...]]:
    """Return what each router does with a recipient, in order; None where Exim does not show it.

    Behind an alias it goes on with the address that the alias leads to.
    """
    printed = exim.traced(address)
    return None if _NOT_SHOWN in printed else tuple(_steps(printed))


_NOT_SHOWN = "debugging permission denied"
#: Newer versions draw lines in front of what is nested.
_MARGIN = re.compile(r"^[\s\u2500-\u257f]*")
_BEGINS = re.compile(r"-+> (?P<router>\w+) router <-+")
_ADDRESS = re.compile(r"local_part=(?P<local>.*) domain=(?P<domain>\S*)")
_OPENS = re.compile(r'search_open: (?P<kind>\S+) "(?P<file>.*)"')
_SEARCHES = re.compile(r'search_find: file="(?P<file>.*)"')
_KEY = re.compile(r'key="(?P<key>.*)" partial=.*')
_YIELDED = re.compile(r"lookup yielded: (?P<value>.*)")
_OUTCOME = re.compile(
    r"(?P<router>\w+) router(?::)? (?P<outcome>(?:skipped: |declined|defer |fail |forced ).*)"
)
_CANNOT_OPEN = re.compile(r".*failed to open (?P<file>\S+) (?:[^:]*: )?(?P<why>.*)")


def _steps(printed: str) -> Iterator[Step]:
    step: Optional[Step] = None
    file = ""
    for line in printed.splitlines():
        text = _MARGIN.sub("", line)
        begins, searches, key = (one.fullmatch(text) for one in (_BEGINS, _SEARCHES, _KEY))
        if begins is not None:
            if step is not None:
                yield step
            step = Step(begins["router"])
        elif step is None:
            continue
        elif searches is not None:
            file = searches["file"]
        elif key is not None:
            step = attrs.evolve(step, lookups=(*step.lookups, Lookup(file, key["key"])))
        else:
            step = _noted(step, text)
    if step is not None:
        yield step


def _noted(step: Step, text: str) -> Step:
    """Return `step` with what one more line says about it."""
    address, opens, yielded, cannot = (
        one.fullmatch(text) for one in (_ADDRESS, _OPENS, _YIELDED, _CANNOT_OPEN)
    )
    if address is not None and not step.address:
        return attrs.evolve(step, address=f"{address['local']}@{address['domain']}")
    if opens is not None:
        return attrs.evolve(step, opened=(*step.opened, (opens["kind"], opens["file"])))
    if yielded is not None and step.lookups:
        last = attrs.evolve(step.lookups[-1], value=yielded["value"])
        return attrs.evolve(step, lookups=(*step.lookups[:-1], last))
    if cannot is not None:
        return attrs.evolve(step, unopened=cannot["why"])
    if text == f"routed by {step.router} router":
        return attrs.evolve(step, outcome="routed")
    outcome = _OUTCOME.fullmatch(text)
    if outcome is not None and outcome["router"] == step.router:
        return attrs.evolve(step, outcome=outcome["outcome"])
    return step


def is_same(one: str, other: str) -> bool:
    """Return whether two addresses are the same to Exim, apart from a +suffix.

    Any domain goes with an address that has none.
    """
    (local, domain), (other_local, other_domain) = _bare(one), _bare(other)
    return local == other_local and (domain == other_domain or not domain or not other_domain)


def _bare(address: str) -> tuple[str, str]:
    lower = ascii_lower(address)
    local, _, domain = lower.rpartition("@") if "@" in lower else (lower, "", "")
    return local.partition("+")[0], domain
