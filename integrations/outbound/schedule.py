"""When to try again: full jitter around the schedule that Standard Webhooks recommends.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
(retry schedule); full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from typing import Final, Protocol

STEPS_S: Final = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Mean wait before attempt 2, 3, ... 10: 75 hours 35 minutes in all."""


class Rng(Protocol):
    """A source of uniform numbers, such as random.Random."""

    def random(self) -> float:
        """Uniform in [0, 1)."""
        ...


def delay_s(attempt: int, rng: Rng) -> float | None:
    """Seconds until the next attempt after `attempt` failed ones; None when none is left.

    attempt  attempts made so far, >= 1
    Returns  uniform in [0, 2 x step): the mean is the step, and receivers that failed together
             are not called together
    """
    if attempt < 1:
        raise ValueError("attempt counts from 1")
    if attempt > len(STEPS_S):
        return None
    return rng.random() * 2 * STEPS_S[attempt - 1]
