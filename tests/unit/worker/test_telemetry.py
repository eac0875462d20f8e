"""Logs: one line per event, UTC, and no way for personal data to slip in."""

import ast
import io
import json
import logging
import warnings
from pathlib import Path

import pytest
import structlog

from worker.telemetry import KEYS, configure, logger

CANARY = "ada@example.org"


@pytest.fixture
def lines():
    """Configure JSON logging into memory, give the lines so far; put the old handlers back."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    configure("INFO", "json", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.captureWarnings(capture=False)
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()


def test_an_event_is_one_line_of_json_in_utc(lines):
    logger("worker.ingest").info("committed", shard=3, events=250)
    (line,) = lines()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "worker.ingest",
        "event": "committed",
        "shard": 3,
        "events": 250,
    }


def test_a_key_that_is_not_listed_is_dropped_and_named(lines):
    logger("worker").info("applied", customer_id=CANARY, shard=1)
    logging.getLogger("some.dependency").warning("odd", extra={"email": CANARY})
    assert CANARY not in json.dumps(lines())
    assert lines()[0]["dropped"] == ["customer_id"]
    assert "customer_id" not in KEYS


def test_every_key_that_the_code_logs_is_listed():
    for path in (Path(__file__).parents[3] / "worker").rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match call:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="log")), keywords=keywords):
                    keys = {keyword.arg for keyword in keywords} - {"exc_info"}
                    assert keys <= KEYS, f"{path}:{call.lineno}"


def test_an_exception_shows_places_and_types_but_no_foreign_text(lines):
    def fails():
        try:
            {}[CANARY]
        except KeyError as error:
            raise ConnectionError("Connection refused") from error

    try:
        fails()
    except ConnectionError:
        logger("worker").exception("failed")
    text = lines()[0]["exception"]
    assert "ConnectionError: Connection refused" in text
    assert "KeyError\n" in text
    assert "fails" in text
    assert CANARY not in text


def test_celery_tells_of_a_failed_task_without_its_data(lines):
    message = "Task %(name)s[%(id)s] %(description)s: %(exc)s"
    context = {"name": "refresh", "id": "1", "description": "raised", "exc": f"KeyError({CANARY})"}
    logging.getLogger("celery.app.trace").error(message, context)
    assert lines()[0]["event"] == "Task refresh[1] raised: -"


def test_long_texts_are_cut_and_newlines_do_not_forge_lines(lines):
    logger("worker").info("odd", reason="x\n" * 1000)
    (line,) = lines()
    assert len(line["reason"]) == 200


def test_the_level_holds_and_warnings_are_logged(lines):
    logger("worker").debug("unseen")
    logging.getLogger("urllib3").info("unseen")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("mind the gap", stacklevel=1)
    assert [line["logger"] for line in lines()] == ["py.warnings"]


def test_the_console_shows_the_same(lines):
    stream = io.StringIO()
    configure("INFO", "console", stream)
    logger("worker").info("committed", shard=3, email=CANARY)
    assert "committed" in stream.getvalue()
    assert "shard=3" in stream.getvalue()
    assert CANARY not in stream.getvalue()
    assert lines() == []
