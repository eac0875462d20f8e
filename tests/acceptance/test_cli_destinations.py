"""Commands of destinations against a CRM on loopback: set up, try, preview, hold, send again."""

import json
import time

import pytest

from tests.acceptance.cli import Cli
from tests.servers import Server, eventually
from tests.vendors.bottle import TOKEN as BOTTLE_TOKEN
from tests.vendors.bottle import Bottle
from tests.vendors.hubspot import TOKEN, HubSpot
from worker.bootstrap import Runtime
from worker.settings import Settings
from worker.store.refreshing import Mark, Push, Refreshed

NAMES = ["add", "drain", "list", "pause", "replay", "resume", "resync", "schema", "test"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("valkey")) as server:
        yield server


class Shop:
    """An installation with one HubSpot destination that `add` made; each test its own."""

    def __init__(self, folder, server, crm, prefix):
        self.file = folder / "crm.toml"
        self.values = {"redis_url": server.url, "key_prefix": prefix, "shards": 4}
        self.cli = Cli(folder, **self.values, destinations_file=self.file)
        self.cli.env["HUBSPOT_TOKEN"] = TOKEN
        self.crm = crm
        self.cli.run(
            "destinations", "add", "hub", "--adapter", "hubspot", "-o", "id_property=reflex_id",
            "-o", f"base_url={crm.url}", "--secret", "token=env:HUBSPOT_TOKEN",
        )  # fmt: skip
        extra = "allow_private = true\ncoalesce_s = 0\noptions.id_property"
        text = self.file.read_text().replace("options.id_property", extra)
        self.file.write_text(text)
        self.cli.run("destinations", "schema", "hub")

    def runtime(self, monkeypatch):
        monkeypatch.setenv("HUBSPOT_TOKEN", TOKEN)
        settings = Settings(**self.values, destinations_file=self.file)
        return Runtime(settings, self.values["redis_url"])


def know(active, version=1, **p_alive):
    """Write insights as refresh does."""
    now_s = int(time.time())
    rows = []
    for who, value in p_alive.items():
        insight = {"customer_id": who, "insight_version": version, "p_alive": value,
                   "as_of": "2026-01-01T00:00:00Z", "segment": {"name": "Loyal"}}  # fmt: skip
        mark = Mark(active.keys.shard(who), who, None, loud=True)
        active.client.sadd(active.keys.customers(mark.shard), who)
        rows.append(
            Refreshed(
                mark, version - 1, version, 0, now_s, str(version), json.dumps(insight).encode(),
                Push.ALL, (), now_s + 86_400,
            )
        )  # fmt: skip
    rules = active.refresh_rules
    assert all(active.refresh_store.commit(rows, rules.destinations, rules.streams))


@pytest.fixture
def shop(tmp_path, server):
    with HubSpot() as crm:
        yield Shop(tmp_path, server, crm, f"t{time.monotonic_ns()}")


@pytest.fixture
def active(shop, monkeypatch):
    active = shop.runtime(monkeypatch)
    yield active
    active.deliver.close()
    active.client.close()


def test_add_asks_for_what_lacks_and_writes_a_table_that_works(tmp_path):
    cli = Cli(tmp_path)
    lacks = cli.run("destinations", "add", "hub", "-a", "hubspot", code=1).err
    assert "id_property is needed: --option id_property=..." in lacks
    assert "token is needed: --secret token=env:VARIABLE" in lacks
    words = ["destinations", "add", "hub", "-a", "hubspot", "-o", "id_property=x"]
    assert "is a secret" in cli.run(*words, "-o", "token=pat", code=1).err
    assert "env:VARIABLE or file:PATH" in cli.run(*words, "--secret", "token=pat", code=1).err
    assert "no such option" in cli.run(*words, "-o", "colour=red", code=1).err
    assert "known: standard_webhook" in cli.run("destinations", "add", "x", "-a", "y", code=1).err
    cli.run("destinations", "add", "hub", "-a", "hubspot", "-o", "nothing", code=2)
    good = [*words, "--secret", "token=env:T", "--fields", "rx_*__c"]
    assert 'target = "rx_p_alive__c"' in cli.run(*good, "--dry-run").out
    told = cli.json(*good, "--dry-run")
    assert (told["name"], told["file"], told["dry_run"]) == ("hub", "destinations.toml", True)
    assert not (tmp_path / "destinations.toml").exists()
    assert "CRM_REFLEX_DESTINATIONS_FILE=destinations.toml" in cli.run(*good).err
    assert "already" in cli.run(*good, code=1).err
    other = [*good[:2], "Hub", *good[3:]]
    before = (tmp_path / "destinations.toml").read_text()
    assert "Hub: name: String should match" in cli.run(*other, code=1).err
    assert (tmp_path / "destinations.toml").read_text() == before
    assert [one.name for one in tmp_path.iterdir()] == ["destinations.toml"]


def test_schema_creates_what_lacks_and_says_when_it_cannot(shop):
    (shop.file).write_text(shop.file.read_text().replace("reflex_segment", "reflex_new"))
    told = shop.cli.json("destinations", "schema", "hub", "--dry-run", code=1)
    assert [one["field"] for one in told["differences"]] == ["reflex_new"]
    assert "reflex_new" not in shop.crm.properties
    assert shop.cli.json("destinations", "schema", "hub")["ready"]
    assert "every field is there" in shop.cli.run("destinations", "schema", "hub").out
    shop.crm.properties["reflex_new"]["type"] = "bool"
    assert "bool" in shop.cli.run("destinations", "schema", "hub", code=1).out


def test_test_tells_step_by_step_what_works(shop, active):
    know(active, ann=0.5)
    steps = shop.cli.json("destinations", "test", "hub", "--customer", "ann")
    assert [(one["name"], one["ok"]) for one in steps] == [
        ("options", True),
        ("fields", True),
        ("write", True),
    ]
    assert shop.crm.contacts["ann"]["reflex_p_alive"] == "0.5"
    assert (
        "no insight" in shop.cli.run("destinations", "test", "hub", "--customer", "x", code=1).err
    )
    assert "known: hub" in shop.cli.run("destinations", "test", "nub", code=1).err
    shop.cli.env["HUBSPOT_TOKEN"] = "wrong"
    failed = shop.cli.json("destinations", "test", "hub", code=1)
    assert failed[-1]["name"] == "fields"
    assert "auth" in failed[-1]["detail"]
    del shop.cli.env["HUBSPOT_TOKEN"]
    missing = shop.cli.run("destinations", "test", "hub", code=1).err
    assert "hub: options.token: the environment variable HUBSPOT_TOKEN is not set" in missing


def test_what_would_be_sent_is_told_field_by_field_and_nothing_is(shop, active):
    know(active, ann=0.5, bob=0.7)
    active.deliver.drain()
    know(active, 2, ann=0.505, bob=0.9)
    del shop.cli.env["HUBSPOT_TOKEN"]  # looking needs no secret
    told = shop.cli.json("destinations", "drain", "hub", "--dry-run", "--diff")
    assert told == [{"customer": "bob", "field": "reflex_p_alive", "old": 0.7, "new": 0.9}]
    text = shop.cli.run("destinations", "drain", "hub", "--dry-run", "--diff").out
    assert "bob" in text
    assert "0.7" in text
    whole = shop.cli.json("destinations", "resync", "hub", "ann", "--dry-run", "--diff")
    assert {"customer": "ann", "field": "reflex_segment", "old": "Loyal", "new": "Loyal"} in whole
    assert shop.cli.json("destinations", "resync", "hub", "--dry-run")["customers"] == [
        "ann",
        "bob",
    ]
    assert shop.crm.contacts["bob"]["reflex_p_alive"] == "0.7"


def test_a_pause_holds_everything_and_resume_lets_it_go(shop, active):
    shop.cli.run("destinations", "pause", "hub")
    know(active, ann=0.5)
    active.deliver.drain()
    (standing,) = shop.cli.json("destinations", "list")
    assert (standing["state"], standing["waiting"]) == ("paused", 1)
    assert "is paused" in shop.cli.run("destinations", "drain", "hub", code=1).err
    assert not shop.crm.contacts
    assert shop.cli.json("destinations", "resume", "hub")["resumed"]
    assert "was not paused" in shop.cli.run("destinations", "resume", "hub").out
    left = shop.cli.run("destinations", "drain", "hub", "--timeout", "0.1", code=75).err
    assert "1 deliveries still wait" in left
    time.sleep(0.3)  # a blocked line asks again after so long
    active.deliver.drain()
    assert shop.crm.contacts["ann"]["reflex_p_alive"] == "0.5"
    assert shop.cli.json("destinations", "drain", "hub")["waiting"] == 0
    assert shop.cli.json("destinations", "list")[0]["calls_today"] >= 1


def test_resync_repairs_what_somebody_changed_in_the_crm(shop, active):
    know(active, ann=0.5, bob=0.7)
    active.deliver.drain()
    shop.crm.contacts["ann"]["reflex_segment"] = "broken"
    shop.cli.run("destinations", "resync", "hub", code=1)  # nobody said yes
    told = shop.cli.json("destinations", "resync", "hub", "ann", "nobody")
    assert told == {"destination": "hub", "resynced": 1, "unknown": ["nobody"]}
    active.deliver.drain()
    assert shop.crm.contacts["ann"]["reflex_segment"] == "Loyal"
    assert shop.cli.json("destinations", "resync", "hub", "--yes")["resynced"] == 2


def test_replay_sends_the_newest_state_of_what_was_given_up(shop, active):
    shop.crm.conflicts.add("ann")
    know(active, ann=0.5, bob=0.7)
    active.deliver.drain()
    assert shop.cli.json("destinations", "list")[0]["dead"] == 1
    none = shop.cli.json("destinations", "replay", "hub", "--code", "http_4")
    assert none["replayed"] == 0
    shop.crm.conflicts.clear()
    know(active, 2, ann=0.6)
    dry = shop.cli.json("destinations", "replay", "hub", "--code", "CONF", "--dry-run")
    assert dry["customers"] == ["ann"]
    done = shop.cli.json("destinations", "replay", "hub", "--since-days", "1")
    assert (done["replayed"], done["customers"]) == (1, ["ann"])
    active.deliver.drain()
    assert shop.crm.contacts["ann"]["reflex_p_alive"] == "0.6"
    assert shop.cli.json("destinations", "list")[0]["dead"] == 0


def test_every_command_explains_itself(tmp_path):
    cli = Cli(tmp_path)
    out = cli.run("destinations", "--help").out
    for name in NAMES:
        assert f" {name} " in out
        assert "Examples:" in cli.run("destinations", name, "--help").out


def test_a_broken_file_costs_one_line(shop):
    shop.file.write_text(shop.file.read_text().replace('"p_alive"', '"p_aliv"'))
    for words in (["list"], ["pause", "hub"], ["test", "hub"]):
        told = shop.cli.run("destinations", *words, code=1).err
        assert f"{shop.file}: destinations.hub: fields, number 2 (reflex_p_alive)" in told
        assert "did you mean 'p_alive'?" in told


def test_look_ups_and_writes_share_the_limits_without_waiting_for_each_other(
    tmp_path, server, monkeypatch
):
    """As many threads as calls may be under way, and each row takes two calls."""
    monkeypatch.setenv("TOKEN", BOTTLE_TOKEN)
    with Bottle() as crm:
        crm.definitions = {"reflex_p_alive": "number"}
        file = tmp_path / "crm.toml"
        file.write_text(f"""
[destinations.crm]
adapter = "bottlecrm"
options = {{ base_url = "{crm.url}", token = {{ env = "TOKEN" }}, requests_per_s = 1000 }}
allow_private = true
concurrency = 2
timeout_s = 60
fields = [{{ source = "p_alive", target = "reflex_p_alive" }}]
""")
        values = {"redis_url": server.url, "key_prefix": f"t{time.monotonic_ns()}", "shards": 4}
        active = Runtime(Settings(**values, destinations_file=file), server.url)
        try:
            know(active, **{f"c{n}": 0.5 for n in range(12)})
            began = time.monotonic()
            eventually(
                lambda: not active.deliver.drain() and not active.deliver_store.waiting(["crm"])
            )
            assert time.monotonic() - began < 15, "a quarter of the lease is half a minute"
            assert len(crm.contacts) == 12
            assert len(crm.requests) == active.destination_store.state("crm").used == 24
        finally:
            active.deliver.close()
            active.client.close()


def test_what_sends_does_not_start_without_its_secrets_and_the_others_do_not_need_them(
    shop, tmp_path
):
    del shop.cli.env["HUBSPOT_TOKEN"]
    told = shop.cli.run("worker", "--queue", "deliver", code=1, process=True).err
    assert "hub: options.token: the environment variable HUBSPOT_TOKEN is not set" in told
    shop.file.write_text(shop.file.read_text().replace('"p_alive"', '"p_aliv"'))
    for words in (["worker", "--queue", "ingest"], ["up"]):
        assert "did you mean 'p_alive'?" in shop.cli.run(*words, code=1, process=True).err
