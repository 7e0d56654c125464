"""The options of the Cyrus that is installed: each one about quotas is in docs/policies.md."""

from __future__ import annotations

import pytest

from tests.imapd_options import RECORDED, undocumented

from .cyrus import STRICT, Cyrus

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("needs_cyrus")]


def test_every_option_about_quotas_is_documented() -> None:
    with Cyrus() as cyrus:
        listed = cyrus.run("cyr_info", "conf-all").decode("utf-8", "replace")
    # An option for one service of this server counts as the option.
    names = {line.split(":", 1)[0].removeprefix(f"{STRICT}_") for line in listed.splitlines()}
    assert len(names & set(RECORDED.read_text("utf-8").split())) > 400
    assert undocumented(names) == set()
