"""The command line, as a process of its own or within this one, in a folder of its own."""

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import structlog

from worker.cli import main

PROGRAM = [sys.executable, "-m", "worker.cli"]


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Cli:
    """Runs commands in `folder` under `settings` (names without CRM_REFLEX_)."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = Path(folder)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CRM_REFLEX_")}
        self.env = {**inherited, "LC_ALL": "C.UTF-8", **_variables(settings)}

    def run(
        self, *words: str, code: int = 0, stdin: bytes = b"", process: bool = False, **settings
    ) -> Done:
        """Run a command to its end and check its exit code.

        process  as a process of its own; else within this one, which takes a tenth of the time
        """
        env = self.env | _variables(settings)
        done = (self._process if process else self._call)(list(words), env, stdin)
        assert done.code == code, (words, done)
        assert "Traceback" not in done.err
        assert "\x1b" not in done.out + done.err  # no colors, no cursor: not a terminal
        return done

    def _process(self, words: list[str], env: dict[str, str], stdin: bytes) -> Done:
        done = subprocess.run(
            [*PROGRAM, *words],
            cwd=self.folder,
            env=env,
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def _call(self, words: list[str], env: dict[str, str], stdin: bytes) -> Done:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
        handlers, level = logging.root.handlers[:], logging.root.level
        code: object = 0
        with (
            mock.patch.dict(os.environ, env, clear=True),
            mock.patch.object(sys, "argv", ["crm-reflex", *words]),
            mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin))),
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                main()
            except SystemExit as end:
                code = end.code or 0
            finally:
                logging.captureWarnings(capture=False)
                logging.root.handlers[:] = handlers
                logging.root.setLevel(level)
                structlog.reset_defaults()
        texts = []
        for stream in (out, err):
            stream.flush()
            texts.append(stream.buffer.getvalue().decode())
        return Done(code, *texts)

    def json(self, *words: str, **how):
        """The JSON that a command prints; `how` as for `run`."""
        return json.loads(self.run(*words, "--json", **how).out)

    def start(self, *words: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command that goes on; its stderr goes to a file."""
        with log.open("wb") as stderr:
            return subprocess.Popen(
                [*PROGRAM, *words],
                cwd=self.folder,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )


def _variables(settings) -> dict[str, str]:
    return {f"CRM_REFLEX_{name.upper()}": str(value) for name, value in settings.items()}


def order_event(customer: str, order: str, at_s: int, *, items=("p1",), total=20) -> dict:
    """An Order Completed event."""
    return {
        "type": "track",
        "event": "Order Completed",
        "userId": customer,
        "messageId": f"m-{order}",
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_s)),
        "properties": {
            "order_id": order,
            "total": total,
            "currency": "USD",
            "products": [{"product_id": item, "quantity": 1} for item in items],
        },
    }


def json_lines(*events: object) -> bytes:
    """Events as `emit` reads them; text goes in as it is."""
    return b"".join(
        (event if isinstance(event, str) else json.dumps(event)).encode() + b"\n"
        for event in events
    )
