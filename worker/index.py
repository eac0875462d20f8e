"""The interaction index of a process: every customer's weighted row, kept current by deltas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.checks import ModelError
from models.recommend.cooccurrence import Companions
from models.recommend.customer_rows import row_of, rows_of
from models.recommend.filters import ServiceItems
from models.recommend.interactions import Interactions, ItemTable
from models.recommend.model import K_NEIGHBORS
from models.recommend.neighbors import NeighborIndex, TwoStage
from models.recommend.recommender import Recommender
from worker.live import Live
from worker.profile.codec import CodecError
from worker.store.population import Population, Resident, Watermark
from worker.store.snapshots import SnapshotError, Snapshots
from worker.telemetry import logger
from worker.views import NO_SERVICES, Calendar, Interacted, View, interacted, view

log = logger(__name__)

Floats: TypeAlias = NDArray[np.float64]

#: More customers than this are not indexed by a refresh process itself: it waits for a snapshot.
PRIVATE_MOST: Final = 50_000
#: From so many customers on, similar ones are found in two stages; exact search takes 3 ms there.
TWO_STAGE_FROM: Final = 1_000_000
LOOK_EVERY_S: Final = 5.0
READ_AFTER_S: Final = 1.0
_REMEMBERED: Final = 100_000
_JUDGED: Final = 100  # customers whom the recall of two stages is measured with
_DELTAS: Final = 200


class InteractionIndex:
    """A snapshot, or else built from all profiles; then one row per changed customer.

    Deltas tell which customers changed; their rows are read from the profiles themselves, so that
    to apply a delta twice, or late, changes nothing, and a snapshot and deltas may overlap.

    snapshots     where snapshots of the index are, None: every process builds its own
    watched       length of the lists whose changes `NeighborIndex.take_nudges` tells
    private_most  customers beyond which only a snapshot will do
    service_items  ids or patterns of what is no product: part of no row
    two_stage_from  customers from which on similar ones are found in two stages
    """

    def __init__(
        self,
        population: Population,
        time_zone: str,
        snapshots: Snapshots | None = None,
        *,
        watched: int = 10,
        private_most: int = PRIVATE_MOST,
        service_items: Sequence[str] = (),
        two_stage_from: int = TWO_STAGE_FROM,
    ) -> None:
        self._population = population
        self._calendar = Calendar(time_zone)
        self._snapshots = snapshots
        self._watched = watched
        self._private_most = private_most
        self._service_items = tuple(service_items)
        self._services = ServiceItems(self._service_items)
        self._two_stage_from = two_stage_from
        self._neighbors: NeighborIndex | None = None
        self._recommender: Recommender | None = None
        self._version: int | None = None
        self._digest = ""
        self._number = 0
        self._marks: list[Watermark] = []
        self._put: dict[str, int] = {}
        self._unread: dict[str, tuple[int, int, float]] = {}  # shard, sequence, seen since
        self._looked = float("-inf")
        self._wanted: Recommender | None = None

    def settle(self, live: Live, now: float) -> Live:
        """The models as this index can serve them, between two batches.

        A recommender whose snapshot is not there yet has to wait: the one before goes on, and until
        there is one none recommends. `now` is in seconds of any steady clock.
        """
        wanted = live.recommendations
        if wanted is None:
            return live
        if now - self._looked >= LOOK_EVERY_S or self._wanted is not wanted:
            self._looked, self._wanted = now, wanted
            if not self.load(wanted) and self._recommender is not wanted:
                few = self._snapshots is None or self._population.count() <= self._private_most
                if few:
                    self.use(wanted)
                else:
                    log.warning("index waits for a snapshot", reason=f"none in {self._folder}")
        if self._recommender is wanted:
            self._version = live.version("recommendations")
            return live
        spoken = {**dict(live.versions), "recommendations": self._version}
        versions = tuple((kind, one) for kind, one in sorted(spoken.items()) if one is not None)
        return live._replace(recommendations=self._recommender, versions=versions)

    @property
    def _folder(self) -> str:
        return "" if self._snapshots is None else str(self._snapshots.folder)

    def use(self, recommender: Recommender) -> NeighborIndex:
        """The index under a recommender's weights; built from profiles when another one is live."""
        if self._neighbors is None or self._recommender is not recommender:
            marks = [self._population.watermark(s) for s in range(self._population.shards)]
            views = [
                one
                for shard in range(self._population.shards)
                for one in _views(self._population.residents(shard))
            ]
            built = build(views, recommender, self._calendar, self._services)
            self._take(built, recommender, marks, 0)
            return built
        return self._neighbors

    def _take(
        self,
        neighbors: NeighborIndex,
        recommender: Recommender,
        marks: list[Watermark],
        number: int,
    ) -> None:
        neighbors.watched, neighbors.similarity = self._watched, recommender.similarity
        neighbors.two_stage = TwoStage() if len(neighbors) >= self._two_stage_from else None
        taken = digest(recommender, self._service_items)
        if self._neighbors is not None and self._digest == taken:
            neighbors.inherit(self._neighbors, private=self._number == 0)
        if self._neighbors is not None and self._recommender is recommender:
            neighbors.companions = self._neighbors.companions
        else:
            neighbors.companions = Companions(recommender.companions, recommender.buyers)
        self._neighbors, self._recommender, self._marks = neighbors, recommender, marks
        self._digest, self._number = taken, number
        self._put.clear()
        self._unread.clear()

    def load(self, recommender: Recommender) -> int:
        """Take the newest snapshot under a recommender if it is newer than what is held: its
        number, else 0. The deltas since are left to `follow`.
        """
        if self._snapshots is None:
            return 0
        mine = self._recommender is recommender
        wanted = self._digest if mine else digest(recommender, self._service_items)
        for number in self._snapshots.numbers():
            if self._digest == wanted and number <= self._number:
                return 0
            try:
                if self._snapshots.meta(number)["digest"] != wanted:
                    continue
                _, arrays, meta = self._snapshots.read(number)
                neighbors = NeighborIndex.from_state(arrays, meta)
                marks = [Watermark(*mark) for mark in meta["marks"]]
            except (SnapshotError, ModelError, KeyError, TypeError) as error:
                log.warning("snapshot refused", version=number, reason=str(error))
                continue
            # Those of another installation, or of data that was lost, know other customers.
            if [mark.epoch for mark in marks] == self._population.epochs():
                self._take(neighbors, recommender, marks, number)
                return number
        return 0

    def publish(self, at_s: int) -> int:
        """Write a snapshot of this index as it is; its number, 0 where there is no folder."""
        if self._snapshots is None or self._neighbors is None:
            return 0
        self._read(float("inf"))
        arrays, meta = self._neighbors.to_state()
        more: dict[str, Any] = {
            "digest": self._digest,
            "marks": [list(mark) for mark in self._marks],
            "built_at_s": at_s,
        }
        if self._neighbors.two_stage is not None:
            names = self._neighbors.customers()
            some = names[:: max(1, len(names) // _JUDGED)]
            more["two_stage_recall"] = self._neighbors.two_stage_recall(some, K_NEIGHBORS)
        return self._snapshots.publish(arrays, {**meta, **more})

    def behind(self) -> int:
        """How many deltas of one shard wait to be followed, at most."""
        return self._population.behind(self._marks)

    @property
    def recommender(self) -> Recommender | None:
        """The recommender whose weights the rows have."""
        return self._recommender

    @property
    def neighbors(self) -> NeighborIndex | None:
        """The index; None until there is one."""
        return self._neighbors

    def put(self, one: View, seq: int = -1, *, watch: bool = False) -> Interacted | None:
        """Set a customer's row from a view just read; the interactions that it is made of.

        seq    of the profile: its delta need not be followed any more; -1 = not known
        watch  tell by `NeighborIndex.take_nudges` whose lists that changes
        """
        if self._neighbors is None or self._recommender is None:
            return None
        found = interacted(one, self._calendar, self._neighbors.items, self._services)
        if not watch and self._put.get(one.customer_id) == seq:
            return found  # the row is as it was: others' events brought the customer here
        self._neighbors.put(one.customer_id, row_of(*found, self._recommender.decay), watch=watch)
        if seq >= 0:
            if len(self._put) >= _REMEMBERED:
                self._put.clear()
            self._put[one.customer_id] = seq
        return found

    def remove(self, customers: Iterable[str]) -> None:
        """Forget customers who have no profile any more, and nudge those who were like them."""
        for customer in customers:
            if self._neighbors is not None and customer in self._neighbors:
                self._neighbors.remove(customer, watch=True)

    def follow(self, now: float | None = None) -> int:
        """Apply the deltas of all shards; how many customers' rows were read.

        now  seconds of any steady clock: rows are then read `READ_AFTER_S` after their change was
             seen, since most customers are refreshed here until then, and their rows put; without
             it, at once
        """
        if self._neighbors is None:
            return 0
        changed, more = 0, True
        while more:
            more = False
            for at, found in enumerate(self._population.deltas(self._marks, _DELTAS)):
                shard = self._marks[at].shard
                if found is None:
                    self._marks[at] = self._population.watermark(shard)
                    changed += self._reread_shard(shard)
                elif found:
                    for one in found:
                        for customer, _ in one.customers:
                            _, _, since = self._unread.pop(customer, (0, 0, now or 0.0))
                            self._unread[customer] = shard, one.seq, since
                    last = found[-1]
                    self._marks[at] = self._marks[at]._replace(delta=last.id, seq=last.seq)
                    more = more or len(found) == _DELTAS
        return changed + self._read(float("inf") if now is None else now - READ_AFTER_S)

    def _read(self, until: float) -> int:
        """Read the rows of those who changed by then and were not put here since."""
        ripe = [who for who, (_, _, since) in self._unread.items() if since <= until]
        shards: dict[int, list[str]] = {}
        for who in sorted(ripe):
            shard, seq, _ = self._unread.pop(who)
            if self._put.get(who, -1) < seq:
                shards.setdefault(shard, []).append(who)
        return sum(
            self._reread(self._population.read(shard, ids), ids) for shard, ids in shards.items()
        )

    def _reread(self, residents: Iterable[Resident], asked: Iterable[str]) -> int:
        """Set the rows of those who have a profile; who has none any more is forgotten."""
        there, read = set(), 0
        for resident in residents:
            there.add(resident.customer_id)
            for one in _views([resident]):
                self.put(one)
                read += 1
        for customer in asked:
            if customer not in there and self._neighbors is not None:
                self._neighbors.remove(customer)
        return read

    def _reread_shard(self, shard: int) -> int:
        """Read a whole shard anew: nobody knows what changed in it."""
        if self._neighbors is None:
            return 0
        held = [
            one for one in self._neighbors.customers() if self._population.shard_of(one) == shard
        ]
        return self._reread(self._population.residents(shard), held)


def digest(recommender: Recommender, service_items: Sequence[str] = ()) -> str:
    """What the rows of an index depend on: items, idf, t0 and half-life; and what is left out."""
    found = blake2b("\0".join(recommender.items).encode(), digest_size=16)
    found.update(np.ascontiguousarray(recommender.idf).tobytes())
    found.update(f"{recommender.t0_day} {recommender.half_life_days}".encode())
    found.update("\0".join(sorted(service_items)).encode())
    return found.hexdigest()


def triplets(
    views: Sequence[View],
    items: ItemTable,
    calendar: Calendar,
    services: ServiceItems = NO_SERVICES,
) -> Interactions:
    """The interactions of many customers as index arrays; new items join the table."""
    found = [interacted(one, calendar, items, services) for one in views]
    customer = np.repeat(np.arange(len(found)), [len(one.columns) for one in found])
    if not found:
        return Interactions(customer, customer, customer, np.zeros(0))
    parts = (np.concatenate(part) for part in zip(*found, strict=True))
    return Interactions(customer.astype(np.int64), *parts)


def build(
    views: Sequence[View],
    recommender: Recommender,
    calendar: Calendar,
    services: ServiceItems = NO_SERVICES,
) -> NeighborIndex:
    """An index over many customers; items unknown to the recommender count as its rarest."""
    items = ItemTable(recommender.items)
    found = triplets(views, items, calendar, services)
    rows = rows_of(found, len(views), len(items), recommender.decay)
    unseen = float(recommender.idf.max(initial=1.0))
    idf = np.full(len(items), unseen)
    idf[: len(recommender.items)] = recommender.idf
    ids = [one.customer_id for one in views]
    return NeighborIndex.build(
        ids, items, rows.weights, idf,
        bought=rows.bought, decay=recommender.decay, idf_unseen=unseen,
    )  # fmt: skip


def _views(residents: Iterable[Resident]) -> Iterator[View]:
    for resident in residents:
        try:
            yield view(resident.customer_id, resident.hot, resident.cold)
        except CodecError as error:  # one damaged profile must not keep all others from an index
            log.warning("profile cannot be read", reason=str(error))
