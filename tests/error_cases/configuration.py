"""imapd.conf cannot be used."""

from __future__ import annotations

from cyrusquota.errors import ConfigError
from tests.error_cases.case import ErrorCase

CASES = (
    ErrorCase(
        "no imapd.conf",
        ConfigError,
        "cyrusquota-export -C imapd.conf",
    ),
    ErrorCase(
        "a line of imapd.conf that is not an option",
        ConfigError,
        "cyrusquota-export -C imapd.conf",
        files={"imapd.conf": b"configdirectory /var/lib/cyrus\n"},
    ),
    ErrorCase(
        "imapd.conf includes itself",
        ConfigError,
        "cyrusquota-export -C imapd.conf",
        files={"imapd.conf": b"@include: imapd.conf\n"},
    ),
    ErrorCase(
        "no configdirectory",
        ConfigError,
        "cyrusquota-export -C imapd.conf",
        files={"imapd.conf": b"virtdomains: off\n"},
    ),
    ErrorCase(
        "a bad switch in imapd.conf",
        ConfigError,
        "cyrusquota-export -C imapd.conf",
        files={"imapd.conf": b"configdirectory: /x\nfulldirhash: maybe\n"},
    ),
    ErrorCase(
        "a bad virtdomains",
        ConfigError,
        "cyrusquota-export -C imapd.conf",
        files={"imapd.conf": b"configdirectory: /x\nvirtdomains: maybe\n"},
    ),
    ErrorCase(
        "a bad quota_db",
        ConfigError,
        "cyrusquota-export -C imapd.conf",
        files={"imapd.conf": b"configdirectory: /x\nquota_db: cdb\n"},
    ),
)
