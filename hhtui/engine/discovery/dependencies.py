"""Who is started before whom: pure functions on ``{app_id: [app_ids it depends on]}``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Graph = Mapping[str, Sequence[str]]


def start_order(graph: Graph) -> list[str]:
    """Every app after what it depends on, otherwise sorted; names not in the graph and cycles are passed over."""
    order: list[str] = []
    seen: set[str] = set()
    for root in sorted(graph):
        # Each entry: an app, and what of its dependencies is still to be visited.
        stack = [(root, iter(sorted(graph[root])))] if root not in seen else []
        seen.add(root)
        while stack:
            app_id, rest = stack[-1]
            following = next((name for name in rest if name in graph and name not in seen), None)
            if following is None:
                order.append(app_id)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(sorted(graph[following]))))
    return order


def stop_order(graph: Graph) -> list[str]:
    """Every app before what it depends on."""
    return start_order(graph)[::-1]


def needed_by(app_ids: Iterable[str], graph: Graph) -> set[str]:
    """The apps and all that they depend on, directly or not, as far as they exist."""
    return _reached(app_ids, graph)


def dependents_of(app_ids: Iterable[str], graph: Graph) -> set[str]:
    """The apps and all that depend on them, directly or not."""
    reverse: dict[str, list[str]] = {app_id: [] for app_id in graph}
    for app_id, names in graph.items():
        for name in names:
            if name in reverse:
                reverse[name].append(app_id)
    return _reached(app_ids, reverse)


def problem(app_id: str, graph: Graph) -> str | None:
    """Why the app cannot be started, in words that follow its name; None if nothing stands against it."""
    for name in _walk(app_id, graph):
        for wanted in graph[name]:
            if wanted not in graph:
                direct = f"depends on {wanted}, which is not in apps/"
                return direct if name == app_id else f"depends on {name}, which {direct}"
    cycle = _cycle(app_id, graph)
    if cycle is None:
        return None
    itself = "depends on itself" + (f" through {' → '.join(cycle)}" if len(cycle) > 2 else "")
    return itself if cycle[0] == app_id else f"depends on {cycle[0]}, which {itself}"


def is_older(version: str, wanted: str) -> bool:
    """Whether an app's version is before the one that is wanted; a version that is none counts as older."""
    from packaging.version import InvalidVersion, Version

    try:
        return Version(version) < Version(wanted)
    except InvalidVersion:
        return True


def _reached(app_ids: Iterable[str], graph: Graph) -> set[str]:
    return {name for app_id in app_ids for name in _walk(app_id, graph)}


def _walk(app_id: str, graph: Graph) -> list[str]:
    """The app and all that it depends on, nearest first."""
    if app_id not in graph:
        return []
    found = [app_id]
    seen = {app_id}
    for name in found:
        for wanted in graph[name]:
            if wanted in graph and wanted not in seen:
                seen.add(wanted)
                found.append(wanted)
    return found


def _cycle(app_id: str, graph: Graph) -> list[str] | None:
    """The shortest way from the app, or else from what it needs, back to itself: ``[a, b, a]``."""
    for start in _walk(app_id, graph):
        came_from: dict[str, str] = {}
        queue = [start]
        for name in queue:
            for wanted in graph[name]:
                if wanted == start:
                    way = [start, name]
                    while way[-1] != start:
                        way.append(came_from[way[-1]])
                    return way[::-1] if name != start else [start, start]
                if wanted in graph and wanted not in came_from:
                    came_from[wanted] = name
                    queue.append(wanted)
    return None
