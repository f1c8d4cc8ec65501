"""Who is started before whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hhtui.engine.discovery.dependencies import dependents_of, needed_by, problem, start_order, stop_order

GRAPH = {"web": ["api", "cache"], "api": ["db"], "db": [], "cache": [], "lone": []}


def test_every_app_is_started_after_what_it_depends_on_and_stopped_before() -> None:
    assert start_order(GRAPH) == ["db", "api", "cache", "lone", "web"]
    assert stop_order(GRAPH) == ["web", "lone", "cache", "api", "db"]


def test_what_an_app_needs_and_who_needs_it() -> None:
    assert needed_by(["api"], GRAPH) == {"api", "db"}
    assert dependents_of(["db"], GRAPH) == {"db", "api", "web"}


@pytest.mark.parametrize(
    ("app_id", "graph", "words"),
    [
        ("web", GRAPH, None),
        ("a", {"a": ["db"]}, "depends on db, which is not in apps/"),
        ("a", {"a": ["b"], "b": ["db"]}, "depends on b, which depends on db, which is not in apps/"),
        ("a", {"a": ["a"]}, "depends on itself"),
        ("a", {"a": ["b"], "b": ["a"]}, "depends on itself through a → b → a"),
        ("b", {"a": ["b"], "b": ["c"], "c": ["a"]}, "depends on itself through b → c → a → b"),
        ("x", {"x": ["a"], "a": ["b"], "b": ["a"]}, "depends on a, which depends on itself through a → b → a"),
        ("x", {"x": ["a"], "a": ["a"]}, "depends on a, which depends on itself"),
        ("unknown", {}, None),
    ],
)
def test_why_an_app_cannot_be_started(app_id: str, graph: dict[str, list[str]], words: str | None) -> None:
    assert problem(app_id, graph) == words


names = st.sampled_from("abcdefg")


@given(st.dictionaries(names, st.lists(names, max_size=4)))
def test_any_graph_is_ordered_completely_and_rightly_where_nothing_is_wrong(graph: dict[str, list[str]]) -> None:
    order = start_order(graph)
    assert sorted(order) == sorted(graph)
    for app_id, wanted in graph.items():
        if problem(app_id, graph) is None:
            assert all(order.index(name) < order.index(app_id) for name in wanted)


def test_a_chain_of_a_thousand_apps_is_no_matter() -> None:
    chain = {f"a{number:04}": [f"a{number + 1:04}"] for number in range(1000)} | {"a1000": []}
    assert start_order(chain)[0] == "a1000"
    assert problem("a0000", chain) is None
