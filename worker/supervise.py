"""Keep processes running: those of `up` and of the demo.

A job that ends is started again, after a pause that grows while it keeps ending. Each job leads a
process group of its own, so Ctrl-C in a terminal reaches the supervisor alone, and whatever a job
leaves behind when it ends is ended too. A job holds the reading end of a pipe as its stdin: when
the supervisor dies, even by SIGKILL, the pipe closes and `follow_parent` ends the job.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
#: A job that lived so long starts again after the first pause.
SETTLED_S: Final = 60.0
#: A warm stop lets running orders end; none takes longer without being killed anyway.
GRACE_S: Final = 45.0
_LOOK_EVERY_S: Final = 0.05


@dataclass(slots=True)
class Job:
    """A command that shall run, and its process."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    reader: threading.Thread | None = None
    started: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    due: float = 0.0
    starts: int = field(default=0)


class Supervisor:
    """Starts jobs, starts them again, stops them. One thread calls it, `poll` every second or so.

    commands  name -> command line
    env       environment of the jobs
    on_line   (name, line) for every line that a job writes; called from a thread for each job
    on_event  (name, text) when a job ended, is started again, or had to be killed
    """

    def __init__(
        self,
        commands: Mapping[str, Sequence[str]],
        *,
        env: Mapping[str, str],
        on_line: Callable[[str, str], None],
        on_event: Callable[[str, str], None],
    ) -> None:
        self._jobs = [Job(name, command) for name, command in commands.items()]
        self._env = dict(env)
        self._on_line = on_line
        self._on_event = on_event

    def start(self) -> None:
        """Start all jobs."""
        for job in self._jobs:
            self._start(job)

    def poll(self) -> None:
        """Start again what has ended and waited long enough."""
        now = time.monotonic()
        for job in self._jobs:
            if job.process is not None and job.process.poll() is not None:
                self._ended(job, now)
            elif job.process is None and now >= job.due:
                self._start(job)

    def pids(self) -> dict[str, int]:
        """The running processes by name."""
        return {job.name: job.process.pid for job in self._jobs if job.process is not None}

    def starts(self) -> dict[str, int]:
        """How often each job was started."""
        return {job.name: job.starts for job in self._jobs}

    def stop(self, *, grace_s: float = GRACE_S, hurry: Callable[[], bool] = lambda: False) -> bool:
        """Ask all jobs to end, wait, and kill those that do not; False if any had to be killed.

        grace_s  how long they may take
        hurry    asked while waiting: True ends the patience
        """
        running = [job for job in self._jobs if job.process is not None]
        for job in running:
            _signal(job, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while any(_runs(job) for job in running):
            if time.monotonic() > deadline or hurry():
                break
            time.sleep(_LOOK_EVERY_S)
        late = [job for job in running if _runs(job)]
        for job in running:
            if job in late:
                self._on_event(job.name, "did not stop in time: killed")
            _sweep(job)
            self._forget(job)
        return not late

    def _start(self, job: Job) -> None:
        job.process = subprocess.Popen(  # noqa: S603  our own command line
            list(job.command),
            env=self._env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        job.started = time.monotonic()
        job.starts += 1
        job.reader = threading.Thread(
            target=self._read, args=(job.name, job.process), name=f"log-{job.name}", daemon=True
        )
        job.reader.start()

    def _ended(self, job: Job, now: float) -> None:
        code = job.process.returncode if job.process is not None else 0
        if now - job.started >= SETTLED_S:
            job.pause_s = FIRST_PAUSE_S
        _sweep(job)
        self._forget(job)
        self._on_event(job.name, f"{_ending(code)}; starts again in {job.pause_s:g} s")
        job.due = now + job.pause_s
        job.pause_s = min(2 * job.pause_s, LONGEST_PAUSE_S)

    def _forget(self, job: Job) -> None:
        process, job.process = job.process, None
        if process is not None:
            process.wait()
            if process.stdin is not None:
                process.stdin.close()
        if job.reader is not None:
            job.reader.join(timeout=2.0)
            job.reader = None

    def _read(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101  it was asked for
        with process.stdout as lines:
            for line in lines:
                self._on_line(name, line.decode(errors="replace").rstrip("\n"))


def follow_parent() -> None:
    """End this process when its stdin closes: the supervisor that held the other end is gone.

    It is asked to stop first, as by the supervisor; what is left after the same grace is killed.
    """

    def wait() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_S)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=wait, name="follow-parent", daemon=True).start()


def stage_commands(*, deliver: bool) -> dict[str, list[str]]:
    """The processes of a whole installation on one machine: a worker a stage, and beat."""
    stages = ["ingest", "refresh", *(["deliver"] if deliver else []), "training"]
    program = [sys.executable, "-m", "worker.cli"]
    return {
        **{stage: [*program, "worker", "--queue", stage, "--supervised"] for stage in stages},
        "beat": [*program, "beat", "--supervised"],
    }


def _runs(job: Job) -> bool:
    return job.process is not None and job.process.poll() is None


def _signal(job: Job, number: signal.Signals) -> None:
    if job.process is not None:
        with suppress(ProcessLookupError):
            job.process.send_signal(number)


def _sweep(job: Job) -> None:
    """Kill what is left of a job's process group."""
    if job.process is not None:
        with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of zombies
            os.killpg(job.process.pid, signal.SIGKILL)


def _ending(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
