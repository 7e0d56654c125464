"""Certificates of an own authority, made by openssl: good, expired, and of another authority."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Optional

import attrs

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
PATIENCE = 30


def missing() -> Optional[str]:
    """What keeps certificates from being made here and what to do about it, or None."""
    return None if shutil.which("openssl") else "no openssl here: apt-get install openssl"


@attrs.frozen
class Certificate:
    """A certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """A certificate authority in a directory of its own."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.directory = directory
        self.ca = directory / "ca.pem"
        self._key = directory / "ca.key"
        # Python 3.13 takes no authority without such a purpose.
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        words = (*_KEY, *usage, "-keyout", str(self._key), "-out", str(self.ca), "-days", "30")
        _openssl("req", "-x509", *words, "-subj", f"/CN=authority {directory.name}")

    def issue(
        self, name: str, *, hosts: tuple[str, ...] = ("127.0.0.1",), days: int = 30
    ) -> Certificate:
        """Make a certificate for the addresses `hosts`; with negative days it has expired."""
        made = Certificate(self.directory / f"{name}.pem", self.directory / f"{name}.key")
        request = self.directory / f"{name}.csr"
        _openssl(
            *("req", *_KEY, "-keyout", str(made.key), "-out", str(request)),
            *("-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=" + ",".join(f"IP:{host}" for host in hosts)),
        )
        _openssl(
            *("x509", "-req", "-in", str(request), "-out", str(made.cert)),
            *("-CA", str(self.ca), "-CAkey", str(self._key), "-CAcreateserial"),
            *("-days", str(days), "-copy_extensions", "copy"),
        )
        return made


def _openssl(*arguments: str) -> None:
    done = subprocess.run(["openssl", *arguments], capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, done
