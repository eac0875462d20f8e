"""The composition root: settings in, connected stages out. One runtime per process, after the fork.

A stage is imported when it is first asked for: a worker of one stage does not pay for the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from integrations.facts import Reading
from integrations.material import DeadBands
from worker.batch import Rules
from worker.clock import Clock, SystemClock
from worker.currencies import RatesFile
from worker.destinations import configured, is_stream
from worker.feedback import Holdout
from worker.ingest import Ingest
from worker.profile.memory import Limits
from worker.refresh_rules import Division, RefreshRules
from worker.registry.artifact import Seal
from worker.registry.storage import open_storage
from worker.settings import Settings
from worker.store.catalog import CatalogStore
from worker.store.connection import connect
from worker.store.delivering import DeliverStore
from worker.store.destinations import Destinations
from worker.store.door import Door, Intake
from worker.store.feedback import FeedbackStore
from worker.store.ingesting import IngestStore
from worker.store.installation import verify
from worker.store.keys import Keys
from worker.store.letters import Letters
from worker.store.models import ModelStore
from worker.store.nudges import Nudges
from worker.store.population import Population
from worker.store.quarantine import Quarantine
from worker.store.refreshing import RefreshStore, Stream
from worker.store.rollout import RolloutStore
from worker.store.signals import Bells, Locks, Reports
from worker.store.snapshots import Snapshots
from worker.store.training import TrainingDesk
from worker.tick import Plan, Tick

if TYPE_CHECKING:
    from collections.abc import Callable

    from integrations.destinations import Destination
    from worker.delivery.engine import Deliver
    from worker.index import InteractionIndex
    from worker.refresh import Refresh
    from worker.retrain import Retrain
    from worker.rollout import Pace
    from worker.snapshot import SnapshotBuilder
    from worker.store.scripts import Client
    from worker.training.gate import Promotion


@dataclass
class Runtime:
    """Everything that a command or a task needs, connected when it is first used.

    url  the state server; the embedded one when the settings name none
    """

    settings: Settings
    url: str
    clock: Clock = field(default_factory=SystemClock)

    @cached_property
    def client(self) -> Client:
        """The state server's client; the installation is verified on the way."""
        settings = self.settings
        client = connect(self.url, cluster=settings.redis_cluster, tls=settings.tls(self.url))
        verify(client, self.keys, self.clock.now_s())
        return client

    @cached_property
    def keys(self) -> Keys:
        """Names of all keys."""
        return Keys(self.settings.key_prefix, self.settings.shards)

    @cached_property
    def bells(self) -> Bells:
        """What wakes a waiting stage."""
        return Bells(self.client, self.keys)

    @cached_property
    def locks(self) -> Locks:
        """Locks of slots, pumps and trainings."""
        return Locks(self.client, self.keys)

    @cached_property
    def reports(self) -> Reports:
        """What workers tell about themselves."""
        return Reports(self.client, self.keys)

    @cached_property
    def door(self) -> Door:
        """Where events enter."""
        settings = self.settings
        return Door(
            self.client,
            self.keys,
            lag_limit=settings.lag_limit,
            memory_ratio=settings.memory_limit_ratio,
        )

    @cached_property
    def intake(self) -> Intake:
        """The router's stream."""
        return Intake(self.client, self.keys)

    @cached_property
    def quarantine(self) -> Quarantine:
        """Refused events."""
        return Quarantine(self.client, self.keys)

    @cached_property
    def destinations(self) -> tuple[Destination, ...]:
        """Every destination, without its secrets."""
        return configured(self.settings, with_secrets=False)

    @property
    def destination_names(self) -> tuple[str, ...]:
        """As in rows."""
        return tuple(one.name for one in self.destinations)

    @cached_property
    def reading(self) -> Reading:
        """How events are read. What only we write into a CRM is no trait when it comes back."""
        settings, destinations = self.settings, self.destinations
        own = frozenset(rule.target for one in destinations for rule in one.fields)
        return Reading(
            default_currency=settings.reporting_currency,
            max_bytes=settings.event_max_bytes,
            max_depth=settings.event_max_depth,
            traits=frozenset(settings.traits) - own,
            own_fields=own,
            destinations=frozenset(one.name for one in destinations),
        )

    @cached_property
    def rules(self) -> Rules:
        """What folding depends on."""
        settings = self.settings
        return Rules(
            shards=settings.shards,
            reading=self.reading,
            limits=Limits(settings.dedup_window_s, settings.id_memory_max),
            retention_s=settings.retention_s,
        )

    @cached_property
    def ingest(self) -> Ingest:
        """The ingest stage."""
        store = IngestStore(self.client, self.keys, lease_ms=self._lease_ms)
        store.prepare()
        return Ingest(
            store,
            self.rules,
            batch_size=self.settings.ingest_batch,
            catalog=self.catalog,
            feedback=self.feedback,
            desk=self.desk,
        )

    @cached_property
    def models(self) -> ModelStore:
        """Stored model versions."""
        key = self.settings.model_signing_key
        seal = Seal(key.get_secret_value().encode() if key is not None else None)
        return ModelStore(self.client, self.keys, open_storage(self.settings.model_storage), seal)

    @cached_property
    def catalog(self) -> CatalogStore:
        """What is known of items."""
        return CatalogStore(self.client, self.keys)

    @cached_property
    def feedback(self) -> FeedbackStore:
        """What was shown and clicked."""
        return FeedbackStore(self.client, self.keys)

    @cached_property
    def population(self) -> Population:
        """All profiles, shard by shard."""
        return Population(self.client, self.keys)

    @cached_property
    def refresh_store(self) -> RefreshStore:
        """Marks and insights."""
        return RefreshStore(self.client, self.keys, lease_ms=self._lease_ms)

    @cached_property
    def refresh_rules(self) -> RefreshRules:
        """What an insight depends on besides profile and models."""
        from models.segments.settling import Policy  # noqa: PLC0415  numpy: only where it is used

        settings = self.settings
        algorithm = settings.segment_algorithm
        return RefreshRules(
            batch_size=settings.refresh_batch,
            interval_s=settings.refresh_interval_s,
            time_zone=settings.time_zone,
            currency=settings.reporting_currency,
            similar_customers=settings.similar_customers,
            recommendations=settings.recommendations,
            min_customers=settings.min_customers_to_train,
            destinations=tuple(one.name for one in self.destinations if not is_stream(one)),
            streams=tuple(
                Stream(one.name, frozenset(one.reasons))
                for one in self.destinations
                if is_stream(one)
            ),
            holdout=Holdout(settings.holdout_share, settings.holdout_salt),
            service_items=tuple(settings.service_items),
            horizons_days=settings.forecast_horizons_days,
            rates=RatesFile(
                settings.currency_rates_file,
                settings.reporting_currency,
                settings.currency_rate_max_age_days,
            ),
            dead_bands=DeadBands(
                settings.push_probability, settings.push_relative, settings.push_days
            ),
            division=Division(
                "" if algorithm == "auto" else algorithm,
                settings.segment_count,
                settings.segment_height,
            ),
            policy=Policy(
                settings.segment_patience, settings.segment_margin, settings.segment_dwell_days
            ),
            similarity=settings.similarity,
            processes=settings.refresh_concurrency,
        )

    @cached_property
    def refresh(self) -> Refresh:
        """The refresh stage."""
        from worker.catalog import Stock  # noqa: PLC0415  scipy: only where it is used
        from worker.list_rules import list_rules  # noqa: PLC0415  same
        from worker.live import LiveModels  # noqa: PLC0415  same
        from worker.nudging import Nudging  # noqa: PLC0415  same
        from worker.refresh import Refresh  # noqa: PLC0415  same
        from worker.rollout import Rollout  # noqa: PLC0415  same

        return Refresh(
            self.refresh_store,
            LiveModels(self.models, self.clock),
            self.index(),
            self.refresh_rules,
            self.clock,
            Nudging(Nudges(self.client, self.keys), self.clock),
            Stock(self.catalog, list_rules(self.settings)),
            Rollout(self.rollout_store, self.population, self.clock, self.pace),
        )

    @cached_property
    def rollout_store(self) -> RolloutStore:
        """Whom the live models have not scored yet."""
        return RolloutStore(self.client, self.keys)

    @property
    def pace(self) -> Pace:
        """What rollouts may take."""
        from worker.rollout import Pace  # noqa: PLC0415  scipy: only where it is used

        return Pace(self.settings.rescore_per_s, self.settings.model_pushes_per_hour)

    def index(self) -> InteractionIndex:
        """An index of all customers' interactions, still empty."""
        from worker.index import InteractionIndex  # noqa: PLC0415  scipy: only where it is used

        rules = self.refresh_rules
        return InteractionIndex(
            self.population, rules.time_zone, self.snapshots, watched=rules.similar_customers,
            service_items=rules.service_items,
        )  # fmt: skip

    @cached_property
    def snapshots(self) -> Snapshots:
        """Snapshots of that index."""
        return Snapshots(self.settings.snapshot_dir or self.settings.data_dir / "snapshots")

    @cached_property
    def snapshot_builder(self) -> SnapshotBuilder:
        """What builds them."""
        from worker.live import LiveModels  # noqa: PLC0415  scipy: only where it is used
        from worker.snapshot import SnapshotBuilder  # noqa: PLC0415  same

        return SnapshotBuilder(
            self.index,
            self.snapshots,
            LiveModels(self.models, self.clock),
            self.locks,
            self.clock,
            interval_s=self.settings.snapshot_interval_s,
        )

    @cached_property
    def deliver_store(self) -> DeliverStore:
        """Outbox, claims, and what destinations hold."""
        return DeliverStore(self.client, self.keys)

    @cached_property
    def letters(self) -> Letters:
        """Dead letters."""
        return Letters(self.client, self.keys)

    @cached_property
    def destination_store(self) -> Destinations:
        """Pauses, limits, tokens and jobs of destinations."""
        return Destinations(self.client, self.keys)

    @cached_property
    def deliver(self) -> Deliver:
        """The deliver stage."""
        from worker.delivery.channel import channels_of  # noqa: PLC0415  HTTP: same
        from worker.delivery.engine import Deliver  # noqa: PLC0415  same

        settings = self.settings
        return Deliver(
            self.deliver_store,
            self.destination_store,
            channels_of(configured(settings)),
            self.clock,
            shards=settings.shards,
            max_attempts=settings.delivery_max_attempts,
        )

    @cached_property
    def desk(self) -> TrainingDesk:
        """Trainings that wait and run."""
        return TrainingDesk(self.client, self.keys)

    @cached_property
    def retrain(self) -> Retrain:
        """The training stage."""
        from worker.retrain import Retrain  # noqa: PLC0415  scikit-learn: only where it is used

        settings = self.settings
        return Retrain(
            self.population,
            self.models,
            self.desk,
            self.clock,
            rules=self.refresh_rules,
            discount_rate_year=settings.discount_rate_year,
            catalog=self.catalog,
            lease_ms=int(1000 * settings.training_lease_s),
            promotion=self.promotion,
        )

    @property
    def promotion(self) -> Promotion:
        """What becomes of versions that the gate lets pass."""
        from worker.training.gate import Promotion  # noqa: PLC0415  scikit-learn: same

        settings = self.settings
        by_hand = settings.promotion == "manual"
        return Promotion(by_hand, settings.shadow_days, settings.shadow_events)

    def tick(self, order: Callable[..., None]) -> Tick:
        """The safety net; `order` sends a work order by task name."""
        settings = self.settings
        pumps = {
            "ingest": settings.ingest_concurrency,
            "refresh": settings.refresh_concurrency,
            "deliver": settings.deliver_concurrency if self.destinations else 0,
        }
        plan = Plan(
            pumps,
            settings.min_customers_to_train,
            settings.retrain_interval_s,
            snapshots=True,
        )
        return Tick(
            self.locks, self.door, self.models, self.desk, self.population, self.clock, plan, order
        )

    @property
    def _lease_ms(self) -> int:
        return int(1000 * self.settings.lease_s)
