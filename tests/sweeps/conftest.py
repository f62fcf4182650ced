import os
from pathlib import Path

import executors
import pytest


@pytest.fixture(
    params=[
        executors.serial,
        executors.two_processes,
        executors.threads,
        executors.process_pool,
        executors.loky,
        executors.dask,
    ]
)
def executor(request):
    """Each kind of executor in turn, or those that a test asks for."""
    with request.param() as executor:
        yield executor


@pytest.fixture
def with_helpers():
    """The environment of a process that can import the helpers of these tests."""
    paths = (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
