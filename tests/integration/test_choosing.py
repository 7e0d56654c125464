"""What the table in docs/choosing.md says of a callout, smmapd and a map is what they do.

Each is installed from its files in exim/, beside one Cyrus. With CYRUSQUOTA_RECORD=1 the answers
are written into the table, where a cell begins with "yes" or "no", instead of being compared.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Callable, Iterator, Mapping, Optional

import attrs
import pytest

from . import commands, exim, recipes, smtp
from .cyrus import HOST, PATIENCE, Cyrus
from .exim_daemon import VARIANTS, Daemon
from .recipes import RECIPES, Installed, Recipe
from .smtp import Reply

pytestmark = pytest.mark.integration

PAGE = commands.PROJECT / "docs" / "choosing.md"
OPTIONS = {"virtdomains": "userid", "defaultdomain": "example.net"}
ALIASES = {"sales": "jane", "both": "jane, bob", "away": "somebody@example.org"}
#: The map's variants for several domains and for the size of messages.
MAPS = {
    "map": Recipe(VARIANTS["address"]),
    "headroom": Recipe(VARIANTS["headroom"], {"CYRUSQUOTA_KEY": exim.ADDRESS_KEY}),
}
#: Of /proc/net/tcp: established, or so far closed by Exim only (readsocket ends its question so).
_OPEN = {"01", "04", "05"}


@attrs.frozen
class Site:
    """A Cyrus where jane@example.net is full, and an Exim for each way."""

    cyrus: Cyrus
    installed: Mapping[str, Installed]
    daemons: Mapping[str, Daemon]

    def reply(self, way: str, user: str, options: str = "") -> Reply:
        """Return the reply to RCPT, in a session of its own."""
        with smtp.session(self.daemons[way].port) as talk:
            talk.begin(options=options)
            return talk.rcpt(user if "@" in user else f"{user}@example.net")

    def code(self, way: str, user: str, options: str = "") -> int:
        return self.reply(way, user, options).code

    def reply_and_wait(self, way: str, user: str) -> tuple[Reply, bool]:
        """Return the reply to RCPT, and whether Exim had to wait for Cyrus before."""
        waited = False
        with ThreadPoolExecutor(1) as pool:
            before = self._connections()
            reply = pool.submit(self.reply, way, user)
            while not reply.done():
                waited = waited or bool(self._connections() - before)
                time.sleep(0.05)
            return reply.result(), waited

    def _connections(self) -> set[str]:
        """Return both ends of each connection to Cyrus, as the kernel writes them."""
        ports = {self.cyrus.lmtp_port, *(there.port for there in self.installed.values())}
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return {
            f"{local} {remote}"
            for _, local, remote, state, *_ in lines
            if state in _OPEN and int(remote.rpartition(":")[2], 16) in ports
        }


def _daemon(installed: Installed, overquota: Path, lmtp_port: Optional[int] = None) -> Daemon:
    return Daemon(
        overquota,
        installed.recipe.variant,
        macros=installed.macros,
        aliases=ALIASES,
        lmtp_port=lmtp_port,
    )


@contextlib.contextmanager
def _site(maxchild: Optional[int] = None) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(exim.readable_directory())
        cyrus = stack.enter_context(Cyrus(OPTIONS))
        installed = {
            name: recipes.install(cyrus, recipe, maxchild=maxchild)
            for name, recipe in {**RECIPES, **MAPS}.items()
        }
        cyrus.start()
        for user in ("jane", "bob", "carl", "jane@example.com"):
            cyrus.create_user(user)
            cyrus.set_quota(cyrus.mailbox(user), storage_kib=10)
        cyrus.fill("jane")
        cyrus.create("shared")
        cyrus.let_anyone_post("shared")
        for name, more in (("map", ()), ("headroom", ("--headroom", "50K"))):
            options = ("--key", "address", "--service", "lmtp", *more)
            commands.export(cyrus.conf, directory / name, *options)
        daemons = {
            name: stack.enter_context(_daemon(there, directory / name))
            for name, there in installed.items()
        }
        yield Site(cyrus, installed, daemons)


Observation = Callable[[Site, str], bool]


def _refuses(*users: str) -> Observation:
    return lambda site, way: [site.code(way, user) for user in users] == [451] * len(users)


def _accepts(user: str) -> Observation:
    return lambda site, way: site.code(way, user) == 250


def _sends_own_text(site: Site, way: str) -> bool:
    """Cyrus has "Over quota", and Exim "Could not complete recipient verify callout"."""
    return site.reply(way, "jane").text.startswith("4.2.2 The user's mailbox ")


def _tells_domains_apart(site: Site, way: str) -> bool:
    users = ("jane@example.net", "jane@example.com")
    return [site.code(way, user) for user in users] == [451, 250]


def _judges_the_size(site: Site, way: str) -> bool:
    way = "headroom" if way == "map" else way
    codes = [site.code(way, "bob", f" SIZE={size}") for size in (1000, 20000)]
    return codes in ([250, 451], [250, 452])


def _refuses_the_unknown(site: Site, way: str) -> bool:
    return site.code(way, "unknown") == 550


def _knows_at_once(site: Site, way: str) -> bool:
    """Carl becomes full, and then has room again."""
    site.cyrus.set_quota(site.cyrus.mailbox("carl"), storage_kib=10)
    assert site.code(way, "carl") == 250
    site.cyrus.fill("carl")
    full = site.code(way, "carl")
    site.cyrus.expunge("carl")
    site.cyrus.set_quota(site.cyrus.mailbox("carl"), storage_kib=10_000)
    return (full, site.code(way, "carl")) == (451, 250)


def _accepts_without_waiting(site: Site, way: str) -> bool:
    """Accepting is a must."""
    reply, waited = site.reply_and_wait(way, "bob")
    assert reply.code == 250
    return not waited


#: What the rows of the table say, for each state of Cyrus.
RUNNING: dict[str, Observation] = {
    "A full user is refused": _refuses("jane"),
    "with a text of your own": _sends_own_text,
    "also as `jane+folder`, `JANE`, or behind an alias": _refuses("jane+folder", "JANE", "sales"),
    "also as one of several behind an alias": _refuses("both"),
    "jane is told from jane in another domain": _tells_domains_apart,
    "A message too large for the room left is refused": _judges_the_size,
    "Unknown users are refused": _refuses_the_unknown,
    "A change counts from the next RCPT": _knows_at_once,
}
STOPPED: dict[str, Observation] = {
    "Cyrus stopped: mail for others is accepted": _accepts("bob"),
    "Cyrus stopped: full users are refused": _refuses("jane"),
}
FROZEN: dict[str, Observation] = {
    "Cyrus frozen (SIGSTOP): accepted without waiting": _accepts_without_waiting
}
BUSY: dict[str, Observation] = {
    "Cyrus at `maxchild`: accepted without waiting": _accepts_without_waiting
}

#: What each way did, in the order of the columns, for each row.
Observed = dict[str, list[bool]]


def _observe(site: Site, rows: Mapping[str, Observation]) -> Observed:
    return {row: [look(site, way) for way in RECIPES] for row, look in rows.items()}


@contextlib.contextmanager
def _occupied(site: Site) -> Iterator[None]:
    """Occupy the only process of each service."""
    with contextlib.ExitStack() as stack:
        for name, question in (("callout", b""), ("smmapd", b"5:0 bob,")):
            port = site.installed[name].port
            held = stack.enter_context(socket.create_connection((HOST, port), PATIENCE))
            held.sendall(question)
            assert held.recv(1)
        yield


@pytest.fixture(scope="module")
def observed(needs_cyrus: None, needs_exim: None) -> Observed:
    with _site() as site:
        found = _observe(site, RUNNING)
        with site.cyrus.frozen():
            found.update(_observe(site, FROZEN))
        assert [site.code(way, "jane") for way in RECIPES] == [451, 451, 451]
        site.cyrus.halt()
        found.update(_observe(site, STOPPED))
    with _site(maxchild=1) as site, _occupied(site):
        found.update(_observe(site, BUSY))
    return found


def _rows(text: str) -> list[list[str]]:
    """Return the cells of each line of the table."""
    block = re.search(r"<!-- observed -->\n\n(.*?)\n\n<!-- end -->", text, re.DOTALL)
    assert block is not None
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in block[1].splitlines()]


def test_the_table_says_what_was_observed(observed: Observed) -> None:
    text = PAGE.read_text("utf-8")
    head, _, *rows = _rows(text)
    assert head[1:] == list(RECIPES)
    if os.environ.get("CYRUSQUOTA_RECORD"):
        PAGE.write_text(_recorded(text, observed), "utf-8")
        return
    said = {
        label: [re.split(r"\W", cell, maxsplit=1)[0] for cell in cells] for label, *cells in rows
    }
    assert said == {label: list(map(_word, found)) for label, found in observed.items()}


def test_the_table_has_the_seconds_that_the_recipes_wait() -> None:
    acl = (recipes.CALLOUT / "acl.conf").read_text()
    router = (recipes.SMMAPD / "router.conf").read_text()
    seconds = [re.findall(r"callout=(\d+)s", acl), re.findall(r"\{(\d+)s\}", router)]
    rows = {label: cells for label, *cells in _rows(PAGE.read_text("utf-8"))}
    for label in (*FROZEN, *BUSY):
        assert [re.findall(r"(\d+) s\b", cell) for cell in rows[label]] == [*seconds, []]


def _recorded(text: str, observed: Observed) -> str:
    for label, found in observed.items():
        (line,) = re.findall(rf"^\| {re.escape(label)} \|.*$", text, re.MULTILINE)
        cells = [cell.strip() for cell in line.split("|")[2:-1]]
        fresh = [re.sub(r"^(yes|no)?\b", _word(was), cell) for cell, was in zip(cells, found)]
        text = text.replace(line, f"| {label} | {' | '.join(fresh)} |")
    return text


def _word(answer: bool) -> str:
    return "yes" if answer else "no"


@pytest.fixture(scope="module")
def running(needs_cyrus: None, needs_exim: None) -> Iterator[Site]:
    with _site() as site:
        yield site


@pytest.mark.parametrize("way", RECIPES)
def test_a_shared_folder_gets_mail(way: str, running: Site) -> None:
    """Its address, +shared, has no user in it whom anybody could know."""
    assert running.code(way, "+shared") == 250


@pytest.mark.parametrize("way", RECIPES)
def test_the_server_behind_an_alias_is_not_asked(way: str, running: Site) -> None:
    """A callout goes wherever the recipient is routed; it must not leave the house."""
    with socket.create_server((HOST, 0)) as elsewhere:
        elsewhere.setblocking(False)
        port = elsewhere.getsockname()[1]
        daemon = _daemon(running.installed[way], running.daemons[way].overquota, lmtp_port=port)
        text = daemon.conf.read_text()
        changed = text.replace(
            "driver = redirect\n  domains = ! +local_domains\n  data = :blackhole:",
            "driver = accept\n  domains = ! +local_domains\n  transport = cyrus_lmtp",
        )
        assert changed != text
        daemon.conf.write_text(changed)
        with daemon:
            assert smtp.codes(daemon.port, ["away@example.net", "jane@example.net"]) == [250, 451]
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_smmapd_need_not_know_everybody(running: Site) -> None:
    """With a catch-all mailbox, lmtpd accepts users who have none."""
    installed = running.installed["smmapd"]
    changed = attrs.evolve(installed, macros={**installed.macros, "CYRUSQUOTA_UNKNOWN": ""})
    with _daemon(changed, running.daemons["smmapd"].overquota) as daemon:
        users = ["unknown@example.net", "jane@example.net"]
        assert smtp.codes(daemon.port, users) == [250, 451]
