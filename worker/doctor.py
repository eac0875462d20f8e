"""Look for what is wrong with an installation, and say what to change. It changes nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from redis.exceptions import RedisError

from integrations.outbound.contract import HttpCall
from integrations.outbound.errors import DeadlineError, ForbiddenTargetError, TransportError
from integrations.outbound.http import HttpSender
from worker.status import SILENT_S, Watcher
from worker.store.connection import connect
from worker.store.delivering import DISABLED
from worker.store.inspecting import Inspector
from worker.store.installation import FORMAT
from worker.terminal import size, span

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

#: The oldest servers that the scripts run on (script flags; XINFO fields).
LEAST_REDIS: Final = (7, 0)
LEAST_VALKEY: Final = (7, 2)
SKEW_WARN_S: Final = 2.0
SKEW_FAIL_S: Final = 60.0
LAG_WARN_S: Final = 60.0


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(NamedTuple):
    """One check: what was found and, unless all is well, what to change."""

    check: str
    level: Level
    found: str
    advice: str = ""


def examine(active: Runtime) -> list[Finding]:
    """All checks, in the order in which they should be mended.

    active   a runtime that need not be connected yet: that nothing answers is a finding too
    """
    found = list(_guarded("server", lambda: _server(active)))
    if any(one.check == "server" and one.level is Level.FAIL for one in found):
        return [*found, *_guarded("endpoint", lambda: _endpoint(active))]
    found += _guarded("installation", lambda: _installation(active))
    if any(one.check == "installation" and one.level is Level.OK for one in found):
        found += _guarded("processes", lambda: _running(active))
    return [*found, *_guarded("endpoint", lambda: _endpoint(active))]


def _guarded(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a group; a server that refuses to answer is one of them."""
    try:
        yield from look()
    except (RedisError, OSError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        advice = "start it, or correct CRM_REFLEX_REDIS_URL; check the rights of its user"
        yield Finding(check, Level.FAIL, f"the server does not answer: {text}", advice)


# ---- the state server ---------------------------------------------------------------------------
def _server(active: Runtime) -> Iterator[Finding]:
    settings = active.settings
    client = connect(
        active.url,
        cluster=settings.redis_cluster,
        tls=settings.tls(active.url),
        timeout_s=5,
        retries=0,
    )
    try:
        before_ms = active.clock.now_ms()
        seconds, micros = client.time()
        after_ms = active.clock.now_ms()
        nodes = _nodes(client.info())
    finally:
        client.close()
    yield Finding("server", Level.OK, "answers")
    for info in nodes:
        yield _version(info)
        yield _log(info)
        yield _eviction(info)
        yield _memory(info, active.settings.memory_limit_ratio, embedded=settings.redis_url is None)
    skew_s = (1000 * seconds + micros / 1000 - (before_ms + after_ms) / 2) / 1000
    yield _clock(skew_s, (after_ms - before_ms) / 2000)


def _nodes(info: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [info] if "redis_version" in info else list(info.values())


def _version(info: Mapping[str, Any]) -> Finding:
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


def _memory(info: Mapping[str, Any], ratio: float, *, embedded: bool) -> Finding:
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


def _clock(skew_s: float, uncertain_s: float) -> Finding:
    off_s = max(0.0, abs(skew_s) - uncertain_s)
    if off_s < SKEW_WARN_S:
        return Finding(
            "clock", Level.OK, f"within {span(max(0.001, off_s + uncertain_s))} of the server's"
        )
    level = Level.FAIL if off_s > SKEW_FAIL_S else Level.WARN
    way = "behind" if skew_s > 0 else "ahead of"
    advice = "synchronize both machines' clocks (NTP): event times and retries rest on them"
    return Finding("clock", level, f"{span(off_s)} {way} the server's", advice)


# ---- what is stored -----------------------------------------------------------------------------
def _installation(active: Runtime) -> Iterator[Finding]:
    settings = active.settings
    client = connect(
        active.url,
        cluster=settings.redis_cluster,
        tls=settings.tls(active.url),
        timeout_s=5,
        retries=0,
    )
    try:
        inspector = Inspector(client, active.keys)
        fields = inspector.installation()
        bare = inspector.shards_without_epoch()
    finally:
        client.close()
    name = f"prefix {settings.key_prefix!r}"
    if not fields:
        yield Finding(
            "installation", Level.WARN, f"{name}: none yet", "the first `up` or `emit` creates it"
        )
        return
    shards = fields.get("shards", 0)
    if shards != settings.shards:
        advice = f"set CRM_REFLEX_SHARDS={shards}, or another CRM_REFLEX_KEY_PREFIX"
        text = f"{name}: created with {shards} shards, the settings say {settings.shards}"
        yield Finding("installation", Level.FAIL, text, advice)
        return
    if fields.get("format", 0) > FORMAT:
        text = f"{name}: format {fields['format']}, this release reads {FORMAT}"
        yield Finding("installation", Level.FAIL, text, "install the newer release")
        return
    yield Finding(
        "installation", Level.OK, f"{name}: {shards} shards, format {fields.get('format')}"
    )
    if len(bare) == shards:
        yield Finding("epochs", Level.WARN, "no shard was ever worked on", "start an ingest worker")
    elif bare:
        advice = (
            "data of these shards was lost: restore the server, then restart the ingest workers"
        )
        yield Finding("epochs", Level.FAIL, f"{len(bare)} shards have no epoch", advice)
    else:
        yield Finding("epochs", Level.OK, "every shard has one")


# ---- what runs ----------------------------------------------------------------------------------
def _running(active: Runtime) -> Iterator[Finding]:
    look = Watcher(active).look()
    stages = look["stages"]
    for stage in ("ingest", "refresh", "deliver", "training"):
        if stage != "deliver" or active.settings.webhook_url:
            yield _worker(stage, look["workers"], stages.get(stage, {}).get("waiting", 0))
    yield _beat(look["last_tick_age_s"])
    for stage in ("ingest", "refresh", "deliver"):
        age_s = stages[stage]["oldest_age_s"]
        if age_s > LAG_WARN_S:
            text = f"{stages[stage]['waiting']:,} wait for {stage}, the oldest {span(age_s)}"
            yield Finding("lag", Level.WARN, text, f"raise CRM_REFLEX_{stage.upper()}_CONCURRENCY")
    yield from _models(active, look["models"])
    if look["quarantine"]["held"]:
        held = look["quarantine"]["held"]
        advice = "`crm-reflex quarantine list`, then replay or drop"
        yield Finding("quarantine", Level.WARN, f"{held:,} refused events are held", advice)
    if stages["deliver"]["dead_letters"]:
        dead = stages["deliver"]["dead_letters"]
        advice = "`crm-reflex deliveries list --state dead`, then `deliveries replay --dead`"
        yield Finding("dead letters", Level.WARN, f"{dead:,} deliveries were given up", advice)
    yield from _destination(active.deliver_store.paused_ms("webhook"))


def _worker(stage: str, workers: list[dict[str, Any]], waiting: int) -> Finding:
    name = f"{stage} worker"
    ages = [one["age_s"] for one in workers if one["stage"] == stage]
    if ages and min(ages) <= SILENT_S:
        return Finding(name, Level.OK, f"reported {span(min(ages))} ago")
    level = Level.FAIL if waiting else Level.WARN
    text = f"silent for {span(min(ages))}" if ages else "none has ever reported"
    more = f", and {waiting:,} wait for it" if waiting else ""
    return Finding(
        name, level, text + more, f"`crm-reflex up`, or `crm-reflex worker --queue {stage}`"
    )


def _beat(age_s: float | None) -> Finding:
    if age_s is None:
        advice = "`crm-reflex up`, or `crm-reflex beat` beside an ingest worker"
        return Finding(
            "beat", Level.WARN, "no tick lately: work that was forgotten stays so", advice
        )
    return Finding("beat", Level.OK, f"ticked {span(age_s)} ago")


def _models(active: Runtime, models: list[dict[str, Any]]) -> Iterator[Finding]:
    settings = active.settings
    for model in models:
        name = f"model {model['kind']}"
        if model["version"] is None:
            advice = (
                f"it is trained by itself once {settings.min_customers_to_train} customers have"
                " bought; `crm-reflex retrain` tells what is missing"
            )
            yield Finding(name, Level.WARN, "none yet", advice)
        elif "problem" in model:
            advice = f"`crm-reflex retrain {model['kind']}`, or promote another version"
            yield Finding(name, Level.FAIL, model["problem"], advice)
        elif model["age_s"] > 2 * settings.retrain_interval_s:
            advice = "start a training worker and beat, or `crm-reflex retrain`"
            yield Finding(
                name,
                Level.WARN,
                f"version {model['version']} is {span(model['age_s'])} old",
                advice,
            )
        else:
            yield Finding(name, Level.OK, f"version {model['version']}, {span(model['age_s'])} old")


def _destination(paused_ms: int) -> Iterator[Finding]:
    if paused_ms == DISABLED:
        advice = "mend the endpoint, then `crm-reflex deliveries resume webhook`"
        yield Finding(
            "destination", Level.FAIL, "disabled: it answered that it is gone (410)", advice
        )
    elif paused_ms > 0:
        text = (
            f"paused for another {span(paused_ms / 1000)}: it asked for it, or refused our secret"
        )
        yield Finding(
            "destination", Level.WARN, text, "`crm-reflex deliveries resume webhook` ends it"
        )


# ---- the CRM ------------------------------------------------------------------------------------
def _endpoint(active: Runtime) -> Iterator[Finding]:
    settings = active.settings
    if settings.webhook_url is None:
        advice = "set CRM_REFLEX_WEBHOOK_URL and CRM_REFLEX_WEBHOOK_SECRET to push insights"
        yield Finding("endpoint", Level.WARN, "no webhook is set: nothing is sent", advice)
        return
    yield Finding("signing secret", Level.OK, "set")
    host = settings.webhook_url.host
    trusted = frozenset({host}) if settings.webhook_allow_private and host else frozenset()
    sender = HttpSender(trusted_hosts=trusted, deadline_s=min(10.0, settings.webhook_timeout_s))
    begun = time.monotonic()
    try:
        answer = sender.send(HttpCall("doctor", "HEAD", str(settings.webhook_url), {}, b""))
    except ForbiddenTargetError as error:
        advice = "correct CRM_REFLEX_WEBHOOK_URL, or set CRM_REFLEX_WEBHOOK_ALLOW_PRIVATE=true"
        yield Finding("endpoint", Level.FAIL, str(error), advice)
    except TransportError as error:
        kind = "too slow" if isinstance(error, DeadlineError) else "not reached"
        advice = "check name, port, firewall and certificate of CRM_REFLEX_WEBHOOK_URL"
        yield Finding("endpoint", Level.FAIL, f"{kind}: {error}", advice)
    else:
        text = f"answers HTTP {answer.status} after {span(time.monotonic() - begun)}"
        yield Finding("endpoint", *_reading(answer.status, text))
    finally:
        sender.close()


def _reading(status: int, text: str) -> tuple[Level, str, str]:
    """What an answer to HEAD means: many endpoints take POST only, and say so with 405 or 401."""
    if status in {404, 410} or status >= 500 or 300 <= status < 400:
        return Level.WARN, text, "check the path of CRM_REFLEX_WEBHOOK_URL, and the receiver's log"
    return Level.OK, text, ""
