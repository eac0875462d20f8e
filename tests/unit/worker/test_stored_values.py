"""Stored values: what is written is read back, and what is damaged is refused."""

import hashlib

import numpy as np
import pytest

from worker.registry.artifact import Seal
from worker.store.delivering import (
    Claim,
    Delivered,
    Event,
    Sent,
    pack,
    read_claim,
    read_delivered,
    read_event,
)
from worker.store.envelope import Envelope, NewerEnvelopeError, read_envelope, unpack
from worker.store.envelope import pack as pack_envelope
from worker.store.keys import Keys, shard_of
from worker.store.models import ArtifactError
from worker.store.refreshing import Held, read_insight

ENVELOPE = Envelope(2**40, -1, 20, "event é", b"hot\x00part")

SEAL = Seal(b"a key of sixteen bytes")


class TestEnvelope:
    def test_it_is_read_as_it_was_written(self):
        assert unpack(pack_envelope(ENVELOPE)) == ENVELOPE
        bare = Envelope(0, 0, 0, "", b"")
        assert unpack(pack_envelope(bare)) == bare

    def test_every_truncation_of_what_it_names_is_refused(self):
        value = pack_envelope(ENVELOPE)
        for length in range(len(value) - len(ENVELOPE.hot)):
            with pytest.raises(ValueError, match="damaged"):
                unpack(value[:length])
            assert read_envelope(value[:length]).hot == b""

    def test_a_newer_release_is_told_from_damage(self):
        value = pack_envelope(ENVELOPE)
        with pytest.raises(NewerEnvelopeError):
            unpack(b"\x02" + value[1:])
        with pytest.raises(ValueError, match="damaged"):
            unpack(b"\x00" + value[1:])


class TestModels:
    ARRAYS = {"weights": np.array([[1.5, -0.0], [3e-300, 7.0]]), "ids": np.arange(3)}  # noqa: RUF012
    META = {"kind": "segments", "names": ["é", "b"], "n": 3}  # noqa: RUF012

    def test_arrays_and_words_come_back(self):
        arrays, meta = SEAL.unpack(SEAL.pack(self.ARRAYS, self.META))[:2]
        assert meta == self.META
        for name, array in self.ARRAYS.items():
            np.testing.assert_array_equal(arrays[name], array)
            assert arrays[name].dtype == array.dtype

    def test_any_flipped_bit_is_noticed(self):
        data = SEAL.pack(self.ARRAYS, self.META)
        for at in range(0, len(data), 7):
            with pytest.raises(ArtifactError):
                SEAL.unpack(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])

    def test_any_truncation_is_noticed(self):
        data = SEAL.pack(self.ARRAYS, self.META)
        for length in (0, 3, 6, 20, 40, len(data) // 2, len(data) - 1):
            with pytest.raises(ArtifactError):
                SEAL.unpack(data[:length])

    def test_no_object_is_loaded(self):
        with pytest.raises((ArtifactError, ValueError)):
            SEAL.unpack(SEAL.pack({"x": np.array([object()])}, {}))


class TestInsightHeader:
    def test_it_names_what_the_next_one_compares(self):
        held = read_insight(b"3|17|2|1700000000|abcdef\n" + b'{"a":"|\\n"}')
        assert held == Held(3, 17, 2, 1_700_000_000, "abcdef", b'{"a":"|\\n"}')

    @pytest.mark.parametrize("value", [None, b""])
    def test_none_is_version_0(self, value):
        assert read_insight(value) == Held()


class TestDeliveryRecords:
    def test_a_claim_is_read_as_it_was_written(self):
        for sent in (Sent(), Sent({"a": "\n|é", "b": None}, "id|1")):
            claim = Claim("token", 2, "msg_1", 7, 1_700_000_000_000, "part", sent)
            assert read_claim(pack(claim)) == claim

    def test_what_a_destination_holds(self):
        assert read_delivered(b"") == Delivered()
        assert read_delivered(b"4|1700|digest|msg_1") == Delivered(4, 1700, "digest", "msg_1")
        held = Delivered(4, 1700, "digest", "msg_1", Sent({"a": 1}, "v"))
        assert read_delivered(b'4|1700|digest|msg_1\n[{"a": 1}, "v"]') == held

    def test_an_event_of_a_lane_is_named_as_the_server_names_it(self):
        entry = b'1700|17|{"id": "a|b"}'
        digest = hashlib.sha1(entry, usedforsecurity=False).hexdigest()
        assert read_event(entry) == Event(digest, 1700, 17, b'{"id": "a|b"}')
        assert read_event(b"") == Event()


class TestKeys:
    def test_the_formula_has_fixed_answers_for_other_languages(self):
        vectors = {"customer-1": 61, "é": 62, "": 0, "42": 8}
        assert {name: shard_of(name, 64) for name in vectors} == vectors

    def test_all_keys_carry_a_tag_and_none_is_another(self):
        keys = Keys("reflex", 64)
        shard = [keys.events, keys.meta, keys.epoch, keys.tries, keys.customers, keys.deltas]
        shard += [keys.quarantine, keys.dirty, keys.quiet, keys.due, keys.routed]
        shard += [keys.transitions, keys.claimed, keys.delivered, keys.dead, keys.delivery_log]
        shard += [keys.nudges, keys.refresh_stats, keys.delivery_stats]
        names = [name(3) for name in shard]
        names += [keys.outbox(3, "crm"), keys.outbox(3, "crm2"), keys.lane(3, "crm", "outbox:crm")]
        parts = [keys.profile, keys.cold, keys.memory, keys.insight]
        names += [part(3, customer) for part in parts for customer in ("a", "p:a", "{s4}")]
        assert len(set(names)) == len(names)
        assert all(name.startswith("reflex:{s3}:") for name in names)
