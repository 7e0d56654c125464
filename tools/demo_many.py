"""Show several hosts at work on this one: two Cyrus servers, Redis, a mirror, and an Exim.

    sudo python3 -m tools.demo_many

Everything is private to the demonstration, listens on the loopback interface only, and is gone
afterwards.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Optional

from cyrusquota.engine import functions
from tests.integration import cyrus, exim, redis_server, smtp
from tests.integration.commands import run_tool
from tests.integration.cyrus import Cyrus
from tests.integration.exim_daemon import Daemon
from tests.integration.many_hosts import TIMES, Command, publisher
from tests.integration.processes import until
from tests.integration.redis_server import Redis

STORES = ("be1", "be2")
USERS = (("jane", "joe"), ("mary", "max"))
LIMIT_KIB = 10
DOMAIN = "example.net"


def missing() -> Optional[str]:
    return cyrus.missing() or exim.missing() or redis_server.missing()


def tell(text: str) -> None:
    print(f"\n{text}", flush=True)


def show(host: str, *words: str) -> None:
    print(f"  {host}# {' '.join(words)}", flush=True)


def rcpt(daemon: Daemon, user: str) -> int:
    """Ask the MX about a user, and print what it says."""
    with smtp.session(daemon.port) as talk:
        talk.begin()
        reply = talk.rcpt(f"{user}@{DOMAIN}")
    print(f"  mx: RCPT TO:<{user}@{DOMAIN}>  {reply.code} {reply.text}", flush=True)
    return reply.code


def code(daemon: Daemon, user: str) -> int:
    (found,) = smtp.codes(daemon.port, [f"{user}@{DOMAIN}"])
    return found


def after(daemon: Daemon, user: str, wanted: int) -> None:
    """Wait until the MX says this of a user, and print it with the seconds that it took."""
    begun = time.monotonic()
    until(lambda: code(daemon, user) == wanted, f"{user} gets {wanted}")
    took = time.monotonic() - begun
    rcpt(daemon, user)
    print(f"  ({took:.1f} s later)", flush=True)


def demonstrate(stack: contextlib.ExitStack) -> None:
    base = stack.enter_context(exim.readable_directory())
    tell("Two Cyrus servers, be1 and be2. Each user may have 10 KiB.")
    backends = []
    for store, users in zip(STORES, USERS):
        server = stack.enter_context(Cyrus())
        server.start()
        server.create_with_root(users, LIMIT_KIB)
        print(f"  {store}: {', '.join(users)}", flush=True)
        backends.append(server)

    tell("A Redis, the engine, with the functions that publishers and mirrors call.")
    redis = stack.enter_context(Redis(functions=functions.text()))
    show("redis", functions.LOAD.strip("`"))

    tell("On each backend, the publisher: it follows Cyrus's quotas.")
    for store, server in zip(STORES, backends):
        show(store, "cyrusquota-export", "--follow", "--engine", redis.url, "--store", store)
        stack.enter_context(publisher(base / store, server.conf, redis.url, store, times=TIMES))

    tell("On the MX, the mirror keeps the map, and Exim looks recipients up in it.")
    place = base / "overquota"
    words = ("--engine", redis.url, "--expect", ",".join(STORES), "-o", str(place))
    show("mx", "cyrusquota-mirror", *words)
    stack.enter_context(Command("mirror", base / "mx", *words, times=TIMES))
    until(place.exists, "the mirror has written the map")
    mx = stack.enter_context(Daemon(place))
    print("".join(f"  {line}\n" for line in place.read_text().splitlines()), end="")
    for user in ("jane", "mary"):
        rcpt(mx, user)

    tell("Mail comes in for jane until lmtpd on be1 refuses the next message.")
    backends[0].fill("jane")
    reply = backends[0].lmtp_rcpt("jane")
    print(f"  be1: RCPT TO:<jane>  {reply.code} {reply.text.partition(' SESSIONID')[0]}")
    tell("The MX knows.")
    after(mx, "jane", 451)
    for user in ("joe", "mary"):
        rcpt(mx, user)

    tell("Who publishes what:")
    asked = ("stores", "--engine", redis.url)
    show("mx", "cyrusquota", *asked)
    print(run_tool(*asked).stdout.decode(), end="")

    tell("jane deletes her mail.")
    backends[0].expunge("jane")
    after(mx, "jane", 250)
    tell("That is all. Everything has been stopped and removed again.")


def main() -> None:
    reason = missing()
    if reason is not None:
        sys.exit(f"{reason}\nAll that is needed, on Debian 12 and as root:\n  " + NEEDED)
    with contextlib.ExitStack() as stack:
        demonstrate(stack)


NEEDED = "apt-get install cyrus-imapd cyrus-admin exim4-daemon-light redis-server redis-sentinel"

if __name__ == "__main__":
    main()
