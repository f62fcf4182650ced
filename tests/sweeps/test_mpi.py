"""A sweep over MPI ranks: mpi4py's pool is an executor like the others."""

import shutil
import subprocess
import sys

import pytest

pytest.importorskip("mpi4py")
if shutil.which("mpiexec") is None:
    pytest.skip("there is no mpiexec", allow_module_level=True)

SCRIPT = """
from mpi4py.futures import MPIPoolExecutor
import os, secateur

def evaluate(point):
    return {"square": point["n"] ** 2, "pid": os.getpid()}

if __name__ == "__main__":
    with MPIPoolExecutor() as pool:
        results = secateur.sweep(secateur.grid(n=range(20)), evaluate, executor=pool)
    assert [r.values["square"] for r in results] == [n * n for n in range(20)]
    print(len({r.values["pid"] for r in results} - {os.getpid()}), "ranks worked")
"""


def test_two_ranks_work_for_a_third(tmp_path):
    (tmp_path / "sweep.py").write_text(SCRIPT)
    run = ["mpiexec", "-n", "3", sys.executable, "-m", "mpi4py.futures", "sweep.py"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout == "2 ranks worked\n", done.stderr
