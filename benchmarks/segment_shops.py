"""Shops whose segments are measured: orders, the first day of a replay, the last closed window."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from benchmarks.shops import complete_journey
from models.history import Histories, from_orders

#: shop: first day of the replay, last cutoff for the meaning, its horizon
SHOPS = {
    "complete-journey": ("2017-04-01", "2017-12-03", 28),
    "cdnow": ("1997-07-01", "1998-04-01", 90),
    "online-retail": ("2010-12-01", "2011-09-10", 90),
}


class Shop(NamedTuple):
    """Orders of a shop; days count from its first one."""

    name: str
    past: Histories
    first: pd.Timestamp
    days: int
    start: int
    cutoff: int
    horizon_days: int


def read_shop(source: str) -> Shop:
    """Read orders; a shop that is not in SHOPS starts after a third of its time."""
    frame = complete_journey() if source == "complete-journey" else pd.read_parquet(source)
    if "kind" in frame:
        frame = frame[frame["kind"] == "order"]
    first = frame["ts"].min().normalize()
    day = ((frame["ts"] - first).dt.total_seconds() // 86_400).astype(int).to_numpy()
    customers, who = np.unique(frame["cust"].to_numpy(), return_inverse=True)
    minor = (frame["amount"].to_numpy(np.float64) * 100).round().astype(np.int64)
    past = from_orders(len(customers), who, day, minor, frame["skus"].to_numpy(np.int64))
    days = int(day.max()) + 1
    name = next((one for one in SHOPS if one in Path(source).stem), Path(source).stem)
    if name not in SHOPS:
        return Shop(name, past, first, days, days // 3, days - 90, 90)
    start, cutoff, horizon = SHOPS[name]
    starts, cuts = ((pd.Timestamp(one) - first).days for one in (start, cutoff))
    return Shop(name, past, first, days, starts, cuts, horizon)
