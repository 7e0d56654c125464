"""Ask Exim which recipients it accepts: at RCPT, in which domains, and users who do not exist."""

from __future__ import annotations

import re
from typing import Optional, Sequence

from cyrusquota.mta.exim import Exim, VerifyStatus

_ACL = re.compile(r"^ {2}([A-Za-z0-9_-]+):$", re.MULTILINE)
_VERIFY = re.compile(r"\bverify *= *recipient\b")
#: What an ACL has that asks Cyrus about a recipient: a callout to lmtpd, or a question to smmapd.
_ASKS_CYRUS = re.compile(r"\bverify *= *recipient/.*\bcallout\b|\breadsocket\b")
#: A domain that can stand in an expansion as it is.
_DOMAIN = re.compile(r"[\w.-]+")
#: A user who does not exist, unless somebody wants them to.
NOBODY = "cyrusquota-no-such-user"


def acls_at_rcpt(exim: Exim) -> str:
    """Return the ACL for RCPT and those that it calls, or all ACLs if its name is not plain.

    Raises `EximError` before Exim 4.86, which cannot print them.
    """
    start = exim.option("acl_smtp_rcpt")
    section = exim.configuration().partition("\nbegin acl")[2].partition("\nbegin ")[0]
    # Names and bodies alternate, after what is before the first name.
    parts = _ACL.split(section)[1:]
    acls = dict(zip(parts[::2], parts[1::2]))
    if start not in acls:
        return section
    asked, waiting = dict[str, str](), [start]
    while waiting:
        name = waiting.pop()
        asked[name] = acls[name]
        words = set(re.findall(r"[A-Za-z0-9_-]+", acls[name]))
        waiting += sorted(words & acls.keys() - asked.keys())
    return "\n".join(asked.values())


def verifies_recipients(acls: str) -> bool:
    """Return whether ACLs verify recipients, so that routers decide about them."""
    return _VERIFY.search(acls) is not None


def domains_outside(exim: Exim, domains: Sequence[str], domain_list: str) -> list[str]:
    """Return the domains that a domain list of Exim's does not have, as far as that is known.

    Exim would do what is in the braces of a name; such names are not asked about.
    """
    plain = [*filter(_DOMAIN.fullmatch, domains)]
    # A list that depends on the message has no meaning without one.
    if not domain_list or "$" in domain_list or not plain:
        return []
    listed = re.sub(r"([\\{}])", r"\\\1", domain_list)
    answers = (f"${{if match_domain{{{name}}}{{{listed}}}{{}}{{{name} }}}}" for name in plain)
    found = exim.expanded("".join(answers))
    return [] if found is None else found.split()


def router_of_unknown(exim: Exim, domain: Optional[str], acls: str) -> Optional[tuple[str, str]]:
    """Return the router and the transport for a user who does not exist, None if refused.

    `acls` are those at RCPT; where they ask Cyrus, they are trusted to refuse such a user.
    """
    address = NOBODY if domain is None else f"{NOBODY}@{domain}"
    if _ASKS_CYRUS.search(acls) or exim.verify(address).status is not VerifyStatus.ACCEPTED:
        return None
    return exim.route(address)
