"""Stored models: immutable versions, and which of each kind is current."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from worker.store.keys import Keys
from worker.store.scripts import Client, Scripts

_MAGIC: Final = b"CRMR1\n"
#: So many minor versions of a model are kept: `customer why` explains older insights with them.
MINORS_KEPT: Final = 60
KINDS: Final = ("segments", "recommendations", "forecasts")


class ArtifactError(ValueError):
    """A stored model is damaged, or of a format that this release does not read."""


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

    meta   parameters and pedigree: as_of_s, trigger, rows, metrics, code version, parent
    """

    kind: str
    version: int
    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, Any]


class Current(NamedTuple):
    """What is live. `generation` grows with every publication, promotion and rollback.

    minors   newest minor version of the current one, by kind; 0 where there is none
    """

    generation: int
    versions: Mapping[str, int]
    minors: Mapping[str, int]


class ModelStore:
    """Model versions on the server. `retrain` and the command line are the only writers."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys
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

    def publish(
        self,
        kind: str,
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
        at_s: int,
        claim: Claim | None = None,
    ) -> int:
        """Store a new version and make it current, in one step; its number.

        Raises LostTrainingError when the claim does not hold any more.
        """
        version = self.next_version(kind)
        while not self.publish_as(version, kind, arrays, meta, at_s, claim):
            version += 1
        return version

    def next_version(self, kind: str) -> int:
        """The number that the next version of a kind gets."""
        return max((number for number, _ in self.versions(kind)), default=0) + 1

    def publish_as(
        self,
        version: int,
        kind: str,
        arrays: Mapping[str, np.ndarray],
        meta: Mapping[str, Any],
        at_s: int,
        claim: Claim | None = None,
    ) -> bool:
        """Store a version under its number and make it current; False if the number is taken.

        Raises LostTrainingError when the claim does not hold any more.
        """
        k = self._keys
        parent = self.current().versions.get(kind, 0) if claim is None else claim.parent
        data = pack(arrays, {**meta, "kind": kind, "parent": parent, "published_at_s": at_s})
        keys = [
            k.models(),
            k.model_versions(kind),
            k.model(kind, version),
            k.model_log(),
            k.training_lease(kind),
        ]
        why = str(meta.get("trigger", "published"))
        log = _log_entry(kind, version, parent, at_s, why)
        token, expected = ("", "") if claim is None else (claim.token, str(claim.parent))
        args = [kind, version, data, at_s, log, token, expected]
        result = int(self._scripts.run("publish", keys, args))
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
        data = pack(arrays, {**meta, "kind": kind, "parent": major, "published_at_s": at_s})
        keys = [
            k.models(),
            k.model_minor(kind, major, minor),
            k.model_minor(kind, major, minor - MINORS_KEPT),
        ]
        return bool(self._scripts.run("follow", keys, [kind, major, minor, data]))

    def read(self, kind: str, version: int, minor: int = 0) -> Artifact:
        """One version.

        Raises ArtifactError when it is missing or damaged.
        """
        k = self._keys
        key = k.model_minor(kind, version, minor) if minor else k.model(kind, version)
        data = self._client.get(key)
        if data is None:
            number = f"{version}.{minor}" if minor else version
            raise ArtifactError(f"there is no version {number} of {kind}")
        arrays, meta = unpack(data)
        return Artifact(kind, version, arrays, meta)

    def promote(self, kind: str, version: int, at_s: int, *, why: str = "promoted") -> bool:
        """Make a stored version current, also an older one; False if it was already.

        Raises ArtifactError when it cannot be read.
        """
        self.read(kind, version)
        k = self._keys
        before = self.current().versions.get(kind, 0)
        log = _log_entry(kind, version, before, at_s, why)
        keys = [k.models(), k.model(kind, version), k.model_log()]
        result = int(self._scripts.run("promote", keys, [kind, version, log]))
        if not result:
            raise ArtifactError(f"there is no version {version} of {kind}")
        return result == 1

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
        live before, and pinned ones; oldest first.
        """
        live = self.current().versions.get(kind, 0)
        kept = {live, self._before(kind), *(version for one, version in self.pins() if one == kind)}
        old = [version for version, _ in self.versions(kind)][keep:]
        return sorted(version for version in old if version not in kept)

    def drop(self, kind: str, version: int) -> None:
        """Forget a version. The live one cannot be dropped: ArtifactError."""
        if self.current().versions.get(kind) == version:
            raise ArtifactError(f"{kind} {version} is live")
        k = self._keys
        pipeline = self._client.pipeline(transaction=False)
        pipeline.zrem(k.model_versions(kind), version)
        pipeline.delete(k.model(kind, version))
        pipeline.execute()

    def versions(self, kind: str) -> list[tuple[int, int]]:
        """(version, Unix s of publication), newest first."""
        rows = self._client.zrange(
            self._keys.model_versions(kind), 0, -1, desc=True, withscores=True
        )
        return [(int(version), int(at_s)) for version, at_s in rows]


def _log_entry(kind: str, version: int, before: int, at_s: int, why: str) -> str:
    return json.dumps(Change(kind, version, before, at_s, why)._asdict(), ensure_ascii=False)


def pack(arrays: Mapping[str, np.ndarray], meta: Mapping[str, Any]) -> bytes:
    """A model as bytes: magic, SHA-256 of the rest, length of the JSON, JSON, npz."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    head = json.dumps(meta, sort_keys=True, ensure_ascii=False).encode()
    body = len(head).to_bytes(4, "big") + head + buffer.getvalue()
    return _MAGIC + hashlib.sha256(body).digest() + body


def unpack(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a model.

    Raises ArtifactError when a byte differs from what was stored, or the format is another one.
    """
    if not data.startswith(_MAGIC):
        raise ArtifactError("the artifact has a format that this release does not read")
    checksum, body = data[len(_MAGIC) : len(_MAGIC) + 32], data[len(_MAGIC) + 32 :]
    if hashlib.sha256(body).digest() != checksum:
        raise ArtifactError("the artifact's checksum is wrong: it was damaged or changed")
    length = int.from_bytes(body[:4], "big")
    meta = json.loads(body[4 : 4 + length])
    with np.load(io.BytesIO(body[4 + length :]), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}, meta
