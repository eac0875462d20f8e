"""How the loops of this package are compiled.

The first use compiles into a cache beside the module (or in the user's cache folder), which later
processes load; `preparing.prepare` does it ahead and says so where this machine cannot.

>>> compiled(lambda x: x + 1)(2)
3
"""

from typing import Any

import numba


class KernelError(RuntimeError):
    """This machine cannot compile or load the kernels."""


def compiled(function: Any) -> Any:
    """Compile at the first call; without a folder to keep the result in, for this process only."""
    try:
        return numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no folder that it may write to
        return numba.njit(error_model="numpy")(function)
