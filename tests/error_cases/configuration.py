"""imapd.conf cannot be used."""

from __future__ import annotations

from cyrusquota.errors import ConfigError, OptionError
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
        "imapd.conf that is no file",
        ConfigError,
        "cyrusquota-export -C /dev/zero",
    ),
    ErrorCase(
        "includes without end",
        ConfigError,
        "cyrusquota-export -C imapd.conf",
        files={
            "imapd.conf": b"@include: 0\n",
            **{str(number): b"@include: %d\n" % (number + 1) for number in range(200)},
        },
    ),
    ErrorCase(
        "an imapd.conf of megabytes",
        ConfigError,
        "cyrusquota-export -C imapd.conf",
        files={"imapd.conf": b"#\n" * 600_000},
    ),
    ErrorCase(
        "an option of megabytes",
        ConfigError,
        "cyrusquota-export -C imapd.conf",
        files={"imapd.conf": b"configdirectory: " + b"x" * 100_000 + b"\n"},
    ),
    ErrorCase(
        "no such service",
        OptionError,
        "cyrusquota-export -C imapd.conf --service lmtp",
        files={
            "imapd.conf": b"configdirectory: /x\n",
            "cyrus.conf": b'SERVICES {\n lmtplocal cmd="lmtpd"\n}\n',
        },
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
