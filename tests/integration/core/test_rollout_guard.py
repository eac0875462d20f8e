"""What does clearly worse than the version before it gives way by itself, of any kind, once."""

from tests.integration.core.test_promotion import open_shop, shop, train_badly  # noqa: F401
from worker.rollout_guard import ROLLED_BACK, guard
from worker.store.models import KINDS, ArtifactError, ModelStore


def test_bad_versions_forced_in_by_hand_are_rolled_back_by_themselves_once(shop, monkeypatch):  # noqa: F811
    models, clock = shop.runtime.models, shop.clock
    assert guard(shop.runtime) == [], "the first versions have none before them"
    for kind in KINDS:
        assert train_badly(shop, monkeypatch, kind).state == "refused"
        good = models.read(kind, 1)
        assert models.publish(kind, good.arrays, good.meta, clock.now_s()) == 3
    assert guard(shop.runtime) == [], "the same is no worse"

    for kind in KINDS:
        models.promote(kind, 2, clock.now_s())
    with monkeypatch.context() as patched:

        def read(*_):
            raise ArtifactError("damaged")

        patched.setattr(ModelStore, "read", read)
        assert guard(shop.runtime) == [], "what cannot be read stops nobody"
    assert guard(shop.runtime) == list(KINDS)
    assert shop.live == dict.fromkeys(KINDS, 3), "though the bad ones have lower numbers"
    told = {kind: models.log(kind)[0].why for kind in KINDS}
    assert all(why.startswith(ROLLED_BACK) for why in told.values())
    assert "of what its centers can reach" in told["segments"]
    assert "buy_again: misses" in told["recommendations"]
    assert "buy, 90 d: loss" in told["forecasts"]
    assert "buy, 90 d: calibration error" in told["forecasts"]
    assert models.verdict("forecasts", 2).state == "refused"
    models.promote("forecasts", 2, clock.now_s())
    assert guard(shop.runtime) == [], "who forces it again keeps it"


def test_what_somebody_promotes_while_it_is_judged_stays(shop, monkeypatch):  # noqa: F811
    models, clock = shop.runtime.models, shop.clock
    train_badly(shop, monkeypatch, "recommendations")
    good = models.read("recommendations", 1)
    models.publish("recommendations", good.arrays, good.meta, clock.now_s())
    models.promote("recommendations", 2, clock.now_s())
    promote_over = ModelStore.promote_over

    def late(self, change):
        self.promote(change.kind, 1, clock.now_s())
        return promote_over(self, change)

    monkeypatch.setattr(ModelStore, "promote_over", late)
    assert guard(shop.runtime) == []
    assert shop.live["recommendations"] == 1
    assert guard(shop.runtime) == [], "who goes back keeps it"
