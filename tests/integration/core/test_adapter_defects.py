"""An adapter that raises harms its own row at most: no other row, and no other destination."""

import pytest

from integrations.outbound.contract import Response
from tests.builders import channel
from tests.integration.core.deliveries import KEYS, Shop, Vendor
from worker.clock import SystemClock
from worker.delivery.engine import Deliver


@pytest.fixture
def shop(redis_client):
    return Shop(redis_client)


class Raising(Vendor):
    """Fails at rows of one customer, where a test wants it to."""

    at = "classify"

    def encode(self, rows, *, credentials, at_s):
        if self.at == "encode" and any(row.key == "bad" for row in rows):
            raise ZeroDivisionError("secret of a customer")
        return super().encode(rows, credentials=credentials, at_s=at_s)

    def classify(self, rows, response, *, at_s):
        if self.at == "classify" and any(row.key == "bad" for row in rows):
            raise ZeroDivisionError("secret of a customer")
        return super().classify(rows, response, at_s=at_s)


@pytest.mark.parametrize("at", ["encode", "classify"])
def test_the_row_at_fault_is_given_up_and_all_others_arrive(shop, at):
    vendor = Raising(max_rows=20)
    vendor.at = at
    others = {f"c{n}" for n in range(19)}
    for customer in (*sorted(others), "bad"):
        shop.tell(customer)
    for _ in range(12):
        shop.deliver(vendor, max_attempts=3)
        shop.let_go()
    assert others <= set(vendor.held)
    assert shop.waiting() == set()
    (letter,) = shop.letters.find()
    assert letter.row.customer_id == "bad"
    assert "ZeroDivisionError" in letter.detail
    assert "secret" not in letter.detail
    calls_of_others = sum(row[0] in others for rows in vendor.calls for row in rows)
    assert calls_of_others <= 2 * len(others) + 20  # they were not sent with it for ever


@pytest.mark.parametrize("at", ["encode", "classify"])
def test_another_destination_does_not_notice(shop, at):
    broken, sound = Raising(max_rows=20), Vendor(max_rows=20)
    broken.at = at
    for customer in ("bad", "good"):
        shop.tell(customer, names=("broken", "sound"))
    channels = [channel(broken, name="broken"), channel(sound, name="sound")]
    stage = Deliver(
        shop.store, shop.destinations, channels, SystemClock(), shards=KEYS.shards, max_attempts=3
    )
    stage.drain()
    stage.close()
    assert set(sound.held) == {"bad", "good"}
    assert shop.waiting("sound") == set()


def test_an_outage_that_the_adapter_fails_to_read_is_no_rows_fault(shop):
    vendor = Raising(max_rows=20)
    for customer in ("bad", "good"):
        shop.tell(customer)
    vendor.send = lambda call: Response(502, {}, b"")
    shop.deliver(vendor)
    assert shop.waiting() == {"bad", "good"}
    assert shop.letters.find() == []
