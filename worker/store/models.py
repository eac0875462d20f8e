"""Stored models: immutable versions, and which of each kind is current."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from worker.registry.artifact import (
    HEAD_AT,
    HEAD_BYTES,
    ArtifactError,
    Seal,
    head_length,
    read_head,
)
from worker.registry.storage import OnServer, Storage
from worker.store.keys import Keys
from worker.store.scripts import Client, Scripts
from worker.store.verdicts import OPEN, State, Verdict, decode, encode

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "KINDS",
    "MINORS_KEPT",
    "Artifact",
    "ArtifactError",
    "BusyTrainingError",
    "Change",
    "Claim",
    "Current",
    "LostTrainingError",
    "ModelStore",
    "TooFewError",
]

#: So many minor versions of a model are kept: `customer why` explains older insights with them.
MINORS_KEPT: Final = 60
KINDS: Final = ("segments", "recommendations", "forecasts")


class TooFewError(RuntimeError):
    """There is not enough data for a model yet."""


class BusyTrainingError(RuntimeError):
    """Another training runs."""


class LostTrainingError(BusyTrainingError):
    """What was trained may not be published: the training went to another, or is out of date."""


class Claim(NamedTuple):
    """What a publication rests on.

    token   of the training's lease
    parent  the version that was live when the training began; 0 = none
    """

    token: str
    parent: int


class Change(NamedTuple):
    """A version became live.

    before  the version that was live until then; 0 = none
    why     the training's reasons, or the operator's
    """

    kind: str
    version: int
    before: int
    at_s: int
    why: str


class Artifact(NamedTuple):
    """One model version: arrays and JSON, no code.

    meta      parameters and pedigree: as_of_s, trigger, rows, metrics, code version, parent
    checksum  SHA-256 of what is stored, in hexadecimal
    signed    it carries a signature
    """

    kind: str
    version: int
    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]
    checksum: str = ""
    signed: bool = False


class Current(NamedTuple):
    """What is live. `generation` grows with every publication, promotion and rollback.

    minors   newest minor version of the current one, by kind; 0 where there is none
    """

    generation: int
    versions: Mapping[str, int]
    minors: Mapping[str, int]


class ModelStore:
    """Model versions. `retrain` and the command line are the only writers.

    storage  where their bytes are kept; which there are, and which live, the server knows
    seal     how they are written and checked
    """

    def __init__(
        self,
        client: Client,
        keys: Keys,
        storage: Storage | None = None,
        seal: Seal | None = None,
    ) -> None:
        self._client = client
        self._keys = keys
        self._storage = storage or OnServer()
        self._seal = seal or Seal()
        self._scripts = Scripts(client)

    def current(self) -> Current:
        """Generation and live version of each kind."""
        fields = {
            name.decode(): int(value)
            for name, value in self._client.hgetall(self._keys.models()).items()
        }
        generation = fields.pop("generation", 0)
        versions = {name: value for name, value in fields.items() if ":" not in name}
        minors = {kind: fields.get(f"{kind}:{major}", 0) for kind, major in versions.items()}
        return Current(generation, versions, minors)

    def newest_minors(self, kind: str) -> dict[int, int]:
        """The newest minor version of each version of a kind that has one."""
        rows = self._client.hgetall(self._keys.models()).items()
        named = ((name.decode().partition(":"), int(value)) for name, value in rows)
        return {
            int(last): value for (one, _, last), value in named if one == kind and last.isdigit()
        }

    def publish(
        self,
        kind: str,
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
        at_s: int,
        claim: Claim | None = None,
        verdict: Verdict | None = None,
    ) -> int:
        """Store a new version, and make it current unless its verdict keeps it; its number.

        Raises LostTrainingError when the claim does not hold any more.
        """
        version = self.next_version(kind)
        while not self.publish_as(version, kind, arrays, meta, at_s, claim, verdict):
            version += 1
        return version

    def next_version(self, kind: str) -> int:
        """The number that the next version of a kind gets."""
        return max((number for number, _ in self.versions(kind)), default=0) + 1

    def next_segment_id(self) -> int:
        """The first id that no version of the segments has given, also if it never went live."""
        return int(self._client.hget(self._keys.models(), "segments:ids") or 1)

    def names(self) -> dict[int, str]:
        """The operator's names of segments, by id."""
        rows = self._client.hgetall(self._keys.segment_names())
        return {int(segment): name.decode() for segment, name in rows.items()}

    def name(self, segment: int, name: str) -> None:
        """Give a segment the operator's name in all versions; "" takes it back."""
        keys = [self._keys.models(), self._keys.segment_names()]
        self._scripts.run("rename", keys, [segment, name])

    def publish_as(
        self,
        version: int,
        kind: str,
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
        at_s: int,
        claim: Claim | None = None,
        verdict: Verdict | None = None,
    ) -> bool:
        """Store a version under its number, in one step with what is decided about it; False if
        the number is taken.

        verdict  None = it becomes current, and nothing is kept of why
        Raises LostTrainingError when the claim does not hold any more.
        """
        k = self._keys
        parent = self.current().versions.get(kind, 0) if claim is None else claim.parent
        own = {"kind": kind, "version": version, "parent": parent, "published_at_s": at_s}
        data = self._seal.pack(arrays, {**meta, **own})
        value = self._storage.keep(f"{kind}-{version}", data)
        keys = [
            k.models(),
            k.model_versions(kind),
            k.model(kind, version),
            k.model_log(),
            k.training_lease(kind),
            k.model_verdicts(),
        ]
        why = str(meta.get("trigger", "published"))
        is_live = verdict is None or verdict.is_live
        log = _log_entry(kind, version, parent, at_s, why) if is_live else ""
        token, expected = ("", "") if claim is None else (claim.token, str(claim.parent))
        decided = "" if verdict is None else encode(verdict)
        ids = int(meta["model"].get("next_id", 0)) if "model" in meta else 0
        args = [kind, version, value, at_s, log, token, expected, decided, ids]
        result = int(self._scripts.run("publish", keys, args))
        if result != 1:
            self._storage.forget(value)
        if result == -1:
            raise LostTrainingError(f"the training of {kind} was taken over by another")
        if result == -2:
            raise LostTrainingError(f"another version of {kind} became live during the training")
        return bool(result)

    def publish_minor(
        self,
        kind: str,
        version: tuple[int, int],
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
        at_s: int,
    ) -> bool:
        """Make (major, minor) follow the minor version before it; False if that one is not live.

        A minor version belongs to its major: to promote another major leaves it, and to promote
        its own brings it back.
        """
        k, (major, minor) = self._keys, version
        own = {"kind": kind, "version": major, "minor": minor, "parent": major}
        data = self._seal.pack(arrays, {**meta, **own, "published_at_s": at_s})
        oldest = k.model_minor(kind, major, minor - MINORS_KEPT)
        old = self._client.get(oldest)
        value = self._storage.keep(f"{kind}-{major}.{minor}", data)
        keys = [k.models(), k.model_minor(kind, major, minor), oldest]
        done = bool(self._scripts.run("follow", keys, [kind, major, minor, value]))
        if not done:
            self._storage.forget(value)
        elif old is not None:
            self._storage.forget(old)
        return done

    def read(self, kind: str, version: int, minor: int = 0) -> Artifact:
        """One version.

        Raises ArtifactError when it is missing, damaged, changed or not signed as it should be.
        """
        opened = self._seal.unpack(self._storage.fetch(self._value(kind, version, minor)))
        meta = opened.meta
        if (meta.get("kind"), meta.get("version"), meta.get("minor", 0)) != (kind, version, minor):
            raise ArtifactError(f"what is stored as {kind} {version} is another version")
        return Artifact(kind, version, opened.arrays, meta, opened.checksum, opened.signed)

    def head(self, kind: str, version: int) -> Mapping[str, Any]:
        """Parameters and pedigree without the arrays, unchecked: for lists and figures.

        Raises ArtifactError when there is no such version, or its head is damaged.
        """
        value = self._client.getrange(self._keys.model(kind, version), 0, HEAD_BYTES - 1)
        if not value:
            raise ArtifactError(f"there is no version {version} of {kind}")
        data = self._storage.fetch(value, HEAD_BYTES)
        needed = head_length(data) if len(data) >= HEAD_AT else 0
        if needed > HEAD_BYTES:
            data = self._storage.fetch(self._value(kind, version), needed)
        return read_head(data)

    def _value(self, kind: str, version: int, minor: int = 0) -> bytes:
        k = self._keys
        key = k.model_minor(kind, version, minor) if minor else k.model(kind, version)
        value: bytes | None = self._client.get(key)
        if value is None:
            number = f"{version}.{minor}" if minor else version
            raise ArtifactError(f"there is no version {number} of {kind}")
        return value

    def promote(self, kind: str, version: int, at_s: int, *, why: str = "promoted") -> bool:
        """Make a stored version current, also an older one; False if it was already.

        Raises ArtifactError when it cannot be read.
        """
        before = self.current().versions.get(kind, 0)
        return self._promote(Change(kind, version, before, at_s, why), "", "")

    def promote_kept(self, change: Change, held: Verdict) -> bool:
        """Make a version current that was stored without; False if `change.before` is not live
        any more, or something else than `held` was decided about it meanwhile.

        Raises ArtifactError when it cannot be read.
        """
        return self._promote(change, str(change.before), encode(held))

    def promote_over(self, change: Change) -> bool:
        """Make a version current in place of `change.before`; False if that is not live any more.

        Raises ArtifactError when it cannot be read.
        """
        return self._promote(change, str(change.before), "")

    def _promote(self, change: Change, before: str, held: str) -> bool:
        kind, version = change.kind, change.version
        self.read(kind, version)
        k = self._keys
        keys = [k.models(), k.model(kind, version), k.model_log(), k.model_verdicts()]
        verdict = encode(Verdict("promoted", (change.why,), change.at_s))
        args = [kind, version, _log_entry(*change), verdict, before, held]
        result = int(self._scripts.run("promote", keys, args))
        if not result:
            raise ArtifactError(f"there is no version {version} of {kind}")
        return result == 1

    def decide(self, kind: str, version: int, held: Verdict, verdict: Verdict) -> bool:
        """Replace the verdict on a version that is not live; False if another was made since."""
        keys, args = [self._keys.model_verdicts()], [f"{kind}:{version}"]
        return bool(self._scripts.run("decide", keys, [*args, encode(held), encode(verdict)]))

    def verdict(self, kind: str, version: int) -> Verdict | None:
        """What was last decided about a version; None of one that was never judged."""
        value = self._client.hget(self._keys.model_verdicts(), f"{kind}:{version}")
        return None if value is None else decode(value)

    def verdicts(self) -> dict[tuple[str, int], Verdict]:
        """What was last decided, by kind and version."""
        rows = self._client.hgetall(self._keys.model_verdicts())
        named = ((name.decode().split(":"), decode(value)) for name, value in rows.items())
        return {(kind, int(version)): verdict for (kind, version), verdict in named}

    def kept(self, state: State) -> list[tuple[str, int]]:
        """(kind, version) of what is in a state, rising."""
        return sorted(name for name, one in self.verdicts().items() if one.state == state)

    def rollback(self, kind: str, at_s: int, *, why: str = "rolled back") -> int:
        """Make the version current that was live before this one; its number.

        Raises ArtifactError when there is none, or it cannot be read.
        """
        before = self._before(kind)
        if not before:
            raise ArtifactError(f"no version of {kind} was live before")
        self.promote(kind, before, at_s, why=why)
        return before

    def _before(self, kind: str) -> int:
        """What was live before the version that is live now; 0 = none."""
        live = self.current().versions.get(kind, 0)
        return next((one.before for one in self.log(kind) if one.version == live), 0)

    def log(self, kind: str | None = None) -> list[Change]:
        """What became live, newest first; of one kind or of all."""
        rows = [json.loads(row) for row in self._client.lrange(self._keys.model_log(), 0, -1)]
        changes = [Change(**row) for row in rows]
        return [change for change in changes if kind is None or change.kind == kind]

    def pin(self, kind: str, version: int, *, pinned: bool = True) -> None:
        """Keep a version from being cleared away, or no longer.

        Raises ArtifactError when there is no such version.
        """
        if not self._client.exists(self._keys.model(kind, version)):
            raise ArtifactError(f"there is no version {version} of {kind}")
        change = self._client.sadd if pinned else self._client.srem
        change(self._keys.model_pins(), f"{kind}:{version}")

    def pins(self) -> set[tuple[str, int]]:
        """(kind, version) of what is pinned."""
        rows = (row.decode().split(":") for row in self._client.smembers(self._keys.model_pins()))
        return {(kind, int(version)) for kind, version in rows}

    def superfluous(self, kind: str, keep: int) -> list[int]:
        """Versions that `drop` may take: all but the newest `keep`, the live, the one that was
        live before, pinned ones, and those that may still follow it; oldest first.
        """
        live = self.current().versions.get(kind, 0)
        may_follow = {name for name, one in self.verdicts().items() if one.state in OPEN}
        kept = {version for one, version in self.pins() if one == kind}
        kept |= {version for one, version in may_follow if one == kind and version > live}
        kept |= {live, self._before(kind)}
        old = [version for version, _ in self.versions(kind)][keep:]
        return sorted(version for version in old if version not in kept)

    def drop(self, kind: str, version: int) -> None:
        """Forget a version. The live one cannot be dropped: ArtifactError."""
        if self.current().versions.get(kind) == version:
            raise ArtifactError(f"{kind} {version} is live")
        k, name = self._keys, f"{kind}:{version}"
        newest = int(self._client.hget(k.models(), name) or 0)
        minors = range(max(1, newest - MINORS_KEPT + 1), newest + 1)
        named = [k.model(kind, version), *(k.model_minor(kind, version, one) for one in minors)]
        values = self._client.mget(named)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.zrem(k.model_versions(kind), version)
        pipeline.delete(*named)
        pipeline.hdel(k.models(), name)
        pipeline.hdel(k.model_verdicts(), name)
        pipeline.hdel(k.model_shadows(), name)
        pipeline.execute()
        for value in values:
            if value is not None:
                self._storage.forget(value)

    def versions(self, kind: str) -> list[tuple[int, int]]:
        """(version, Unix s of publication), newest first."""
        rows = self._client.zrange(
            self._keys.model_versions(kind), 0, -1, desc=True, withscores=True
        )
        return [(int(version), int(at_s)) for version, at_s in rows]


def _log_entry(kind: str, version: int, before: int, at_s: int, why: str) -> str:
    return json.dumps(Change(kind, version, before, at_s, why)._asdict(), ensure_ascii=False)
