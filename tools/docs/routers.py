"""The copies of the routers in exim/, which administrators install from there."""

from __future__ import annotations

from typing import Iterator

from cyrusquota.mta import router_files
from tools.docs import CHECKOUT, Generated

_EXIM = CHECKOUT / "exim"


def files() -> Iterator[Generated]:
    """Return every router, and every ACL that one needs."""
    for variant in router_files.VARIANTS:
        directory = _EXIM if variant == router_files.PLAIN else _EXIM / variant
        yield Generated(directory / "router.conf", router_files.router(variant))
        acl = router_files.acl(variant)
        if acl is not None:
            yield Generated(directory / "acl.conf", acl)
