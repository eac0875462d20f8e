"""The CDNOW sample, from the master file that is too large and not ours to keep in the repo."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.history import from_orders

_ROOT = Path(__file__).resolve().parents[3]
SHARED = Path(os.environ.get("SHARED_DATA_DIR") or _ROOT.parent / "shared")
MASTER = SHARED / "data" / "cdnow-master-orders.parquet"
SAMPLE_IDS = Path(__file__).with_name("cdnow_sample_ids.txt")
END_OF_CALIBRATION = int(np.datetime64("1997-09-30").astype(int))


@pytest.fixture(scope="session")
def cdnow():
    """Histories of the 2,357 customers whose figures the papers print, to 1998-06-30."""
    if not MASTER.is_file():
        pytest.skip(
            f"CDNOW NOT FOUND: {MASTER} is absent, so no published figure of the forecasts is "
            "checked; set SHARED_DATA_DIR to the folder above data/cdnow-master-orders.parquet"
        )
    orders = pd.read_parquet(MASTER)
    sample = np.array(SAMPLE_IDS.read_text().split(), dtype=np.int64)
    orders = orders[orders.cust.isin(sample)]
    return from_orders(
        len(sample),
        np.searchsorted(sample, orders.cust.to_numpy()),
        orders.ts.to_numpy().astype("datetime64[D]").astype(np.int64),
        (orders.amount.to_numpy().astype(np.float64) * 100).round().astype(np.int64),
    )


@pytest.fixture(scope="session")
def end_of_calibration():
    return END_OF_CALIBRATION
