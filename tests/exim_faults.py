"""Faults of a host with Exim, by the kind of finding that the doctor has for each."""

from __future__ import annotations

from typing import Callable, Mapping

from tests.site import FULL, GOOD, Site

#: The router and its condition, as regular expressions.
ROUTER = r"^overquota:\n(?:(?:  .*)?\n)+?# <<<.*\n"
CONDITION = r"^  condition = (?:.*\\\n)+.*\n"


def rewritten(site: Site, *options: str) -> None:
    """Write the map again, with other options."""
    site.map.unlink()
    site.write_map(*options)


def _late(site: Site) -> None:
    text = site.exim_conf.read_text()
    start, end = text.index("overquota:\n"), text.index("cyrus:\n")
    stop = text.index("begin transports")
    site.exim_conf.write_text(text[:start] + text[end:stop] + text[start:end] + text[stop:])


def _deferring(site: Site, who: str = "*") -> None:
    site.edit_exim(
        r"^overquota:",
        f"\ntrouble:\n  driver = redirect\n  local_parts = {who}\n  allow_defer\n"
        "  data = :defer: broken\n\noverquota:",
    )


def _addresses(site: Site) -> None:
    site.set("virtdomains: userid", "defaultdomain: example.net")
    rewritten(site)


def _no_acl(site: Site) -> None:
    site.write_exim("exemptions")
    site.edit_exim(r"^  require acl = cyrusquota_defer\n")


def _nobody_full(site: Site) -> None:
    site.users["jane"] = GOOD
    site.write_users()
    rewritten(site)


def _aliases(site: Site) -> None:
    router = "aliases:\n  driver = redirect\n  data = ${lookup{$local_part}lsearch{/etc/aliases}}\n"
    site.edit_exim(r"^cyrus:", f"{router}\ncyrus:")


def _other_domain(site: Site) -> None:
    site.set("virtdomains: userid", "defaultdomain: example.net")
    site.write_exim("address")
    for path, row in (
        (site.quotas, f"elsewhere.example!user.max\t{FULL}\n"),
        (site.mailboxes, "elsewhere.example!user.max\t0 default max\tlrswipcda\t\n"),
    ):
        path.write_text("".join(sorted([*path.read_text().splitlines(keepends=True), row])))
    rewritten(site)


#: By kind: what makes the doctor find it on a host with Exim.
EXIM_CASES: Mapping[str, Callable[[Site], object]] = {
    "exim": lambda site: None,
    "exim-bad": lambda site: site.edit_exim("^primary_hostname", "nonsense"),
    "exim-start": lambda site: None,
    "exim-stale": lambda site: site.start_exim(in_seconds=-60),
    "exim-start-unknown": lambda site: site.exim_log.unlink(),
    "delivery-missing": lambda site: site.edit_exim(
        r"^cyrus_lmtp:\n(?:  .*\n)+", "cyrus_lmtp:\n  driver = smtp\n  hosts = 127.0.0.1\n"
    ),
    "map-closed": lambda site: site.map.chmod(0o600),
    "router": lambda site: None,
    "router-missing": lambda site: site.edit_exim(ROUTER),
    "router-map": lambda site: site.edit_exim("^CYRUSQUOTA_MAP = .*", "CYRUSQUOTA_MAP = /other"),
    "router-format": lambda site: rewritten(site, "--map-format", "cdb"),
    "router-late": _late,
    "router-aliases": _aliases,
    "router-domains": _other_domain,
    "router-delivers": lambda site: site.edit_exim("^  verify_only\n"),
    "router-senders": lambda site: site.edit_exim("^  no_verify_sender\n"),
    "router-recipients": lambda site: site.edit_exim("^  verify_only", "  no_verify_recipient"),
    "router-closed": lambda site: site.edit_exim(CONDITION),
    "router-ageless": lambda site: site.edit_exim(
        CONDITION, "  condition = ${if exists{CYRUSQUOTA_MAP}}\n"
    ),
    "router-defer": lambda site: site.edit_exim("^  allow_defer\n"),
    "router-fail": lambda site: rewritten(site, "--refuse"),
    "router-headroom": lambda site: rewritten(site, "--headroom", "10G"),
    "router-open": lambda site: site.edit_exim("^  forbid_pipe\n"),
    "router-suffix": lambda site: site.edit_exim("^  local_part_suffix.*\n"),
    "router-key": _addresses,
    "acl-verify": lambda site: site.edit_exim("^  require verify = recipient\n"),
    "acl-notes": _no_acl,
    "error-details": lambda site: site.edit_exim(
        "^primary_hostname", "smtp_return_error_details\nprimary_hostname"
    ),
    "transport-ignores-quota": lambda site: site.edit_exim(
        "^  rcpt_include_affixes", "  ignore_quota\n  rcpt_include_affixes"
    ),
    "full-deferred": lambda site: None,
    "full-otherwise": lambda site: _deferring(site, "jane"),
    "full-accepted": lambda site: site.edit_exim(
        "^CYRUSQUOTA_MAP", "CYRUSQUOTA_KEY = x$local_part\nCYRUSQUOTA_MAP"
    ),
    "full-nobody": _nobody_full,
    "unknown-accepted": lambda site: site.edit_exim(r"^unknown:\n(?:  .*\n)+"),
    "good-accepted": lambda site: None,
    "good-deferred": _deferring,
    "good-refused": lambda site: site.edit_exim(
        "^domainlist.*", r"domainlist local_domains = \\N^x$\\N"
    ),
}
