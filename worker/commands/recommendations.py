"""Recommendations: explain a list, what goes well together, who is alike, how lists have done."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import typer

from worker.failures import RefusedError
from worker.session import session
from worker.terminal import AsJson, examples, pairs, show, show_json, table

Count = Annotated[int, typer.Option("--count", "-n", min=1, max=100, help="Items a list.")]
Method = Literal[
    "mean-of-similar-users",
    "user-knn-cosine",
    "user-knn-pearson",
    "user-knn-euclidean",
    "popularity",
]
_UNITS = {"h": 3_600, "d": 86_400, "w": 604_800}


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    app.command(
        epilog=examples(
            "crm-reflex recommend c-1",
            "crm-reflex recommend c-1 --method user-knn-pearson",
            "crm-reflex recommend --item tea",
            "crm-reflex recommend --cart tea --cart cup --json",
        )
    )(recommend)
    app.command(
        epilog=examples("crm-reflex similar c-1 --count 5", "crm-reflex similar c-1 --by pearson")
    )(similar)
    group = typer.Typer(no_args_is_help=True, help="How the lists have done.")
    group.callback()(_group)
    group.command("report", epilog=examples("crm-reflex recommendations report --since 30d"))(
        report
    )
    app.add_typer(group, name="recommendations")


def _group() -> None:
    """Nothing of its own: it keeps `report` a word of its own."""


def recommend(
    customer_id: Annotated[
        str | None, typer.Argument(help="Explain this customer's lists.")
    ] = None,
    item: Annotated[str | None, typer.Option(help="What goes well with this item.")] = None,
    cart: Annotated[
        list[str] | None, typer.Option(help="What goes well with these items; repeat it.")
    ] = None,
    method: Annotated[
        Method | None, typer.Option(help="A plain method instead of the blend, to compare.")
    ] = None,
    count: Count = 10,
    as_json: AsJson = False,
) -> None:
    """Recommend now, from the live model: to a customer, or to an item or a cart.

    For a customer each item tells what every member of the blend says for it; nothing is sent.
    """
    from worker.recommending import (  # noqa: PLC0415  numpy: where used
        goes_well,
        recommended,
        recommended_by,
    )

    asked = ([item] if item else []) + list(cart or [])
    if (customer_id is None) == (not asked):
        raise typer.BadParameter("give a CUSTOMER, or --item or --cart")
    if method and asked:
        raise typer.BadParameter("--method is about a CUSTOMER")
    with session() as active:
        if customer_id is None:
            found = goes_well(active, asked, count)
            if as_json:
                show_json(found)
            else:
                _show_items(found, "goes well with " + ", ".join(asked))
            return
        if method:
            _show_plain(method, recommended_by(active, method, customer_id, count), as_json=as_json)
            return
        told = recommended(active, customer_id, count)
    if as_json:
        show_json(told)
    else:
        _show_lists(told)


def _show_plain(method: str, items: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        show_json(items)
        return
    rows = [(one["item_id"], one["score"], "yes" if one["known"] else "no") for one in items]
    show(table((method, "score", "bought or seen before"), rows))


def similar(
    customer_id: Annotated[str, typer.Argument()],
    by: Annotated[
        Literal["cosine", "pearson", "euclidean"] | None,
        typer.Option(help="How alike; else as the live model makes its lists."),
    ] = None,
    count: Count = 10,
    as_json: AsJson = False,
) -> None:
    """Who is like a customer, and which items they have in common."""
    from models.recommend.neighbors import Similarity  # noqa: PLC0415  numpy: where used
    from worker.recommending import similar_to  # noqa: PLC0415  same

    with session() as active:
        found = similar_to(active, customer_id, count, by and Similarity[by.upper()])
    if as_json:
        show_json(found)
        return
    rows = [
        (one["customer_id"], one["score"], one["items_in_common"], ", ".join(one["such_as"]))
        for one in found
    ]
    show(table(("similar customer", by or "alike", "items in common", "such as"), rows))


def report(
    since: Annotated[str, typer.Option(help="How far back: 12h, 30d, 4w.")] = "30d",
    click_days: Annotated[
        float | None, typer.Option(help="A click counts so long after a view; else as set.")
    ] = None,
    purchase_days: Annotated[
        float | None, typer.Option(help="A purchase counts so long after a click; else as set.")
    ] = None,
    view_hours: Annotated[
        float | None, typer.Option(help="The same after a view without a click; else as set.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What was shown, clicked and bought, with 95 % intervals, by list and by member.

    Shown and clicked come from `Recommendation Shown` and `Recommendation Clicked` events;
    purchases are net of refunds. The last line compares with the customers of the holdout.
    """
    from worker.attribution import Windows  # noqa: PLC0415  numpy: only where it is used
    from worker.recommending import report as make  # noqa: PLC0415  same

    length_s = _length_s(since)
    with session() as active:
        as_set = active.settings
        windows = Windows(
            int((click_days or as_set.click_days) * 86_400),
            int((purchase_days or as_set.purchase_days) * 86_400),
            int((view_hours or as_set.view_hours) * 3_600),
        )
        told = make(active, active.clock.now_s() - length_s, windows)
    if as_json:
        show_json(told)
    else:
        _show_report(told)


def _length_s(text: str) -> int:
    found = re.fullmatch(r"(\d{1,5})([hdw])", text.strip())
    if found is None:
        raise RefusedError(f"--since {text}: should be a number and h, d or w, such as 30d")
    return int(found[1]) * _UNITS[found[2]]


def _show_lists(told: dict[str, Any]) -> None:
    show(
        pairs(
            [
                ("model version", told["model_version"]),
                ("similar customers asked", told["similar_customers_asked"]),
                ("in the holdout", "yes: nothing is pushed" if told["in_holdout"] else "no"),
                ("resting items", ", ".join(told["resting"]) or None),
            ],
            title=told["customer_id"],
        )
    )
    for name, title in (("buy_again", "buy again"), ("new_for_you", "new for you")):
        _show_items(told[name], title)


def _show_items(items: list[dict[str, Any]], title: str) -> None:
    if not items:
        show("", f"{title}: nothing")
        return
    rows = [
        (
            one["item_id"],
            one["score"],
            one["reason"],
            ", ".join(f"{name} {value:+.2f}" for name, value in one.get("members", {}).items()),
        )
        for one in items
    ]
    show("", table((title, "score", "because", "members"), rows))


def _show_report(told: dict[str, Any]) -> None:
    groups = {"all": told["all"]}
    groups |= {f"list {name}": one for name, one in told["lists"].items()}
    groups |= {f"member {name}": one for name, one in told["members"].items()}
    groups |= {f"version {name}": one for name, one in told["versions"].items()}
    rows = [
        (
            name,
            one["shown"],
            one["clicked"],
            one["bought"],
            _interval(one["click_rate"]),
            _interval(one["purchase_rate"]),
        )
        for name, one in groups.items()
    ]
    show(table(("", "shown", "clicked", "bought", "click rate", "purchase rate"), rows))
    counts, bought = told["customers"], told["bought_since"]
    show(
        "",
        table(
            ("customers who bought again", "customers", "share"),
            [
                ("holdout", counts["holdout"], _interval(bought["holdout"])),
                ("others", counts["others"], _interval(bought["others"])),
                ("difference", "", _interval(bought["difference"])),
            ],
        ),
    )


def _interval(one: dict[str, float] | None) -> str | None:
    return None if one is None else f"{one['rate']:.2%} ({one['low']:.2%} .. {one['high']:.2%})"
