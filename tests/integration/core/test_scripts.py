"""Scripts sent ahead: each answered once, whatever happens to the connection meanwhile."""

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from worker.store.keys import Keys
from worker.store.scripts import Call, Command, Scripts

KEYS = Keys("t", 4)


def renewal(shard: int, token: str) -> Call:
    """Answers 1 while `token` holds the lease."""
    return Call("renew", [KEYS.lease(shard, "ingest")], [token, 60_000])


@pytest.fixture
def leased(redis_client):
    for shard in range(4):
        redis_client.set(KEYS.lease(shard, "ingest"), f"token-{shard}")
    return redis_client


def renewed(client, *, meanwhile=lambda: None) -> list[int]:
    """Renew shards 0 to 3, of which 2 is another's."""
    with Scripts(client).ahead() as ahead:
        for shard in range(4):
            ahead.send(renewal(shard, "mine" if shard == 2 else f"token-{shard}"))
            if shard == 1:
                meanwhile()
        return [ahead.reply() for _ in range(4)]


def test_replies_come_in_the_order_of_the_calls(leased):
    assert renewed(leased) == [1, 1, 0, 1]


def test_what_the_server_forgot_is_loaded_and_sent_again(leased):
    leased.script_flush()
    assert renewed(leased) == [1, 1, 0, 1]


def test_what_a_lost_connection_left_unanswered_is_sent_again(leased, valkey):
    other = Redis.from_url(valkey.url)

    def cut() -> None:
        other.execute_command("CLIENT KILL TYPE normal SKIPME yes")

    renewed(leased)
    assert renewed(leased, meanwhile=cut) == [1, 1, 0, 1]
    other.close()


def test_leaving_early_leaves_no_answer_to_the_next_user_of_the_connection(leased):
    with Scripts(leased).ahead() as ahead:
        ahead.send(renewal(0, "token-0"))
    assert leased.get(KEYS.lease(3, "ingest")) == b"token-3"


def test_an_error_of_the_server_is_raised_in_its_turn(leased):
    leased.delete(KEYS.lease(1, "ingest"))
    leased.lpush(KEYS.lease(1, "ingest"), "no string")
    with Scripts(leased).ahead() as ahead:
        for shard in range(3):
            ahead.send(renewal(shard, f"token-{shard}"))
        assert ahead.reply() == 1
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            ahead.reply()
        assert ahead.reply() == 1


def test_plain_commands_are_answered_in_between(leased, valkey):
    with Scripts(leased).ahead() as ahead:
        ahead.send(renewal(0, "token-0"))
        ahead.send(Command(["MGET", KEYS.lease(0, "ingest"), KEYS.lease(0, "none")]))
        ahead.send(renewal(2, "mine"))
        other = Redis.from_url(valkey.url)
        other.execute_command("CLIENT KILL TYPE normal SKIPME yes")
        other.close()
        assert [ahead.reply() for _ in range(3)] == [1, [b"token-0", None], 0]


def test_a_cluster_is_called_node_by_node(redis_cluster):
    for shard in range(4):
        redis_cluster.set(KEYS.lease(shard, "ingest"), f"token-{shard}")
    assert renewed(redis_cluster) == [1, 1, 0, 1]
