"""Follow a database: what was committed since it was last looked at, reading only that.

    with cyrusdb.tail.opened(path) as tail:
        with cyrusdb.open(path) as db:
            records = dict(db)
            tail.begin(db.snapshot())
        ...
        changes = tail.changes()

A tail is opened before the database is read, so its inode cannot become that of another file
meanwhile; `begin` takes the position from the reading itself, so that nothing lies between the two.
`Lost` says that what has become of the database cannot be told from what was written since; read it
anew then.
"""

from __future__ import annotations

from cyrusquota import cyrusdb
from cyrusquota.cyrusdb.follow import Changes, Lost, Tail
from cyrusquota.cyrusdb.tail.logs import TAILS
from cyrusquota.cyrusdb.tail.watch import Watch
from cyrusquota.errors import AnyPath

__all__ = ["Changes", "Lost", "Tail", "Watch", "is_followed", "opened"]


def is_followed(path: AnyPath) -> bool:
    """Whether the format of the database file at `path` has a tail; raises as `opened` does."""
    return cyrusdb.guess(path) in TAILS


def opened(path: AnyPath) -> Tail:
    """The tail of the database file at `path`; where its format has none, a `Watch`.

    Raises what `cyrusdb.guess` raises. (The tail of a quotalegacy tree is `tail.tree.TreeTail`.)
    """
    return TAILS.get(cyrusdb.guess(path) or "", Watch)(path)
