"""What all tests share: Hypothesis' profiles and a terminal.

HYPOTHESIS_PROFILE=thorough searches long, quick (of `make check`) shortly; the default is fast.
"""

import io
import os
import sys

import pytest
from hypothesis import HealthCheck, settings

# Worlds are small here; torch's threads would only wait for each other on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("quick", max_examples=15, deadline=None, suppress_health_check=_QUIET)
settings.register_profile("fast", max_examples=60, deadline=None, suppress_health_check=_QUIET)
settings.register_profile(
    "thorough", max_examples=5000, deadline=None, suppress_health_check=_QUIET
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


class Terminal(io.StringIO):
    """A stream that says it is a terminal, and keeps what is drawn on it."""

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Makes stderr a wide terminal from the call on, and returns it."""

    def make():
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "stderr", Terminal())
        return sys.stderr

    return make
