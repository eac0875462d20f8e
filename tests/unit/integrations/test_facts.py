"""What events say: names, identity, customers, registers, and what is refused."""

import json

import pytest

from integrations.facts import (
    DEFAULT_TRAITS,
    EventFact,
    Kind,
    Reading,
    Rejected,
    customer_of,
    read_events,
)
from integrations.inbound.names import CANONICAL, ORDER_KINDS

DEFAULT = Reading()
NOW = 1_795_341_672  # 2026-11-22T10:01:12Z


def raw(**event):
    return json.dumps(event).encode()


def read(event, *, at=NOW, reading=DEFAULT):
    body = event if isinstance(event, bytes) else json.dumps(event).encode()
    (result,) = read_events([body], [at], reading)
    return result


def track(name="Product Viewed", /, **fields):
    event = {"type": "track", "event": name, "userId": "u1", "messageId": "m1"}
    return event | {"timestamp": "2026-11-22T10:00:00Z"} | fields


def fact(event, **how):
    result = read(event, **how)
    assert isinstance(result, EventFact), result
    return result


def refused(event, **how):
    result = read(event, **how)
    assert isinstance(result, Rejected), result
    assert result.detail.endswith(".")
    return result.reason, result.path


class TestSignals:
    def test_a_product_view_is_a_signal_on_its_item(self):
        seen = fact(track(properties={"product_id": "p1", "sku": "s1", "price": "any"}))
        assert seen[3:9] == ("u1", 1_795_341_600, True, Kind.SIGNAL, "Product Viewed", ("p1",))
        assert seen[9:] == ("", "", None, (), ())

    def test_items_are_distinct_and_in_the_order_of_the_event(self):
        products = [{"sku": "b"}, {"product_id": 7}, {"sku": "b"}, {"name": "no id"}]
        seen = fact(track("Product List Viewed", properties={"products": products}))
        assert seen.items == ("b", "7")

    def test_a_recommendation_names_items_as_ids_or_objects(self):
        seen = fact(track("Recommendation Shown", properties={"items": ["a", 2, {"sku": "c"}]}))
        assert seen.items == ("a", "2", "c")

    def test_items_of_other_events_have_their_own_meaning(self):
        assert fact(track("Newsletter Sent", properties={"items": 12})).items == ()

    @pytest.mark.parametrize("name", CANONICAL)
    def test_every_alias_and_spelling_means_the_canonical_name(self, name):
        for spelled in (name, *CANONICAL[name], name.lower().replace(" ", "_"), f" {name.upper()}"):
            properties = {"order_id": "o1", "categories": {"email": True}}
            seen = fact(track(spelled, properties=properties))
            assert seen.signal == name
            assert seen.kind == ORDER_KINDS.get(name, seen.kind)

    def test_an_unknown_event_is_a_signal_under_its_own_name(self):
        seen = fact(track(" Badge Won "))
        assert (seen.kind, seen.signal) == (Kind.SIGNAL, "Badge Won")

    @pytest.mark.parametrize(
        ("call", "signal"), [("page", "Page Viewed"), ("screen", "Screen Viewed")]
    )
    def test_page_and_screen_are_signals(self, call, signal):
        seen = fact({"type": call, "userId": "u1", "properties": {"product_id": "p1"}})
        assert (seen.kind, seen.signal, seen.items) == (Kind.SIGNAL, signal, ("p1",))

    def test_null_means_absent(self):
        event = track(properties=None, context=None, anonymousId=None, originalTimestamp=None)
        assert fact(event).items == ()


class TestIdentity:
    def test_the_customer_is_the_user_else_the_anonymous_id(self):
        assert fact(track(anonymousId="a1")).customer_id == "u1"
        assert fact(track(userId=None, anonymousId="a1")).customer_id == "a1"
        assert fact(track(userId="", anonymousId="a1")).customer_id == "a1"
        assert fact(track(userId=42)).customer_id == "42"

    def test_the_message_id_is_the_identity(self):
        first, other = fact(track()), fact(track(messageId="m2"))
        assert first.event_id == "m1"
        assert len(first.id_hash) == 8
        assert first.id_hash != other.id_hash
        assert first.digest == other.digest

    def test_transport_fields_change_neither_identity_nor_meaning(self):
        sent = track(messageId=None)
        again = sent | {
            "sentAt": "2026-11-22T11:00:00Z",
            "receivedAt": "x",
            "integrations": {"All": True},
            "version": 2,
            "channel": "server",
        }
        del sent["messageId"]
        reordered = dict(reversed(again.items()))
        facts = [fact(event) for event in (sent, again, reordered)]
        assert len(set(facts)) == 1
        assert len(facts[0].event_id) == 32

    def test_without_an_id_other_content_is_another_event(self):
        one, two = (fact(track(messageId=None, properties={"x": n})) for n in (1, 2))
        assert one.id_hash != two.id_hash

    def test_what_is_not_read_does_not_count_as_meaning(self):
        assert fact(track()).digest == fact(track(context={"ip": "1.2.3.4"}, extra=1)).digest

    @pytest.mark.parametrize(
        "change",
        [
            {"userId": "u2"},
            {"timestamp": "2026-11-22T10:00:01Z"},
            {"event": "Product Added"},
            {"properties": {"product_id": "p2"}},
            {"context": {"consent": {"categoryPreferences": {"email": True}}}},
        ],
    )
    def test_what_is_read_counts_as_meaning(self, change):
        base = track(properties={"product_id": "p1"})
        assert fact(base).digest != fact(base | change).digest

    def test_an_event_without_a_time_means_the_same_at_any_entry_time(self):
        event = track(timestamp=None)
        early, late = fact(event, at=NOW), fact(event, at=NOW + 86_400)
        assert (early.timed, early.at_s, late.at_s) == (False, NOW, NOW + 86_400)
        assert early.digest == late.digest

    def test_the_digest_does_not_change_between_releases(self):
        """Remembered digests are compared with those of later releases."""
        order = track(
            "Order Completed",
            properties={
                "order_id": "o1",
                "revenue": 22.5,
                "products": [{"sku": "é", "quantity": 2}],
            },
        )
        assert [fact(track()).digest, fact(order).digest] == [977555197, 3032419730]


class TestTime:
    @pytest.mark.parametrize(
        ("text", "at_s"),
        [
            ("2026-11-22T10:00:00Z", 1_795_341_600),
            ("2026-11-22T10:00:00.999Z", 1_795_341_600),
            ("2026-11-22T10:00:00.123456789+00:00", 1_795_341_600),
            ("2026-11-22T15:30:00+05:30", 1_795_341_600),
            ("1970-01-01T00:00:00Z", 0),
            ("2026-10-25T02:30:00+01:00", 1_792_891_800),
        ],
    )
    def test_times_with_a_zone_are_read_to_the_second(self, text, at_s):
        assert fact(track(timestamp=text)).at_s == at_s

    def test_timestamp_wins_over_original_timestamp_over_the_entry(self):
        earlier = "2026-11-22T09:00:00Z"
        assert fact(track(originalTimestamp=earlier)).at_s == 1_795_341_600
        assert fact(track(timestamp=None, originalTimestamp=earlier)).at_s == 1_795_338_000
        assert fact(track(timestamp=None)).at_s == NOW

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("2026-11-22T10:00:00", "naive_time"),
            ("2026-11-22", "naive_time"),
            ("22.11.2026 10:00", "bad_time"),
            ("", "bad_time"),
            ("1795341600", "bad_time"),
            (1_795_341_600, "wrong_type"),
            (1_795_341_600_000, "wrong_type"),
            ("1969-12-31T23:59:59Z", "time_out_of_range"),
            ("9001-01-01T00:00:00Z", "time_out_of_range"),
            ("2026-11-22T10:06:13Z", "future_time"),
            ("x" * 65, "too_long"),
        ],
    )
    def test_other_times_are_refused(self, value, reason):
        assert refused(track(timestamp=value)) == (reason, "timestamp")

    def test_five_minutes_ahead_of_the_entry_is_the_limit(self):
        assert fact(track(timestamp="2026-11-22T10:06:12Z")).at_s == NOW + 300


class TestRegisters:
    def test_identify_keeps_the_allowed_traits_and_nothing_personal(self):
        traits = {
            "email": "a@example.com",
            "phone": "+1",
            "firstName": "Ann",
            "address": {"country": "DE", "city": "Berlin", "street": "X 1"},
            "company": {"name": "ACME", "industry": "tools", "plan": "pro"},
            "language": "de",
            "gender": None,
            "createdAt": 1_700_000_000,
        }
        seen = fact({"type": "identify", "userId": "u1", "traits": traits})
        assert (seen.kind, seen.signal) == (Kind.REGISTERS, "")
        assert seen.registers == (
            ("trait:city", "Berlin"),
            ("trait:company", "ACME"),
            ("trait:country", "DE"),
            ("trait:createdAt", 1_700_000_000),
            ("trait:gender", None),
            ("trait:industry", "tools"),
            ("trait:language", "de"),
            ("trait:plan", "pro"),
        )

    def test_other_traits_are_kept_when_the_operator_says_so(self):
        event = {"type": "identify", "userId": "u1", "traits": {"tier": 1.5, "country": "DE"}}
        seen = fact(event, reading=Reading(traits=frozenset({"tier"})))
        assert seen.registers == (("trait:tier", "1.5"),)
        assert "email" not in DEFAULT_TRAITS

    @pytest.mark.parametrize(
        ("traits", "reason", "path"),
        [
            ({"country": ["DE"]}, "wrong_type", "traits.country"),
            ({"country": "x" * 201}, "too_long", "traits.country"),
            ({"address": {"city": "a\u0000b"}}, "control_character", "traits.address.city"),
            ({"company": {"name": {}}}, "wrong_type", "traits.company.name"),
        ],
    )
    def test_a_kept_trait_of_another_form_is_refused(self, traits, reason, path):
        assert refused({"type": "identify", "userId": "u1", "traits": traits}) == (reason, path)

    def test_consent_in_the_context_of_any_call_is_a_register(self):
        context = {"consent": {"categoryPreferences": {"email": True, "ads": False}}}
        consents = (("consent:ads", False), ("consent:email", True))
        assert fact(track(context=context)).registers == consents
        order = track("Order Completed", context=context, properties={"order_id": "o1"})
        assert fact(order).registers == consents
        assert fact({"type": "page", "userId": "u1", "context": context}).registers == consents

    def test_unsubscribed_is_a_signal_and_withdraws_consent_to_email(self):
        context = {"consent": {"categoryPreferences": {"email": True}}}
        seen = fact(track("Email Unsubscribed", context=context))
        assert (seen.kind, seen.signal) == (Kind.SIGNAL, "Unsubscribed")
        assert seen.registers == (("consent:email", False),)

    @pytest.mark.parametrize("field", ["categories", "categoryPreferences"])
    def test_consent_updated_carries_its_categories(self, field):
        seen = fact(track("Consent Updated", properties={field: {"sms": False}}))
        assert (seen.kind, seen.registers) == (Kind.REGISTERS, (("consent:sms", False),))

    def test_consent_updated_without_categories_is_refused(self):
        assert refused(track("Consent Updated")) == ("missing_field", "properties.categories")
        event = track("Consent Updated", properties={"categories": {"sms": "yes"}})
        assert refused(event) == ("wrong_type", "properties.categories")

    def test_alias_and_group(self):
        alias = {"type": "alias", "userId": "u1", "previousId": "anon-7"}
        assert fact(alias).registers == (("alias:anon-7", True),)
        group = {"type": "group", "userId": "u1", "groupId": 12}
        assert fact(group).registers == (("group", "12"),)
        assert refused({"type": "alias", "userId": "u1"}) == ("missing_field", "previousId")
        assert refused(group | {"groupId": ""}) == ("missing_field", "groupId")


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "not_json"),
            (b"\xff", "not_json"),
            (b'{"type":"\xff"}', "not_json"),
            (b"\xef\xbb\xbf{}", "not_json"),
            (b"{} {}", "not_json"),
            (b'{"a":"\\ud800"}', "not_json"),
            (b'{"a":' + b"9" * 5000 + b"}", "not_json"),
            (b"[]", "not_an_object"),
            (b"null", "not_an_object"),
            (b'{"type":"track","type":"page"}', "duplicate_key"),
            (b'{"a":{"\\u0061":1,"a":2}}', "duplicate_key"),
            (b'{"a":NaN}', "not_finite"),
            (b'{"a":-Infinity}', "not_finite"),
            (b'{"a":' + b"[" * 32 + b"]" * 32 + b"}", "too_deep"),
            (b"[" * 100_000, "too_deep"),
            (b'{"a":"' + b"x" * 262_144 + b'"}', "too_large"),
            (b"{}", "unknown_type"),
            (b'{"type":"order"}', "unknown_type"),
            (b'{"type":7}', "unknown_type"),
        ],
    )
    def test_bytes_that_are_no_event(self, body, reason):
        assert refused(body)[0] == reason
        assert isinstance(customer_of(body), Rejected)

    def test_brackets_in_strings_are_not_depth(self):
        assert fact(track(note="[{" * 100, nested=[[]] * 40)).items == ()

    def test_the_deepest_event_that_is_allowed(self):
        nested = json.loads("[" * 31 + "]" * 31)
        assert fact(track(nested=nested)).items == ()

    @pytest.mark.parametrize(
        ("change", "reason", "path"),
        [
            ({"userId": None}, "missing_customer", ""),
            ({"userId": ""}, "missing_customer", ""),
            ({"userId": True}, "wrong_type", "userId"),
            ({"userId": 1.5}, "wrong_type", "userId"),
            ({"userId": -1}, "wrong_type", "userId"),
            ({"userId": ["u1"]}, "wrong_type", "userId"),
            ({"userId": "u" * 201}, "too_long", "userId"),
            ({"userId": "u\u0000"}, "control_character", "userId"),
            ({"userId": "u\n"}, "control_character", "userId"),
            ({"anonymousId": "\u0085"}, "control_character", "anonymousId"),
            ({"messageId": "m" * 201}, "too_long", "messageId"),
            ({"event": ""}, "missing_field", "event"),
            ({"event": "  "}, "missing_field", "event"),
            ({"event": "e" * 101}, "too_long", "event"),
            ({"event": None}, "wrong_type", "event"),
            ({"properties": []}, "wrong_type", "properties"),
            ({"properties": {"products": {}}}, "wrong_type", "properties.products"),
            ({"properties": {"products": [1]}}, "wrong_type", "properties.products.0"),
            (
                {"properties": {"products": [{"sku": {}}]}},
                "wrong_type",
                "properties.products.0.sku",
            ),
            ({"properties": {"product_id": "\t"}}, "control_character", "properties.product_id"),
            ({"context": {"consent": []}}, "wrong_type", "context.consent"),
            (
                {"context": {"consent": {"categoryPreferences": {"ann@example.com": 1}}}},
                "wrong_type",
                "context.consent.categoryPreferences",
            ),
        ],
    )
    def test_fields_of_another_form(self, change, reason, path):
        assert refused(track() | change) == (reason, path)

    def test_a_missing_event_name(self):
        assert refused({"type": "track", "userId": "u1"}) == ("missing_field", "event")

    def test_items_of_a_recommendation_are_checked(self):
        event = track("Recommendation Shown", properties={"items": ["a", [1]]})
        assert refused(event) == ("wrong_type", "properties.items.1")

    def test_emoji_and_right_to_left_ids_pass(self):
        assert fact(track(userId="🦊\u202e")).customer_id == "🦊\u202e"

    def test_limits_are_settings(self):
        assert refused(track(), reading=Reading(max_bytes=20))[0] == "too_large"
        assert refused(track(properties={}), reading=Reading(max_depth=1))[0] == "too_deep"
        late = track(timestamp="2026-11-22T10:01:13Z")
        assert refused(late, reading=Reading(future_s=0))[0] == "future_time"


class TestRouting:
    def test_the_router_sees_the_customer_that_the_reader_sees(self):
        for event in (track(), track(userId=42), track(userId="", anonymousId="a1")):
            body = json.dumps(event).encode()
            assert customer_of(body) == fact(body).customer_id

    def test_an_event_about_nobody_is_refused(self):
        assert customer_of(raw(type="track", event="x")).reason == "missing_customer"
        assert customer_of(raw(type="page", userId="u\n")) == Rejected(
            "control_character", "userId", "An id or a name contains a control character."
        )
        assert customer_of(raw(type="page", userId={"a": 1})).reason == "wrong_type"
