"""Read Cyrus IMAP's quota data from its files, tell who is over quota, and write maps for Exim.

import cyrusquota
for root in cyrusquota.read("/var/lib/cyrus/quotas.db"):
    print(root.name, root.storage.used, root.storage.limit)
"""

from __future__ import annotations

from cyrusquota import cyrusdb
from cyrusquota.cyrus.imapdconf import ImapdConf, load
from cyrusquota.cyrus.names import Naming, Recipient, recipient
from cyrusquota.errors import (
    BadDump,
    BadReport,
    BadValue,
    CannotCreateMap,
    ConfigError,
    CyrusQuotaError,
    DamagedDatabase,
    DataError,
    HeldBack,
    MapError,
    MapForbidden,
    MapLocked,
    NoSuchSource,
    NoSuchUser,
    OptionError,
    Place,
    SourceError,
    SourceForbidden,
    UnsupportedBackend,
    raise_problem,
)
from cyrusquota.quota import QuotaRoot, Resource, Usage
from cyrusquota.site.source import Source, from_config, from_database, from_dump, from_report, read
from cyrusquota.verdicts.evaluator import Query, Verdict, evaluate_roots
from cyrusquota.verdicts.policies import LMTPD, Policy
from cyrusquota.verdicts.selection import Evaluation, evaluate

__version__ = "0.1.0"

__all__ = [
    "LMTPD",
    "BadDump",
    "BadReport",
    "BadValue",
    "CannotCreateMap",
    "ConfigError",
    "CyrusQuotaError",
    "DamagedDatabase",
    "DataError",
    "Evaluation",
    "HeldBack",
    "ImapdConf",
    "MapError",
    "MapForbidden",
    "MapLocked",
    "Naming",
    "NoSuchSource",
    "NoSuchUser",
    "OptionError",
    "Place",
    "Policy",
    "Query",
    "QuotaRoot",
    "Recipient",
    "Resource",
    "Source",
    "SourceError",
    "SourceForbidden",
    "UnsupportedBackend",
    "Usage",
    "Verdict",
    "cyrusdb",
    "evaluate",
    "evaluate_roots",
    "from_config",
    "from_database",
    "from_dump",
    "from_report",
    "load",
    "raise_problem",
    "read",
    "recipient",
]
