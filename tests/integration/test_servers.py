"""The test servers do what they say, so that a test that breaks one proves something."""

import pytest
from redis import RedisError
from redis import TimeoutError as SlowError

from tests.servers import Server


def test_the_shared_server_is_empty_and_speaks_bytes(redis_client):
    assert redis_client.dbsize() == 0
    redis_client.set("k", "v")
    assert redis_client.get("k") == b"v"


def test_with_aof_data_survives_a_kill_and_a_restart(tmp_path):
    with Server(tmp_path, aof=True) as server:
        with server.client() as client:
            client.set("k", "v")
        server.kill()
        with server.client() as client, pytest.raises(RedisError):
            client.ping()
        server.start()
        server.restart()
        with server.client() as client:
            assert client.get("k") == b"v"


def test_a_frozen_server_is_silent_until_it_thaws(tmp_path):
    with Server(tmp_path, tcp=True) as server, server.client(socket_timeout=0.2) as client:
        client.ping()
        server.freeze()
        with pytest.raises(SlowError):
            client.ping()
        server.thaw()
        assert client.ping()


def test_three_nodes_form_a_cluster_that_holds_every_slot(redis_cluster):
    for name in range(64):
        redis_cluster.set(f"{{s{name}}}:k", name)
    sizes = redis_cluster.dbsize(target_nodes=redis_cluster.PRIMARIES)
    assert redis_cluster.get("{s63}:k") == b"63"
    assert len(redis_cluster.get_primaries()) == 3
    assert sizes == 64
