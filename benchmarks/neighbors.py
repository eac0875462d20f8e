"""The neighbor index under a stream of events: `python -m benchmarks.neighbors --customers N ...`.

A made-up shop (lognormal activity, 30 items a customer, 50,000 items by Zipf 0.8, 100 tastes, ages
up to three half-lives). Its snapshot is written, mapped, and lives through purchases, refunds,
repeated events, erasures, new items and new customers. Each event is timed as a refresh handles it,
from the customer's interactions on: the row changes, the 100 nearest are found, both lists of 10
are made, with their reasons. Times are CPU of one thread; what other programs do to the caches adds
to them, so the stream is replayed `--replays` times, each time on the index as it was, and the
least time of each event counts; `once` is what the last replay alone says. Then the 50 nearest of
300 customers are compared with a recompute by SciPy in float64, ties of 1e-6 apart.

Lists of others: those of a sample are kept as a product would, and found again only when an event
nudges their owner. `lists_mb` is what the index keeps for that.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import machine
from benchmarks.neighbor_checks import K, Near, check, others_than_cosine, percentiles, share
from benchmarks.neighbor_peers import peers
from benchmarks.neighbor_shop import CATALOG, HALF_LIFE, Event, Shop, shop, stream
from models.recommend.content import NO_CONTENT
from models.recommend.cooccurrence import Companions
from models.recommend.customer_rows import Bought, Decay, row_of
from models.recommend.fitting import fit_statistics
from models.recommend.hybrid import Collector
from models.recommend.hybrid import Shop as SharedShop
from models.recommend.interactions import Interactions, ItemTable
from models.recommend.neighbors import Near as Nearest
from models.recommend.neighbors import NeighborIndex, TwoStage
from models.recommend.preparing import prepare
from models.recommend.recommender import Asked, Liked, Recommender, own_items, recommend
from worker.process import tune_interpreter
from worker.store.snapshots import Snapshots
from worker.views import Interacted

ASKED = 100
ITEMS = 10
TODAY = 20_000
DECAY = Decay(TODAY, float(HALF_LIFE))
FITTED = 100_000  # customers that companions and habits are fitted on
SAMPLE = 350  # some of them are erased by events
DENSE_MOST = 100_000  # customers up to which the other similarities are checked


class Replayed(NamedTuple):
    """Seconds of each event's own lists and of finding whom it nudges; how many that were."""

    own: NDArray[np.float64]
    others: NDArray[np.float64]
    nudged: float


class Product(NamedTuple):
    """The index, and what lists are made with."""

    index: NeighborIndex
    recommender: Recommender
    collector: Collector

    def handle(self, customer: str, told: Interacted) -> Nearest:
        """One event as a refresh handles it; the nearest customers, of whom a list names ten."""
        index, half_life = self.index, DECAY.half_life_days
        index.put(customer, row_of(*told, DECAY), watch=True)
        (near,) = index.near([customer], ASKED)
        own = own_items(*told, half_life_days=half_life)
        index.renew_companions(own.columns)
        liked = Liked(*index.liked(near))
        asked = Asked(customer, own, liked, TODAY + 1, np.zeros(0, dtype=np.int64))
        recommend(self.recommender, self.collector, index.items.ids, asked, count=ITEMS)
        index.named(near, ITEMS)
        return near


def interacted(event: Event, items: ItemTable) -> Interacted:
    """A row as interactions, one an item, that decay to its weights."""
    columns = np.array(items.add_all(list(event.row)), dtype=np.int64)
    order = np.argsort(columns)
    weights = np.array(list(event.row.values()), dtype=np.float64)[order]
    days = _days(weights)
    return Interacted(columns[order], days, weights / np.exp2((days - TODAY) / HALF_LIFE))


def _days(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    """The days at which purchases of these weights were."""
    ages = -HALF_LIFE * np.log2(np.minimum(weights, 1.0))
    days: NDArray[np.int64] = TODAY - np.ceil(ages - 1e-9).astype(np.int64)
    return days


def _bought(days: NDArray[np.int64]) -> Bought:
    return Bought(days.astype(np.int16), days.astype(np.int16))


class Stored:
    """The shop's index as a snapshot, and what lists are made with."""

    def __init__(self, made: Shop, folder: Path) -> None:
        built = NeighborIndex.build(
            made.customers, ItemTable(made.items), made.rows, made.idf,
            bought=_bought(_days(made.rows.data)), decay=DECAY,
        )  # fmt: skip
        self._snapshots = Snapshots(folder)
        self._number = self._snapshots.publish(*built.to_state())
        self._first = made.customers[0]
        some = made.rows[: min(FITTED, len(made.customers))].tocoo()
        days = _days(some.data)
        events = Interactions(some.coords[0], some.coords[1], days, np.ones(len(days)))
        self._fitted = fit_statistics(events, made.items, some.shape[0], as_of_day=TODAY)

    def mapped(self, stages: TwoStage | None = None) -> tuple[Product, float]:
        """The index over the snapshot, and the seconds from its file to a first answer."""
        start = time.perf_counter()
        _, arrays, meta = self._snapshots.read(self._number)
        index = NeighborIndex.from_state(arrays, meta, watched=K)
        index.two_stage = stages
        index.similar([self._first], K)
        load_s = time.perf_counter() - start
        index.companions = Companions(self._fitted.companions, self._fitted.buyers)
        shop = SharedShop(index.popularity, index.companions, self._fitted.habits, NO_CONTENT)
        return Product(index, self._fitted, Collector(shop, CATALOG + 1_000)), load_s


def replay(product: Product, events: Sequence[Event], lists: dict[str, Near]) -> Replayed:
    """Apply events; times, and `lists` as nudges keep them."""
    own, others, nudged, index = [], [], 0, product.index
    index.similar(list(lists) or [one.customer for one in events], K)  # a running process's pages
    for event in events:
        told = interacted(event, index.items)
        start = time.thread_time()
        found = product.handle(event.customer, told)
        own.append(time.thread_time() - start)
        near = index.named(found, K)
        start = time.thread_time()
        asked = index.take_nudges()
        others.append(time.thread_time() - start)
        nudged += len(asked)
        if lists:
            lists.update(zip(asked, index.similar(asked, K), strict=True))
            if event.customer in lists:
                lists[event.customer] = near
    return Replayed(np.array(own), np.array(others), nudged / len(events))


def measure(customers: int, events: int, replays: int) -> list[dict[str, Any]]:
    """All variants at one size."""
    rng = np.random.default_rng(2)
    made = shop(customers)
    kept = min(customers, max(1_000, min(20_000, 10**9 // customers)))
    told, held = stream(made, events)
    names = [made.customers[n] for n in rng.choice(customers, kept, replace=False).tolist()]
    sample = _sample(made, held, rng)
    rows = []
    with tempfile.TemporaryDirectory(prefix="crm-reflex-index-") as folder:
        stored = Stored(made, Path(folder))
        for variant, stages in (("exact", None), ("two-stage", TwoStage())):
            times = [replay(stored.mapped(stages)[0], told, {}) for _ in range(replays - 1)]
            product, load_s = stored.mapped(stages)
            index = product.index
            lists = dict(zip(names, index.similar(names, K), strict=True))
            times.append(replay(product, told, lists))
            found = check(made, index, held, sample, lambda one, at=index: at.similar([one], K)[0])
            quiet = [name for name in lists if name not in held]
            chosen = [quiet[n] for n in rng.permutation(len(quiet))[: 2 * SAMPLE]]
            reverse = [share(lists[name], index.similar([name], K)[0]) for name in chosen]
            shared, private = index.nbytes
            row = {
                "variant": variant,
                **percentiles(np.min([one.own for one in times], axis=0)),
                "once": percentiles(times[-1].own),
                "nudges_ms": percentiles(np.min([one.others for one in times], axis=0)),
                "nudged": times[-1].nudged,
                **found,
                "reverse_recall": float(np.mean(reverse)),
                "customers": customers,
                "interactions": int(made.rows.nnz),
                "events": events,
                "replays": replays,
                "index_mb": round((shared + private) / 1e6, 1),
                "private_mb": round(private / 1e6, 1),
                "lists_mb": round(index.lists_nbytes / 1e6, 2),
                "lists_kept": kept,
                "load_s": round(load_s, 3),
            }
            rows.append(row)
    two = TwoStage()
    if customers <= DENSE_MOST:
        index.two_stage = None
        rows += others_than_cosine(made, index, held, sample)
    note = f"the most held items, up to {two.skipped:.0%} of a row's squared norm, find no"
    rows[1]["note"] = f"{note} candidates; {two.candidates} are scored exactly"
    return rows + peers(made)


def _sample(made: Shop, held: dict[str, dict[str, float]], rng: np.random.Generator) -> list[str]:
    """Half of them among those whom events changed."""
    changed = [list(held)[n] for n in rng.permutation(len(held))[: SAMPLE // 2]]
    others = rng.choice(len(made.customers), SAMPLE, replace=False).tolist()
    return changed + [made.customers[n] for n in others[: SAMPLE - len(changed)]]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit 1 when an exact answer was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--customers", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--events", type=int, default=2_000)
    parser.add_argument("--replays", type=int, default=3, help="the least time of so many counts")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args(argv)
    start = time.perf_counter()
    prepare()
    tune_interpreter()  # as a refresh process does
    ready_s = round(time.perf_counter() - start, 2)
    sizes = {}
    for customers in args.customers:
        print(f"{customers} customers", file=sys.stderr, flush=True)
        sizes[str(customers)] = measure(customers, args.events, args.replays)
        print(json.dumps(sizes[str(customers)], indent=2), file=sys.stderr, flush=True)
    found = {"sizes": sizes, "kernels_ready_s": ready_s, "machine": machine("none")}
    text = json.dumps(found, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", encoding="utf-8")
    exact = [row for rows in sizes.values() for row in rows if row["variant"] != "two-stage"]
    return 1 if any(row.get("topk_mismatch") for row in exact) else 0


if __name__ == "__main__":
    raise SystemExit(main())
