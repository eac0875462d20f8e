"""The names of all keys: one function a key, its type beside it.

Keys of a shard carry the hash tag `{s<N>}`: they live in one slot, so a script may touch them all.
Keys of the whole installation carry `{global}`, those of a destination `{d-<name>}`.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass


def shard_of(customer_id: str, shards: int) -> int:
    """The shard of a customer: crc32 of the UTF-8 id, modulo the number of shards.

    >>> shard_of("customer-1", 64)
    61
    """
    return zlib.crc32(customer_id.encode()) % shards


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under one prefix: one installation, one prefix.

    prefix   `CRM_REFLEX_KEY_PREFIX`
    shards   number of shards, fixed when the installation is created
    """

    prefix: str
    shards: int

    def shard(self, customer_id: str) -> int:
        """The shard that a customer lives in."""
        return shard_of(customer_id, self.shards)

    def _in(self, shard: int, name: str) -> str:
        return f"{self.prefix}:{{s{shard}}}:{name}"

    def _all(self, name: str) -> str:
        return f"{self.prefix}:{{global}}:{name}"

    def _of(self, destination: str, name: str) -> str:
        return f"{self.prefix}:{{d-{destination}}}:{name}"

    # ---- ingest writes; those of a customer end with the customer's id ----------------------
    def events(self, shard: int) -> str:
        """STREAM of entries to apply; anybody adds, ingest trims."""
        return self._in(shard, "events")

    def meta(self, shard: int) -> str:
        """HASH: cursor, seq, covered and the counters of ingest."""
        return self._in(shard, "meta")

    def epoch(self, shard: int) -> str:
        """STRING: changes when the shard's data was lost or restored."""
        return self._in(shard, "epoch")

    def tries(self, shard: int) -> str:
        """HASH cursor, count: how often a batch was begun from here and not committed."""
        return self._in(shard, "tries")

    def customers(self, shard: int) -> str:
        """SET of the shard's customer ids."""
        return self._in(shard, "customers")

    def profile(self, shard: int, customer_id: str) -> str:
        """STRING: envelope and hot part of a profile."""
        return f"{self.prefix}:{{s{shard}}}:p:{customer_id}"

    def cold(self, shard: int, customer_id: str) -> str:
        """STRING: closed weeks of a ledger; only the length that the hot part names counts."""
        return f"{self.prefix}:{{s{shard}}}:l:{customer_id}"

    def memory(self, shard: int, customer_id: str) -> str:
        """STRING: ids of recent events; only the length that the envelope names counts."""
        return f"{self.prefix}:{{s{shard}}}:m:{customer_id}"

    def deltas(self, shard: int) -> str:
        """STREAM: which customers a commit changed, and which of their items."""
        return self._in(shard, "deltas")

    def feedback(self, shard: int) -> str:
        """STREAM: which recommended items customers were shown, and which they clicked."""
        return self._in(shard, "feedback")

    def quarantine(self, shard: int) -> str:
        """STREAM of events that were refused, with the reason and the raw bytes."""
        return self._in(shard, "quarantine")

    # ---- mailboxes --------------------------------------------------------------------------
    def dirty(self, shard: int) -> str:
        """ZSET customer -> profile sequence: refresh, and push what changed."""
        return self._in(shard, "dirty")

    def quiet(self, shard: int) -> str:
        """ZSET customer -> profile sequence: refresh, but push nothing (backfill)."""
        return self._in(shard, "quiet")

    def due(self, shard: int) -> str:
        """ZSET customer -> Unix s of the next refresh by the clock."""
        return self._in(shard, "due")

    def outbox(self, shard: int, destination: str) -> str:
        """ZSET customer -> Unix ms when the destination may be told.

        One a destination: what waits for a dead one stands in nobody's way.
        """
        return self._in(shard, "outbox:" + destination)

    def lane(self, shard: int, destination: str, customer_id: str) -> str:
        """LIST of a customer's events that a destination of events has not got yet, oldest first.

        Refresh appends, deliver takes from the head.
        """
        return self._in(shard, f"lane:{destination}:{customer_id}")

    def nudges(self, shard: int) -> str:
        """ZSET customer -> Unix ms: others' events may have changed the customer's list."""
        return self._in(shard, "nudges")

    # ---- refresh writes ---------------------------------------------------------------------
    def stale(self, shard: int) -> str:
        """ZSET customer -> model generation that has not scored the customer yet."""
        return self._in(shard, "stale")

    def insight(self, shard: int, customer_id: str) -> str:
        """STRING: header and JSON of the newest insight."""
        return self._in(shard, "i:" + customer_id)

    def transitions(self, shard: int) -> str:
        """ZSET transition (JSON) -> Unix s: segment changes, each once."""
        return self._in(shard, "transitions")

    def refresh_stats(self, shard: int) -> str:
        """HASH: counters of refresh."""
        return self._in(shard, "refreshed")

    # ---- deliver writes ---------------------------------------------------------------------
    def claimed(self, shard: int) -> str:
        """HASH destination and customer -> the delivery that is under way, or waits."""
        return self._in(shard, "claimed")

    def delivered(self, shard: int) -> str:
        """HASH destination and customer -> what the destination holds."""
        return self._in(shard, "delivered")

    def dead(self, shard: int) -> str:
        """HASH destination and customer, of an event its id too -> what was given up (JSON)."""
        return self._in(shard, "dead")

    def delivery_log(self, shard: int) -> str:
        """STREAM of attempts, newest last, trimmed."""
        return self._in(shard, "attempts")

    def delivery_stats(self, shard: int) -> str:
        """HASH: counters of deliver."""
        return self._in(shard, "delivery")

    def control(self, destination: str) -> str:
        """HASH: pause, hint, breaker, day's calls and alarm of a destination."""
        return self._of(destination, "control")

    def calls(self, destination: str) -> str:
        """ZSET call -> Unix ms of its end (the latest possible one while it is under way)."""
        return self._of(destination, "calls")

    def flying(self, destination: str) -> str:
        """ZSET call under way -> Unix ms at which it is taken for lost."""
        return self._of(destination, "flying")

    def token(self, destination: str) -> str:
        """HASH: the token that calls carry, where the destination gives one."""
        return self._of(destination, "token")

    def token_lock(self, destination: str) -> str:
        """STRING with a time to live: somebody is getting a token."""
        return self._of(destination, "token-lock")

    def jobs(self, destination: str) -> str:
        """ZSET job at the destination -> Unix ms of the next question about it."""
        return self._of(destination, "jobs")

    def job_rows(self, destination: str) -> str:
        """HASH job at the destination -> the rows that it carries (JSON)."""
        return self._of(destination, "job-rows")

    # ---- work ---------------------------------------------------------------------------------
    def lease(self, shard: int, stage: str) -> str:
        """STRING token: who works on the shard; saves work, correctness does not rest on it."""
        return self._in(shard, "lease:" + stage)

    def routed(self, shard: int) -> str:
        """STRING: the last intake id that the router put into this shard."""
        return self._in(shard, "routed")

    # ---- the whole installation ---------------------------------------------------------------
    def installation(self) -> str:
        """HASH: number of shards, format, creation time."""
        return self._all("installation")

    def intake(self) -> str:
        """STREAM: events of producers that do not choose a shard."""
        return self._all("intake")

    def intake_cursor(self) -> str:
        """STRING: last intake id that reached its shard."""
        return self._all("intake-cursor")

    def intake_quarantine(self) -> str:
        """STREAM of intake entries that name no customer."""
        return self._all("intake-quarantine")

    def lock(self, name: str) -> str:
        """STRING token with a time to live: slot guards of beat, pumps, router, training."""
        return self._all("lock:" + name)

    def bell(self, stage: str) -> str:
        """LIST of at most one element: a waiting pump wakes when it is pushed."""
        return self._all("bell:" + stage)

    def models(self) -> str:
        """HASH model kind -> current version; kind and version -> newest minor; generation;
        kind and `ids` -> the first segment id that no version has given.
        """
        return self._all("models")

    def segment_names(self) -> str:
        """HASH segment id -> the name that the operator gave it."""
        return self._all("segment-names")

    def model(self, kind: str, version: int) -> str:
        """STRING: one immutable model version."""
        return self._all(f"model:{kind}:{version}")

    def model_minor(self, kind: str, version: int, minor: int) -> str:
        """STRING: one immutable minor version, 12.3: a model that followed the customers."""
        return self._all(f"model:{kind}:{version}.{minor}")

    def model_versions(self, kind: str) -> str:
        """ZSET version -> Unix s of publication."""
        return self._all(f"model-versions:{kind}")

    def catalog(self) -> str:
        """HASH item id -> when it was stated, and the statement (JSON)."""
        return self._all("catalog")

    def catalog_version(self) -> str:
        """STRING: grows with every change of the catalog."""
        return self._all("catalog-version")

    def training(self) -> str:
        """HASH model kind -> the run under way (JSON)."""
        return self._all("training")

    def training_waiting(self) -> str:
        """HASH model kind -> the training that was asked for (JSON)."""
        return self._all("training-waiting")

    def training_told(self) -> str:
        """ZSET <kind>:<event id> -> Unix ms: events that asked for a training."""
        return self._all("training-told")

    def training_lease(self, kind: str) -> str:
        """STRING token with a time to live: whose the run is."""
        return self._all(f"training-lease:{kind}")

    def rollout(self) -> str:
        """HASH: the versions that are rolled out to all customers, and how far that is."""
        return self._all("rollout")

    def rollout_pushes(self) -> str:
        """STRING: Unix ms of the next push that a new model alone causes."""
        return self._all("rollout-pushes")

    def model_log(self) -> str:
        """LIST of what became live, newest first (JSON)."""
        return self._all("model-log")

    def model_verdicts(self) -> str:
        """HASH <kind>:<version> -> what was decided about it, last (JSON)."""
        return self._all("model-verdicts")

    def model_shadows(self) -> str:
        """HASH <kind>:<version> -> how a version in the shadow differs from the live one (JSON)."""
        return self._all("model-shadows")

    def watched(self) -> str:
        """HASH kind and figure -> whether the live model still fits, as last measured (JSON)."""
        return self._all("watched")

    def model_pins(self) -> str:
        """SET of <kind>:<version>: versions that are not cleared away."""
        return self._all("model-pins")

    def workers(self) -> str:
        """HASH node name -> last report (JSON)."""
        return self._all("workers")
