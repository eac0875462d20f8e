"""Worker processes that are killed, vendors that do harm: nothing lost, nothing doubled.

Six kinds of destinations at once, each with a vendor of its own that counts by arrival: calls in
every window, rows under way, versions that go back. Nothing is helped along: what failed comes back
by its own backoff, breakers close by their own probes.
"""

import contextlib
import random
import time
from typing import NamedTuple

import pytest

from benchmarks.delivery_shop import Installation
from tests.servers import Server
from tests.vendors import bottle, klaviyo
from tests.vendors.faults import Fault, fullest_window, running

WORKERS, KILLS, ROUNDS, MOST_ROUNDS = 4, 2, 10, 100
CUSTOMERS, CHANGED = 40, 5
PATIENCE_S = 120
ANYBODY = (
    Fault.AFTER_COMMIT_500, Fault.RESET, Fault.HINTED_429, Fault.AFTER_COMMIT_RESET, Fault.DRIP,
    Fault.BARE_429,
)  # fmt: skip
HARM = {
    "webhook": ANYBODY,
    "events": ANYBODY,
    "hubspot": (Fault.MIX, Fault.EMPTY, *ANYBODY),
    "salesforce": (Fault.MIX, Fault.EXPIRED_401, Fault.THROTTLE_403, Fault.EMPTY, *ANYBODY),
    "bottlecrm": (Fault.EMPTY, *ANYBODY),
    "klaviyo": (Fault.EMPTY, *ANYBODY),
}
#: Vendors of batches are called seldom: more of their calls meet harm.
SHARE = {"webhook": 0.1, "events": 0.1, "bottlecrm": 0.1}
#: Requests a second, and in a longer window: both hold at once.
LIMITS = {
    "webhook": (30, 120),
    "events": (30, 120),
    "hubspot": (6, 20),
    "salesforce": (6, 20),
    "bottlecrm": (40, 180),
    "klaviyo": (10, 40),
}
VERSION = '{ source = "insight_version", target = "version", type = "integer" }'
OPTIONS = {
    "webhook": 'url = "{url}", secrets = { env = "BENCH_SECRET" }',
    "events": 'url = "{url}", secrets = { env = "BENCH_SECRET" }, send = "events"',
    "hubspot": 'base_url = "{url}", id_property = "reflex_id", token = { file = "secret" }',
    "salesforce": 'login_url = "{url}", external_id_field = "Reflex_Id__c", client_id = "client",'
    ' client_secret = { file = "secret" }',
    "bottlecrm": 'base_url = "{url}", token = { file = "secret" }, requests_per_s = 1000',
    "klaviyo": 'base_url = "{url}", api_key = { file = "secret" }',
}
SECRETS = {"bottlecrm": bottle.TOKEN, "klaviyo": klaviyo.KEY}


class Scale(NamedTuple):
    """How long the longer window is, how much more it allows, rounds of changes at least."""

    long_s: float
    more: int
    rounds: int

    def windows(self, name):
        short, long = LIMITS[name]
        return (short, 1.0), (long * self.more, self.long_s)


@pytest.fixture(
    params=[
        pytest.param(Scale(6.0, 1, ROUNDS), id="seconds", marks=pytest.mark.timeout(300)),
        pytest.param(
            Scale(60.0, 2, 4 * ROUNDS), id="minutes",
            marks=[pytest.mark.exhaustive, pytest.mark.timeout(1500)],
        ),
    ]
)  # fmt: skip
def scale(request):
    return request.param


def table(name, url, windows):
    """A destination of the file; its secret is the one that its vendor knows."""
    windows = ", ".join(
        f"{{ requests = {count}, window_s = {window_s} }}" for count, window_s in windows
    )
    options = OPTIONS[name].replace("{url}", url).replace('"secret"', f'"{name}"')
    return f"""
[destinations.{name}]
adapter = "{"standard_webhook" if name in {"webhook", "events"} else name}"
options = {{ {options} }}
allow_private = true
timeout_s = 2
reserve = 0.0
coalesce_s = 0.2
concurrency = 4
requests_per = [{windows}]
fields = [{VERSION}]
"""


@pytest.fixture
def vendors(scale):
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(
                running(
                    name,
                    faults=harm,
                    share=SHARE.get(name, 0.3),
                    limits=scale.windows(name),
                    seed=3,
                )
            )
            for name, harm in HARM.items()
        }


@pytest.fixture
def made(tmp_path, vendors, scale):
    """Four workers behind all six destinations."""
    for name in HARM:
        (tmp_path / name).write_text(SECRETS.get(name, "any secret"))
    text = "".join(table(name, vendor.url, scale.windows(name)) for name, vendor in vendors.items())
    with Server(tmp_path / "state") as server:
        installation = Installation(
            server.url, tmp_path, None, text, WORKERS,
            module="tests.integration.workers.hasty_worker",
        )  # fmt: skip
        try:
            yield installation
        finally:
            installation.close()


def behind(vendor, versions):
    return sum(
        int(float(vendor.contacts.get(who, {}).get("version", 0))) != version
        for who, version in versions.items()
    )


def test_nothing_is_lost_or_doubled_and_no_limit_exceeded(made, vendors, scale):
    rng = random.Random(7)
    people = [f"customer-{n}@example.com" for n in range(CUSTOMERS)]
    active = made._runtime
    deaths = set(rng.sample(range(2, scale.rounds), KILLS))
    made.start()
    made.change(people, rng)
    made.wait(lambda: all(vendor.arrivals() for vendor in vendors.values()))
    for number in range(MOST_ROUNDS * scale.rounds // ROUNDS):
        if number >= scale.rounds and all(set(HARM[one]) <= set(vendors[one].met) for one in HARM):
            break
        made.change(rng.sample(people, CHANGED), rng)
        if number in deaths:
            made.kill_one(rng)
        time.sleep(0.3)  # the pace of the changes
    for vendor in vendors.values():
        vendor.down = True
    made.change(people, rng)
    opened = set()
    made.wait(lambda: opened.update(open_breakers(active)) or opened == set(HARM))
    closed = {name: active.destination_store.state(name) for name in set(HARM) - opened}
    assert not closed, "every breaker has opened"
    for vendor in vendors.values():
        vendor.down = False
        vendor.calm()

    def is_done():
        names = list(HARM)
        jobs = sum(active.destination_store.state(name).jobs for name in names)
        return not active.deliver_store.waiting(names) and not jobs

    seconds = made.wait(is_done, each_s=0.2)
    assert seconds < PATIENCE_S * scale.long_s / 6
    for name, vendor in vendors.items():
        assert behind(vendor, made.versions) == 0, f"{name} after {seconds:.0f} s"
        assert vendor.regressions == 0, name
        assert vendor.doubled == 0, name
        assert vendor.met["over_limit"] == 0, name
        for count, window_s in scale.windows(name):
            assert fullest_window(vendor.arrivals(), window_s) <= count, (name, window_s)
        assert set(HARM[name]) <= set(vendor.met), (name, vendor.met)
    longest = scale.long_s
    full = {name: fullest_window(one.arrivals(), longest) for name, one in vendors.items()}
    assert any(full[name] == scale.windows(name)[1][0] for name in HARM), f"never held up: {full}"
    events = vendors["events"].history
    assert {who: sorted(set(numbers)) for who, numbers in events.items()} == {
        who: list(range(1, version + 1)) for who, version in made.versions.items()
    }, "every event came, in order"
    assert active.letters.find() == []
    assert not any(active.destination_store.state(name).alarm for name in HARM)


def open_breakers(active):
    return {name for name in HARM if active.destination_store.state(name).is_open}
