"""Load and inspect the installed map: its header, its entries, its age.

It is the file that the MTA would open, so a symbolic link is followed. The format is recognized.
"""

from __future__ import annotations

import os
import shlex
import stat
import time
from pathlib import Path
from typing import Optional

import attrs

from cyrusquota.errors import (
    AnyPath,
    ForeignMap,
    MapError,
    MapForbidden,
    NoSuchMap,
    printable,
)
from cyrusquota.maps import FORMATS
from cyrusquota.maps.header import MapHeader

#: Where the router and the units look for the map (exim/router.conf, systemd/).
DEFAULT_PATH = "/var/lib/cyrusquota/overquota"
#: Seconds after which the router ignores a map (CYRUSQUOTA_MAX_AGE).
DEFAULT_MAX_AGE = 7200
#: The same for the router of an MX, whose map a mirror renews all the time (docs/many-hosts.md).
MIRROR_MAX_AGE = 300


@attrs.frozen
class InstalledMap:
    """A map that cyrusquota wrote, as it is installed.

    `status` is that of the file; a symbolic link is followed.
    """

    path: str
    format: str
    header: MapHeader
    content: bytes = attrs.field(repr=False)
    status: os.stat_result = attrs.field(repr=False)

    @property
    def keys(self) -> set[bytes]:
        """The keys, as the map writes them."""
        return FORMATS[self.format].keys(self.content)

    @property
    def renewed(self) -> float:
        """When a run last wrote or confirmed it; the router checks this time."""
        return self.status.st_mtime

    def age(self, now: Optional[float] = None) -> float:
        """Return the seconds since it was renewed."""
        return (time.time() if now is None else now) - self.renewed

    @property
    def entries(self) -> int:
        """The number of entries."""
        count = self.header.entries
        return len(self.keys) if count is None else count

    def value(self, key: str) -> Optional[bytes]:
        """Return the value of an address or a local part, as the MTA finds it, or None."""
        spelled = key.encode("utf-8", "surrogateescape").lower()
        return FORMATS[self.format].value(self.content, spelled)


def installed_map(path: AnyPath = DEFAULT_PATH) -> InstalledMap:
    """Return the map at `path`. Raises `NoSuchMap`, `MapForbidden`, `ForeignMap` or `MapError`."""
    content, status = _read(path)
    where = printable(str(path))
    for name, form in FORMATS.items():
        header = MapHeader.of(form.comments(content))
        if header is not None and form.is_format_of(content):
            return InstalledMap(str(path), name, header, content, status)
    if not content:
        raise NoSuchMap(f"{where}: is empty, which no map of cyrusquota is; {_advice(path)}")
    raise ForeignMap(
        f"{where}: was not written by this program; name the map that cyrusquota-export writes,"
        " or move this away and write one"
    )


def _read(path: AnyPath) -> tuple[bytes, os.stat_result]:
    where = printable(str(path))
    try:
        # Before it is opened: opening alone can set off a device.
        _must_be_plain(where, os.stat(path))
        with Path(path).open("rb") as file:
            return file.read(), os.fstat(file.fileno())
    except (FileNotFoundError, NotADirectoryError):
        raise NoSuchMap(f"{where}: there is no map; {_advice(path)}") from None
    except PermissionError:
        raise MapForbidden(
            f"{where}: permission denied; run as root, or make the map and every directory above"
            " it readable"
        ) from None
    except OSError as error:
        raise MapError(
            f"{where}: cannot be read: {error.strerror or error}; look into the kernel's log"
        ) from error
    except ValueError:
        raise NoSuchMap(f"{where}: no file has such a name; name another") from None


def _must_be_plain(where: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ForeignMap(
            f"{where}: is not a plain file; name the map that cyrusquota-export writes"
        )


def _advice(path: AnyPath) -> str:
    return f"write it: cyrusquota-export -o {shlex.quote(printable(str(path)))}"
