"""Hypothesis profiles: fast by default, HYPOTHESIS_PROFILE=thorough for a long search."""

import os

from hypothesis import HealthCheck, settings

# Worlds are small here; torch's threads would only wait for each other on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

_QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("fast", max_examples=60, deadline=None, suppress_health_check=_QUIET)
settings.register_profile(
    "thorough", max_examples=5000, deadline=None, suppress_health_check=_QUIET
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
