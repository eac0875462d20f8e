"""Run the measurements, one after another: `python -m benchmarks [NAME ...] [--out FOLDER]`.

pipeline      ingest against one Celery task per event; reaction; memory of a customer
latency       from XADD to the CRM's receipt at 200 events/s
neighbors     similar customers under events: time, exactness, memory, others' lists
delivery      calls saved and limits used, rows/s against a bare loop, recovery from an outage
replay_check  20 worker kills and 3 server kills under 50,000 events, compared with a replay
watchdog      who hangs is ended within 45 s, nobody while the server is away for 60 s (minutes)
segments      a year replayed: segments that follow, stay and mean something (a minute)
forecasts     our choice of forecast on Complete Journey beside its peers (minutes)
refresh       CPU of refreshing forecasts, level 1 and 2, and of a fit
pushes        how many customers a day hear from us of silence alone
retraining    alarms and policies of training anew, replayed (minutes)
recommendations  quality on Complete Journey beside the methods of the field (an hour)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    delivery,
    forecasts,
    latency,
    neighbors,
    pipeline,
    pushes,
    refresh,
    replay_check,
    retraining,
    segments,
    watchdog,
)
from benchmarks.recommendations import __main__ as recommendations

ALL: dict[str, Callable[[Sequence[str]], int]] = {
    "latency": latency.main,
    "neighbors": neighbors.main,
    "delivery": delivery.main,
    "replay_check": replay_check.main,
    "watchdog": watchdog.main,
    "pipeline": pipeline.main,
    "segments": segments.main,
    "forecasts": forecasts.main,
    "refresh": refresh.main,
    "pushes": pushes.main,
    "retraining": retraining.main,
    "recommendations": recommendations.main,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; exit 1 when a measurement found an error."""
    parser = argparse.ArgumentParser(
        prog="benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ALL))
    parser.add_argument("--out", type=Path, help="folder for a JSON file of each")
    args = parser.parse_args(argv)
    unknown = set(args.names) - set(ALL)
    if unknown:
        parser.error(f"no measurement {', '.join(sorted(unknown))}; known: {', '.join(ALL)}")
    worst = 0
    for name in args.names or ALL:
        print(f"== {name}", file=sys.stderr, flush=True)
        options: list[str] = []
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            options = ["--json", str(args.out / f"{name}.json")]
        worst = max(worst, ALL[name](options))
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
