"""The demo's processes: real workers and beat, started in two steps and kept running."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from worker.settings_sources import PREFIX, variable
from worker.supervise import Supervisor, stage_commands

STOP_GRACE_S: Final = 20.0
_LAST_LINES: Final = 40


class Crew:
    """All processes of the demo. One thread calls it, `poll` at least every second."""

    def __init__(self, url: str) -> None:
        self._env = {**os.environ, variable("redis_url"): url}
        self._commands = stage_commands(deliver=True)
        self._supervisors: list[Supervisor] = []
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self.incidents: list[str] = []

    def start(self, *names: str) -> None:
        """Start some of the processes: ingest, refresh, deliver, training, beat."""
        supervisor = Supervisor(
            {name: self._commands[name] for name in names},
            env=self._env,
            on_line=lambda name, line: self.last_lines.append(f"{name}: {line}"),
            on_event=lambda name, text: self.incidents.append(f"{name} {text}"),
        )
        self._supervisors.append(supervisor)
        supervisor.start()

    def poll(self) -> None:
        """Start again what has ended."""
        for supervisor in self._supervisors:
            supervisor.poll()

    def stop(self) -> None:
        """Stop everything, all at once."""
        threads = [
            threading.Thread(target=supervisor.stop, kwargs={"grace_s": STOP_GRACE_S})
            for supervisor in self._supervisors
        ]
        self._supervisors.clear()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def environment(folder: Path, webhook: Mapping[str, str]) -> None:
    """Make this process and its children use the demo's settings and no others.

    The working directory changes too: a `.env` or crm-reflex.toml of the person is not the demo's.
    """
    for name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
        del os.environ[name]
    values = {
        "data_dir": str(folder),
        "webhook_allow_private": "true",
        "log_level": "WARNING",
        "log_format": "json",
        **webhook,
    }
    os.environ.update({variable(name): value for name, value in values.items()})
    os.chdir(folder)
