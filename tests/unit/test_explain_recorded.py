"""One user explained with what a real Exim was recorded to answer."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Optional

import pytest
from click.testing import CliRunner, Result

from cyrusquota.cli.main import cyrusquota
from tests.recorded_exim import recorded_exim
from tests.site import FULL, GOOD, Site

JANE = "jane@example.net"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A host where jane is full and in the map, and bob and ann have room."""
    return Site(tmp_path / "site")


def _explain(site: Site, situation: str, asked: str, *words: str, **options: str) -> Result:
    exim = recorded_exim(site.directory, situation, site.map, **options)
    given = ["explain", "-C", str(site.conf), "--settings", "", "--exim", exim]
    if "--map" not in words:
        given += ["--map", str(site.map)]
    return CliRunner().invoke(cyrusquota, [*given, *words, asked], catch_exceptions=False)


def _found(site: Site, situation: str, asked: str, *words: str, **options: str) -> dict[str, Any]:
    done = _explain(site, situation, asked, "--format", "json", *words, **options)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_first_line_says_what_becomes_of_mail(site: Site) -> None:
    lines = _explain(site, "plain", "jane").stdout.splitlines()
    assert lines[0] == (
        "jane@example.net is over quota (STORAGE at >999%), and Exim defers their mail until there"
        " is room."
    )
    assert f"       router overquota looked up jane in {site.map}" in lines
    good = _explain(site, "plain", "bob@example.net").stdout.splitlines()[0]
    assert good == "bob@example.net gets mail: Cyrus and Exim accept it."


def test_where_all_was_asked_and_nothing_differs_it_agrees(site: Site) -> None:
    for asked in ("jane", "bob@example.net"):
        found = _found(site, "plain", asked)
        assert (found["agree"], found["differences"]) == (True, [])
        # Who is rightly deferred wants to know for how long.
        assert bool(found["notes"]) == (asked == "jane")


#: What is recorded; what jane's mail comes to, and the reason.
SITUATIONS = {
    "address": ("deferred", None),
    "exemptions": ("deferred", None),
    "key": ("late", "the router overquota looks up jane@example.net, and the entry is for jane"),
    "unreadable": (
        "late",
        "the router overquota cannot open the map: Permission denied (euid=102 egid=105)",
    ),
    "cdb": ("late", "the map is lsearch, and the router overquota expects cdb"),
    "late": (
        "late",
        "the router overquota is not reached: the router early takes the address before",
    ),
    "domains": (
        "late",
        "the router overquota does not look into the map: skipped: domains mismatch",
    ),
    "trouble": ("deferred", "the router trouble defers"),
    "not-local": ("rejected", "example.net is not in Exim's local_domains"),
    "other-host": (
        "elsewhere",
        "it goes to jane@example.net (router elsewhere, transport remote); example.net is not in"
        " Exim's local_domains",
    ),
    "no-router": ("late", "no router of Exim looks recipients up in a map"),
}


@pytest.mark.parametrize("situation", list(SITUATIONS))
def test_each_reason_is_found_by_asking(site: Site, situation: str) -> None:
    outcome, why = SITUATIONS[situation]
    found = _found(site, situation, JANE)
    assert found["verdict"]["outcome"] == outcome
    assert [one["why"] for one in found["differences"]] == ([] if why is None else [why])
    assert found["agree"] is (why is None)
    assert found["verdict"]["level"] == ("limited" if why is None else "wrong")
    if why is not None:
        assert why in found["verdict"]["text"]
        assert found["differences"][0]["do"]


def test_a_map_is_converted_into_the_format_that_the_router_expects(site: Site) -> None:
    site.map.unlink()
    site.write_map("--map-format", "postfix")
    (difference,) = _found(site, "cdb", JANE)["differences"]
    (command,) = difference["commands"]
    assert command.endswith(f" -o {site.map} --map-format cdb")
    assert "postfix" not in command


def test_another_router_that_defers_a_user_with_room_is_named(site: Site) -> None:
    found = _found(site, "trouble", "bob@example.net")
    (difference,) = found["differences"]
    assert difference["why"] == "the router trouble defers"
    assert difference["commands"][0].endswith(" -d-all+route -bv bob@example.net")


def test_a_map_that_the_router_does_not_use_is_named(site: Site) -> None:
    """Also where the two say the same."""
    other = site.directory / "other"
    other.write_bytes(site.map.read_bytes())
    found = _found(site, "plain", JANE, "--map", str(other))
    assert [one["why"] for one in found["differences"]] == [
        f"the router overquota uses {site.map}, not {other}"
    ]
    link = site.directory / "link"
    link.symlink_to(site.map)
    assert _found(site, "plain", JANE, "--map", str(link))["agree"]


def _changed(site: Site, situation: str, asked: str, **changes: Any) -> dict[str, Any]:
    """What is found where Exim answers this to -bv, -bt and -d."""
    exim = recorded_exim(site.directory, situation, site.map)
    path = site.directory / "calls.json"
    calls = json.loads(path.read_text())
    for option, answer in changes.items():
        same = {key for key in calls if key.startswith(f"-{option}")}
        calls.update(dict.fromkeys({*same, f"-{option} -- {asked}"}, answer))
    path.write_text(json.dumps(calls))
    words = ["explain", "-C", str(site.conf), "--settings", "", "--exim", exim]
    words += ["--map", str(site.map), "--format", "json", asked]
    found: dict[str, Any] = json.loads(CliRunner().invoke(cyrusquota, words).stdout)
    return found


def _as_user(site: Site, situation: str, asked: str, **changes: Any) -> dict[str, Any]:
    """What somebody finds whom Exim shows no steps."""
    refused = [1, "", "exim: debugging permission denied\n"]
    return _changed(site, situation, asked, d=refused, **changes)


@pytest.mark.parametrize(
    ("text", "does"),
    [("cannot be resolved at this time", "defers"), ("failed to verify", "rejects")],
)
def test_a_reason_that_exim_does_not_give_is_not_denied(site: Site, text: str, does: str) -> None:
    """Exim 4.96 tells users who are no administrators this much."""
    answer = [1 if does == "defers" else 2, f"{JANE} {text}\n", ""]
    found = _as_user(site, "plain", JANE, bv=answer)
    assert found["verdict"]["text"] == (
        f"{JANE} is over quota (STORAGE at >999%), and Exim {does} their mail, probably for that."
    )
    assert (found["agree"], found["differences"]) == (None, [])
    assert found["not_known"][0].startswith("why Exim does that: ")


def test_a_list_of_which_exim_discards_the_rest_is_no_fault_of_the_router(site: Site) -> None:
    """For `janes: jane, gone@elsewhere`, -bt shows jane alone, and -d goes on to jane."""
    found = _changed(site, "plain", "janes", bv=[0, "janes@example.net verified\n", ""])
    assert found["verdict"]["text"].endswith(
        "refuses: janes leads to several destinations, and Exim verifies none of these."
    )


def test_an_address_that_exim_cannot_parse_is_not_put_down_to_missing_rights(site: Site) -> None:
    wrong = "jane@ex ample"
    said = f"syntax error: malformed address: ample may not follow jane@ex\n{wrong} failed"
    found = _changed(
        site, "plain", wrong, bv=[2, said, ""], d=[2, "", "admin user\n"], bt=[2, "", ""]
    )
    assert found["differences"][0]["why"] == "Exim tries no router for this address"
    assert "run this as root" not in json.dumps(found)


def test_where_exim_rejects_its_own_reason_comes_first(site: Site) -> None:
    site.map.unlink()
    found = _found(site, "not-local", JANE)
    assert found["verdict"]["text"].endswith("example.net is not in Exim's local_domains.")
    assert [one["what"] for one in found["differences"]] == [
        "Exim rejects the address, and the mail server knows the user",
        "lmtpd refuses, and there is no map that can be read",
    ]


def test_an_acl_is_not_blamed_where_no_router_defers(site: Site) -> None:
    found = _changed(site, "not-local", JANE, **{"bP config": [0, "begin acl\n", ""]})
    assert not any("ACL" in one["what"] for one in found["differences"])


@pytest.mark.parametrize(
    ("situation", "why"),
    [
        ("plain", None),
        ("cdb", "it is not known why, because Exim shows only its administrators what"),
        ("late", "it is not known why, because Exim shows only its administrators what"),
        ("trouble", "it is not known why, because Exim shows only its administrators what"),
    ],
)
def test_what_exim_does_not_show_is_not_guessed(
    site: Site, situation: str, why: Optional[str]
) -> None:
    text = site.map.read_text()
    site.map.write_text(text.partition("jane: ")[0] + "jane: :defer: 4.2.2 Full\n")
    found = _as_user(site, situation, JANE)
    reasons = [one["why"] for one in found["differences"]]
    assert len(reasons) == (why is not None)
    assert all(one.startswith(str(why)) for one in reasons)
    assert found["exim"]["keys"] is None


def test_a_transport_that_ignores_quotas_lets_mail_in(site: Site) -> None:
    exim = recorded_exim(site.directory, "no-router", site.map)
    path = site.directory / "calls.json"
    text = path.read_text().replace("\\nprotocol = lmtp", "\\nprotocol = lmtp\\nlmtp_ignore_quota")
    path.write_text(text)
    words = ["explain", "-C", str(site.conf), "--settings", "", "--exim", exim]
    found = json.loads(CliRunner().invoke(cyrusquota, [*words, "--format", "json", JANE]).stdout)
    assert found["verdict"]["text"] == (
        "jane@example.net is over quota (STORAGE at >999%), but gets mail: Exim tells Cyrus to"
        " ignore quotas (lmtp_ignore_quota in transport cyrus_lmtp)."
    )


@pytest.mark.parametrize(
    ("conf", "options", "address"),
    [
        ([], {}, "jane"),
        (["virtdomains: userid", "defaultdomain: example.net"], {}, JANE),
        # Exim would take the name of the host, and users are in another domain.
        ([], {"qualify_domain": "host.example.net", "qualify_recipient": "host.example.net"}, JANE),
    ],
)
def test_exim_is_asked_about_the_domain_that_users_are_in(
    site: Site, conf: list[str], options: dict[str, str], address: str
) -> None:
    site.set(*conf)
    assert _found(site, "plain", "jane", **options)["exim"]["address"] == address
    # A mailbox has no address of its own.
    assert _found(site, "plain", "user.jane", **options)["exim"]["address"] == address


# --- aliases, lists, forwards ---


def test_an_alias_is_explained_by_the_user_it_leads_to(site: Site) -> None:
    found = _found(site, "plain", "janes")
    assert found["verdict"]["text"].startswith(
        "janes is an alias of jane@example.net, who is over quota (STORAGE at >999%), and Exim"
    )
    assert (found["inbox"], found["root"], found["agree"]) == ("user.jane", "user.jane", True)
    (goes,) = found["route"]
    assert goes["aliases"] == ["janey@example.net", "janes@example.net"]
    assert (goes["target"], goes["to_cyrus"]) == (JANE, True)


def test_an_alias_that_hides_an_inbox_says_so(site: Site) -> None:
    site.users["janes"] = GOOD
    site.write_users()
    done = _explain(site, "plain", "janes").stdout
    assert "There is an INBOX user.janes too, which gets none of this mail" in done


def test_a_mailbox_whose_address_is_an_alias_is_told_where_the_mail_goes(site: Site) -> None:
    site.users["self"] = GOOD
    site.write_users()
    found = _found(site, "plain", "user.self")
    assert (found["inbox"], found["verdict"]["outcome"]) == ("user.self", "elsewhere")
    assert found["differences"][0]["why"] == (
        "it goes to jane@example.net (router cyrus, transport cyrus_lmtp)"
    )


def test_a_list_names_its_members_who_are_over_quota(site: Site) -> None:
    found = _found(site, "plain", "staff")
    assert found["verdict"]["text"] == (
        "staff is an alias of 3 destinations, and Exim accepts mail for it without looking at their"
        " quotas. 1 of them is over quota: jane@example.net."
    )
    assert (found["address"], found["server"], found["agree"]) == (None, None, None)
    replies = {one["target"]: one["reply"] for one in found["route"]}
    assert replies == {
        "carl@elsewhere.example": None,
        "bob@example.net": "250 2.1.5 ok",
        JANE: "452 4.2.2 Over quota",
    }
    lines = _explain(site, "plain", "staff").stdout.splitlines()
    assert (
        lines[2] == "  jane@example.net        452 4.2.2 Over quota: STORAGE 976.6 KiB of 1.0 KiB"
    )


def test_a_dump_is_read_again_for_each_member_of_a_list(site: Site) -> None:
    exim = recorded_exim(site.directory, "plain", site.map)
    words = ["explain", "--dump", str(site.quotas), "--settings", "", "--exim", exim]
    done = CliRunner().invoke(cyrusquota, [*words, "--format", "json", "staff"])
    replies = {one["target"]: one["reply"] for one in json.loads(done.stdout)["route"]}
    assert replies["bob@example.net"] == "250 2.1.5 ok"
    assert replies[JANE] == "452 4.2.2 Over quota"


def test_a_user_who_keeps_a_copy_is_one_of_the_members(site: Site) -> None:
    site.users["self"] = FULL
    site.write_users()
    found = _found(site, "plain", "self")
    assert "2 of them are over quota" in found["verdict"]["text"]
    assert found["notes"] == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            "away",
            "away is an alias of x@elsewhere.example, which is not at this Cyrus (transport"
            " remote); no quota of this host counts.",
        ),
        ("hole", "Mail for hole is discarded by Exim; no quota counts."),
        (
            "pipe",
            "pipe is an alias of |/bin/true, which is not at this Cyrus (transport address_pipe);"
            " no quota of this host counts.",
        ),
    ],
)
def test_an_alias_that_leads_elsewhere_is_no_matter_of_quotas(
    site: Site, asked: str, said: str
) -> None:
    done = _explain(site, "plain", asked)
    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, said)


def test_an_alias_that_is_not_used_to_verify_may_be_deferred(site: Site) -> None:
    exim = recorded_exim(site.directory, "plain", site.map)
    path = site.directory / "calls.json"
    calls = json.loads(path.read_text())
    calls["-bv -- away"] = [1, "away@example.net cannot be resolved at this time: Full\n", ""]
    path.write_text(json.dumps(calls))
    words = ["explain", "-C", str(site.conf), "--settings", "", "--exim", exim, "away"]
    done = CliRunner().invoke(cyrusquota, [*words, "--format", "json"])
    verdict = json.loads(done.stdout)["verdict"]
    assert (verdict["outcome"], verdict["level"]) == ("elsewhere", "wrong")
    assert verdict["text"].endswith(
        " But Exim defers it: away@example.net cannot be resolved at this time: Full."
    )


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("gone", "check the spelling; Exim does not deliver to it either: gone for good"),
        ("nosuch@example.net", "; Exim accepts the address all the same, by the router cyrus"),
    ],
)
def test_the_error_about_an_unknown_user_says_what_exim_does(
    site: Site, asked: str, said: str
) -> None:
    exim = recorded_exim(site.directory, "plain", site.map)
    words = ["explain", "-C", str(site.conf), "--settings", "", "--exim", exim, asked]
    done = CliRunner().invoke(cyrusquota, words)
    assert getattr(done.exception, "exit_status", None) == 67
    assert str(done.exception).endswith(said)


# --- the daemon ---


def _logged(site: Site, started: float) -> str:
    """Write a main log whose last daemon started then, and return the option that names it."""
    when = time.strftime("%Y-%m-%d %H:%M:%S +0000", time.gmtime(started))
    log = site.directory / "mainlog"
    log.write_text(
        f"{when} exim 4.96 daemon started: pid=7, -q30m, listening for SMTP on port 25\n"
    )
    return str(site.directory / "%slog")


@pytest.mark.parametrize(("later", "agree"), [(60, True), (-60, False)])
def test_a_daemon_that_is_older_than_its_configuration_is_named(
    site: Site, later: int, agree: bool
) -> None:
    conf = site.directory / "exim.conf"
    conf.write_text("# a configuration\n")
    log = _logged(site, conf.stat().st_mtime + later)
    options = {"log_file_path": log, "timezone": "UTC"}
    exim = recorded_exim(site.directory, "plain", site.map, **options)
    calls = json.loads((site.directory / "calls.json").read_text())
    calls["-bP configure_file"] = [0, f"{conf}\n", ""]
    (site.directory / "calls.json").write_text(json.dumps(calls))
    words = ["explain", "-C", str(site.conf), "--settings", "", "--exim", exim]
    done = CliRunner().invoke(cyrusquota, [*words, "--format", "json", JANE])
    found = json.loads(done.stdout)
    assert (found["agree"], found["not_known"]) == (agree, [])
    if not agree:
        (difference,) = found["differences"]
        assert difference["what"] == "Exim's daemon does not use this configuration yet"
        assert "it last read its configuration at" in difference["why"]
        assert found["verdict"]["level"] == "wrong"
        assert found["verdict"]["text"].endswith(f" But {difference['what']}.")


def test_a_daemon_whose_log_is_not_found_is_not_known(site: Site) -> None:
    found = _found(site, "plain", JANE, log_file_path=str(site.directory / "%slog"))
    assert len(found["not_known"]) == 1
    assert found["not_known"][0].startswith("whether Exim's daemon has read this configuration: ")


# --- what could not be asked ---


@pytest.mark.parametrize("exim", [None, "./no-such-program"])
def test_without_exims_answer_nothing_is_said_to_agree(site: Site, exim: Optional[str]) -> None:
    words = ["--no-exim"] if exim is None else ["--exim", exim]
    given = ["explain", "-C", str(site.conf), "--settings", "", "--map", str(site.map), *words]
    done = CliRunner().invoke(cyrusquota, [*given, "--format", "json", "jane"])
    found = json.loads(done.stdout)
    assert (found["agree"], found["differences"]) == (None, [])
    assert found["not_known"][0].startswith("what Exim does: ")
    assert found["verdict"]["outcome"] == "not-known"
    text = CliRunner().invoke(cyrusquota, [*given, "jane"]).stdout
    assert "agree" not in text


def test_a_map_that_may_not_be_read_is_no_missing_map(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cyrusquota.maps.installed._read", _forbidden)
    found = _found(site, "plain", JANE)
    assert (found["agree"], found["differences"]) == (None, [])
    assert "permission denied" in found["not_known"][0]


def _forbidden(path: object) -> None:
    from cyrusquota.errors import MapForbidden

    raise MapForbidden(f"{path}: permission denied; run as root")


def test_a_rejected_address_is_not_laid_to_the_missing_router(site: Site) -> None:
    exim = recorded_exim(site.directory, "no-router", site.map)
    path = site.directory / "calls.json"
    calls = json.loads(path.read_text())
    calls[f"-bt -- {JANE}"] = [2, f"{JANE} is undeliverable: Unrouteable address\n", ""]
    calls[f"-bv -- {JANE}"] = [2, f"{JANE} failed to verify: Unrouteable address\n", ""]
    calls[f"-d-all+route+lookup -bv -- {JANE}"] = [
        2,
        "",
        "--------> cyrus router <--------\nlocal_part=jane domain=example.net\n"
        "cyrus router skipped: local_parts mismatch\nno more routers\n",
    ]
    path.write_text(json.dumps(calls))
    words = ["explain", "-C", str(site.conf), "--settings", "", "--exim", exim]
    done = CliRunner().invoke(cyrusquota, [*words, "--map", str(site.map), JANE])
    assert done.stdout.splitlines()[0] == (
        "jane@example.net is over quota (STORAGE at >999%), and Exim rejects their mail, but not"
        " for that: no router takes the address; the last one, cyrus, says skipped: local_parts"
        " mismatch."
    )
