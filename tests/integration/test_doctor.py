"""The doctor beside a real Exim: every variant in exim/ is well, and each fault is found."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Callable, Iterator, Mapping

import attrs
import pytest

from cyrusquota.doctor import Finding, Severity
from cyrusquota.maps.placed import placed
from tests.site import GOOD, Site

from . import commands, exim

pytestmark = pytest.mark.integration

VARIANTS = {
    ".": (),
    "address": ("--key", "auto"),
    "cdb": ("--map-format", "cdb"),
    "headroom": ("--headroom", "10G"),
    "exemptions": (),
    "refuse": ("--refuse",),
}
_ROUTER = r"^overquota:\n(?:(?:  .*)?\n)+?# <<<.*\n"
_CONDITION = r"^  condition = (?:.*\\\n)+.*\n"


@pytest.fixture
def site(needs_exim: None) -> Iterator[Site]:
    directory = Path(tempfile.mkdtemp(prefix="cq", dir="/tmp"))
    directory.chmod(0o755)
    made = Site(directory)
    made.write_exim()
    yield made
    shutil.rmtree(directory)


def _found(site: Site) -> dict[str, Finding]:
    return site.findings(site.host(exim.program()))


def _anew(site: Site, *options: str) -> None:
    site.map.unlink()
    site.write_map(*options)


def _late(site: Site) -> None:
    text = site.exim_conf.read_text()
    start, end = text.index("overquota:\n"), text.index("cyrus:\n")
    stop = text.index("begin transports")
    site.exim_conf.write_text(text[:start] + text[end:stop] + text[start:end] + text[stop:])


def _deferring(site: Site) -> None:
    router = "\ntrouble:\n  driver = redirect\n  allow_defer\n  data = :defer: broken\n\n"
    site.edit_exim(r"^overquota:", f"{router}overquota:")


def _addresses(site: Site) -> None:
    site.set("virtdomains: userid", "defaultdomain: example.net")
    _anew(site)


def _no_acl(site: Site) -> None:
    site.write_exim("exemptions")
    site.edit_exim(r"^  require acl = cyrusquota_defer\n")


def _nobody_full(site: Site) -> None:
    site.users["jane"] = GOOD
    site.write_users()
    _anew(site)


#: By kind: what makes the doctor find it on a host with Exim.
EXIM_CASES: Mapping[str, Callable[[Site], object]] = {
    "exim": lambda site: None,
    "exim-bad": lambda site: site.edit_exim("^primary_hostname", "nonsense"),
    "map-closed": lambda site: site.map.chmod(0o600),
    "router": lambda site: None,
    "router-missing": lambda site: site.edit_exim(_ROUTER),
    "router-map": lambda site: site.edit_exim("^CYRUSQUOTA_MAP = .*", "CYRUSQUOTA_MAP = /other"),
    "router-format": lambda site: _anew(site, "--map-format", "cdb"),
    "router-late": _late,
    "router-delivers": lambda site: site.edit_exim("^  verify_only\n"),
    "router-senders": lambda site: site.edit_exim("^  no_verify_sender\n"),
    "router-recipients": lambda site: site.edit_exim("^  verify_only", "  no_verify_recipient"),
    "router-closed": lambda site: site.edit_exim(_CONDITION),
    "router-ageless": lambda site: site.edit_exim(
        _CONDITION, "  condition = ${if exists{CYRUSQUOTA_MAP}}\n"
    ),
    "router-defer": lambda site: site.edit_exim("^  allow_defer\n"),
    "router-fail": lambda site: _anew(site, "--refuse"),
    "router-open": lambda site: site.edit_exim("^  forbid_pipe\n"),
    "router-suffix": lambda site: site.edit_exim("^  local_part_suffix.*\n"),
    "router-key": _addresses,
    "acl-verify": lambda site: site.edit_exim("^  require verify = recipient\n"),
    "acl-notes": _no_acl,
    "error-details": lambda site: site.edit_exim(
        "^primary_hostname", "smtp_return_error_details\nprimary_hostname"
    ),
    "full-deferred": lambda site: None,
    "full-otherwise": _deferring,
    "full-accepted": lambda site: site.edit_exim(
        "^CYRUSQUOTA_MAP", "CYRUSQUOTA_KEY = x$local_part\nCYRUSQUOTA_MAP"
    ),
    "full-nobody": _nobody_full,
    "good-accepted": lambda site: None,
    "good-deferred": _deferring,
    "good-refused": lambda site: site.edit_exim(
        "^domainlist.*", r"domainlist local_domains = \\N^x$\\N"
    ),
}


@pytest.mark.parametrize("kind", list(EXIM_CASES))
def test_each_kind_is_found(kind: str, site: Site) -> None:
    EXIM_CASES[kind](site)
    host = site.host(exim.program())
    if kind == "router-map":
        host = attrs.evolve(host, map=str(site.map))
    found = site.findings(host)
    assert kind in found, list(found)
    assert found[kind].said
    assert found[kind].do or found[kind].kind.severity is Severity.OK


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_every_variant_is_well(variant: str, site: Site) -> None:
    site.write_exim(variant)
    if variant == "address":
        site.set("virtdomains: userid", "defaultdomain: example.net")
    _anew(site, *VARIANTS[variant])
    found = _found(site)
    assert {name for name, one in found.items() if one.kind.severity.exit_status} == set()
    assert {"map", "exim", "router", "full-deferred", "good-accepted", "schedule"} <= set(found)
    assert placed(site.map).entries


def test_the_domain_of_users_can_be_given(site: Site) -> None:
    site.edit_exim("^qualify_domain.*", "qualify_domain = elsewhere.example")
    # A name among the local domains will do.
    assert _found(site)["good-accepted"].said == "ann@example.net verified"
    site.edit_exim("^domainlist.*", r"domainlist local_domains = \\N^example\\.net$\\N")
    assert "good-refused" in _found(site)
    host = attrs.evolve(site.host(exim.program()), domain="example.net")
    found = site.findings(host)
    assert found["good-accepted"].said == "ann@example.net verified"
    assert "jane@example.net" in found["full-deferred"].said


def test_the_recipe_of_old_is_known_for_what_it_lacks(site: Site) -> None:
    """A bare lookup in `data`, as it was published in 2005."""
    site.edit_exim(
        _ROUTER,
        "overquota:\n  driver = redirect\n  verify_only\n  local_part_suffix = +imap\n"
        "  local_part_suffix_optional\n  allow_defer\n"
        "  data = ${lookup{$local_part}lsearch{CYRUSQUOTA_MAP}}\n",
    )
    found = _found(site)
    assert {"router-senders", "router-closed", "router-ageless", "router-open"} <= set(found)
    assert "full-deferred" in found


def test_a_map_too_old_for_its_router_is_asked_nothing(site: Site) -> None:
    site.edit_exim("^CYRUSQUOTA_MAP", "CYRUSQUOTA_MAX_AGE = 600\nCYRUSQUOTA_MAP")
    site.age(601)
    found = _found(site)
    assert found["map-old"].said.endswith("ago, and counts for 10 minutes")
    assert not {"full-deferred", "full-accepted"} & set(found)
    site.age(500)
    assert {"map-late", "full-deferred"} <= set(_found(site))


def test_an_age_in_other_words_is_an_age(site: Site) -> None:
    site.edit_exim(
        _CONDITION,
        "  condition = ${if and{{exists{CYRUSQUOTA_MAP}}{<\\\n"
        "    {${eval:$tod_epoch-${extract{mtime}{${stat:CYRUSQUOTA_MAP}}}}}{7200}}}}\n",
    )
    found = _found(site)
    assert not {"router-ageless", "router-closed"} & set(found)
    assert "full-deferred" in found


def test_an_exim_that_answers_to_admins_only_is_not_seen(site: Site) -> None:
    site.edit_exim("^primary_hostname", "commandline_checks_require_admin\nprimary_hostname")
    program = site.directory / "exim"
    program.write_text(
        "#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups"
        f' {exim.program()} "$@"\n'
    )
    program.chmod(0o755)
    found = site.findings(site.host(str(program)))
    assert "require admin" in found["not-seen"].said
    assert "exim-bad" not in found
    assert str(site.map) in found["map"].said


def test_the_command_says_all_that_is_found(site: Site) -> None:
    site.edit_exim("^qualify_domain.*", "qualify_domain = elsewhere.example")
    site.edit_exim("^domainlist.*", r"domainlist local_domains = \\N^example\\.net$\\N")
    words = ["doctor", "-C", str(site.conf), "--exim", str(exim.program())]
    words += ["--exim-config", str(site.exim_conf), "--root", str(site.etc.parent)]
    done = commands.run_tool(*words, "--domain", "example.net")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"ok       good-accepted: ann@example.net verified\n" in done.stdout
    assert done.stdout.endswith(b"\nNothing was changed. All is well.\n")

    done = commands.run_tool(*words, "--quiet")
    assert (done.returncode, done.stderr) == (1, b"")
    full, good = done.stdout.splitlines()
    assert full.startswith(b"warning  full-otherwise: jane")
    assert good.startswith(b"warning  good-refused: ann")
    assert good.endswith(b"; name the domain of your users with --domain")
