"""Digests: one message a period over many customers, on a real server and over real HTTP."""

import dataclasses
import time
from contextlib import contextmanager

import pytest

from integrations.destinations import Destination
from integrations.mapping import MappedField
from integrations.outbound import digest
from tests.contract.kinds import KINDS
from tests.integration.core.deliveries import KEYS, Shop
from tests.servers import eventually
from worker.clock import SystemClock
from worker.delivery.channel import channel_of
from worker.delivery.engine import Deliver

ROBOTS = ("dingtalk", "feishu", "wecom")
PERIOD_MS = 1200
SEGMENT = MappedField(source="segment.name", target="segment")


@pytest.fixture
def shop(redis_client):
    return Shop(redis_client)


@contextmanager
def delivering(shop, name, url, **changes):
    """The engine behind one robot's destination; its period is short."""
    kind = KINDS[name]
    secrets = {option: tuple(values) for option, values in kind.secrets.items()}
    destination = Destination(
        name="crm", adapter=name, options=kind.options(url), secrets=secrets,
        allow_private=True, concurrency=8, fields=(SEGMENT,),
    )  # fmt: skip
    channel = dataclasses.replace(channel_of(destination), gather_ms=PERIOD_MS, **changes)
    stage = Deliver(
        shop.store, shop.destinations, [channel], SystemClock(), shards=KEYS.shards, max_attempts=3
    )
    try:
        yield stage
    finally:
        stage.close()


def work(stage, until, within_s=15):
    def done():
        stage.round()
        return until()

    eventually(done, within_s=within_s)


def test_a_period_of_the_options_is_that_of_the_channel():
    kind = KINDS["wecom"]
    destination = Destination(
        name="team", adapter="wecom", options=kind.options("https://x.example"),
        secrets={option: tuple(values) for option, values in kind.secrets.items()}, concurrency=4,
        fields=(SEGMENT,),
    )  # fmt: skip
    channel = channel_of(destination)
    assert (channel.gather_ms, channel.concurrency, channel.coalesce_ms) == (3_600_000, 1, 0)


@pytest.mark.parametrize("name", ROBOTS)
def test_customers_one_by_one_are_one_message_a_period(shop, name):
    with KINDS[name].vendor() as vendor, delivering(shop, name, vendor.url) as stage:
        began = time.monotonic()
        for n in range(6):  # each comes while nothing else waits to be sent
            shop.tell(f"c{n}", segment={"name": "VIP"})
            stage.drain()
        assert vendor.messages == []
        work(stage, lambda: vendor.messages)
        assert time.monotonic() - began >= PERIOD_MS / 1000
        shop.tell("late", segment={"name": "New"})
        stage.drain()
        assert len(vendor.messages) == 1
        work(stage, lambda: not shop.waiting())
        first, second = vendor.messages
        assert "segment → VIP: 6" in first
        assert "segment → New: 1" in second
        assert time.monotonic() - began >= 2 * PERIOD_MS / 1000


def test_a_digest_that_failed_is_repeated_whole_and_soon(shop):
    with KINDS["wecom"].vendor() as vendor, delivering(shop, "wecom", vendor.url) as stage:
        for n in range(5):
            shop.tell(f"c{n}", segment={"name": "VIP"})
        vendor.will_answer(500)
        work(stage, lambda: len(vendor.requests) == 1 and not stage._pending)
        shop.tell("late", segment={"name": "VIP"})
        assert shop.destinations.state("crm").wait_ms > 0
        shop.destinations.resume("crm")
        work(stage, lambda: not shop.waiting())
        assert [message.splitlines()[1] for message in vendor.messages] == ["- segment → VIP: 6"]


def test_what_concerns_no_field_of_the_digest_begins_no_message(shop):
    with KINDS["wecom"].vendor() as vendor, delivering(shop, "wecom", vendor.url) as stage:
        shop.tell("a", segment={"name": "VIP"})
        work(stage, lambda: not shop.waiting())
        shop.tell("a", segment={"name": "VIP"}, p_alive=0.2)
        work(stage, lambda: not shop.waiting())
        shop.tell("b", segment={"name": "VIP"})
        stage.drain()  # a period of its own begins with it
        assert len(vendor.messages) == 1


def test_more_customers_than_a_message_holds_are_told_of_in_the_same_period(shop, monkeypatch):
    monkeypatch.setattr(digest, "MAX_ROWS", 5)
    with KINDS["wecom"].vendor() as vendor, delivering(shop, "wecom", vendor.url) as stage:
        for n in range(12):
            shop.tell(f"c{n}", segment={"name": "VIP"})
        work(stage, lambda: vendor.messages)
        began = time.monotonic()
        work(stage, lambda: not shop.waiting())
        assert time.monotonic() - began < PERIOD_MS / 1000
        assert [message.splitlines()[0] for message in vendor.messages] == [
            "Customers changed: 5, the rest follows",
            "Customers changed: 5, the rest follows",
            "Customers changed: 2",
        ]
        shop.tell("late", segment={"name": "VIP"})
        stage.drain()
        assert len(vendor.messages) == 3, "a new period has begun"
