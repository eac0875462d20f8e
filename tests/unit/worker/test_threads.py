"""One thread of linear algebra a process: the pool of processes is the parallelism."""

import json
import os
import subprocess
import sys

import pytest

from worker.process import THREAD_LIMITS

#: What `run_worker` does first, and what the libraries that models use make of it.
PROGRAM = """
import json, sys
import worker.serve, worker.tasks
from worker.process import limit_threads
early = sorted({"numpy", "scipy", "sklearn"} & set(sys.modules))
limit_threads()
import numpy, sklearn.cluster
from threadpoolctl import threadpool_info
json.dump([early, {one["user_api"]: one["num_threads"] for one in threadpool_info()}], sys.stdout)
"""


def libraries(**chosen):
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_LIMITS}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment | chosen, capture_output=True, check=True
    )
    early, threads = json.loads(done.stdout)
    assert early == [], "loaded before a limit could be set"
    return threads


def test_a_worker_has_one_thread_of_blas_and_one_of_openmp():
    assert libraries() == {"blas": 1, "openmp": 1}


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="a pool has as many threads as processors")
def test_the_operator_may_choose_otherwise():
    assert libraries(OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2") == {"blas": 2, "openmp": 2}
