"""Large quota databases, made with Cyrus's own tools: the same roots in every backend."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Iterable, Iterator, Sequence

import attrs

from bench import twom

PROGRAMS = Path("/usr/lib/cyrus/bin")
_LIMITS_KIB = (50 << 10, 500 << 10, 2 << 20, 10 << 20)
_DOMAINS = 8
_UNLIMITED = 0.01


@attrs.frozen
class Root:
    """A quota root, the value Cyrus would write, and whether it is over quota."""

    name: str
    value: str
    is_over: bool


def roots(count: int, over: float) -> Iterator[Root]:
    """Return `count` roots, always the same, a fraction `over` of them over quota."""
    dice = random.Random(count)
    for number in range(count):
        limit = dice.choice(_LIMITS_KIB)
        is_over = dice.random() < over
        most = limit << 10
        # By some KiB, so that the text report shows it too.
        used = most + dice.randint(4 << 10, most // 4) if is_over else int(most * dice.random())
        is_limited = is_over or dice.random() >= _UNLIMITED
        yield Root(
            "{}!user.{}".format(*_user(number)),
            f"%(S ({used}{f' {limit}' if is_limited else ''}) M ({used >> 14}) AS (0)"
            f" NF ({dice.randint(1, 60)}) MODSEQ {dice.randint(1, 1 << 24)})",
            is_over,
        )


@attrs.frozen
class Site:
    """A Cyrus configuration with a quota database and nothing else."""

    directory: Path
    backend: str

    @property
    def conf(self) -> Path:
        return self.directory / "imapd.conf"

    @property
    def database(self) -> Path:
        """Return the file; for quotalegacy, a name in the directory that holds quota/."""
        return self.directory / "lib" / "quotas.db"

    @property
    def path(self) -> Path:
        """Return the path for `--db`."""
        return self.database.parent if self.backend == "quotalegacy" else self.database

    def tool(self, *words: str) -> list[str]:
        """Return a cyr_dbtool command for the database."""
        tool = [str(PROGRAMS / "cyr_dbtool"), "-C", str(self.conf), "-n", str(self.database)]
        return [*tool, self.backend, *words]

    @property
    def mailboxes(self) -> Path:
        """Return the path of mailboxes.db, which `add_mailboxes` makes."""
        return self.directory / "lib" / "mailboxes.db"

    def quota(self, *names: str) -> list[str]:
        """Return a command that prints the quota roots that start with `names`, or all."""
        return [str(PROGRAMS / "quota"), "-C", str(self.conf), *names]


def made(directory: Path, backend: str, count: int, over: float) -> Site:
    """Make a site of `count` roots in `directory`, which must not exist."""
    site = Site(directory, backend)
    for name in ("lib/db", "lib/lock", "spool", "proc", "lock"):
        (directory / name).mkdir(parents=True)
    virtdomains = "no" if backend == "quotalegacy" else "userid"
    options = {
        "configdirectory": directory / "lib",
        "defaultpartition": "default",
        "partition-default": directory / "spool",
        "proc_path": directory / "proc",
        "mboxname_lockpath": directory / "lock",
        "quota_db": backend,
        "virtdomains": virtdomains,
        "unixhierarchysep": "no",
    }
    site.conf.write_text("".join(f"{name}: {value}\n" for name, value in options.items()))
    # Without it the first tool that opens a skiplist rewrites it.
    stamp = int(time.time()) - 1000
    (directory / "lib" / "db" / "skipstamp").write_bytes(stamp.to_bytes(4, "big"))
    for path in (directory, *directory.rglob("*")):
        shutil.chown(path, "cyrus", "mail")
    if backend == "flat":
        _write_flat(site, count, over)
    elif backend == "twom":
        pairs = ((root.name.encode(), root.value.encode()) for root in roots(count, over))
        twom.write(site.database, sorted(pairs))
    else:
        _store(site, count, over)
    return site


def add_mailboxes(site: Site, count: int) -> None:
    """Make a mailboxes.db with the INBOX of each of the `count` roots, as Cyrus 3.6 has it.

    Each has a row by name and a row by id.
    """
    # Cyrus's tools have made an empty one.
    site.mailboxes.unlink(missing_ok=True)
    with site.conf.open("a") as conf:
        conf.write(f"mboxlist_db: {site.backend}\n")
    rows = _mailbox_rows(count)
    if site.backend == "twom":
        twom.write(site.mailboxes, sorted(rows))
    else:
        tool = site.tool("batch")
        tool[tool.index(str(site.database))] = str(site.mailboxes)
        _batch(tool, rows, is_transaction=True)


def add_header(site: Site, number: int) -> tuple[str, str]:
    """Write the header of one INBOX; return its quota root and the user's address."""
    domain, user, uniqueid = _user(number)
    root = f"{domain}!user.{user}"
    path = site.directory / "spool" / "uuid" / uniqueid[0] / uniqueid[1] / uniqueid / "cyrus.header"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = b"\n".join([b"\xa1\x02\x8b\x0dCyrus mailbox header", b'"', b'"', b""])
    path.write_bytes(lines + f"%(T e N {root} I {uniqueid} Q {root})\n".encode())
    return root, f"{user}@{domain}"


def _user(number: int) -> tuple[str, str, str]:
    """Return the domain and the name of a user, and the id of their INBOX."""
    uniqueid = f"{number:08x}-0000-4000-8000-{number:012x}"
    return f"site{number % _DOMAINS}.example", f"name{number:07d}", uniqueid


def _mailbox_rows(count: int) -> Iterator[tuple[bytes, bytes]]:
    for number in range(count):
        domain, user, uniqueid = _user(number)
        name = f"{domain}\x1duser\x1f{user}"
        row = f"P default V 1700000000 C {number} F 1 M 1700000000 A %({user} lrswipkxtecdan)"
        yield f"N{name}".encode(), f"%(T e I {uniqueid} {row})".encode()
        yield f"I{uniqueid}".encode(), f'%(T e N "{name}" {row})'.encode()


def _named(root: Root, backend: str) -> str:
    # Like most old trees, this one has no virtual domains.
    return root.name.partition("!")[2] if backend == "quotalegacy" else root.name


def _store(site: Site, count: int, over: float) -> None:
    records = (
        (_named(root, site.backend).encode(), root.value.encode()) for root in roots(count, over)
    )
    _batch(site.tool("batch"), records, is_transaction=site.backend != "quotalegacy")


def _batch(
    words: Sequence[str], records: Iterable[tuple[bytes, bytes]], *, is_transaction: bool
) -> None:
    """Store `records` with a `cyr_dbtool ... batch` command."""
    with subprocess.Popen(words, stdin=subprocess.PIPE) as tool:
        assert tool.stdin is not None
        if is_transaction:
            tool.stdin.write(b"BEGIN\n")
        for key, value in records:
            lengths = len(key), key, len(value), value
            tool.stdin.write(b"SET {%d+}\r\n%b {%d+}\r\n%b\n" % lengths)
        if is_transaction:
            tool.stdin.write(b"COMMIT\n")
    if tool.returncode:
        raise RuntimeError(f"cyr_dbtool failed with status {tool.returncode}")


def delete(site: Site, names: Iterable[str]) -> None:
    """Delete roots, a hundred in a transaction; Cyrus writes each deletion into the log."""
    rows, batches = list(names), list[bytes]()
    for at in range(0, len(rows), 100):
        keys = [name.encode() for name in rows[at : at + 100]]
        lines = (b"DELETE {%d+}\r\n%s\n" % (len(key), key) for key in keys)
        batches.append(b"BEGIN\n" + b"".join(lines) + b"COMMIT\n")
    subprocess.run(site.tool("batch"), input=b"".join(batches), check=True)


def _write_flat(site: Site, count: int, over: float) -> None:
    """Write a flat file directly: cyr_dbtool would write the whole file once for each root."""
    lines = [f"{root.name}\t{root.value}\n" for root in roots(count, over)]
    # In Cyrus's order the dot comes first.
    lines.sort(key=lambda line: line.partition("\t")[0].replace(".", "\x02"))
    site.database.write_text("".join(lines))
    shutil.chown(site.database, "cyrus", "mail")
    name, _, value = lines[len(lines) // 3].partition("\t")
    found = subprocess.run(site.tool("get", name), capture_output=True, text=True, check=True)
    if found.stdout != value:
        raise RuntimeError("Cyrus does not find a root in the flat file written for it")
