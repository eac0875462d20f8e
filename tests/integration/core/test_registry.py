"""Versions in each storage: what is not as it was published is refused, and the live one stays."""

import numpy as np
import pytest

from models.segments.examples import on_a_line
from models.segments.state import to_state
from worker.clock import ManualClock
from worker.live import LiveModels
from worker.registry.artifact import ArtifactError, Seal, StorageError
from worker.registry.storage import Folder, OnServer, Remote, open_storage
from worker.store.keys import Keys
from worker.store.models import Claim, LostTrainingError, ModelStore

KEYS = Keys("t", 2)
KEY = b"sixteen bytes and more"


class Place:
    """A storage, and the bytes of a version in it."""

    def __init__(self, client, storage, folder):
        self.client, self.storage, self.folder = client, storage, folder

    def store(self, seal=None):
        return ModelStore(self.client, KEYS, self.storage, seal)

    def _value(self, version):
        return self.client.get(KEYS.model("segments", version))

    def bytes_of(self, version):
        return self.storage.fetch(self._value(version))

    def replace(self, version, data):
        value = self._value(version)
        if not value.startswith(b"@"):
            self.client.set(KEYS.model("segments", version), data)
        elif isinstance(self.storage, Folder):
            (self.folder / value[1:].decode()).write_bytes(data)
        else:
            self.storage._put(value[1:].decode(), data)


@pytest.fixture(params=["server", "folder", "url"])
def place(request, redis_client, tmp_path):
    folder = tmp_path / "models"
    storage = {
        "server": OnServer,
        "folder": lambda: Folder(folder),
        "url": lambda: Remote(f"memory://{tmp_path.name}"),
    }[request.param]()
    return Place(redis_client, storage, folder)


def publish(store, at_s=1, **meta):
    arrays, state = to_state(on_a_line(0.0, 2.0))
    return store.publish("segments", arrays, {"model": dict(state), **meta}, at_s)


DAMAGE = {
    "a flipped bit": (lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "checksum"),
    "cut short": (lambda data: data[: len(data) // 2], "checksum"),
    "nothing left": (lambda data: data[:10], "cut short"),
    "other bytes": (lambda data: b"PK" + data[2:], "no artifact"),
    "a newer format": (lambda data: b"CRMR9" + data[5:], "format 9, and this release reads up to"),
    "an older format": (lambda data: b"CRMR1" + data[5:], "train anew"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_as_it_was_is_refused_and_the_live_one_stays(place, damage):
    change, why = DAMAGE[damage]
    store, clock = place.store(), ManualClock()
    publish(store)
    live = LiveModels(store, clock)
    assert live.current().version("segments") == 1
    publish(store, 2)
    place.replace(2, change(place.bytes_of(2)))
    clock.advance(1)
    assert live.current().version("segments") == 1, "it speaks on"
    assert live.current().segments is not None
    with pytest.raises(ArtifactError, match=why):
        store.read("segments", 2)
    store.promote("segments", 1, 3)
    with pytest.raises(ArtifactError, match=why):
        store.promote("segments", 2, 4)
    assert store.current().versions["segments"] == 1


@pytest.mark.parametrize(
    ("writer", "why"), [(None, "not signed"), (b"another key of any length", "another key")]
)
def test_with_a_key_only_what_it_signed_is_read(place, writer, why):
    reader = place.store(Seal(KEY))
    assert publish(reader) == 1
    assert reader.read("segments", 1).signed
    assert publish(place.store(Seal(writer)), 2) == 2
    with pytest.raises(ArtifactError, match=why):
        reader.read("segments", 2)


def test_a_true_version_under_another_number_is_refused(place):
    store = place.store(Seal(KEY))
    publish(store, 1)
    publish(store, 2)
    place.replace(2, place.bytes_of(1))
    with pytest.raises(ArtifactError, match="another version"):
        store.read("segments", 2)


def test_heads_tell_the_pedigree_also_of_large_ones(place):
    store = place.store()
    publish(store, trigger="a reason", note="x" * 100_000)
    head = store.head("segments", 1)
    assert (head["trigger"], head["version"], len(head["note"])) == ("a reason", 1, 100_000)
    with pytest.raises(ArtifactError, match="no version 7"):
        store.head("segments", 7)


def test_what_was_not_published_or_was_dropped_leaves_nothing(redis_client, tmp_path):
    store = ModelStore(redis_client, KEYS, Folder(tmp_path))
    publish(store, 1)
    publish(store, 2)
    store.drop("segments", 1)
    with pytest.raises(LostTrainingError):
        store.publish("segments", {"a": np.arange(3)}, {"model": {}}, 3, Claim("lost", 2))
    assert [one.name.partition("-")[2][0] for one in tmp_path.iterdir()] == ["2"]


def test_versions_from_before_a_folder_was_set_are_read_and_not_the_other_way(
    redis_client, tmp_path
):
    publish(ModelStore(redis_client, KEYS))
    moved = ModelStore(redis_client, KEYS, Folder(tmp_path))
    assert moved.read("segments", 1).version == 1
    publish(moved, 2)
    with pytest.raises(ArtifactError, match="CRM_REFLEX_MODEL_STORAGE"):
        ModelStore(redis_client, KEYS).read("segments", 2)


def test_a_storage_that_does_not_answer_is_asked_again(redis_client, tmp_path):
    store, clock = ModelStore(redis_client, KEYS, Folder(tmp_path / "m")), ManualClock()
    publish(store)
    live = LiveModels(store, clock)
    (tmp_path / "m").rename(tmp_path / "away")
    (tmp_path / "m").write_text("a file where the folder was")
    assert live.current().segments is None
    (tmp_path / "m").unlink()
    (tmp_path / "away").rename(tmp_path / "m")
    clock.advance(1)
    assert live.current().version("segments") == 1


def test_a_url_that_nothing_can_open_says_so():
    with pytest.raises(StorageError, match="cannot be opened"):
        open_storage("nowhere://bucket")
    assert isinstance(open_storage("redis"), OnServer)
