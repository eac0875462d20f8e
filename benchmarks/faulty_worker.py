"""A real worker process with a fault built in: python -m benchmarks.faulty_worker FAULT FLAG STAGE.

hang   once the file FLAG exists, the consumer asks the broker for nothing more, as after a broken
       connection: the process lives, its watchdog too
train  a training takes as long as the file FLAG exists; FLAG with the suffix .started tells it
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from kombu.transport.redis import Channel

from worker.retrain import Retrain
from worker.serve import run_worker
from worker.settings import Settings


def hang(flag: Path) -> None:
    """Build the first fault in."""
    ask = Channel._brpop_start  # noqa: SLF001  what a broken connection leaves undone

    def ask_unless_hung(self: Any, *args: Any, **kwargs: Any) -> Any:
        return None if flag.exists() else ask(self, *args, **kwargs)

    Channel._brpop_start = ask_unless_hung  # noqa: SLF001  same


def train(flag: Path) -> None:
    """Build the second fault in."""

    def serve(*_: Any, **__: Any) -> list[Any]:
        flag.with_suffix(".started").touch()
        while flag.exists():
            time.sleep(0.05)
        return []

    Retrain.serve = serve  # type: ignore[method-assign]


def main() -> int:
    """Command line."""
    fault, flag, stage, *number = sys.argv[1:]
    {"hang": hang, "train": train}[fault](Path(flag))
    settings = Settings()
    if settings.redis_url is None:
        raise RuntimeError("CRM_REFLEX_REDIS_URL names the server")
    url = settings.redis_url.get_secret_value()
    return run_worker(settings, url, stage, number=int(number[0]) if number else 0)


if __name__ == "__main__":
    raise SystemExit(main())
