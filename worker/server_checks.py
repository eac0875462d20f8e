"""Is the state server fit for it: version, persistence, eviction, memory, clock; and the broker."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from worker.findings import Finding, Level, guarded
from worker.store.connection import connect
from worker.terminal import size, span

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

#: The oldest servers that the scripts run on (script flags; XINFO fields).
LEAST_REDIS: Final = (7, 0)
LEAST_VALKEY: Final = (7, 2)
SKEW_WARN_S: Final = 2.0
SKEW_FAIL_S: Final = 60.0


def server_findings(active: Runtime) -> Iterator[Finding]:
    """Look at every node of the state server, its clock, and the broker."""
    settings = active.settings
    client = connect(
        active.url,
        cluster=settings.redis_cluster,
        tls=settings.tls(active.url),
        timeout_s=5,
        retries=0,
    )
    everywhere = {"target_nodes": "primaries"} if settings.redis_cluster else {}
    try:
        before_ms = active.clock.now_ms()
        times = client.time(**everywhere)
        after_ms = active.clock.now_ms()
        nodes = _nodes(client.info(**everywhere))
    finally:
        client.close()
    yield Finding("server", Level.OK, "answers")
    for info in nodes:
        yield version_finding(info)
        yield _log(info)
        yield _eviction(info)
        yield memory_finding(
            info, active.settings.memory_limit_ratio, embedded=settings.redis_url is None
        )
    pairs = times.values() if isinstance(times, dict) else [times]
    middle_s = (before_ms + after_ms) / 2000
    skews_s = [seconds + micros / 1_000_000 - middle_s for seconds, micros in pairs]
    yield clock_finding(max(skews_s, key=abs), (after_ms - before_ms) / 2000)
    if settings.broker_url is not None:
        yield from guarded("broker", lambda: _broker(active))


def _broker(active: Runtime) -> Iterator[Finding]:
    settings = active.settings
    url = settings.broker_url.get_secret_value() if settings.broker_url else active.url
    client = connect(url, tls=settings.tls(url), timeout_s=5, retries=0)
    try:
        client.ping()
    finally:
        client.close()
    yield Finding("broker", Level.OK, "answers")


def _nodes(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [info] if "redis_version" in info else list(info.values())


def version_finding(info: Mapping[str, Any]) -> Finding:
    """Are the scripts understood?"""
    name, least = ("Valkey", LEAST_VALKEY) if "valkey_version" in info else ("Redis", LEAST_REDIS)
    text = str(info.get("valkey_version") or info.get("redis_version"))
    numbers = tuple(int(part) for part in re.findall(r"\d+", text)[:2])
    if numbers < least:
        wanted = ".".join(map(str, least))
        return Finding("version", Level.FAIL, f"{name} {text}", f"use {name} {wanted} or newer")
    return Finding("version", Level.OK, f"{name} {text}")


def _log(info: Mapping[str, Any]) -> Finding:
    if not int(info.get("aof_enabled", 0)):
        advice = (
            "set `appendonly yes`: without it a restart of the server loses profiles and events"
        )
        return Finding("persistence", Level.FAIL, "the append-only file is off", advice)
    if info.get("aof_last_write_status", "ok") != "ok":
        advice = "look at the server's disk: it can't write its append-only file"
        return Finding(
            "persistence", Level.FAIL, "the last write to the append-only file failed", advice
        )
    return Finding("persistence", Level.OK, "the append-only file is on")


def _eviction(info: Mapping[str, Any]) -> Finding:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy != "noeviction":
        advice = "set `maxmemory-policy noeviction`: any other lets the server drop customers"
        return Finding("eviction", Level.FAIL, f"maxmemory-policy is {policy}", advice)
    return Finding("eviction", Level.OK, "maxmemory-policy is noeviction")


def memory_finding(info: Mapping[str, Any], ratio: float, *, embedded: bool) -> Finding:
    """Is memory limited, and is there room? `ratio` of the limit may be used."""
    used, limit = int(info["used_memory"]), int(info.get("maxmemory", 0))
    if not limit:
        level = Level.OK if embedded else Level.WARN
        advice = (
            "" if embedded else "set `maxmemory`, so that events are refused before memory ends"
        )
        return Finding("memory", level, f"{size(used)} used, no limit", advice)
    text = f"{size(used)} of {size(limit)} used"
    if used > ratio * limit:
        advice = "raise `maxmemory` or lower CRM_REFLEX_RETENTION_S: new events are refused now"
        return Finding("memory", Level.FAIL, text, advice)
    return Finding("memory", Level.OK, text)


def clock_finding(skew_s: float, uncertain_s: float) -> Finding:
    """How far the server's clock is from ours; the look itself may be `uncertain_s` off."""
    off_s = max(0.0, abs(skew_s) - uncertain_s)
    if off_s < SKEW_WARN_S:
        return Finding(
            "clock", Level.OK, f"within {span(max(0.001, off_s + uncertain_s))} of the server's"
        )
    level = Level.FAIL if off_s > SKEW_FAIL_S else Level.WARN
    way = "behind" if skew_s > 0 else "ahead of"
    advice = "synchronize both machines' clocks (NTP): event times and retries rest on them"
    return Finding("clock", level, f"{span(off_s)} {way} the server's", advice)
