"""Hypothesis profiles, chosen by HYPOTHESIS_PROFILE: dev (default), ci, deep.

The tests read no settings file of this machine, in the programs that they start either.
"""

from __future__ import annotations

import gc
import os

from hypothesis import HealthCheck, settings

os.environ["CYRUSQUOTA_SETTINGS"] = ""

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)

settings.register_profile("dev", max_examples=50, deadline=None, suppress_health_check=_SLOW)
settings.register_profile(
    "ci", max_examples=120, deadline=None, print_blob=True, suppress_health_check=_SLOW
)
settings.register_profile(
    "deep", max_examples=10_000, deadline=None, print_blob=True, suppress_health_check=_SLOW
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_runtest_teardown() -> None:
    """Collect reference cycles again: a command that ran here has turned that off."""
    gc.enable()
