"""Trainers that are killed by SIGKILL, one at each stage: python -m ... URL DIRECTORY.

A parent that has loaded everything forks a trainer for each line that it reads; a line of JSON
tells how it ended. What is fitted is the live version again: what a kill leaves is looked at.
"""

import json
import os
import signal
import sys
from functools import partial
from pathlib import Path

from worker import retrain
from worker.bootstrap import Runtime
from worker.heart import Heart
from worker.settings import Settings
from worker.store.models import KINDS
from worker.telemetry import configure

#: (stage, part of it that is done at least)
STAGES = [
    ("read profiles", 0.5),
    *((f"{verb} {kind}", 0.0) for kind in sorted(KINDS) for verb in ("fit", "evaluate")),
    ("publish", 0.0),
    ("publish", 0.3),  # between two publications
    ("snapshot", 0.0),
]


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def train(url: str, folder: str, stage: str, part: float) -> None:
    """In the child: what the worker of the training queue does, up to its stage."""
    told = Heart.tell

    def tell(self, name, done, kind=""):
        told(self, name, done, kind)
        if name == stage and done >= part:
            die()

    Heart.tell = tell
    if stage == "snapshot":
        Path.rename = die  # all is written, and not yet in its place
    runtime = Runtime(Settings(redis_url=url, snapshot_dir=folder), url)

    def again(kind, _):
        held = runtime.models.read(kind, runtime.models.current().versions[kind])
        return held.arrays, held.meta["model"]

    retrain._FITS = {kind: partial(again, kind) for kind in KINDS}
    if runtime.retrain.serve():
        runtime.snapshot_builder.run()


if __name__ == "__main__":
    configure("CRITICAL")
    url, folder = sys.argv[1:]
    for stage, part in STAGES:
        sys.stdin.readline()
        pid = os.fork()
        if not pid:
            train(url, folder, stage, part)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(json.dumps([stage, part, os.waitstatus_to_exitcode(status)]) + "\n")
        sys.stdout.flush()
