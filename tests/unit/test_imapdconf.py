"""imapd.conf as Cyrus reads it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Callable, Optional

import pytest

from cyrusquota.cyrus.imapdconf import ImapdConf, load
from cyrusquota.cyrus.names import Naming
from cyrusquota.errors import ConfigError, OptionError

Write = Callable[..., ImapdConf]


@pytest.fixture
def conf(tmp_path: Path) -> Write:
    """Load an imapd.conf of these lines, a configdirectory before them."""

    def write(*lines: str, first: str = "configdirectory: /var/lib/cyrus\n") -> ImapdConf:
        path = tmp_path / "imapd.conf"
        path.write_bytes((first + "".join(f"{line}\n" for line in lines)).encode())
        return load(path)

    return write


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("postuser: bb", "bb"),
        ("postuser:bb", "bb"),
        ("  \t postuser:  \t b b \t ", "b b"),
        ("PostUser: Bb", "Bb"),
        ("postuser: bb # no comment", "bb # no comment"),
        ("# a comment\n\n   # another\npostuser: bb", "bb"),
        ("postuser: b:b", "b:b"),
        ("postuser: b\\\nb", "bb"),
        ("post\\\nuser: bb", "bb"),
        ("postuser: b\\\n\\\nb", "bb"),
        ("postuser: bb\r", "bb"),
        ("postuser: {configdirectory}/x", "/var/lib/cyrus/x"),
        ("postuser: x{configdirectory}", "x{configdirectory}"),
    ],
)
def test_an_option_has_the_value_cyrus_sees(conf: Write, text: str, value: str) -> None:
    assert conf(text).get("postuser") == value


def test_a_comment_is_continued_too(conf: Write) -> None:
    found = conf("# off for now: \\", "postuser: bb", "virtdomains: on")
    assert found.get("postuser") is None
    assert found.virtdomains == "on"


def test_a_backslash_before_crlf_joins_nothing(conf: Write) -> None:
    found = conf("postuser: bb\\\r", "virtdomains: on\r")
    assert found.get("postuser") == "bb\\"
    assert found.virtdomains == "on"


def test_bytes_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "imapd.conf"
    path.write_bytes(b"configdirectory: /var/lib/c\xfcrus\n")
    assert load(path).configdirectory == "/var/lib/c\udcfcrus"


def test_includes_are_read_where_they_stand(conf: Write, tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("postuser: bb\nquota_db: twoskip\n")
    found = conf(f"@include: {tmp_path}/a.conf", "virtdomains: on")
    assert found.options == {
        "configdirectory": "/var/lib/cyrus",
        "postuser": "bb",
        "quota_db": "twoskip",
        "virtdomains": "on",
    }


def test_including_a_file_twice_is_an_error(conf: Write, tmp_path: Path) -> None:
    (tmp_path / "a.conf").write_text("# nothing\n")
    include = f"@include: {tmp_path}/a.conf"
    with pytest.raises(ConfigError, match=r"imapd\.conf, line 3: .*a\.conf.* second time"):
        conf(include, include)


def test_a_file_that_includes_itself_is_an_error(conf: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="second time"):
        conf(f"@include: {tmp_path}/imapd.conf")


def test_a_missing_include_is_an_error_with_both_names(conf: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"imapd\.conf, line 2 includes it: .*gone\.conf"):
        conf(f"@include: {tmp_path}/gone.conf")


def test_a_missing_file_is_an_error_that_names_the_other_options(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone.*-C.*--db, --quota-output or --dump"):
        load(tmp_path / "gone")


def test_a_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


@pytest.mark.parametrize("line", ["virtdomains on", "virt domains: on", "postuser:", "x", ": y"])
def test_a_line_that_is_no_option_is_an_error_with_file_and_line(conf: Write, line: str) -> None:
    with pytest.raises(ConfigError, match=r"imapd\.conf, line 3: expected 'option: value'"):
        conf("# one", line)


def test_lines_after_a_continuation_keep_their_numbers(conf: Write) -> None:
    with pytest.raises(ConfigError, match="line 5: "):
        conf("postuser: a\\", "b\\", "c", "broken")


def test_an_option_given_twice_warns_and_the_last_counts(conf: Write) -> None:
    found = conf("postuser: a", "PostUser: b")
    assert found.get("postuser") == "b"
    assert len(found.warnings) == 1
    assert "line 3" in found.warnings[0]
    assert "line 2" in found.warnings[0]


def test_a_clean_file_gives_no_warnings(conf: Write) -> None:
    assert conf("unknown_option: kept").warnings == ()


@pytest.mark.parametrize(
    "lines",
    [
        ("lmtp_postuser: a", "postuser: b"),
        ("postuser: b", "lmtp_postuser: a"),
        ("postuser: b", "lmtpunix_postuser: a"),
    ],
)
def test_an_option_for_lmtpd_goes_before_the_general_one(
    conf: Write, lines: tuple[str, ...]
) -> None:
    assert conf(*lines).get("postuser") == "a"


def test_options_for_other_daemons_do_not_count(conf: Write) -> None:
    assert conf("imap_postuser: a").get("postuser") is None


@pytest.mark.parametrize("value", ["1", "yes", "y", "true", "t", "on", "yonder", "1x"])
def test_switched_on(conf: Write, value: str) -> None:
    assert conf(f"fulldirhash: {value}").switch("fulldirhash", False) is True


@pytest.mark.parametrize("value", ["0", "no", "n", "false", "f", "off", "of", "nonsense"])
def test_switched_off(conf: Write, value: str) -> None:
    assert conf(f"fulldirhash: {value}").switch("fulldirhash", True) is False


@pytest.mark.parametrize("value", ["Yes", "ON", "o", "2", "-", "False"])
def test_other_switch_values_are_errors(conf: Write, value: str) -> None:
    with pytest.raises(ConfigError, match=r"imapd\.conf: option fulldirhash: expected yes or no"):
        conf(f"fulldirhash: {value}").switch("fulldirhash", False)


@pytest.mark.parametrize("default", [True, False])
def test_a_switch_that_is_not_set_has_its_default(conf: Write, default: bool) -> None:
    assert conf().switch("fulldirhash", default) is default


@pytest.mark.parametrize(
    ("value", "meaning"),
    [
        *[(value, "on") for value in ("on", "1", "yes", "t", "true")],
        *[(value, "off") for value in ("off", "0", "no", "f", "false")],
        ("userid", "userid"),
    ],
)
def test_spellings_of_virtdomains(conf: Write, value: str, meaning: str) -> None:
    assert conf(f"virtdomains: {value}").virtdomains == meaning


@pytest.mark.parametrize("value", ["ldap", "On", "useridx", "y"])
def test_other_values_of_virtdomains_are_errors(conf: Write, value: str) -> None:
    with pytest.raises(ConfigError, match=f"virtdomains: expected off, userid or on, .*{value}"):
        _ = conf(f"virtdomains: {value}").virtdomains


@pytest.mark.parametrize(
    ("lines", "naming"),
    [
        ((), Naming(virtdomains=False, defaultdomain=None, downcase=True)),
        (("virtdomains: userid",), Naming(virtdomains=True, defaultdomain=None)),
        (
            ("virtdomains: on", "defaultdomain: example.com"),
            Naming(virtdomains=True, defaultdomain="example.com"),
        ),
        (("virtdomains: on", "defaultdomain: internal"), Naming(virtdomains=True)),
        (("lmtp_downcase_rcpt: no",), Naming(virtdomains=False, downcase=False)),
    ],
)
def test_naming_follows_virtdomains_defaultdomain_and_downcase(
    conf: Write, lines: tuple[str, ...], naming: Naming
) -> None:
    assert conf(*lines).naming == naming


@pytest.mark.parametrize(
    ("lines", "backend"),
    [
        ((), "quotalegacy"),
        (("quota_db: twoskip",), "twoskip"),
        (("quota_db: twoskip", "lmtp_quota_db: flat"), "flat"),
    ],
)
def test_the_backend_is_quotalegacy_unless_set(
    conf: Write, lines: tuple[str, ...], backend: str
) -> None:
    assert conf(*lines).quota_backend == backend


@pytest.mark.parametrize(
    ("lines", "file", "base"),
    [
        ((), "/var/lib/cyrus/quotas.db", "/var/lib/cyrus"),
        (("quota_db_path: /X/quotas.db",), "/X/quotas.db", "/X"),
        (("quota_db_path: /X/quota",), "/X/quota", "/X"),
        (("quota_db_path: /X/anything",), "/X/anything", "/X"),
        (("quota_db_path: /X/quota/",), "/X/quota", "/X/quota"),
        (("quota_db_path: /X/quota/quotas.db",), "/X/quota/quotas.db", "/X/quota"),
        (("quota_db_path: /quotas.db",), "/quotas.db", "/"),
        (
            ("quota_db_path: {configdirectory}/q/quotas.db",),
            "/var/lib/cyrus/q/quotas.db",
            "/var/lib/cyrus/q",
        ),
    ],
)
def test_where_the_quota_data_is(conf: Write, lines: tuple[str, ...], file: str, base: str) -> None:
    found = conf(*lines)
    assert found.quota_path == Path(file)
    assert found.quotalegacy_base == Path(base)


def test_without_configdirectory_nothing_can_be_found(conf: Write) -> None:
    found = conf("virtdomains: on", first="")
    with pytest.raises(ConfigError, match="expected the option configdirectory"):
        _ = found.quota_path


# What may not take long, or much memory


@pytest.mark.parametrize("depth", [101, 900])
def test_includes_within_includes_have_a_limit(tmp_path: Path, depth: int) -> None:
    for number in range(depth):
        (tmp_path / f"{number}.conf").write_text(f"@include: {tmp_path}/{number + 1}.conf\n")
    (tmp_path / f"{depth}.conf").write_text("configdirectory: /x\n")
    with pytest.raises(ConfigError, match=r"/100\.conf, line 1: expected at most 100 includes"):
        load(tmp_path / "0.conf")


def test_a_hundred_includes_within_one_another_are_read(tmp_path: Path) -> None:
    for number in range(100):
        (tmp_path / f"{number}.conf").write_text(f"@include: {tmp_path}/{number + 1}.conf\n")
    (tmp_path / "100.conf").write_text("configdirectory: /x\n")
    assert load(tmp_path / "0.conf").configdirectory == "/x"


def test_one_file_under_many_names_is_too_much(tmp_path: Path) -> None:
    (tmp_path / "big.conf").write_text("".join(f"option{n}: x\n" for n in range(20_000)))
    includes = (f"@include: {tmp_path}{'/' * n}/big.conf\n" for n in range(1, 200))
    (tmp_path / "imapd.conf").write_text("configdirectory: /x\n" + "".join(includes))
    with pytest.raises(ConfigError, match=r"imapd.conf, line [45]: expected at most 1048576 bytes"):
        load(tmp_path / "imapd.conf")


@pytest.mark.parametrize("text", ["x" * 70_000, "x\\\n" * 70_000, "\\\n" * 70_000 + "x" * 70_000])
def test_an_option_has_a_longest_value_and_is_not_quoted_in_full(conf: Write, text: str) -> None:
    with pytest.raises(ConfigError, match="line 2: expected at most 65536 bytes") as caught:
        conf(f"postuser: {text}")
    assert len(str(caught.value)) < 400


def test_an_option_given_over_and_over_is_one_warning(conf: Write) -> None:
    found = conf(*["postuser: a"] * 1000)
    assert len(found.warnings) == 1
    assert "line 2 already" in found.warnings[0]


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in ("/dev/zero", str(tmp_path / "fifo")):
        with pytest.raises(ConfigError, match="not a regular file"):
            load(path)


# The names of directives and placeholders


@pytest.mark.parametrize("word", ["@include", "@INCLUDE", "@Include"])
@pytest.mark.parametrize("base", ["{configdirectory}", "{ConfigDirectory}", "{CONFIGDIRECTORY}"])
def test_directives_and_placeholders_are_caseless(
    conf: Write, tmp_path: Path, word: str, base: str
) -> None:
    (tmp_path / "more.conf").write_text(f"quota_db_path: {base}/limits.db\n")
    found = conf(f"{word}: {tmp_path}/more.conf")
    assert str(found.quota_path) == "/var/lib/cyrus/limits.db"


# The lmtpd services of cyrus.conf

STRICT = "lmtplocal_lmtp_strict_quota: yes\nlmtp_lmtp_strict_quota: no\n"


@pytest.fixture
def services(tmp_path: Path) -> Callable[..., ImapdConf]:
    """Load an imapd.conf beside a cyrus.conf."""

    def write(cyrus_conf: str, options: str = STRICT, service: Optional[str] = None) -> ImapdConf:
        (tmp_path / "imapd.conf").write_text("configdirectory: /var/lib/cyrus\n" + options)
        (tmp_path / "cyrus.conf").write_text(cyrus_conf)
        return load(tmp_path / "imapd.conf", service)

    return write


@pytest.mark.parametrize(
    ("entries", "names", "strict"),
    [
        ('lmtplocal cmd="lmtpd" listen="/run/lmtp"', ("lmtplocal",), True),
        ('LmtpLocal\tcmd="/usr/lib/cyrus/bin/lmtpd -a -T 60" prefork=0', ("LmtpLocal",), True),
        ("lmtplocal listen=lmtp cmd=lmtpd", ("lmtplocal",), True),
        ('lmtp cmd="lmtpd"', ("lmtp",), False),
        ('#lmtp cmd="lmtpd"\n lmtplocal cmd="lmtpd" # listen=1', ("lmtplocal",), True),
        # Without an lmtpd the usual names count.
        ('imap cmd="imapd"\n lmtplocal cmd="lmtpproxyd"', ("lmtpunix", "lmtp"), False),
        ("", ("lmtpunix", "lmtp"), False),
    ],
)
def test_the_name_of_the_service_decides_which_options_count(
    services: Callable[..., ImapdConf], entries: str, names: tuple[str, ...], strict: bool
) -> None:
    text = f'START {{\n lmtp cmd="lmtpd"\n}}\n\nSERVICES {{\n {entries}\n}}\nEVENTS {{\n}}\n'
    found = services(text)
    assert found.services == names
    assert found.switch("lmtp_strict_quota", False) is strict
    assert found.warnings == ()


TWO = 'SERVICES {\n lmtplocal cmd="lmtpd"\n lmtp cmd="lmtpd -a"\n}\n'


def test_services_that_disagree_are_named_and_one_can_be_chosen(
    services: Callable[..., ImapdConf],
) -> None:
    found = services(TWO)
    assert found.services == ("lmtp",)
    (warning,) = found.warnings
    assert "lmtp and lmtplocal of cyrus.conf differ in lmtp_strict_quota" in warning
    assert "--service" in warning

    chosen = services(TWO, service="lmtplocal")
    assert (chosen.services, chosen.warnings) == (("lmtplocal",), ())
    with pytest.raises(OptionError, match="has no lmtpd called lmtpx; choose from lmtplocal, lmtp"):
        services(TWO, service="lmtpx")


def test_services_may_differ_in_what_does_not_matter_here(
    services: Callable[..., ImapdConf],
) -> None:
    options = "lmtplocal_syslog_prefix: local\nlmtplocal_lmtp_strict_quota: no\n"
    options += "lmtp_strict_quota: no\n"
    assert services(TWO, options).warnings == ()


def test_without_a_cyrus_conf_a_service_can_be_named(conf: Write, tmp_path: Path) -> None:
    conf(STRICT)
    assert load(tmp_path / "imapd.conf", "lmtplocal").switch("lmtp_strict_quota", False) is True


def test_a_service_may_have_an_imapd_conf_of_its_own(
    services: Callable[..., ImapdConf], tmp_path: Path
) -> None:
    own = tmp_path / "lmtpd.conf"
    own.write_text("configdirectory: /var/lib/cyrus\nlmtp_strict_quota: yes\n")
    text = f'SERVICES {{\n lmtp cmd="lmtpd -C {own}"\n}}\n'
    found = services(text, "")
    assert (found.path, found.switch("lmtp_strict_quota", False)) == (str(own), True)


def test_the_services_of_another_server_are_not_ours(
    services: Callable[..., ImapdConf], tmp_path: Path
) -> None:
    other = tmp_path / "other.conf"
    other.write_text("configdirectory: /srv/other\nlmtp_strict_quota: yes\n")
    found = services(f'SERVICES {{\n lmtp cmd="lmtpd -C {other}"\n}}\n', "")
    assert (found.configdirectory, found.services) == ("/var/lib/cyrus", ("lmtpunix", "lmtp"))


def test_a_cyrus_conf_that_is_no_file_is_left_alone(conf: Write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cyrus.conf")
    assert conf().services == ("lmtpunix", "lmtp")
    (tmp_path / "cyrus.conf").unlink()
    (tmp_path / "cyrus.conf").symlink_to("/dev/zero")
    assert conf().services == ("lmtpunix", "lmtp")
