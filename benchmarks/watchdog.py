"""The watchdog at its real size, with default settings: who hangs is ended, who waits is not.

    python -m benchmarks.watchdog --json out.json

One worker hangs alive beside one that is well; one loses its server for 60 s (connection refused),
one has it frozen as long, one trains as long. Prints JSON; exit 1 unless the first was ended within
45 s, and nobody else was ended at all. It takes two minutes and little processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks.machine import machine
from benchmarks.server import server_version
from worker.app import configure, send
from worker.bootstrap import Runtime
from worker.embedded import EmbeddedServer
from worker.serve import broker_url
from worker.settings import Settings
from worker.telemetry import configure as configure_logs
from worker.watchdog import EXIT_CODE

AWAY_S = 60.0
HUNG_WITHIN_S = 45.0
READY_S = 90.0
BACK_S = 30.0


class Worker:
    """A worker process with a server of its own."""

    def __init__(self, folder: Path, stage: str, fault: str = "hang") -> None:
        self.flag = folder / "flag"
        self.server = EmbeddedServer(folder)
        self.url = self.server.join()
        self.runtime = Runtime(Settings(redis_url=self.url), self.url)
        if fault == "train":
            self.flag.touch()
        self.process = self.start(stage, fault, self.flag, 0)

    def start(self, stage: str, fault: str, flag: Path, number: int) -> subprocess.Popen[bytes]:
        """Another worker process of this server."""
        command = [sys.executable, "-m", "benchmarks.faulty_worker", fault, str(flag), stage]
        return subprocess.Popen(
            [*command, str(number)],
            env={**os.environ, "CRM_REFLEX_REDIS_URL": self.url, "CRM_REFLEX_LOG_LEVEL": "ERROR"},
            start_new_session=True,
        )

    def received(self) -> int:
        """Orders that its workers have received, as they report."""
        return sum(report["received"] for report in self.runtime.reports.all().values())

    def server_pid(self) -> int:
        """Of its server."""
        with Redis.from_url(self.url) as client:
            return int(client.info("server")["process_id"])


def measure() -> dict[str, Any]:
    """All five workers at once."""
    with ExitStack() as stack:
        hung, refused, frozen, trains = (
            stack.enter_context(_worker(stage, fault))
            for stage, fault in (
                ("refresh", "hang"), ("refresh", "hang"), ("ingest", "hang"), ("training", "train"),
            )
        )  # fmt: skip
        well = hung.start("refresh", "hang", hung.flag.with_name("never"), 1)
        stack.callback(_end, well)
        for one, workers in ((hung, 2), (refused, 1), (frozen, 1), (trains, 1)):
            _until(lambda one=one, workers=workers: len(one.runtime.reports.all()) == workers)
        configure(trains.runtime.settings, broker_url(trains.runtime.settings, trains.url))
        send("models.train")
        _until(trains.flag.with_suffix(".started").exists)
        hung.flag.touch()
        os.kill(refused.server_pid(), signal.SIGKILL)
        frozen_pid = frozen.server_pid()
        os.kill(frozen_pid, signal.SIGSTOP)
        ended_s = _watch(hung.process, AWAY_S)
        os.kill(frozen_pid, signal.SIGCONT)
        refused.server.leave()
        refused.server.join()
        before = {one: one.received() for one in (refused, frozen)}
        came_back = {one: _soon(lambda one=one: one.received() > before[one]) for one in before}
        return {
            "hung_ended_s": ended_s,
            "hung_exit_code": hung.process.poll(),
            "ended_beside_it": well.poll(),
            "ended_while_refused": refused.process.poll(),
            "ended_while_frozen": frozen.process.poll(),
            "ended_while_training": trains.process.poll(),
            "works_again": {"refused": came_back[refused], "frozen": came_back[frozen]},
            "away_s": AWAY_S,
            "machine": machine(server_version(hung.url)),
        }


@contextmanager
def _worker(stage: str, fault: str) -> Iterator[Worker]:
    with tempfile.TemporaryDirectory(prefix="crm-reflex-watch-") as folder:
        made = Worker(Path(folder), stage, fault)
        try:
            yield made
        finally:
            _end(made.process)
            made.server.leave()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _watch(process: subprocess.Popen[bytes], seconds: float) -> float | None:
    """Let the time pass; after how much of it the process ended."""
    start, ended = time.monotonic(), None
    while (now := time.monotonic()) - start < seconds:
        if ended is None and process.poll() is not None:
            ended = round(now - start, 1)
        time.sleep(0.1)
    return ended


def _until(check: Callable[[], Any]) -> None:
    if not _soon(check, READY_S):
        raise RuntimeError("the workers do not get ready")


def _soon(check: Callable[[], Any], seconds: float = BACK_S) -> bool:
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit 1 when somebody was ended who should not be, or was not who should."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--json", type=Path, help="write the findings here")
    args = parser.parse_args(argv)
    configure_logs("WARNING")
    found = measure()
    text = json.dumps(found, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    hung = found["hung_ended_s"]
    is_well = hung is not None and hung <= HUNG_WITHIN_S and found["hung_exit_code"] == EXIT_CODE
    others = [found[name] for name in found if name.startswith("ended_")]
    return 0 if is_well and others == [None] * len(others) else 1


if __name__ == "__main__":
    raise SystemExit(main())
