"""How full the state server is."""

from __future__ import annotations

from redis.cluster import RedisCluster

from worker.store.scripts import Client


def memory(client: Client) -> tuple[int, int]:
    """Bytes used and `maxmemory` (0 = no limit); of a cluster, the fullest node's."""
    if isinstance(client, RedisCluster):
        nodes = list(client.info("memory", target_nodes=RedisCluster.PRIMARIES).values())
    else:
        nodes = [client.info("memory")]
    pairs = [(int(node["used_memory"]), int(node.get("maxmemory", 0))) for node in nodes]
    return max(pairs, key=lambda pair: pair[0] / (pair[1] or float("inf")))
