"""The proxy breaks what it says and nothing else."""

import socket
import time
from urllib.parse import urlsplit

import pytest
from redis import ConnectionError as LostError
from redis import Redis
from redis import TimeoutError as SlowError
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.proxy import Fault, Proxy


@pytest.fixture
def proxy(redis_client, valkey):
    with Proxy(valkey.url) as proxy:
        yield proxy


@pytest.fixture
def through(proxy):
    """A client behind the proxy that retries nothing."""
    with Redis.from_url(proxy.url, retry=Retry(NoBackoff(), 0), socket_timeout=0.5) as client:
        client.ping()
        yield client


def test_without_a_fault_everything_passes(through):
    big = b"x" * 1_000_000
    through.set("big", big)
    assert through.get("big") == big


def test_a_dropped_reply_leaves_a_command_done_and_its_caller_without_an_answer(
    proxy, through, redis_client
):
    with proxy.failing(Fault.DROP_REPLY, limit=1), pytest.raises(LostError):
        through.incr("n")
    assert redis_client.get("n") == b"1"
    assert proxy.struck == 1
    assert through.incr("n") == 2


def test_the_default_retries_of_redis_py_double_a_command_whose_reply_was_dropped(
    proxy, redis_client
):
    with Redis(port=urlsplit(proxy.url).port) as client:
        client.ping()
        with proxy.failing(Fault.DROP_REPLY, limit=1):
            assert client.incr("n") == 2
    assert redis_client.get("n") == b"2"


def test_a_blackhole_answers_nothing_until_it_ends(proxy, through):
    with proxy.failing(Fault.BLACKHOLE), pytest.raises(SlowError):
        through.ping()
    assert through.ping()


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.REFUSE])
def test_a_reset_is_an_error_at_once(fault, proxy, through):
    begun = time.monotonic()
    with proxy.failing(fault), pytest.raises(LostError):
        through.ping()
    assert time.monotonic() - begun < 0.4
    assert through.ping()


def test_a_reset_is_a_reset_on_the_wire(proxy):
    with socket.create_connection(("127.0.0.1", urlsplit(proxy.url).port)) as raw:
        raw.sendall(b"PING\r\n")
        assert raw.recv(100) == b"+PONG\r\n"
        with proxy.failing(Fault.RESET):
            raw.sendall(b"PING\r\n")
            with pytest.raises(ConnectionResetError):
                raw.recv(100)


def test_a_delay_slows_replies(proxy, through):
    proxy.delay_s = 0.1
    begun = time.monotonic()
    through.ping()
    assert time.monotonic() - begun >= 0.1


def test_cut_connections_come_back(proxy, through):
    proxy.cut()
    assert through.ping(), "the pool notices a closed connection and opens another"
