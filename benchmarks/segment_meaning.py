"""What six segments tell of the next window, against the score they are made of and the rules."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.segment_shops import Shop
from models.features import FeatureSet, feature_matrix, fit_features
from models.history import cut
from models.segments.fit import fit_matrix
from models.segments.model import nearest_ids


def meaning(shop: Shop, k: int) -> dict[str, float]:
    """What the segments of the closed window tell of the next one."""
    cutoff, horizon = shop.cutoff, shop.horizon_days
    known = cut(shop.past, cutoff)
    shipped = fit_features("shipped", known, cutoff, horizon_days=horizon)
    nine = FeatureSet("rfm_behaviour", np.ones(9))
    then, now = (_snapshot(shop, shipped, day) for day in (cutoff - horizon, cutoff))
    width = len(nine.columns)
    figures = {"score_auc": roc_auc_score(now[1], now[0][:, width])}
    for name, features, columns in (
        ("ours_auc", shipped, slice(None)),
        ("rfm_behaviour_auc", nine, slice(0, width)),
    ):
        tables = then[0][:, columns], now[0][:, columns]
        model = fit_matrix(tables[1], features, rng=np.random.default_rng(0), k=k)
        groups = [nearest_ids(model, table) for table in tables]
        figures[name] = roc_auc_score(now[1], _told(groups[0], then[1], groups[1]))
    rules = [_quintile_rules(table[:, :3]) for table, _ in (then, now)]
    figures["rfm_rules_auc"] = roc_auc_score(now[1], _told(rules[0], then[1], rules[1]))
    figures["kept_pct"] = 100 * figures["ours_auc"] / figures["score_auc"]
    return {name: round(float(value), 4) for name, value in figures.items()}


def _snapshot(shop: Shop, features: FeatureSet, today: int) -> tuple[np.ndarray, np.ndarray]:
    table = feature_matrix(features, cut(shop.past, today), today)
    inside = (shop.past.day >= today) & (shop.past.day < today + shop.horizon_days)
    customer = np.repeat(np.arange(len(table)), np.diff(shop.past.starts))
    bought = np.bincount(customer[inside], minlength=len(table)) > 0
    known = table[:, 1] > 0
    return table[known], bought[known].astype(np.float64)


def _told(closed: np.ndarray, outcome: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The mean outcome of each customer's group in the closed window, shrunk by five."""
    mean = outcome.mean()
    rate = {
        group: (outcome[closed == group].sum() + 5 * mean) / ((closed == group).sum() + 5)
        for group in np.unique(closed)
    }
    return np.array([rate.get(group, mean) for group in groups])


def _quintile_rules(rfm: np.ndarray) -> np.ndarray:
    """Nine groups by quintiles of recency, frequency and money: the textbook's rules."""
    scores = []
    for values in (-rfm[:, 0], rfm[:, 1], rfm[:, 2]):
        edges = np.unique(np.quantile(values, [0.2, 0.4, 0.6, 0.8]))
        scores.append(1 + np.searchsorted(edges, values, side="right"))
    r, f, m = scores
    fm = (f + m) / 2
    rules = [
        (r >= 4) & (fm >= 4),
        (r >= 3) & (fm >= 3.5),
        (r >= 4) & (f <= 1.5),
        (r >= 4) & (fm < 3.5),
        (r == 3) & (fm < 3.5),
        (r <= 2) & (fm >= 4.5),
        (r <= 2) & (fm >= 3),
        (r == 2),
    ]
    return np.select(rules, range(8), 8)
