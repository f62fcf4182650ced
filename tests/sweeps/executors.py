"""Executors of every kind, each with real workers, as context managers."""

from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context

import pytest


@contextmanager
def serial():
    yield None


@contextmanager
def two_processes():
    yield 2


@contextmanager
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@contextmanager
def process_pool():
    with ProcessPoolExecutor(2, get_context("forkserver")) as pool:
        yield pool


@contextmanager
def loky():
    loky = pytest.importorskip("loky")
    with loky.ProcessPoolExecutor(2) as pool:
        yield pool


@contextmanager
def dask():
    distributed = pytest.importorskip("distributed")
    config = pytest.importorskip("dask").config
    with (
        # It reads the frames of running threads, which has crashed interpreters (dask/distributed
        # issue 5972).
        config.set({"distributed.worker.profile.enabled": False}),
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client.get_executor()
