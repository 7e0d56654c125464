"""The overquota routers that are shipped, in routers/, and how one is filled in for a site.

exim/ has copies of them for administrators, made by `make man`.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Mapping, Optional

#: The name of a variant is that of its directory in exim/.
PLAIN = "plain"
VARIANTS = (
    PLAIN,
    "address",
    "cdb",
    "headroom",
    "refuse",
    "headroom-refuse",
    "exemptions",
)
ADDRESS_KEY = "${lc:$local_part@$domain}"


def router(variant: str) -> str:
    """Return the router of a variant as it is shipped, for the routers section."""
    return _text(f"{variant}.conf")


def acl(variant: str) -> Optional[str]:
    """Return what a variant also needs in the ACL section; None for most."""
    return _text(f"{variant}-acl.conf") if variant in ("cdb", "exemptions") else None


def filled(text: str, macros: Mapping[str, str]) -> str:
    """Return `text` with other defaults of the macros that it has."""
    for name, value in macros.items():
        found = re.search(rf"^\.ifndef {name}\n{name} = (.*)$", text, re.MULTILINE)
        if found is not None:
            text = text[: found.start(1)] + value + text[found.end(1) :]
    return text


def _text(name: str) -> str:
    return (resources.files("cyrusquota.mta") / "routers" / name).read_text("utf-8")
