"""kill -9 of the trainer at every stage: what lives goes on, and the next trainer does it all."""

import json
import subprocess
import sys

import pytest

from tests.integration.workers.killed_trainer import STAGES
from tests.integration.workers.test_training import newest, runtime, server  # noqa: F401
from worker.bootstrap import Runtime
from worker.settings import Settings
from worker.store.models import KINDS

pytestmark = [pytest.mark.xdist_group("workers"), pytest.mark.timeout(300)]


@pytest.fixture
def shop(server, runtime, tmp_path):  # noqa: F811
    """Buyers, and a first version of each kind."""
    chosen = Settings(redis_url=server.url, snapshot_dir=tmp_path / "snapshots")
    shop = Runtime(chosen, server.url)
    shop.retrain.run(reason="first")
    return shop


def test_a_trainer_killed_at_any_stage_leaves_what_lives_and_a_healthy_queue(server, shop):  # noqa: F811
    command = [sys.executable, "-m", "tests.integration.workers.killed_trainer"]
    trainers = subprocess.Popen(
        [*command, server.url, str(shop.snapshots.folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    with trainers:
        for stage, part in STAGES:
            before, stored = shop.models.current().versions, newest(shop)
            shop.retrain.request(KINDS, reason=f"before {stage}")
            trainers.stdin.write("\n")
            assert json.loads(trainers.stdout.readline()) == [stage, part, -9]
            new = {kind for kind in KINDS if newest(shop)[kind] > stored[kind]}
            after = shop.models.current().versions
            assert {k: v for k, v in after.items() if k not in new} == {
                k: v for k, v in before.items() if k not in new
            }
            assert all(shop.models.read(kind, version) for kind, version in after.items())
            if stage == "snapshot":
                assert new == set(KINDS)
                continue
            assert len(new) == int(part == 0.3), stage
            assert {one.kind for one in shop.desk.running()} == set(KINDS)
            for kind in KINDS:  # as it runs out
                shop.client.delete(shop.keys.training_lease(kind))
            assert shop.desk.wanted() == sorted(KINDS)
            for kind in KINDS:
                shop.desk.cancel(kind)
    assert (shop.desk.running(), shop.desk.waiting()) == ([], [])
    assert shop.snapshots.numbers() == [], "half a snapshot is none"
    shop.client.delete(shop.keys.lock(f"snapshot:{shop.snapshots.identity()}"))  # as it runs out
    assert shop.snapshot_builder.run() == 1
