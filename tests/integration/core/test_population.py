"""All profiles are read beside ingest, which must not wait for it."""

from tests.builders import T0, Installation, order
from worker.store.population import Population

CUSTOMERS = 230


def test_no_command_reads_more_than_a_hundred_profiles(redis_client, monkeypatch):
    shop = Installation(redis_client, shards=1).create()
    shop.put(order(f"c{n}", f"o{n}", f"e{n}", T0 + n, revenue="5") for n in range(CUSTOMERS))
    shop.drain()
    population, asked = Population(redis_client, shop.keys), []
    mget = redis_client.mget

    def counted(names):
        asked.append(len(names) // 2)  # of each profile its hot and its cold part
        return mget(names)

    monkeypatch.setattr(redis_client, "mget", counted)
    whole = list(population.residents(0))
    some = population.read(0, population.customer_ids(0))
    assert whole == some
    assert len(some) == CUSTOMERS
    assert max(asked) == 100
    assert sum(asked) == 2 * CUSTOMERS
