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
import importlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix, diags_array

from benchmarks.machine import machine
from models.recommend.content import NO_CONTENT
from models.recommend.cooccurrence import Companions
from models.recommend.customer_rows import Bought, Decay, row_of
from models.recommend.fitting import fit_statistics
from models.recommend.hybrid import Collector
from models.recommend.hybrid import Shop as SharedShop
from models.recommend.interactions import Interactions, ItemTable, inverse_document_frequency
from models.recommend.neighbors import MOST_ITEMS, NeighborIndex, TwoStage
from models.recommend.neighbors import Near as Nearest
from models.recommend.preparing import prepare
from models.recommend.recommender import Asked, Liked, Recommender, own_items, recommend
from models.recommend.seeds import similarities
from models.recommend.similarity import Similarity
from worker.process import tune_interpreter
from worker.store.snapshots import Snapshots
from worker.views import Interacted

K = 50
ASKED = 100
ITEMS = 10
TODAY = 20_000
HALF_LIFE = 60
DECAY = Decay(TODAY, float(HALF_LIFE))
FITTED = 100_000  # customers that companions and habits are fitted on
CATALOG = 50_000
SAMPLE = 300
SAMPLE_DENSE = 100  # of customers whom the other similarities are checked with
DENSE_MOST = 100_000  # customers up to which they are
TIE = 1e-6

Near = list[tuple[str, float]]


class Shop(NamedTuple):
    """Customers, items, raw rows and idf."""

    customers: list[str]
    items: list[str]
    rows: csr_array
    idf: NDArray[np.float64]


class Event(NamedTuple):
    """One customer's whole new row; empty when the customer is erased."""

    customer: str
    row: dict[str, float]


def shop(customers: int, seed: int = 0) -> Shop:
    """Make a shop up."""
    rng = np.random.default_rng(seed)
    each = np.clip(
        rng.lognormal(np.log(30) - 0.405, 0.9, customers).astype(int), 1, MOST_ITEMS // 2
    )
    who = np.repeat(np.arange(customers, dtype=np.int32), each)
    share = np.arange(1, CATALOG + 1) ** -0.8
    what = np.searchsorted(np.cumsum(share / share.sum()), rng.random(len(who)))
    taste = rng.permutation(100)[rng.integers(0, 100, customers)][who] * 499 + 7
    tasted = rng.random(len(who)) < 0.5
    what = np.where(tasted, (what + taste) % CATALOG, what % CATALOG).astype(np.int32)
    weight = np.exp2(-rng.integers(0, 3 * HALF_LIFE, len(who)) / HALF_LIFE)
    rows = csr_array((weight, (who, what)), shape=(customers, CATALOG))
    rows.sum_duplicates()
    names = [f"customer-{n:08d}" for n in range(customers)]
    return Shop(names, [f"i{n}" for n in range(CATALOG)], rows, inverse_document_frequency(rows))


def stream(
    made: Shop, count: int, seed: int = 1
) -> tuple[list[Event], dict[str, dict[str, float]]]:
    """Events, and the rows as they are at their end of those whom they changed."""
    rng = np.random.default_rng(seed)
    busy = rng.integers(0, made.rows.nnz, count)
    owners = np.searchsorted(made.rows.indptr, busy, side="right") - 1
    bought = made.rows.indices[rng.integers(0, made.rows.nnz, count)]
    held: dict[str, dict[str, float]] = {}
    events = []
    for n, (owner, item, kind) in enumerate(zip(owners, bought, rng.random(count), strict=True)):
        customer = f"new-{n:06d}" if kind > 0.98 else made.customers[owner]
        if customer not in held:
            span = slice(made.rows.indptr[owner], made.rows.indptr[owner + 1])
            ids = (made.items[i] for i in made.rows.indices[span])
            row = dict(zip(ids, made.rows.data[span].tolist(), strict=True)) if kind <= 0.98 else {}
            held[customer] = row
        row = dict(held[customer])
        if kind < 0.06 and row:  # a refund; every other one of the whole item
            which = sorted(row)[n % len(row)]
            row[which] /= 2
            if n % 2:
                del row[which]
        elif kind < 0.07:
            row = {}
        elif kind > 0.15:  # the rest are events that come twice: the row stays
            name = f"fresh-{n % 40}" if kind < 0.17 else made.items[item]
            row[name] = row.get(name, 0.0) + 1.0
        held[customer] = row
        events.append(Event(customer, row))
    return events, held


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


def check(
    made: Shop,
    index: NeighborIndex,
    held: dict[str, dict[str, float]],
    sample: Sequence[str],
    ask: Callable[[str], Near],
) -> dict[str, float]:
    """Compare answers with a recompute of everything: error of scores, mismatches, recall."""
    names, scaled = _recomputed(made, index, held)
    norm = np.sqrt(np.asarray(scaled.multiply(scaled).sum(axis=1)).ravel())
    unit = csr_array(diags_array(1 / norm) @ scaled)
    place = {name: n for n, name in enumerate(names)}
    wrong, worst, recalls = 0, 0.0, []
    for customer in sample:
        found = ask(customer)
        if customer not in place:
            wrong += len(found)
            continue
        scores = np.asarray((unit @ unit[[place[customer]]].T).todense()).ravel()
        scores[place[customer]] = 0
        true = np.sort(scores[scores > 5e-10])[::-1][:K]
        least = true[-1] if len(true) else 0.0
        mine = [scores[place[name]] for name, _ in found]
        worst = max([worst, *(abs(a - b) for a, (_, b) in zip(mine, found, strict=True))])
        good = sum(score >= least - TIE for score in mine)
        wrong += len(found) - good + max(0, len(true) - len(found))
        recalls.append(min(good / len(true), 1.0) if len(true) else 1.0)
    return {
        "max_abs_score_error": float(worst),
        "topk_mismatch": int(wrong),
        "recall": float(np.mean(recalls)),
    }


def _recomputed(
    made: Shop, index: NeighborIndex, held: dict[str, dict[str, float]]
) -> tuple[list[str], csr_array]:
    """All rows as they are now, idf-weighted."""
    items = {item: n for n, item in enumerate(index.items.ids)}
    stay = np.array([name not in held for name in made.customers])
    old = made.rows[stay].tocoo()
    late = [(name, row) for name, row in held.items() if row]
    names = [name for name, kept in zip(made.customers, stay, strict=True) if kept]
    cells = [
        (len(names) + n, items[i], w) for n, (_, row) in enumerate(late) for i, w in row.items()
    ]
    row, column, weight = (np.array(one) for one in zip(*cells, strict=True))
    everything = csr_array(
        (
            np.concatenate((old.data, weight)),
            (np.concatenate((old.coords[0], row)), np.concatenate((old.coords[1], column))),
        ),
        shape=(len(names) + len(late), len(items)),
    )
    idf = np.full(len(items), made.idf.max())
    idf[: len(made.idf)] = made.idf
    return names + [name for name, _ in late], csr_array(everything @ diags_array(idf))


def others_than_cosine(
    made: Shop, index: NeighborIndex, held: dict[str, dict[str, float]], sample: Sequence[str]
) -> list[dict[str, Any]]:
    """The same check of the other similarities, against those of dense rows; and their search."""
    names, scaled = _recomputed(made, index, held)
    place = {name: n for n, name in enumerate(names)}
    asked = [one for one in sample if one in place][:SAMPLE_DENSE]
    own = np.array([place[one] for one in asked])
    found = []
    for by in (Similarity.PEARSON, Similarity.EUCLIDEAN):
        true = similarities(scaled, own, by.name.lower())
        true[np.arange(len(own)), own] = -1.0
        wrong, worst, took = 0, 0.0, []
        for one, scores in zip(asked, true, strict=True):
            start = time.thread_time()
            (near,) = index.near([one], K, by)
            took.append(time.thread_time() - start)
            least = max(np.partition(scores, len(scores) - K)[len(scores) - K], 5e-10)
            told = index.named(near)
            mine = [scores[place[name]] for name, _ in told]
            wrong += sum(score < least - TIE for score in mine)
            wrong += max(0, int((scores > least + TIE).sum()) - len(told))
            worst = max([worst, *(abs(a - b) for a, (_, b) in zip(mine, told, strict=True))])
        checked = {"max_abs_score_error": float(worst), "topk_mismatch": int(wrong)}
        times = _percentiles(np.array(took))
        found.append({"variant": f"{by.name.lower()}, search alone", **times, **checked})
    return found


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
            reverse = [_share(lists[name], index.similar([name], K)[0]) for name in chosen]
            shared, private = index.nbytes
            row = {
                "variant": variant,
                **_percentiles(np.min([one.own for one in times], axis=0)),
                "once": _percentiles(times[-1].own),
                "nudges_ms": _percentiles(np.min([one.others for one in times], axis=0)),
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


def _share(stored: Near, true: Near) -> float:
    """How much of the true list a stored one has; who ties with the last counts."""
    if not true:
        return 1.0
    score = dict(true)
    least = true[-1][1]
    kept = sum(name in score or abs(old - least) <= TIE for name, old in stored)
    return min(kept / len(true), 1.0)


def peers(made: Shop) -> list[dict[str, Any]]:
    """What a full recompute takes with libraries that are made for it; parts are extrapolated."""
    customers = len(made.customers)
    scaled = csr_array(made.rows @ diags_array(made.idf))
    norm = np.sqrt(np.asarray(scaled.multiply(scaled).sum(axis=1)).ravel())
    unit = csr_array(diags_array(1 / norm) @ scaled).astype(np.float32)
    part = min(customers, max(100, 2 * 10**7 // customers))
    rows = []
    for name, seconds in (("sparse_dot_topn", _dot_topn), ("implicit", _implicit)):
        try:
            took = seconds(unit, part)
        except ImportError as error:
            rows.append({"variant": f"{name}, full recompute", "note": f"not installed: {error}"})
            continue
        variant = {"variant": f"{name}, full recompute", "customers": customers}
        note = "not run: it computes everything at once, which takes minutes"
        rows.append(variant | ({"note": note} if took is None else {"cpu_s": took}))
    return rows


def _dot_topn(unit: csr_array, part: int) -> float:
    library = importlib.import_module("sparse_dot_topn")
    some, every = csr_matrix(unit[:part]), csr_matrix(unit.T)
    start = time.process_time()
    library.sp_matmul_topn(some, every, top_n=K + 1, n_threads=1)
    return round((time.process_time() - start) * unit.shape[0] / part, 1)


def _implicit(unit: csr_array, _part: int) -> float | None:
    """It only computes everything: left out where that takes minutes."""
    if unit.shape[0] > 20_000:
        return None
    library = importlib.import_module("implicit.nearest_neighbours")
    model = library.CosineRecommender(K=K + 1, num_threads=1)
    start = time.process_time()
    model.fit(csr_matrix(unit.T, dtype=np.float64), show_progress=False)
    return round(time.process_time() - start, 1)


def _percentiles(seconds: NDArray[np.float64]) -> dict[str, float]:
    ms = seconds * 1e3
    return {
        "p50_ms": round(float(np.median(ms)), 3),
        "p95_ms": round(float(np.percentile(ms, 95)), 3),
    }


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
