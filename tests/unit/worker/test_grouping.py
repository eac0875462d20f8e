"""Rows become the events that they mean, wherever the file happens to be cut."""

import json
import time

import pytest

from integrations.facts import Kind, read_events
from integrations.rejection import Rejected, RejectionError, rejected
from worker.cells import instant_reader, number_of, size_text
from worker.columns import ColumnsError, resolve
from worker.grouping import ORDER_FIELDS, Grouper, Shape
from worker.tables import Csv, JsonRows, Piece

AT = "2024-01-05T10:00:00Z"
SHAPE = Shape("shop", "USD", instant_reader(None, None))


def piece(first, *rows):
    """Rows as dicts of fields, beginning at a line."""
    columns = [[row.get(name) for row in rows] for name in ORDER_FIELDS]
    return Piece(range(first, first + len(rows)), columns, (), 0.0)


def row(customer="a", order="1", item="tea", **more):
    return {"customer_id": customer, "order_id": order, "at": AT, "item": item, **more}


def grouped(*pieces):
    grouper = Grouper(SHAPE)
    return [made for one in pieces for made in grouper.add(one)] + list(grouper.close())


def facts(made):
    return read_events([one.event for one in made], [int(time.time())] * len(made))


def test_rows_of_one_order_are_one_event_also_across_pieces():
    whole = grouped(piece(2, row(quantity="2"), row(item="cup"), row(order="2")))
    cut = grouped(piece(2, row(quantity="2")), piece(3, row(item="cup"), row(order="2")))
    assert sorted(whole) == sorted(cut)
    first, _ = facts(whole)
    assert first.lines == (("cup", 1000), ("tea", 2000))


def test_an_order_that_comes_back_after_a_whole_piece_is_told_not_overwritten():
    made = grouped(piece(2, row()), piece(3, row(order="2")), piece(4, row(item="cup")))
    refused = [one for one in made if isinstance(one.event, Rejected)]
    assert [(one.line, one.event.path) for one in refused] == [(4, "order_id")]
    assert "sort the file by order" in refused[0].event.detail


def test_without_an_order_id_customer_and_time_are_the_order():
    made = grouped(piece(2, row(order=None), row(order="", item="cup"), row("b", None)))
    anna, ben = facts(made)
    assert anna.lines == (("cup", 1000), ("tea", 1000))
    assert (ben.customer_id, ben.lines) == ("b", (("tea", 1000),))
    assert anna.order_id.startswith("#")


def test_a_negative_row_is_a_return_apart_from_its_order():
    made = grouped(piece(2, row(quantity=2, price=3.5), row(quantity=-1, price=3.5)))
    bought, back = facts(made)
    assert (bought.kind, bought.order_id, bought.amount_minor) == (Kind.ORDER, "1", 700)
    assert (back.kind, back.amount_minor, back.lines) == (Kind.REFUND, 350, (("tea", 1000),))
    assert back.order_id.startswith("#")


@pytest.mark.parametrize(
    ("rows", "minor"),
    [
        ([row(amount="1.10"), row(amount="2.20")], 330),
        ([row(total="9.90"), row(total="9.90")], 990),
        ([row(price="3", quantity="2"), row(price="1")], 700),
        ([row(amount="1.10"), row()], None),
        ([row(amount=0.1), row(amount=0.2)], 30),
    ],
)
def test_money_is_of_the_rows_or_of_the_order(rows, minor):
    (fact,) = facts(grouped(piece(2, *rows)))
    assert fact.amount_minor == minor


def test_the_same_rows_of_another_source_are_other_events():
    other = Grouper(SHAPE._replace(source="till"))
    ids = [
        json.loads(one.event)["messageId"]
        for grouper in (Grouper(SHAPE), other, Grouper(SHAPE))
        for one in [*grouper.add(piece(2, row())), *grouper.close()]
    ]
    assert ids[0] == ids[2] != ids[1]


def test_a_bad_cell_refuses_its_order_and_names_the_line():
    (made,) = grouped(piece(2, row(), row(quantity="two")))
    assert (made.event.reason, made.event.path) == ("bad_amount", "quantity")
    assert "(line 3)" in made.event.detail


def test_text_that_no_event_may_hold_is_refused():
    odd, long, order = grouped(piece(2, row("é\ud800"), row("b" * 300), row(order="9" * 300)))
    assert odd.event == rejected("not_json", "", "A text of the row is not Unicode.")
    assert [one.reason for one in facts([long, order])] == ["too_long", "too_long"]


def test_csv_tells_the_line_also_after_a_cell_with_a_line_break(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text('\ufeffa;b\n1;"x\ny"\n2\n3;z\n', encoding="utf-8")
    (found,) = Csv(file).pieces(["b", "a"], None)
    assert list(found.lines) == [3, 5]
    assert [list(cells) for cells in found.columns] == [["x\ny", "z"], ["1", "3"]]
    assert [line for line, _ in found.refused] == [4]
    assert found.done == 1.0


def test_json_rows_keep_numbers_as_they_were_written(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"a": 1.10}\n\n[1]\n{"b": 2}\n', encoding="utf-8")
    table = JsonRows(file)
    assert table.columns == ["a", "b"]
    (found,) = table.pieces(["a"], None)
    assert (found.columns, found.lines) == ([["1.10", None]], [1, 4])
    assert [line for line, _ in found.refused] == [3]


@pytest.mark.parametrize("bad", ["x", "1,5", "NaN", "1e999x"])
def test_what_is_no_number_is_refused(bad):
    with pytest.raises(RejectionError):
        number_of(bad)


def test_numbers_are_told_apart_by_type_before_they_are_kept():
    assert [size_text(value) for value in (1, 1.0, -1, "1.0", "")] == ["1", "1.0", "1", "1.0", None]


def test_a_total_beside_items_is_not_guessed():
    with pytest.raises(ColumnsError, match=r"--map amount=total .* --map total=total"):
        resolve(["user", "date", "sku", "total"], {}, ["customer_id", "at"])


@pytest.mark.parametrize(("value", "at_s"), [("05/01/2024 10:00", 1704448800)])
def test_times_have_the_form_that_is_given(value, at_s):
    from zoneinfo import ZoneInfo

    read = instant_reader(ZoneInfo("UTC"), "%d/%m/%Y %H:%M")
    assert read(value).timestamp() == at_s
    assert instant_reader(None, "unix_ms")(str(1000 * at_s)).timestamp() == at_s
