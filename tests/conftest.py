"""Fixtures that every test may use: a private real server, an environment without our settings."""

import os

import pytest

from tests.servers import Cluster, Server
from worker.process import limit_threads

limit_threads()  # two test processes with as many threads each get in each other's way


@pytest.fixture(autouse=True)
def no_settings_of_the_developer(monkeypatch):
    """No CRM_REFLEX_* variable of this machine reaches a test."""
    for name in [name for name in os.environ if name.upper().startswith("CRM_REFLEX_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory):
    """A running `Server` on a Unix socket, one for each test process, without persistence."""
    with Server(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def valkey_cluster(tmp_path_factory):
    """A running three-node `Cluster`, one for each test process, without persistence."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def redis_client(valkey):
    """A client of `valkey`, in bytes mode, over an empty server without loaded scripts."""
    with valkey.client() as client:
        client.flushall()
        client.script_flush()
        yield client
        client.config_set("maxmemory", 0)


@pytest.fixture
def redis_cluster(valkey_cluster):
    """A client of `valkey_cluster`, in bytes mode, over empty nodes without loaded scripts."""
    with valkey_cluster.client() as client:
        client.flushall(target_nodes=client.PRIMARIES)
        client.script_flush()
        yield client
