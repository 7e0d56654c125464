"""Where a quotalegacy tree has the file of a key, in every version (lib/cyrusdb_quotalegacy.c).

    BASE/quota/<h>/<root>                       any root without a domain, or virtdomains off
    BASE/domain/<h>/<domain>/quota/<h>/<rest>   DOMAIN!REST
    BASE/domain/<h>/<domain>/quota/root         DOMAIN! itself

<h> is a letter, lower case, or upper case with fulldirhash.
"""

from __future__ import annotations

import string
from typing import Optional

from cyrusquota.cyrus.names import hash_letter

#: The directories of a tree (FNAME_QUOTADIR, FNAME_DOMAINDIR), and the file of a whole domain.
QUOTA, DOMAIN, ROOT = b"quota", b"domain", b"root"
#: A file that is about to replace one (FNAME_NEW in lib/cyrusdb_quotalegacy.c).
UNFINISHED = b".NEW"
#: Also the name of the root of a user called NEW, who has another letter than the root `user`.
USER_NEW = b"user" + UNFINISHED
#: The letters of directories, without and with fulldirhash.
PLAIN = frozenset(letter.encode() for letter in string.ascii_lowercase)
FULL = frozenset(letter.encode() for letter in string.ascii_uppercase[:23])
#: What ends a file, and what a value starts with since 2.5.
LINE_BREAK, DLIST, NUL = b"\n", b"%", b"\0"


def letters(fulldirhash: Optional[bool]) -> frozenset[bytes]:
    """Return the letters of the directories where Cyrus looks; all, where that is not known."""
    if fulldirhash is None:
        return PLAIN | FULL
    return FULL if fulldirhash else PLAIN


def counts(name: bytes) -> bool:
    """Return whether a file of this name may be that of a key."""
    return not name.startswith(b".") and (not name.endswith(UNFINISHED) or name == USER_NEW)


def hashed(name: bytes) -> bytes:
    """Return the part of a root's name that is hashed: what follows the first dot, or all of it.

    Source: name_to_hashchar; nothing, which has a letter too, may follow the dot.
    """
    return name[name.find(b".") + 1 :]


def letter(text: bytes, *, full: bool) -> bytes:
    """Return the letter of the directory for a domain, or for what is hashed of a root's name."""
    return hash_letter(text, full=full).encode()


def value(raw: bytes) -> bytes:
    """Return the value that a file has: up to 2.4, used and limit had a line each.

    Cyrus copies a C string, and so nothing behind a NUL, but keeps the length.
    """
    value = raw[:-1]
    if NUL in value:
        value = value.partition(NUL)[0].ljust(len(value), NUL)
    return value if value.startswith(DLIST) else value.replace(LINE_BREAK, b" ", 1)
