"""Producers that are no Python program: the documented message, and what is wrong with others."""

import base64
import copy
import json
import os
import re
import subprocess
import sys
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.builders import T0, track
from tests.integration.workers.test_training import kill
from tests.servers import Server, eventually
from worker.app import queue
from worker.bootstrap import Runtime
from worker.settings import Settings
from worker.store.door import Arrival
from worker.store.models import KINDS
from worker.tasks import LONGEST_REASON, RetrainRequestError, checked_request

pytestmark = [pytest.mark.xdist_group("workers"), pytest.mark.timeout(180)]

PAGE = (Path(__file__).parents[3] / "docs" / "training.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"^```json\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
DOCUMENTED = json.loads(EXAMPLE)
TIME_LIMIT_S = 10


@pytest.fixture
def server(tmp_path):
    with Server(tmp_path / "server") as running:
        yield running


@pytest.fixture
def runtime(server):
    return Runtime(Settings(redis_url=server.url), server.url)


@contextmanager
def worker(server, tmp_path, stage="training"):
    """A real worker whose trainings end at once, or as long as the file `busy` is there."""
    flag, log = tmp_path / "busy", tmp_path / "log"
    environment = {
        **os.environ,
        "CRM_REFLEX_REDIS_URL": server.url,
        "CRM_REFLEX_LOG_LEVEL": "WARNING",
        "CRM_REFLEX_ORDER_TIME_LIMIT_S": str(TIME_LIMIT_S),
    }
    command = [sys.executable, "-m", "tests.integration.workers.patched_worker"]
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*command, "train", str(flag), stage, "0"],
            env=environment, stderr=out, start_new_session=True,
        )  # fmt: skip
    try:
        yield log
        assert process.poll() is None, log.read_text()
    finally:
        kill(process)


def message(*args):
    """The documented one with other arguments and ids of its own."""
    made = copy.deepcopy(DOCUMENTED)
    made["properties"]["delivery_tag"] = str(uuid.uuid4())
    if args:
        made["body"] = base64.b64encode(json.dumps([list(args), {}, {}]).encode()).decode()
    return made


def without(*path):
    made = message()
    inner = made
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return made


def push(runtime, value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    runtime.client.lpush("reflex.training", raw)


def asked(runtime, within_s=60):
    """What waits, as soon as something does; the desk is empty afterwards."""
    eventually(runtime.desk.waiting, within_s=within_s)
    found = {}

    def all_there():
        found.update({one.kind: one.reasons for one in runtime.desk.waiting()})
        return found

    eventually(all_there)
    for kind in KINDS:
        runtime.desk.cancel(kind)
    return found


def test_the_documented_message_is_an_order_and_a_bad_one_harms_nobody(server, runtime, tmp_path):
    assert queue(runtime.settings, "training") == "reflex.training"
    with worker(server, tmp_path) as log:
        push(runtime, DOCUMENTED)
        assert asked(runtime) == {"segments": ("season begins",)}
        optional = [("headers", "lang"), ("headers", "root_id"), ("headers", "parent_id")]
        for path in [*optional, ("properties", "correlation_id")]:
            push(runtime, without(*path))
            assert asked(runtime) == {"segments": ("season begins",)}, path
        bad = [
            without("headers"), without("headers", "id"), without("headers", "task"),
            without("content-type"), without("body"), without("properties"),
            without("properties", "delivery_tag"), without("properties", "body_encoding"),
            without("properties", "delivery_info"),
            message(["segments", "churn"], "why"), message("segments", "why"),
            message([], "why"), message(["segments"], 5), message(["segments"], "why", "more"),
            {**message(), "body": base64.b64encode(b"{").decode()},
        ]  # fmt: skip
        for value in bad:
            push(runtime, value)
            push(runtime, message(["forecasts"], "behind it"))
            assert asked(runtime) == {"forecasts": ("behind it",)}, value
        told = log.read_text()
    refused = [json.loads(line) for line in told.splitlines() if "request refused" in line]
    assert {one["reason"].partition(":")[0] for one in refused} == {"args.0", "args.0.1", "args.1"}
    assert "the message is incomplete: KeyError 'id'" in told


def test_a_training_outlasts_the_time_limit_of_orders(server, runtime, tmp_path):
    (tmp_path / "busy").touch()
    with worker(server, tmp_path) as log:
        push(runtime, DOCUMENTED)
        eventually((tmp_path / "busy.started").exists, within_s=60)
        with pytest.raises(AssertionError):
            eventually(lambda: "limit" in log.read_text(), within_s=TIME_LIMIT_S + 3, every_s=0.5)
        (tmp_path / "busy").unlink()


def test_an_event_orders_its_training_at_once(server, runtime, tmp_path):
    event = track("crm", "Model Retrain Requested", "ask", T0, models=["segments"], reason="why")
    with worker(server, tmp_path, stage="ingest"):
        runtime.door.emit([Arrival(event)])
        runtime.client.lpush("reflex.ingest", json.dumps(pump()))
        eventually(lambda: runtime.client.llen("reflex.training") == 1, within_s=60)
        assert [(one.kind, one.reasons) for one in runtime.desk.waiting()] == [
            ("segments", ("why",))
        ]


def pump():
    made = message(0)
    made["headers"]["task"] = "ingest.pump"
    made["properties"]["delivery_info"]["routing_key"] = "reflex.ingest"
    return made


@pytest.mark.parametrize(
    ("kinds", "reason", "told"),
    [
        (["churn"], "why", "args.0.0"),
        ([["segments"]], "why", "args.0.0"),
        ("all", "why", "args.0:"),
        (None, None, "args.1"),
        (None, "r" * (LONGEST_REASON + 1), "args.1"),
    ],
)
def test_what_an_order_may_not_say(kinds, reason, told):
    with pytest.raises(RetrainRequestError, match=re.escape(told)):
        checked_request(kinds, reason)
