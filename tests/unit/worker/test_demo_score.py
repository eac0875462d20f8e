"""How the demo scores lists, by an example that is counted by hand."""

import pytest

from worker.demo.score import Listed, score

#: Popular: tea 5, jam 4, cup 1, pot 1 (equal: by id).
HISTORY = {"a": {"tea": 3, "jam": 1}, "b": {"jam": 3, "tea": 2}, "c": {"cup": 1, "pot": 1}}
BOUGHT = {"a": {"tea", "cup"}, "b": {"honey"}, "c": {"cup", "pot", "tea"}, "nobody": {"tea"}}


def test_each_list_is_held_against_its_own_kind_of_purchase():
    listed = {
        "a": Listed(["jam", "tea"], ["honey"]),  # again: tea found; new: cup missed
        "b": Listed(["tea"], ["honey", "cup"]),  # nothing again; new: honey found
        "c": Listed(["pot"], ["jam"]),  # again: pot found of two; new: tea missed
        "silent": Listed(["tea"], ["jam"]),
    }
    told = score(listed, HISTORY, BOUGHT)
    again, new = told["buy_again"], told["new_for_you"]
    assert (again["customers"], new["customers"]) == (2, 3)
    assert again["ours"] == {"hit_rate": 1.0, "precision": 0.1, "recall": 0.75}
    assert again["most_frequent"] == {"hit_rate": 1.0, "precision": 0.15, "recall": 1.0}
    assert again["popular"] == {"hit_rate": 1.0, "precision": 0.15, "recall": 1.0}
    third = pytest.approx(1 / 3, abs=1e-4)
    assert new["ours"] == {"hit_rate": third, "precision": pytest.approx(1 / 30, abs=1e-4),
                           "recall": third}  # fmt: skip
    assert new["popular"]["hit_rate"] == pytest.approx(2 / 3, abs=1e-4), "a: cup, c: tea"
    assert "most_frequent" not in new, "own items are not new"


def test_only_ten_places_count():
    listed = {"a": Listed([f"i{n}" for n in range(10)] + ["tea"], [])}
    assert score(listed, HISTORY, BOUGHT)["buy_again"]["ours"]["hit_rate"] == 0
    told = score({}, HISTORY, BOUGHT)
    assert told["buy_again"] == told["new_for_you"] == {"customers": 0}
