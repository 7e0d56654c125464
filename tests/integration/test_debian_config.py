"""Debian's two ways to configure Exim, through the real update-exim4.conf."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import attrs
import pytest

from cyrusquota.mta.exim import Exim
from tests.site import Site

from . import exim, recipes
from .cyrus import Cyrus
from .recipes import RECIPES

pytestmark = pytest.mark.integration

ETC = Path("/etc/exim4")
UPDATE = "/usr/sbin/update-exim4.conf"
DEBIAN = exim.DIRECTORY / "debian" / "conf.d"
TEXT = "4.2.2 The user's mailbox is full."
#: Stands for the site's own router that delivers to Cyrus.
CYRUS = """
cyrus:
  driver = accept
  domains = +local_domains
  transport = mail_spool
"""


@pytest.fixture
def etc(needs_debian_exim: None, overquota: Path) -> Path:
    """A copy of /etc/exim4 for an Internet site, beside a map in which jane is full."""
    overquota.write_text(f"jane: :defer: {TEXT}\n")
    etc = overquota.with_name("exim4")
    shutil.copytree(ETC, etc)
    return etc


def _configure(etc: Path, *, split: bool) -> Path:
    """The configuration that update-exim4.conf makes of `etc`."""
    settings = etc / "update-exim4.conf.conf"
    text = settings.read_text()
    for name, value in (
        ("use_split_config", "true" if split else "false"),
        ("eximconfig_configtype", "internet"),
        ("other_hostnames", "example.net"),
    ):
        setting = rf"^dc_{name}=.*$"
        text, found = re.subn(setting, f"dc_{name}='{value}'", text, flags=re.MULTILINE)
        assert found == 1
    settings.write_text(text)
    conf = etc / "generated"
    done = subprocess.run(
        [UPDATE, "-d", str(etc), "-o", str(conf)], capture_output=True, timeout=exim.PATIENCE
    )
    assert (done.returncode, done.stderr) == (0, b"")
    conf.chmod(0o644)
    return conf


def _assert_it_defers_jane_alone(conf: Path) -> None:
    done = {
        user: exim.run("-bv", f"{user}@example.net", conf=conf)
        for user in ("jane", "jane+imap", "bob", "postmaster")
    }
    assert done["jane"].returncode == 1
    assert TEXT.encode() in done["jane"].stdout
    assert TEXT.encode() in done["jane+imap"].stdout
    assert done["bob"].returncode == done["postmaster"].returncode == 0


def test_run_parts_takes_the_names_of_the_files() -> None:
    names = [path.name for path in DEBIAN.rglob("*") if path.is_file()]
    assert len(names) == 2
    assert all(re.fullmatch(r"[0-9]{3}_cyrusquota-[a-z-]+", name) for name in names)


def test_the_split_router_is_the_router() -> None:
    split = DEBIAN / "router" / "450_cyrusquota-overquota"
    assert split.read_text() == exim.ROUTER.read_text()


def test_the_split_configuration(etc: Path, overquota: Path) -> None:
    shutil.copytree(DEBIAN, etc / "conf.d", dirs_exist_ok=True)
    macros = etc / "conf.d" / "main" / "000_cyrusquota-macros"
    text = macros.read_text()
    assert "# CYRUSQUOTA_MAP = /var/lib/cyrusquota/overquota\n" in text
    macros.write_text(re.sub("# CYRUSQUOTA_MAP = .*", f"CYRUSQUOTA_MAP = {overquota}", text))
    (etc / "conf.d" / "router" / "460_site-cyrus").write_text(CYRUS)
    conf = _configure(etc, split=True)
    _assert_it_defers_jane_alone(conf)
    routers = re.findall(r"^([a-z0-9_]+):$", conf.read_text(), re.MULTILINE)
    assert routers.index("system_aliases") < routers.index("overquota") < routers.index("cyrus")


def test_the_doctor_finds_the_split_configuration_well(etc: Path, overquota: Path) -> None:
    site = Site(overquota.with_name("site"))
    shutil.copytree(DEBIAN, etc / "conf.d", dirs_exist_ok=True)
    macros = etc / "conf.d" / "main" / "000_cyrusquota-macros"
    macros.write_text(f"CYRUSQUOTA_MAP = {site.map}\n")
    (etc / "conf.d" / "router" / "460_site-cyrus").write_text(
        CYRUS.replace("mail_spool", "cyrus_lmtp") + "  local_parts = jane : bob : ann\n"
    )
    (etc / "conf.d" / "transport" / "30_cyrus").write_text(
        "cyrus_lmtp:\n  driver = lmtp\n  socket = /run/cyrus/socket/lmtp\n"
    )
    conf = _configure(etc, split=True)
    mta = Exim(exim.program() or "", str(conf))
    found = site.findings(attrs.evolve(site.host(), exim=mta, domain="example.net"))
    assert {name for name, one in found.items() if one.kind.severity.exit_status} == set()
    assert {"full-deferred", "good-accepted"} <= set(found)
    assert found["router"].said == (
        f"router overquota uses {site.map}, before cyrus, which delivers"
    )


def test_the_unsplit_configuration(etc: Path, overquota: Path) -> None:
    """The way that README.md describes, but for the macro.

    update-exim4.conf takes exim4.conf.localmacros only if there is one in /etc/exim4; it puts it
    before the template.
    """
    shutil.copy(exim.ROUTER, etc / "cyrusquota-router.conf")
    template = etc / "exim4.conf.template"
    text = template.read_text()
    after = "### end router/400_exim4-config_system_aliases\n"
    assert text.count(after) == 1
    include = f".include {etc}/cyrusquota-router.conf\n{CYRUS}\n"
    macro = f"CYRUSQUOTA_MAP = {overquota}\n"
    template.write_text(macro + text.replace(after, after + include))
    _assert_it_defers_jane_alone(_configure(etc, split=False))


def test_the_callout_in_the_split_configuration(needs_cyrus: None, etc: Path) -> None:
    """The way that docs/choosing.md describes."""
    callout = RECIPES["callout"]
    variant = callout.variant
    assert variant.acl is not None and variant.transport is not None
    local_acl = etc / "local_acl"
    local_acl.write_text(variant.condition)
    conf_d = etc / "conf.d"
    shutil.copy(variant.router, conf_d / "router" / "450_cyrusquota-callout")
    shutil.copy(variant.transport, conf_d / "transport" / "30_cyrusquota-callout")
    shutil.copy(variant.acl, conf_d / "acl" / "20_cyrusquota-callout")
    with Cyrus() as cyrus:
        there = recipes.install(cyrus, callout)
        cyrus.start()
        cyrus.create_user("jane")
        cyrus.set_quota(cyrus.mailbox("jane"), storage_kib=10)
        macros = {**there.macros, "CHECK_RCPT_LOCAL_ACL_FILE": local_acl, "MAIN_HOST_LOOKUP": ":"}
        (conf_d / "main" / "000_cyrusquota-macros").write_text(
            "".join(f"{name} = {value}\n" for name, value in macros.items())
        )
        lines = ["EHLO client.example.org", "MAIL FROM:<> SIZE=20000"]
        lines += [f"RCPT TO:<{recipient}@example.net>" for recipient in ("jane", "carl")]
        lines += ["RSET", "MAIL FROM:<>", "RCPT TO:<jane@example.net>", "QUIT"]
        said = "".join(f"{line}\r\n" for line in lines).encode()
        done = exim.run("-bhc", exim.CLIENT, stdin=said, conf=_configure(etc, split=True))
    codes = re.findall(rb"^([2-5][0-9][0-9]) ", done.stdout, re.MULTILINE)
    assert b" ".join(codes) == b"220 250 250 451 550 250 250 250 221"
