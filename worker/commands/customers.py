"""One customer: what is known, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.failures import RefusedError
from worker.session import session
from worker.terminal import AsJson, cell, examples, pairs, show, show_json, table

if TYPE_CHECKING:
    from worker.bootstrap import Runtime
    from worker.customer import Found

CustomerId = Annotated[str, typer.Argument(help="The customer's id, as the events spell it.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this group."""
    group = typer.Typer(no_args_is_help=True, help="One customer: what is known, and why.")
    group.command(
        "show",
        epilog=examples("crm-reflex customer show c-1", "crm-reflex customer show c-1 --json"),
    )(show_customer)
    group.command("why", epilog=examples("crm-reflex customer why c-1"))(why)
    app.add_typer(group, name="customer")


def show_customer(customer_id: CustomerId, as_json: AsJson = False) -> None:
    """Show a customer: profile, newest insight, delivery."""
    from worker.customer import record  # noqa: PLC0415  numpy: only where it is used

    with session() as active:
        found = record(active, _find(active, customer_id))
    if as_json:
        show_json(found)
        return
    _show_profile(found)
    if found["insight"] is None:
        waits = "a refresh is waiting" if found["refresh"]["waiting"] else "no refresh has run"
        show("", f"no insight yet: {waits}")
    else:
        _show_insight(found["insight"])
    show("", _delivery_table(found["delivery"]))


def why(customer_id: CustomerId, as_json: AsJson = False) -> None:
    """Tell why: which event, which features, which model, which reasons, which delivery."""
    from worker.why import explain  # noqa: PLC0415  numpy: only where it is used

    with session() as active:
        told = explain(active, _find(active, customer_id))
    if as_json:
        show_json(told)
    elif told["insight"] is None:
        show(f"{customer_id} has no insight yet: {told['reason']}")
    else:
        _show_explanation(told)


def _find(active: Runtime, customer_id: str) -> Found:
    from worker.customer import NoCustomerError, find  # noqa: PLC0415  numpy: only where it is used

    try:
        return find(active, customer_id)
    except NoCustomerError:
        waiting = sum(lag.entries for lag in active.door.lag())
        more = f"; {waiting} events wait to be applied" if waiting else ""
        raise RefusedError(f"no customer {customer_id!r} is known{more}") from None


def _show_profile(found: dict[str, Any]) -> None:
    profile = found["profile"]
    show(
        pairs(
            [
                ("shard", found["shard"]),
                ("first seen", profile["first_seen"]),
                ("last seen", profile["last_seen"]),
                ("orders", profile["orders"]),
                ("traits", _listed(profile["traits"])),
                ("consent", _listed(profile["consent"])),
                ("aliases", profile["aliases"]),
                ("group", profile["group"]),
            ],
            title=found["customer_id"],
        )
    )
    if profile["recent_orders"]:
        orders = [
            (
                one["at"],
                one["order_id"],
                _money(one["amount"], one["currency"]),
                _listed(one["items"]),
                "cancelled" if one["cancelled"] else "",
            )
            for one in profile["recent_orders"]
        ]
        show("", table(("order at", "id", "amount", "items", "state"), orders))
    if profile["recent_signals"]:
        signals = [(one["last"], one["signal"]) for one in profile["recent_signals"]]
        show("", table(("last at", "signal"), signals))


def _show_insight(insight: dict[str, Any]) -> None:
    segment = insight.get("segment")
    window = insight.get("next_order_window")
    currency = insight.get("currency")
    since = f"{segment['name']} (since {segment['since']})" if segment else None
    show(
        "",
        pairs(
            [
                ("as of", insight["as_of"]),
                ("segment", since),
                ("rule segments", [one["name"] for one in insight.get("audiences", ())]),
                ("alive", insight.get("p_alive")),
                ("buys within 30 d", insight.get("purchase_probability_30d")),
                ("buys within 90 d", insight.get("purchase_probability_90d")),
                ("churn probability", insight.get("churn_probability")),
                ("expected orders, 90 d", insight.get("expected_orders_90d")),
                ("expected spend, 90 d", _money(insight.get("expected_spend_90d"), currency)),
                ("lifetime value, 12 months", _money(insight.get("clv_12m"), currency)),
                ("next order", f"{window['p10']} to {window['p90']}" if window else None),
                ("forecasts rest on", insight.get("forecast_reliability")),
                *((f"no {name}", reason) for name, reason in insight.get("abstained", {}).items()),
            ],
            title=f"insight {insight['insight_version']}",
        ),
    )
    for name, title in (("buy_again", "buy again"), ("new_for_you", "new for you")):
        if items := insight.get(name):
            show("", _items_table(items, title))
    if similar := insight.get("similar_customers"):
        rows = [(one["customer_id"], one["score"]) for one in similar]
        show("", table(("similar customer", "cosine"), rows))


def _show_explanation(told: dict[str, Any]) -> None:
    event, features, insight = told["event"], told["features"], told["insight"]
    moved = " (the profile has moved on since: a newer one follows)"
    title = f"{told['customer_id']}: insight {insight['version']} as of {insight['as_of']}"
    show(title + (moved if insight["profile_moved_since"] else ""))
    if event["in_stream"]:
        rows = [(name.replace("_", " "), event[name]) for name in event if name != "in_stream"]
    else:
        rows = [("event id", event["event_id"]), ("entered at", "not in the stream any more")]
    show("", pairs(rows, title="event"))
    numbers = [
        ("recency, days", features["recency_days"]),
        ("frequency, days with orders", features["frequency_days"]),
        ("money", _money(features["money"], features["currency"])),
        ("first to last order, days", features["active_span_days"]),
        ("since first order, days", features["age_days"]),
    ]
    show("", pairs(numbers, title="features"))
    if features["nearest_segments"]:
        near = [
            (one["name"], one["id"], one["distance"], one["chosen"])
            for one in features["nearest_segments"]
        ]
        show("", table(("nearest segments", "id", "distance", "chosen"), near))
    if segment := features["segment"]:
        tables = _segment_tables if "runner_up" in segment else _lifecycle_tables
        show("", *tables(segment))
    if told["audiences"]:
        since = ((one["name"], f"since {one['since']}") for one in told["audiences"])
        show("", pairs(since, title="rule segments"))
    _show_models(told["models"])
    for name, title in (("buy_again", "buy again"), ("new_for_you", "new for you")):
        if told["reasons"][name]:
            show("", _items_table(told["reasons"][name], title))
    if told["abstained"]:
        show("", pairs(told["abstained"].items(), title="not told"))
    show("", _delivery_table(told["delivery"]))


def _segment_tables(segment: dict[str, Any]) -> list[Any]:
    """Why this segment, in words and numbers."""
    pending = segment["pending_id"]
    facts = [
        ("description", segment["description"]),
        ("", segment["description_zh"]),
        ("since", segment["since"]),
        ("before", segment["previous_id"]),
        ("runner-up", f"{segment['runner_up']['name']} ({segment['runner_up']['id']})"),
        ("margin", segment["margin"]),
        ("outlier score", segment["outlier"]),
        ("waits for", f"{pending} since {segment['pending_since']}" if pending else None),
    ]
    rows = [
        (one["feature"], one["value"], one["typical"], one["runner_up"], one["share"])
        for one in segment["because"]
    ]
    title = f"segment {segment['id']}: {segment['name']}, {segment['name_zh']}"
    columns = ("because of", "value", "here", "runner-up", "share")
    return [pairs(facts, title=title), "", table(columns, rows)]


def _lifecycle_tables(segment: dict[str, Any]) -> list[Any]:
    """Why this segment of customers who have not bought."""
    facts = [
        ("description", segment["description"]),
        ("", segment["description_zh"]),
        ("since", segment["since"]),
        ("before", segment["previous_id"]),
    ]
    rows = [
        (one["feature"], one["value"], one["at_most"], one["holds"]) for one in segment["because"]
    ]
    title = f"segment {segment['id']}: {segment['name']}, {segment['name_zh']}"
    columns = ("the first that holds decides", "value", "at most", "holds")
    return [pairs(facts, title=title), "", table(columns, rows)]


def _show_models(spoke: list[dict[str, Any]]) -> None:
    rows = [
        (
            one["kind"],
            one["version"],
            one.get("trigger") or one.get("problem"),
            one.get("as_of"),
            one.get("buyers"),
        )
        for one in spoke
    ]
    show("", table(("model", "version", "trained because", "on data until", "buyers"), rows))


def _items_table(items: list[dict[str, Any]], title: str) -> Any:
    return table(
        (title, "score", "because"), [(i["item_id"], i["score"], i["reason"]) for i in items]
    )


def _delivery_table(told: dict[str, Any]) -> Any:
    last = told["last_attempt"]
    return pairs(
        [
            ("state", f"{told['state']}: {told['why']}"),
            ("delivery id", told["delivery_id"]),
            ("attempts", told["attempts"]),
            ("last attempt", f"{last['at']} {last['outcome']} {last['detail']}" if last else None),
            ("the CRM holds insight", told["held_version"]),
            ("delivered at", told["delivered_at"]),
            ("due at", told["due_at"]),
        ],
        title="delivery",
    )


def _money(amount: float | None, currency: str | None) -> str | None:
    return None if amount is None else f"{amount:,.2f} {currency or ''}".rstrip()


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={cell(value)}" for name, value in values.items())
