"""A worker that sends, by a faster clock: what waits seconds to hours there waits less here.

Backoff grows to five seconds instead of an hour, that of events takes seconds instead of 75
hours; a spent quota of Salesforce rests one second instead of 900; jobs are asked about after 0.2 s
instead of five. How rows wait, and who wakes them, is as ever. Breakers, rests that are asked for
and leases are not shortened.
"""

from benchmarks.delivery_shop import work
from integrations.outbound import klaviyo, salesforce, schedule
from worker.delivery import ends, jobs


def hasten() -> None:
    """Shorten what waits, in this process."""
    ends.STATE_FIRST_S, ends.STATE_MAX_S = 0.25, 5.0
    schedule.STEPS_S = (0.2, 0.4, 0.8, *[1.6] * 6)
    salesforce._REST_S = 1.0
    klaviyo._LOOK_S = 0.2
    jobs._FIRST_ASK_MS = jobs._ASK_AGAIN_MS = 200


if __name__ == "__main__":
    hasten()
    work()
