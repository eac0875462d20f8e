"""A customer's profile: a pure function of the set of that customer's events.

No Redis, no clock, no float: `ledger` is the state, `fold` applies one event, `codec` gives the
canonical bytes, `memory` remembers event ids, `merge` joins two profiles, `derive` reads orders and
interactions out of a ledger.
"""
