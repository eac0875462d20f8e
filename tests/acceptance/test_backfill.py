"""`backfill` through the real command line, an embedded server and a real ingest worker."""

import csv
import json
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.acceptance.cli import Cli, json_lines, order_event
from tests.servers import eventually

pytestmark = [pytest.mark.xdist_group("backfill"), pytest.mark.timeout(240)]

HEAD = "user,invoice,date,sku,qty,unit_price"
ROWS = [
    "anna,1,2024-01-05 10:00:00,tea,2,3.50",
    "anna,1,2024-01-05 10:00:00,cup,1,9.00",
    "ben,2,2024-07-06 11:00:00,tea,1,3.50",
    "anna,C3,2024-02-01 10:00:00,cup,-1,9.00",
]
ONLINE_RETAIL = "data/online_retail_ii.parquet"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder whose embedded server has a real ingest worker and beat."""
    folder = tmp_path_factory.mktemp("shop")
    cli = Cli(folder, tick_interval_s=0.2, shards=8, backfill_window=2000)
    queues = [("worker", "--queue", "ingest"), ("beat",)]
    processes = [cli.start(*words, log=folder / f"{words[0]}.log") for words in queues]
    yield cli
    for process in processes:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
        process.wait()
    cli.run("status")  # the last user stops the server


def table(folder: Path, name: str, *rows: str) -> str:
    (folder / name).write_text("\n".join([HEAD, *rows]) + "\n", encoding="utf-8")
    return name


def orders(cli: Cli, customer: str) -> list[dict]:
    return cli.json("customer", "show", customer)["profile"]["recent_orders"]


def test_naive_times_are_refused_before_anything_is_sent(tmp_path):
    cli = Cli(tmp_path)
    done = cli.run("backfill", table(tmp_path, "orders.csv", *ROWS), code=1, process=True)
    assert "line 2 of orders.csv says no time zone" in done.err
    assert "--time-zone Europe/London" in done.err
    assert "nothing" not in done.out


def test_a_dry_run_tells_what_is_in_the_file_and_what_would_be_refused(tmp_path):
    bad = [",4,2024-01-05 10:00:00,tea,1,1", "ben,5,soon,tea,1,1", "ben,6,2024-01-05,tea,1,dear"]
    name = table(tmp_path, "orders.csv", *ROWS, *bad, "ben,7,2024-01-05,tea,1,1,1")
    told = Cli(tmp_path).json("backfill", name, "--time-zone", "Europe/London", "--dry-run")
    assert told["columns"] == {
        "customer_id": "user", "order_id": "invoice", "at": "date", "item": "sku",
        "quantity": "qty", "price": "unit_price",
    }  # fmt: skip
    assert told["by_name"] == {"Order Completed": 2, "Order Refunded": 1}
    assert (told["customers"], told["currencies"]) == (2, {"USD": 3})
    assert (told["first_day"], told["last_day"]) == ("2024-01-05", "2024-07-06")
    refused = {(one["line"], one["reason"]) for one in told["refused_lines"]}
    assert refused == {
        (6, "missing_customer"), (7, "bad_time"), (8, "bad_amount"), (9, "wrong_type")
    }  # fmt: skip
    assert not (tmp_path / ".crm-reflex").exists()


def test_columns_that_cannot_be_guessed_are_listed(tmp_path):
    (tmp_path / "odd.csv").write_text("who,wann,was\na,2024-01-01,tea\n", encoding="utf-8")
    done = Cli(tmp_path).run("backfill", "odd.csv", "--dry-run", code=1)
    assert "The columns are: who, wann, was" in done.err
    assert "--map customer_id=COLUMN,at=COLUMN" in done.err


def test_without_a_worker_it_says_so_and_everything_waits(tmp_path):
    cli = Cli(tmp_path, shards=4)
    name = table(tmp_path, "orders.csv", *ROWS)
    done = cli.run("backfill", name, "--time-zone", "UTC", "--json", process=True)
    assert json.loads(done.out)["waiting"] == 3
    assert "No ingest worker has reported lately" in done.err
    assert "start `crm-reflex up`" not in done.out


def test_a_file_enters_once_however_often_it_is_sent(shop):
    words = ["backfill", table(shop.folder, "orders.csv", *ROWS), "--time-zone", "Europe/London"]
    first = shop.json(*words, "--no-train", process=True)
    assert (first["sent"], first["applied"], first["waiting"]) == (3, 3, 0)
    before = shop.json("customer", "show", "anna"), shop.json("customer", "show", "ben")
    again = shop.json(*words, "--no-train", process=True)
    assert (again["sent"], again["applied"], again["duplicates"]) == (3, 0, 3)
    assert (shop.json("customer", "show", "anna"), shop.json("customer", "show", "ben")) == before
    (order,) = orders(shop, "anna")
    assert order["order_id"] == "1"
    assert order["items"] == {"tea": 2.0}  # the cup came back
    assert order["amount"] == 7.0
    (summer,) = orders(shop, "ben")
    assert summer["at"] == "2024-07-06T10:00:00Z"  # British Summer Time
    assert before[0]["refresh"]["waiting"]


def test_json_lines_are_sent_as_they_are(shop):
    at_s = int(time.time()) - 86_400
    lines = json_lines(
        order_event("carl", "j-1", at_s), "{broken", order_event("carl", "j-2", at_s)
    )
    (shop.folder / "events.jsonl").write_bytes(lines)
    told = shop.json("backfill", "events.jsonl", "--no-train", process=True)
    assert (told["events"], told["applied"]) == (2, 2)
    assert [one["line"] for one in told["refused_lines"]] == [2]
    assert {one["order_id"] for one in orders(shop, "carl")} == {"j-1", "j-2"}


def test_after_kill_9_it_goes_on_where_it_stopped(shop):
    with (shop.folder / "long.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD.split(","))
        for n in range(20_000):
            at = f"2024-{1 + n % 12:02}-{1 + n % 28:02}T10:00:00Z"
            writer.writerow([f"k{n % 500}", f"long-{n}", at, "tea", 1, "3.50"])
    is_new = not (shop.folder / ".crm-reflex").exists()  # tests run in any sequence
    before = 0 if is_new else shop.json("status")["stages"]["ingest"]["applied"]
    slow = Cli(shop.folder, tick_interval_s=0.2, shards=8, backfill_window=20)
    words = ["backfill", "long.csv", "--no-train"]
    process = slow.start(*words, log=shop.folder / "killed.log")
    kept = shop.folder / ".crm-reflex" / "backfill"
    eventually(
        lambda: process.poll() is not None or list(kept.glob("*.json")), within_s=90, every_s=0.05
    )
    assert process.poll() is None, "the backfill ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    told = shop.json(*words, process=True)
    assert told["skipped"] > 0
    assert told["skipped"] + told["sent"] == told["events"] == 20_000
    after = shop.json("status")["stages"]["ingest"]["applied"]
    assert after - before == 20_000
    assert shop.json("customer", "show", "k7")["profile"]["orders"] == 40
    assert not list(kept.glob("*.json"))


def test_a_shop_of_real_rows_enters_from_parquet(shop):
    beside = Path(__file__).resolve().parents[3] / "shared"
    file = Path(os.environ.get("SHARED_DATA_DIR", beside)) / ONLINE_RETAIL
    if not file.exists():
        pytest.skip(f"{file} is not there: set SHARED_DATA_DIR")
    words = ["--time-zone", "Europe/London", "--currency", "GBP", "--limit", "4000", "--no-train"]
    told = shop.json("backfill", str(file), *words, process=True)
    assert told["waiting"] == 0
    assert told["applied"] == told["events"] > 100
    assert set(told["by_name"]) == {"Order Completed", "Order Refunded"}
    assert told["refused"] == 0
    shown = shop.json("customer", "show", "13085")["profile"]
    assert shown["recent_orders"][-1]["at"] == "2009-12-01T07:45:00Z"
