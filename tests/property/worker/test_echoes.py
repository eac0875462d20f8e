"""Echoes and repeated traits change no profile that matters, and mark nobody for a refresh."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import T0, DictShard, entries, event, identify, order, rules

RULES = rules()._replace(
    reading=rules().reading._replace(
        own_fields=frozenset({"reflex_segment"}), destinations=frozenset({"crm"})
    )
)
CONTEXT = {"integration": {"name": "crm"}}


def echo(customer, n):
    return event(
        "identify", customer, f"echo{n}", T0 + n, traits={"email": "a@b.c"}, context=CONTEXT
    )


STORY = [
    *(order("ann", f"o{n}", f"e{n}", T0 + n, revenue="9") for n in range(3)),
    identify("ann", "i1", T0, country="DE"),
    identify("bob", "i2", T0, country="FR"),
]


@settings(deadline=None)
@given(st.permutations([*STORY, *(echo("ann", n) for n in range(3)), echo("carl", 9)]), st.data())
def test_echoes_anywhere_leave_profiles_as_they_are_without_them(story, data):
    cut = data.draw(st.integers(0, len(story)))
    found = entries(story)
    with_echoes = DictShard(RULES).run([found[:cut], found[cut:]])
    without = DictShard(RULES).run([[one for one in found if b'"echo' not in one.event]])
    assert with_echoes.canonical() == without.canonical()
    assert with_echoes.position.echoes == 4
    assert with_echoes.position.covered == len(story)
    assert with_echoes.refused == []


def test_a_batch_of_echoes_moves_the_cursor_and_nothing_else():
    shard = DictShard(RULES)
    shard.apply(entries(STORY))
    before = dict(shard.values)
    commit = shard.apply(entries([echo("ann", 1), echo("bob", 2)], after=10))
    assert shard.values == before
    assert (commit.loud, commit.quiet, commit.new, commit.delta) == ([], [], [], b"")
    assert commit.position.seq == shard.commits[0].position.seq
    assert commit.position.cursor > shard.commits[0].position.cursor


def test_traits_that_are_known_already_mark_nobody_and_new_ones_do():
    shard = DictShard(RULES)
    shard.apply(entries(STORY))
    again = shard.apply(entries([identify("ann", "i3", T0 + 9, country="DE")], after=10))
    assert (again.loud, again.quiet) == ([], [])
    assert again.position.applied == shard.commits[0].position.applied + 1
    moved = shard.apply(entries([identify("ann", "i4", T0 + 10, country="FR")], after=20))
    assert moved.loud == ["ann"]
    mixed = [identify("ann", "i5", T0 + 11, country="FR"), order("ann", "o9", "e9", T0 + 12)]
    assert shard.apply(entries(mixed, after=30)).loud == ["ann"]


def test_somebody_new_is_marked_whatever_little_is_told():
    commit = DictShard(RULES).apply(entries([identify("new", "i1", T0, email="a@b.c")]))
    assert commit.loud == ["new"]
