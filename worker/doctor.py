"""Look for what is wrong with an installation, and say what to change. It changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from integrations.outbound.contract import HttpCall
from integrations.outbound.errors import DeadlineError, ForbiddenTargetError, TransportError
from integrations.outbound.http import HttpSender
from worker.currency_checks import currency_findings
from worker.findings import Finding, Level, guarded
from worker.index_checks import index_findings
from worker.server_checks import server_findings
from worker.status import SILENT_S, Watcher
from worker.store.connection import connect
from worker.store.destinations import State
from worker.store.inspecting import Inspector
from worker.store.installation import FORMAT
from worker.terminal import span

if TYPE_CHECKING:
    from worker.bootstrap import Runtime

#: Alarms of destinations that no waiting mends.
_FOR_PEOPLE: Final = ("refused", "no token", "takes nothing")
LAG_WARN_S: Final = 60.0


def examine(active: Runtime) -> list[Finding]:
    """All checks, in the order in which they should be mended.

    active   a runtime that need not be connected yet: that nothing answers is a finding too
    """
    found = list(guarded("server", lambda: server_findings(active)))
    if any(one.check == "server" and one.level is Level.FAIL for one in found):
        return [*found, *guarded("endpoint", lambda: _endpoint(active))]
    found += guarded("installation", lambda: _installation(active))
    if any(one.check == "installation" and one.level is Level.OK for one in found):
        found += guarded("processes", lambda: _running(active))
        found += guarded("index", lambda: index_findings(active))
    found += currency_findings(active.settings, active.clock.now_s())
    return [*found, *guarded("endpoint", lambda: _endpoint(active))]


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
        if stage != "deliver" or active.destinations:
            yield _worker(stage, look["workers"], stages.get(stage, {}).get("waiting", 0))
    yield _beat(look["last_tick_age_s"])
    for stage in ("ingest", "refresh", "deliver"):
        age_s = stages[stage]["oldest_age_s"]
        if age_s > LAG_WARN_S:
            text = f"{stages[stage]['waiting']:,} wait for {stage}, the oldest {span(age_s)}"
            yield Finding("lag", Level.WARN, text, f"raise CRM_REFLEX_{stage.upper()}_CONCURRENCY")
    yield from _models(active, look["models"])
    for rule, gone in look["rules_without_segment"].items():
        advice = "`crm-reflex segments list`, then `segments rules add` the rule anew"
        text = f"names segments that are gone: {', '.join(map(str, gone))}"
        yield Finding(f"rule segment {rule}", Level.WARN, text, advice)
    if look["quarantine"]["held"]:
        held = look["quarantine"]["held"]
        advice = "`crm-reflex quarantine list`, then replay or drop"
        yield Finding("quarantine", Level.WARN, f"{held:,} refused events are held", advice)
    if stages["deliver"]["dead_letters"]:
        dead = stages["deliver"]["dead_letters"]
        advice = "`crm-reflex deliveries list --state dead`, then `deliveries replay --dead`"
        yield Finding("dead letters", Level.WARN, f"{dead:,} deliveries were given up", advice)
    for name in active.destination_names:
        yield from _destination(name, active.destination_store.state(name))


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
        yield from _waiting(active, model["kind"], model["version"] or 0)


def _waiting(active: Runtime, kind: str, live: int) -> Iterator[Finding]:
    """A version that is newer than the live one, and needs a hand to follow it."""
    newest = next((version for version, _ in active.models.versions(kind)), 0)
    verdict = active.models.verdict(kind, newest) if newest > live else None
    if verdict is not None and verdict.state == "waiting":
        advice = f"look at `crm-reflex models card {kind} {newest}`, then `models promote`"
        yield Finding(f"newest {kind}", Level.WARN, f"{newest} is {verdict.told()}", advice)


def _destination(name: str, state: State) -> Iterator[Finding]:
    check, resume = f"destination {name}", f"`crm-reflex destinations resume {name}`"
    why = f": {state.alarm}" if state.alarm else ""
    if state.paused == "gone":
        text = "disabled: it answered that it is gone (410)"
        yield Finding(check, Level.FAIL, text, f"mend it, then {resume}")
    elif state.paused:
        yield Finding(check, Level.WARN, "paused", resume)
    elif state.is_open:
        level = Level.FAIL if state.alarm.startswith(_FOR_PEOPLE) else Level.WARN
        text = f"called once in a while until it answers well{why}"
        yield Finding(check, level, text, f"mend it; {resume} calls it at once")
    elif state.wait_ms:
        text = f"rests for another {span(state.wait_ms / 1000)}: it asked for it"
        yield Finding(check, Level.WARN, text, f"{resume} ends it")


# ---- the CRM ------------------------------------------------------------------------------------
def _endpoint(active: Runtime) -> Iterator[Finding]:
    settings = active.settings
    if settings.webhook_url is None and active.destinations:
        return
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
