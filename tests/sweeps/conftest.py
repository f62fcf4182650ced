"""Executors of every kind, each with real workers."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import pytest


@contextmanager
def _serial():
    yield None


@contextmanager
def _two_processes():
    yield 2


@contextmanager
def _threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@contextmanager
def _process_pool():
    with ProcessPoolExecutor(2, get_context("forkserver")) as pool:
        yield pool


@contextmanager
def _loky():
    loky = pytest.importorskip("loky")
    with loky.ProcessPoolExecutor(2) as pool:
        yield pool


@contextmanager
def _dask():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()


@pytest.fixture(params=[_serial, _two_processes, _threads, _process_pool, _loky, _dask])
def executor(request):
    """Each kind of executor in turn."""
    with request.param() as executor:
        yield executor
