"""Recommendations from events: catalog, feedback, rest and holdout, on a real server."""

import json
from typing import get_args

import numpy as np
import pytest
from scipy.sparse import csr_array

from models.recommend.neighbors import Similarity
from models.recommend.seeds import METHODS, similarities
from tests.acceptance.cli import Cli
from tests.builders import track
from tests.servers import eventually
from worker.bootstrap import Runtime
from worker.commands.recommendations import Method
from worker.nudging import Nudging
from worker.recommending import desk
from worker.route import route
from worker.settings import Settings
from worker.store.door import Arrival
from worker.store.nudges import Nudges

DAY_S = 86_400
BUYERS = 40
ITEMS = [f"item-{n}" for n in range(8)]


def bought(customer, number, items, at_s):
    return track(
        customer, "Order Completed", f"{customer}-{number}", at_s,
        order_id=f"{customer}-{number}", revenue=10, currency="EUR",
        products=[{"product_id": item, "quantity": 1, "price": 1} for item in items],
    )  # fmt: skip


@pytest.fixture
def shop(valkey, redis_client, tmp_path):
    redis_url = valkey.url
    settings = {
        "redis_url": redis_url,
        "shards": 2,
        "reporting_currency": "EUR",
        "data_dir": tmp_path,
    }
    active = Runtime(Settings(**settings, holdout_share=0.1, item_share=1.0), redis_url)
    rng = np.random.default_rng(4)
    now_s = active.clock.now_s()
    events = [
        bought(
            f"c-{n}", k, rng.choice(ITEMS[: 4 + n % 3], 3, replace=False).tolist(),
            now_s - (120 - 12 * k) * DAY_S,
        )
        for n in range(BUYERS)
        for k in range(8)
    ]  # fmt: skip
    put(active, events)
    active.retrain.run(("segments", "recommendations"), reason="test")
    active.refresh._models._looked = active.refresh._looked_for_due = float("-inf")
    active.refresh.drain()
    cli = Cli(tmp_path, **{k: str(v) for k, v in settings.items()}, holdout_share="0.1")
    yield active, cli
    active.client.close()


def put(active, events):
    active.door.emit(Arrival(raw) for raw in events)
    while route(active.intake, active.settings.shards):
        pass
    active.ingest.drain()
    active.refresh.drain()


def insight(active, customer):
    (known,) = active.refresh_store.load([(active.keys.shard(customer), customer)])
    return json.loads(known.held.json)


def test_from_events_to_lists_and_back_to_the_report(shop):
    active, cli = shop
    told = {f"c-{n}": insight(active, f"c-{n}") for n in range(BUYERS)}
    held = {who for who, one in told.items() if "recommendations" in one["abstained"]}
    assert 0 < len(held) < BUYERS / 3
    assert all(not told[who]["buy_again"] and not told[who]["new_for_you"] for who in held)
    who = next(one for one in told if one not in held and told[one]["new_for_you"])
    first = told[who]["new_for_you"][0]
    assert first["rec_id"].startswith("new_for_you.")
    assert first["members"]

    # a product that is sold out, and one that nobody can name
    now_s = active.clock.now_s()
    before = active.quarantine.count()
    put(active, [
        track("catalog", "Product Updated", "p-1", now_s, sku=first["item_id"], available=False),
        track("catalog", "Product Updated", "p-2", now_s, brand="without an id"),
    ])  # fmt: skip
    assert active.quarantine.count() == before + 1
    active.refresh._stock.look(float("inf"))
    put(active, [track(who, "Product Viewed", "v-1", now_s, product_id=ITEMS[0])])
    later = insight(active, who)
    assert first["item_id"] not in [one["item_id"] for one in later["new_for_you"]]

    # shown, clicked, bought
    shown = later["buy_again"][0] if later["buy_again"] else later["new_for_you"][0]
    fields = {"items": [{"item_id": shown["item_id"], "rec_id": shown["rec_id"]}]}
    put(active, [
        track(who, "Recommendation Shown", "s-1", now_s - 600, **fields),
        track(who, "Recommendation Clicked", "k-1", now_s - 300, **fields),
        bought(who, "last", [shown["item_id"]], now_s - 60),
    ])  # fmt: skip
    report = json.loads(cli.run("recommendations", "report", "--since", "1d", "--json").out)
    assert (report["all"]["shown"], report["all"]["clicked"], report["all"]["bought"]) == (1, 1, 1)
    assert list(report["lists"]) == [shown["rec_id"].split(".")[0]]
    assert report["customers"]["holdout"] == len(held)
    assert "purchase rate" in cli.run("recommendations", "report").out


def test_the_commands_answer_and_refuse(shop):
    _, cli = shop
    told = json.loads(cli.run("recommend", "c-3", "--json").out)
    assert told["customer_id"] == "c-3"
    assert told["buy_again"] or told["new_for_you"]
    assert "because" in cli.run("recommend", "c-3").out
    near = json.loads(cli.run("similar", "c-3", "--count", "3", "--json").out)
    assert len(near) == 3
    assert near[0]["items_in_common"] > 0
    for by in ("pearson", "euclidean"):
        other = json.loads(cli.run("similar", "c-3", "--by", by, "--json").out)
        assert [one["score"] for one in other] != [one["score"] for one in near]
    cli.run("similar", "c-3", "--by", "luck", code=2)
    well = json.loads(cli.run("recommend", "--item", "item-0", "--json").out)
    assert "item-0" not in [one["item_id"] for one in well]
    assert well[0]["score"] > 0
    cart = json.loads(cli.run("recommend", "--cart", "item-0", "--cart", "item-1", "--json").out)
    assert not {"item-0", "item-1"} & {one["item_id"] for one in cart}
    assert "no customer 'nobody'" in cli.run("recommend", "nobody", code=1).err
    assert "nobody has bought" in cli.run("recommend", "--item", "unheard", code=1).err
    cli.run("recommend", code=2)
    cli.run("recommend", "c-3", "--item", "item-0", code=2)
    assert "30d" in cli.run("recommendations", "report", "--since", "soon", code=1).err


def test_a_list_is_explained_as_it_was_pushed(shop):
    """Also of somebody whom nobody is like: then the segment speaks, here and there."""
    active, cli = shop
    put(active, [track("looker", "Product Viewed", "l-1", active.clock.now_s(), product_id="odd")])
    for who in ("c-3", "c-5", "looker"):
        pushed = insight(active, who)
        told = json.loads(cli.run("recommend", who, "--json").out)
        for name in ("buy_again", "new_for_you"):
            if "recommendations" not in pushed["abstained"]:
                ids = [(one["item_id"], one["reason"]) for one in pushed[name]]
                assert ids == [(one["item_id"], one["reason"]) for one in told[name]]


def test_who_has_not_bought_gets_what_the_segment_likes_from_the_first_training_on(shop):
    active, _ = shop
    names = [f"fresh-{n}" for n in range(9)]
    put(active, [track(who, "Signed Up", f"{who}-1", active.clock.now_s()) for who in names])
    told = [insight(active, who) for who in names]
    listed = [one for one in told if "recommendations" not in one["abstained"]]
    assert listed
    for one in listed:
        assert one["segment"]["id"] < 0
        reason = f"popular among {one['segment']['name']}"
        assert one["new_for_you"][0]["reason"] == reason


def test_an_item_that_is_sold_out_leaves_the_lists_of_who_does_nothing(shop):
    active, _ = shop
    put(active, [track(f"c-{n}", "Page Viewed", f"p-{n}", active.clock.now_s()) for n in range(9)])
    names = [f"c-{n}" for n in range(9) if insight(active, f"c-{n}")["new_for_you"]]
    item = insight(active, names[0])["new_for_you"][0]["item_id"]
    holding = [who for who in names if item in _items(insight(active, who))]
    gone = track(
        "catalog", "Product Updated", "gone", active.clock.now_s(), sku=item, in_stock=False
    )
    put(active, [gone])
    active.refresh._stock._looked = float("-inf")
    eventually(
        lambda: (
            not active.refresh.drain()
            and not any(item in _items(insight(active, who)) for who in holding)
        ),
        within_s=10,
    )


def test_a_nudge_stays_where_a_rollout_finds_its_customer_scored_already(shop):
    active, _ = shop
    while active.refresh.drain() or active.rollout_store.progress().finished_s is None:
        pass
    nudges = Nudges(active.client, active.keys)
    nudging = Nudging(nudges, active.clock)
    nudging.put(["c-1"])
    [mark] = nudging.find(1)
    nudging.answer([mark._replace(stale=True, nudged=False)])
    assert [one.customer_id for one in nudges.waiting(1)] == ["c-1"]
    nudging.answer([mark])
    assert nudges.waiting(1) == []


def _items(told):
    return {one["item_id"] for name in ("buy_again", "new_for_you") for one in told[name]}


def test_a_catalog_comes_from_a_file(shop):
    _, cli = shop
    file = cli.folder / "products.csv"
    file.write_text("id,name,category,price,available\nitem-0,Tea,drink/tea,3.5,no\n,Nothing,,,\n")
    done = cli.run("catalog", "load", str(file), "--json", code=1)
    loaded = json.loads(done.out)
    assert (loaded["rows"], loaded["changed"]) == (1, 1)
    assert loaded["bad"] == [{"number": 2, "reason": "missing_field (product_id)"}]
    assert json.loads(cli.run("catalog", "show", "item-0", "--json").out)["price_minor"] == 350
    cli.run("catalog", "show", "unheard", code=1)
    cli.run("catalog", "load", "nowhere.csv", code=1)
    listed = json.loads(cli.run("recommend", "c-3", "--json").out)
    ids = [one["item_id"] for name in ("buy_again", "new_for_you") for one in listed[name]]
    assert "item-0" not in ids


def test_an_item_that_never_was_is_on_lists_after_its_first_purchase(shop):
    """Without a training and without the clock: the index has it, and so have neighbors."""
    active, _ = shop
    now_s = active.clock.now_s()
    put(active, [bought("c-3", "new", ["brand-new", *ITEMS[:3]], now_s - 60)])
    near = {one["customer_id"] for one in insight(active, "c-3")["similar_customers"]}
    who = next(one for one in sorted(near) if insight(active, one)["new_for_you"])
    put(active, [track(who, "Product Viewed", "v-new", now_s, product_id=ITEMS[0])])
    assert "brand-new" in [one["item_id"] for one in insight(active, who)["new_for_you"]]


@pytest.mark.parametrize("quantity", [-3, 1e9])
def test_an_impossible_quantity_changes_neither_rows_nor_lists(shop, quantity):
    active, _ = shop
    who = next(f"c-{n}" for n in range(BUYERS) if insight(active, f"c-{n}")["new_for_you"])
    before, held = insight(active, who), active.quarantine.count()
    raw = track(
        who, "Order Completed", "odd", active.clock.now_s(), order_id="odd", currency="EUR",
        products=[{"product_id": "unheard", "quantity": quantity, "price": 1}],
    )  # fmt: skip
    put(active, [raw])
    assert active.quarantine.count() == held + 1
    assert insight(active, who) == before


def test_the_largest_quantity_is_one_purchase_on_lists(shop):
    active, _ = shop
    now_s = active.clock.now_s()
    put(active, [track(
        "bulk", "Order Completed", "bulk", now_s - 60, order_id="bulk", currency="EUR", revenue=1,
        products=[{"product_id": ITEMS[0], "quantity": 999_999_999, "price": 0}],
    ), bought("single", "one", [ITEMS[0]], now_s - 60)])  # fmt: skip
    bulk, single = insight(active, "bulk"), insight(active, "single")
    near = [
        {one["customer_id"]: one["score"] for one in told["similar_customers"]}
        for told in (bulk, single)
    ]
    for scores in near:
        scores.pop("bulk", None)
        scores.pop("single", None)
    assert near[0]
    assert near[0] == pytest.approx(near[1]), "a purchase day counts once, whatever the quantity"


@pytest.mark.parametrize("name", ["pearson", "euclidean"])
def test_lists_follow_the_similarity_that_is_set_from_the_next_training_on(shop, name):
    active, cli = shop
    set_so = active.settings.model_copy(update={"similarity": name})
    other = Runtime(set_so, active.settings.redis_url.get_secret_value())
    (told,) = other.retrain.run(("recommendations",), reason="test")
    other.models.promote("recommendations", told.version, active.clock.now_s())
    put(other, [
        bought(f"c-{n}", "late", [ITEMS[n % 8]], active.clock.now_s() - 60) for n in range(BUYERS)
    ])  # fmt: skip
    index = other.refresh._index.neighbors
    held = [who for who in (f"c-{n}" for n in range(BUYERS)) if insight(other, who)["buy_again"]]
    by = Similarity[name.upper()]
    by_name = index.similar(held, 10, by)
    for who, near in zip(held, by_name, strict=True):
        told_of = insight(other, who)["similar_customers"]
        shown = [(one["customer_id"], one["score"]) for one in told_of]
        assert shown == [(other_id, round(score, 4)) for other_id, score in near]
    assert by_name != index.similar(held, 10, Similarity.COSINE)
    (asked,), (expected,) = index.near(held[:1], 100), index.near(held[:1], 100, by)
    assert asked.slots.tolist() == expected.slots.tolist(), "what lists rest on"
    meta = other.models.read("recommendations", told.version).meta["model"]
    assert meta["similarity"] == name
    told_by_cli = json.loads(cli.run("similar", held[0], "--json").out)
    assert [one["customer_id"] for one in told_by_cli] == [one for one, _ in by_name[0]]
    other.client.close()


def test_plain_methods_answer_by_name_for_comparison(shop):
    active, cli = shop
    index = desk(active).neighbors
    names = index.customers()
    rows = index.rows(names).toarray()
    own = names.index("c-1")
    for method in get_args(Method):
        told = json.loads(cli.run("recommend", "c-1", "--method", method, "--json").out)
        if method == "popularity":
            expected = (rows > 0).sum(axis=0)
        else:
            by = method.removeprefix("user-knn-") if "knn" in method else "pearson"
            alike = similarities(csr_array(rows), np.array([own]), by)[0]
            alike[own] = -np.inf  # everybody else is asked: there are fewer than 100
            expected = np.maximum(alike, 0) @ rows if "knn" in method else None
            if expected is None:
                expected = np.delete(rows, own, axis=0).mean(axis=0)
        best = {index.items.ids[c]: round(float(expected[c]), 4) for c in np.flatnonzero(expected)}
        assert {one["item_id"]: one["score"] for one in told} == best
        scores = [one["score"] for one in told]
        assert scores == sorted(scores, reverse=True)
        known = {index.items.ids[c] for c in np.flatnonzero(rows[own])}
        assert all(one["known"] == (one["item_id"] in known) for one in told)
    assert "bought or seen before" in cli.run("recommend", "c-1", "--method", "popularity").out
    cli.run("recommend", "--item", ITEMS[0], "--method", "popularity", code=2)
    assert get_args(Method) == METHODS, "the command names what there is"
