"""Run it: everything on this machine, or one process of it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from worker.session import server, session
from worker.terminal import console, examples, visible

if TYPE_CHECKING:
    from worker.settings import Settings

Queue = Literal["ingest", "refresh", "deliver", "training"]
Supervised = Annotated[
    bool, typer.Option("--supervised", hidden=True, help="End when stdin closes.")
]

_COLORS: Final = {"ingest": "cyan", "refresh": "green", "deliver": "magenta", "training": "yellow"}


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(
        epilog=examples(
            "crm-reflex up",
            "CRM_REFLEX_WEBHOOK_URL=https://crm.example/hook"
            " CRM_REFLEX_WEBHOOK_SECRET=whsec_... crm-reflex up",
        )
    )(up)
    app.command(epilog=examples("crm-reflex worker --queue ingest"))(worker)
    app.command(epilog=examples("crm-reflex beat"))(beat)


def up() -> None:
    """Run everything on this machine: the embedded server, a worker for each stage, beat.

    Without CRM_REFLEX_REDIS_URL a Valkey server of its own keeps the data in CRM_REFLEX_DATA_DIR.
    What ends is started again. Ctrl-C stops all of it cleanly, a second Ctrl-C at once.
    """
    from worker.settings_sources import variable  # noqa: PLC0415  nothing unused is loaded
    from worker.supervise import Supervisor, stage_commands  # noqa: PLC0415  same

    with session(create=True) as active:
        settings = active.settings
        _check_destinations(settings, sends=True)
        commands = stage_commands(deliver=bool(active.destinations))
        env = {**os.environ, variable("redis_url"): active.url}
        if settings.log_format == "auto" and sys.stderr.isatty():
            env[variable("log_format")] = "console"
        width = max(map(len, commands))
        lock = threading.Lock()
        err = console(sys.stderr)

        def line(name: str, text: str) -> None:
            if not text.strip():
                return
            with lock:
                err.print(f"{name:<{width}} | ", style=_COLORS.get(name, "blue"), end="")
                err.print(visible(text), soft_wrap=True)

        supervisor = Supervisor(commands, env=env, on_line=line, on_event=line)
        with _stop_signals() as asked:
            line("up", _greeting(settings, list(commands)))
            supervisor.start()
            try:
                while not asked():
                    supervisor.poll()
                    time.sleep(0.1)
                line("up", "stops; Ctrl-C again does not wait")
            finally:
                clean = supervisor.stop(hurry=lambda: asked() > 1)
        line(
            "up",
            "stopped" if clean else "stopped; what was cut off is done again at the next start",
        )


def worker(
    queue: Annotated[Queue, typer.Option("--queue", "-q", help="The stage to work for.")],
    number: Annotated[
        int, typer.Option("--number", min=0, help="Tells several workers of a stage apart.")
    ] = 0,
    supervised: Supervised = False,
) -> None:
    """Run the worker of one stage until it is stopped (SIGTERM, Ctrl-C).

    Any number may run, on any machine that reaches the server. `deliver` needs a destination.
    """
    _follow(supervised)
    with _process() as (settings, url):
        from worker.serve import run_worker  # noqa: PLC0415  Celery: only where it runs

        _check_destinations(settings, sends=queue == "deliver")
        code = run_worker(settings, url, queue, number=number)
    raise typer.Exit(code)


def beat(supervised: Supervised = False) -> None:
    """Run the clock that looks for forgotten work. One is enough; several are harmless."""
    _follow(supervised)
    with _process() as (settings, url):
        from worker.serve import run_beat  # noqa: PLC0415  Celery: only where it runs

        code = run_beat(settings, url)
    raise typer.Exit(code)


def _check_destinations(settings: Settings, *, sends: bool) -> None:
    """A mistake in the file is told now, not by every work order; what sends needs the secrets.

    Raises DestinationsError.
    """
    from worker.destinations import configured  # noqa: PLC0415  nothing unused is loaded

    configured(settings, with_secrets=sends)


@contextmanager
def _process() -> Iterator[tuple[Settings, str]]:
    """Settings and URL for a process of Celery; its children find the URL in the environment."""
    from worker.settings import Settings  # noqa: PLC0415  nothing unused is loaded
    from worker.settings_sources import variable  # noqa: PLC0415  same

    settings = Settings()
    with server(settings, create=True) as url:
        os.environ[variable("redis_url")] = url
        yield settings, url


def _follow(supervised: bool) -> None:
    if supervised:
        from worker.supervise import follow_parent  # noqa: PLC0415  nothing unused is loaded

        follow_parent()


@contextmanager
def _stop_signals() -> Iterator[Callable[[], int]]:
    """How often SIGINT or SIGTERM came meanwhile, instead of what they do otherwise."""
    came = 0

    def count(_: int, __: FrameType | None) -> None:
        nonlocal came
        came += 1

    before = {number: signal.signal(number, count) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _greeting(settings: Settings, names: list[str]) -> str:
    where = "the server of CRM_REFLEX_REDIS_URL" if settings.redis_url else str(settings.data_dir)
    sends = settings.webhook_url or settings.destinations_file
    push = "" if sends else "; no CRM_REFLEX_WEBHOOK_URL, so nothing is sent"
    return f"starts {', '.join(names)}; data in {where}{push}; Ctrl-C stops"
