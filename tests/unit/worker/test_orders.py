"""Work orders and their time limits: what is done for all customers has none."""

import worker.tasks  # noqa: F401  registers them
from worker.app import app, is_untimed


def test_what_is_done_for_all_customers_has_no_limit_and_is_never_done_twice():
    training = {name for name in app.tasks if name.startswith(("models.", "segments."))}
    untimed = {name for name in app.tasks if is_untimed(name)}
    assert untimed == training - {"models.retrain"}, "asking for a training takes no time"
    assert not [name for name in untimed if app.tasks[name].acks_late]
    assert not is_untimed("unknown")
