"""The runtime of this process: made once after the fork, when the first order needs it."""

from __future__ import annotations

import gc
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from worker.bootstrap import Runtime
from worker.settings import Settings
from worker.store.keys import Keys

#: Linear algebra uses one thread per process: the pool of processes is the parallelism, and OpenMP
#: started before a fork hangs the child.
THREAD_LIMITS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def limit_threads() -> None:
    """Limit BLAS and OpenMP to one thread, unless the operator chose; before numpy loads."""
    for name in THREAD_LIMITS:
        os.environ.setdefault(name, "1")


def yield_processor(niceness: int) -> None:
    """Leave the processors to all others; for a process at its start.

    Linux divides processor time among sessions before it looks at niceness within one, so that a
    supervised worker, which leads a session of its own, would get as much as any other worker.
    """
    os.nice(niceness)
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # not Linux, or groups of its own making divide the time
            Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")


@cache
def settings() -> Settings:
    """The settings of this process."""
    return Settings()


@cache
def runtime() -> Runtime:
    """The runtime of this process. A worker is started with the URL of its server."""
    url = settings().redis_url
    if url is None:
        raise RuntimeError("a worker needs CRM_REFLEX_REDIS_URL: `crm-reflex worker` sets it")
    return Runtime(settings(), url.get_secret_value())


def keys_of(config: Settings) -> Keys:
    """Key names under some settings."""
    return Keys(config.key_prefix, config.shards)


def tune_interpreter() -> None:
    """Collect garbage rarely: a batch makes many short-lived objects and no cycles, and collecting
    at the default thresholds took a quarter of ingest's processor time (`benchmarks.pipeline`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


def finish() -> None:
    """Wait for calls under way before the process ends: so nobody repeats them."""
    if runtime.cache_info().currsize and "deliver" in runtime().__dict__:
        runtime().deliver.close()


def reset() -> None:
    """Forget the runtime: what a parent connected must not be shared with its children."""
    runtime.cache_clear()
