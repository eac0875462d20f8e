import pandas as pd
import pytest

from benchmarks.recommendations.data import load, temporal
from benchmarks.recommendations.problem import Problem


@pytest.mark.parametrize("number", [str, int])
def test_attributes_of_a_file_are_found_whatever_type_the_ids_have(tmp_path, number):
    lines = {"user": [1, 1], "item": [number("22423"), number("85123")]}
    stamps = pd.to_datetime(["2020-01-01", "2020-03-01"])
    pd.DataFrame({**lines, "ts": stamps}).to_parquet(tmp_path / "lines.parquet")
    items = tmp_path / "items.csv"
    items.write_text("item,name\n22423,red tea\n85123,blue cup\n")
    purchases = load(str(tmp_path / "lines.parquet"), items)
    problem = Problem(temporal(purchases, 30).test, purchases.text, 1)
    assert problem.text == ["name=red_tea"]
