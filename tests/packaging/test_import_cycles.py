"""Who imports whom, imports for type checkers included."""

from __future__ import annotations

from graphlib import TopologicalSorter

import grimp


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph("hhtui", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert "hhtui.engine.engine" in imports["hhtui.engine.main"], "the graph is complete"
    # CycleError names one if there is any.
    order = list(TopologicalSorter(imports).static_order())
    assert len(order) == len(graph.modules)
