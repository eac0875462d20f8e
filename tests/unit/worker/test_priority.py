"""A training takes the processor time that reactions leave."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

#: What a training worker does first, and what its system makes of it.
PROGRAM = """
import os
from worker.process import yield_processor
yield_processor(10)
print(os.nice(0), open("/proc/self/autogroup").read().split()[-1])
"""


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="sessions share as equals")
@pytest.mark.parametrize(("leads", "of_session"), [(True, 10), (False, 0)])
def test_the_session_of_a_supervised_worker_yields_with_it_and_nobody_elses(leads, of_session):
    program = [sys.executable, "-c", PROGRAM]
    if not leads:  # as from a shell: its session is the operator's
        program = ["sh", "-c", '"$@"; true', "sh", *program]
    done = subprocess.run(program, capture_output=True, check=True, start_new_session=True)
    assert done.stdout.split() == [b"%d" % min(19, os.nice(0) + 10), b"%d" % of_session]
