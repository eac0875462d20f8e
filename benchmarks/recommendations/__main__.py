"""Measure recommendations: `python -m benchmarks.recommendations DATA --protocol temporal`.

DATA is a Parquet file with columns user, item, ts (or basket), optional qty and price; or the word
complete-journey. Every method has the same number of validation trials; nothing is tuned on test.
With --keep, figures of baselines are kept and not measured again; ours always are.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks.recommendations import ours
from benchmarks.recommendations.baselines import METHODS, Method
from benchmarks.recommendations.data import COMPLETE_JOURNEY, last_basket, load, temporal
from benchmarks.recommendations.kept import Kept
from benchmarks.recommendations.problem import MODES, Problem, candidates
from models.recommend.evaluate import Quality, bootstrap_mean, coverage, quality, top_items

K = 10
BLOCK = 256
#: Arguments that a baseline's figures depend on.
_COMPARED = (
    "data", "items", "protocol", "days", "min_buyers", "trials", "validation_users", "budget_s",
    "returns",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit 0."""
    args = _arguments(argv)
    threadpool_limits(1)
    purchases = load(args.data, args.items, returns=args.returns)
    slices = (
        temporal(purchases, args.days) if args.protocol == "temporal" else last_basket(purchases)
    )
    validation = Problem(slices.validation, purchases.text, args.min_buyers)
    test = Problem(slices.test, purchases.text, args.min_buyers)
    sample = validation.sample(args.validation_users)
    _tell(
        f"{test.users} users, {test.items} items, {len(test.user)} interactions;"
        f" {len(test.judged)} judged, {len(sample)} validate"
    )
    report: dict[str, Any] = {"modes": {mode: {} for mode in MODES}, "chosen": {}}
    answers: dict[str, dict[str, Quality]] = {}
    if not args.only or "ours" in args.only:
        answers["ours"] = _ours(validation, test, args.trials, report)
    kept = Kept(args.keep, {name: getattr(args, name) for name in _COMPARED})
    for name, method in METHODS.items():
        if not args.only or name in args.only:
            before = kept.load(name)
            if before is not None:
                answers[name], rows = before
                for mode, row in rows.items():
                    report["modes"][mode][name] = row
            else:
                try:
                    answers[name] = _baseline(name, method, validation, sample, test, args, report)
                except ImportError as error:
                    _tell(f"{name}: not measured: {error}")
                    continue
                rows = {mode: report["modes"][mode][name] for mode in answers[name]}
                kept.save(name, answers[name], rows)
            _compare(name, answers, report)
            _write(args.json, report)
    _write(args.json, report)
    _print(report)
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.recommendations",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("data", nargs="?", default=COMPLETE_JOURNEY, help="Parquet file, or that")
    parser.add_argument("--items", type=Path, help="attributes of items (Parquet or CSV, `item`)")
    parser.add_argument("--protocol", choices=("temporal", "last-basket"), default="temporal")
    parser.add_argument("--days", type=int, help="length of the window: 14, or 30 of a file")
    parser.add_argument("--min-buyers", type=int, help="of an item before T: 10, or 5 of a file")
    parser.add_argument("--trials", type=int, default=40, help="validation trials of each method")
    parser.add_argument("--validation-users", type=int, default=500, help="of a baseline's trials")
    parser.add_argument("--budget-s", type=float, default=float("inf"), help="CPU s of its trials")
    parser.add_argument("--returns", action="store_true", help="take returns back")
    parser.add_argument("--only", action="append", help="a method, or ours; repeat for more")
    parser.add_argument("--keep", type=Path, help="folder for figures of baselines")
    parser.add_argument("--json", type=Path, help="file for the figures")
    args = parser.parse_args(argv)
    days, buyers = (14, 10) if args.data == COMPLETE_JOURNEY else (30, 5)
    args.days = args.days or days
    args.min_buyers = args.min_buyers or buyers
    return args


def _ours(
    validation: Problem, test: Problem, trials: int, report: dict[str, Any]
) -> dict[str, Quality]:
    """Weights are learned on all of the validation slice, the settings chosen by its halves."""
    start = time.process_time()
    chosen, scores, ran = ours.choose(validation, validation.judged, trials)
    answers = {}
    for mode in MODES:
        params = chosen[mode]
        known = ours.collect(
            validation, validation.judged, params.half_life_days, params.k_neighbors
        )
        weights = ours.learn(known, mode, params.ridge)
        asked = ours.collect(test, test.judged, params.half_life_days, params.k_neighbors)
        best = ours.lists(asked, mode, weights, K)
        answers[mode] = ours.judge(asked, mode, best)
        row = _figures(answers[mode], best, test, {**params._asdict()}, ran)
        report["modes"][mode]["ours"] = row
        report["chosen"][mode] = {**params._asdict(), "validation_ndcg@10": round(scores[mode], 5)}
        if mode == "again":
            held = ours.lists(asked, mode, weights, K, held_back=True)
            ruled = ours.judge(asked, mode, held)
            report["modes"][mode]["ours, re-purchase rule on"] = {
                **_figures(ruled, held, test, {"rule": ours.rule()}, ran),
                "diff_vs_ours": _interval(ruled.ndcg - answers[mode].ndcg),
            }
        _tell(f"ours {mode}: {row['ndcg@10']:.4f} ({time.process_time() - start:.0f} s)")
    return answers


def _baseline(
    name: str,
    method: Method,
    validation: Problem,
    sample: NDArray[np.int64],
    test: Problem,
    args: argparse.Namespace,
    report: dict[str, Any],
) -> dict[str, Quality]:
    start, ran = time.process_time(), 0
    best: dict[str, tuple[float, int]] = {}
    trials = method.trials(args.trials)
    for number, params in enumerate(trials):
        if ran and time.process_time() - start > args.budget_s:
            break
        found = _judge(method, params, validation, sample)
        ran += 1
        for mode, (answer, _) in found.items():
            score = float(answer.ndcg.mean()) if len(answer.ndcg) else 0.0
            if mode not in best or score > best[mode][0]:
                best[mode] = score, number
    answers = {}
    measured = {
        number: _judge(method, trials[number], test, test.judged)
        for number in {number for _, number in best.values()}
    }
    for mode, (_, number) in best.items():
        answers[mode], lists = measured[number][mode]
        row = _figures(answers[mode], lists, test, trials[number], ran)
        report["modes"][mode][name] = row
    told = ", ".join(f"{mode} {report['modes'][mode][name]['ndcg@10']:.4f}" for mode in MODES)
    _tell(f"{name}: {told} ({ran} trials, {time.process_time() - start:.0f} s)")
    return answers


def _judge(
    method: Method, params: dict[str, Any], problem: Problem, users: NDArray[np.int64]
) -> dict[str, tuple[Quality, NDArray[np.int64]]]:
    """Score everything for some users, and rank the candidates of each mode."""
    ranked: dict[str, list[NDArray[np.int64]]] = {mode: [] for mode in MODES}
    scores = method.score(problem, users, **params)
    for start in range(0, len(users), BLOCK):
        block = scores[start : start + BLOCK]
        held = problem.held[users[start : start + BLOCK]]
        row, column = held.nonzero()
        for mode in MODES:
            part = block.copy()
            if mode == "new":
                part[row, column] = -np.inf
            elif mode == "again":
                part[:] = -np.inf
                part[row, column] = block[row, column]
            ranked[mode].append(top_items(part, K))
    found = {}
    for mode, parts in ranked.items():
        best = np.concatenate(parts)
        found[mode] = quality(best, candidates(problem, users, mode)[0]), best
    return found


def _figures(
    answer: Quality, best: NDArray[np.int64], problem: Problem, params: dict[str, Any], trials: int
) -> dict[str, Any]:
    n = len(answer.ndcg)
    return {
        "ndcg@10": round(float(answer.ndcg.mean()), 5),
        "recall@10": round(float(answer.recall.mean()), 5),
        "map@10": round(float(answer.average_precision.mean()), 5),
        "coverage": round(coverage(best, problem.items), 4),
        "se": round(float(answer.ndcg.std(ddof=1) / np.sqrt(n)), 5),
        "users": n,
        "params": params,
        "trials": trials,
    }


def _interval(difference: NDArray[np.float64]) -> list[float]:
    low, high = bootstrap_mean(difference, np.random.default_rng(11))
    return [round(low, 5), round(high, 5)]


def _compare(name: str, answers: dict[str, dict[str, Quality]], report: dict[str, Any]) -> None:
    """A baseline minus ours, paired by user: an interval below 0 says that ours is better."""
    mine = answers.get("ours")
    for mode, answer in answers.get(name, {}).items() if mine is not None else ():
        row = report["modes"][mode][name]
        row["diff_vs_ours"] = _interval(answer.ndcg - mine[mode].ndcg)


def _write(file: Path | None, report: dict[str, Any]) -> None:
    """What is measured so far: a long run that is ended leaves that."""
    if file is not None:
        file.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _print(report: dict[str, Any]) -> None:
    for mode, rows in report["modes"].items():
        print(f"\n{mode:28} NDCG@10  Recall@10  MAP@10  coverage   minus ours, 95 %")
        for name, row in sorted(rows.items(), key=lambda one: -one[1]["ndcg@10"]):
            low, high = row.get("diff_vs_ours", ("", ""))
            print(
                f"{name:28} {row['ndcg@10']:.4f}   {row['recall@10']:.4f}     {row['map@10']:.4f}"
                f"  {row['coverage']:.3f}      {low} .. {high}"
            )


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
