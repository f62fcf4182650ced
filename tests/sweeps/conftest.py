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
