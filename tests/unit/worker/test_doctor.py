"""Findings from what a server, a clock, models and an endpoint may be like."""

import numpy as np
import pytest
from redis import exceptions as redis_errors

from worker.doctor import _destination, _reading, _worker
from worker.failures import failure_of
from worker.findings import Level, guarded
from worker.index_checks import kernel_finding, snapshot_finding
from worker.server_checks import _eviction, _log, clock_finding, memory_finding, version_finding
from worker.settings_sources import SettingsError
from worker.store.destinations import State
from worker.store.door import BusyError
from worker.store.models import BusyTrainingError, TooFewError
from worker.store.snapshots import Snapshots


@pytest.mark.parametrize(
    ("info", "level"),
    [
        ({"redis_version": "7.0.15"}, Level.OK),
        ({"redis_version": "6.2.14"}, Level.FAIL),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.0"}, Level.OK),
        ({"redis_version": "7.2.4", "valkey_version": "7.1.9"}, Level.FAIL),
        ({"redis_version": "10.0.0"}, Level.OK),
    ],
)
def test_a_server_must_be_new_enough(info, level):
    assert version_finding(info).level is level


def test_a_server_must_keep_what_it_was_given():
    assert _log({"aof_enabled": 0}).level is Level.FAIL
    assert _log({"aof_enabled": 1, "aof_last_write_status": "err"}).level is Level.FAIL
    assert _log({"aof_enabled": 1, "aof_last_write_status": "ok"}).level is Level.OK
    assert _eviction({"maxmemory_policy": "volatile-lru"}).level is Level.FAIL


def test_memory_is_limited_and_not_used_up():
    def found(used, limit, **how):
        return memory_finding({"used_memory": used, "maxmemory": limit}, 0.7, **how).level

    assert found(10, 0, embedded=False) is Level.WARN
    assert found(10, 0, embedded=True) is Level.OK
    assert found(69, 100, embedded=False) is Level.OK
    assert found(71, 100, embedded=False) is Level.FAIL


@pytest.mark.parametrize(
    ("skew_s", "uncertain_s", "level", "said"),
    [
        (0.0, 0.001, Level.OK, "within 1 ms"),
        (5.0, 4.0, Level.OK, "within"),
        (-3.0, 0.0, Level.WARN, "3 s ahead of"),
        (90.0, 0.0, Level.FAIL, "1 min 30 s behind"),
    ],
)
def test_a_clock_may_be_off_by_no_more_than_the_look_could_tell(skew_s, uncertain_s, level, said):
    found = clock_finding(skew_s, uncertain_s)
    assert found.level is level
    assert said in found.found


def test_a_worker_that_is_missed_is_worse_than_one_that_is_not():
    silent = [{"stage": "ingest", "age_s": 300}]
    assert _worker("ingest", [{"stage": "ingest", "age_s": 3}], 7).level is Level.OK
    assert _worker("ingest", silent, 0).level is Level.WARN
    assert _worker("ingest", silent, 7).level is Level.FAIL
    assert _worker("refresh", silent, 0).found == "none has ever reported"


def test_a_destination_may_be_paused_or_disabled():
    well = State("", 0, is_open=False, used=0, under_way=0, jobs=0, alarm="", alarm_ms=0)
    levels = {
        well: [],
        well._replace(wait_ms=5000): [Level.WARN],
        well._replace(paused="operator"): [Level.WARN],
        well._replace(paused="gone"): [Level.FAIL],
        well._replace(is_open=True, alarm="it fails"): [Level.WARN],
        well._replace(is_open=True, alarm="refused: http_401"): [Level.FAIL],
        well._replace(is_open=True, alarm="takes nothing: http_400"): [Level.FAIL],
    }
    for state, expected in levels.items():
        assert [one.level for one in _destination("crm", state)] == expected


@pytest.mark.parametrize(
    ("status", "level"),
    [(200, "ok"), (405, "ok"), (401, "ok"), (404, "warn"), (301, "warn"), (503, "warn")],
)
def test_an_endpoint_may_refuse_head_but_must_be_there(status, level):
    assert _reading(status, "")[0].value == level


def test_a_server_that_goes_away_is_a_finding():
    def look():
        raise redis_errors.ConnectionError("Connection refused")
        yield

    (found,) = guarded("server", look)
    assert found.level is Level.FAIL
    assert "Connection refused" in found.found


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError(["CRM_REFLEX_X: no such setting"]), 1),
        (BusyError("full"), 75),
        (TooFewError("7 customers"), 1),
        (BusyTrainingError("another training runs"), 75),
        (redis_errors.ConnectionError("refused"), 75),
        (redis_errors.TimeoutError("slow"), 75),
        (redis_errors.BusyLoadingError("loading"), 75),
        (redis_errors.AuthenticationError("WRONGPASS"), 1),
        (redis_errors.NoPermissionError("no"), 1),
        (redis_errors.ResponseError("OOM command not allowed"), 75),
        (redis_errors.ResponseError("ERR something\nelse"), 1),
    ],
)
def test_a_failure_is_one_line_and_says_whether_to_try_again(error, code):
    failure = failure_of(error)
    assert failure.code == code
    assert "\n" not in failure.message


def test_an_error_of_ours_is_not_explained_away():
    assert failure_of(KeyError("bug")) is None


def test_a_snapshot_is_missed_where_customers_are_many_and_when_nobody_renews_it(tmp_path):
    snapshots = Snapshots(tmp_path)

    def level(now_s, *, needed):
        return snapshot_finding(snapshots, now_s, needed=needed, interval_s=900).level

    assert level(0, needed=False) is Level.OK
    assert level(0, needed=True) is Level.FAIL
    snapshots.publish({"x": np.zeros(1)}, {"built_at_s": 1_000})
    assert level(1_900, needed=True) is Level.OK
    assert level(10_000, needed=True) is Level.FAIL
    assert level(10_000, needed=False) is Level.WARN


def test_a_machine_that_cannot_compile_is_told(monkeypatch):
    from models.recommend import kernels, preparing

    assert kernel_finding().level is Level.OK

    def broken():
        raise kernels.KernelError("no LLVM")

    monkeypatch.setattr(preparing, "prepare", broken)
    assert kernel_finding().level is Level.FAIL
    assert "no LLVM" in kernel_finding().found
