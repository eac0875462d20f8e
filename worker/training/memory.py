"""How much memory a training takes: measured, foretold, and refused where there is not enough.

A process that takes more than its machine has is killed without a word. So a training looks at how
much its arrays take while it reads the profiles, and ends with a sentence where the rest would not
fit.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

#: What a training takes at its peak, over what the arrays take that it reads (docs/training.md).
OVER_ARRAYS: Final = 3.0
#: What it takes however few customers there are: libraries, and fits on samples of bounded size.
FIXED_BYTES: Final = 300_000_000
#: Less tells nothing of the rest.
_LEAST_BYTES: Final = 32_000_000
_LEAST_SHARE: Final = 1 / 32
_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")
_MEMINFO: Final = Path("/proc/meminfo")
_GROUPS: Final = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


class MemoryShortError(RuntimeError):
    """A training would take more memory than there is."""


def begin_peak() -> None:
    """Let `peak_bytes` begin anew; where the system cannot, it stays that of the whole process."""
    with suppress(OSError):
        _CLEAR.write_text("5")


def peak_bytes() -> int:
    """Most memory that this process held since `begin_peak`."""
    told = _field(_STATUS, "VmHWM")
    if told is not None:
        return told
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


def used_bytes() -> int:
    """Memory that this process holds now."""
    told = _field(_STATUS, "VmRSS")
    return peak_bytes() if told is None else told


def available_bytes() -> int | None:
    """Memory that this process can still get, of its machine and its container; None = unknown."""
    rooms = [_field(_MEMINFO, "MemAvailable")]
    for limit, usage in _GROUPS:
        with suppress(OSError, ValueError):
            rooms.append(int(limit.read_text()) - int(usage.read_text()))
    known = [room for room in rooms if room is not None]
    return min(known) if known else None


class Guard:
    """Looks at a training while it reads its profiles.

    available, used  bytes; of this process unless given
    """

    def __init__(
        self,
        available: Callable[[], int | None] = available_bytes,
        used: Callable[[], int] = used_bytes,
    ) -> None:
        self._used = used
        self._begun = used()
        self._room = available()

    def look(self, share: float) -> None:
        """Foretell the peak from what was read.

        share   of the profiles, 0 to 1
        Raises  MemoryShortError: it would be more than there was room for at the beginning
        """
        taken = self._used() - self._begun
        if self._room is None or share < _LEAST_SHARE or taken < _LEAST_BYTES:
            return
        needed = int(OVER_ARRAYS * taken / share) + FIXED_BYTES
        if needed > self._room:
            raise MemoryShortError(
                f"a training would take about {_gigabytes(needed)} of memory, and there are"
                f" {_gigabytes(self._room)}: run the training worker on a larger machine"
            )


def _field(file: Path, name: str) -> int | None:
    """Kilobytes of a line such as `VmRSS:  1234 kB`, as bytes."""
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            if line.startswith(name + ":"):
                return 1024 * int(line.split()[1])
    return None


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
