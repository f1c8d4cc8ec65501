"""The apps table: orders, groups, the filter's matches, graphs, and panels that are hidden."""

from __future__ import annotations

from hhtui.model.states import EventType
from tests.tui.fake import FakeTransport, event, metrics
from tests.tui.screen import running


async def test_shift_o_sorts_the_other_way_round() -> None:
    async with running() as session:
        table = session.app.screen.query_one("#apps")
        before = list(table.ids)
        await session.press("O")
        await session.shows("by name, reversed")
        assert table.ids == before[::-1]
        await session.press("O")
        assert table.ids == before


async def test_every_order_is_reached_with_o_and_puts_the_most_first() -> None:
    async with running() as session:
        table = session.app.screen.query_one("#apps")
        first = {}
        for _ in range(6):
            await session.press("o")
            first[table.sorting] = table.ids[0]
        assert first == {
            "state": "crasher", "cpu": "doorbell", "memory": "doorbell", "uptime": "thermometer", "restarts": "crasher",
            "port": "thermometer",
        }  # fmt: skip


async def test_capital_t_groups_and_keys_on_a_heading_act_on_the_whole_group() -> None:
    transport = FakeTransport()
    for app_id, group in (("thermometer", "garden"), ("doorbell", "house"), ("garden", "garden")):
        transport.records[app_id]["manifest"] = {"group": group}
    transport.records["flaky"]["manifest"] = {"tags": ["house", "old"]}
    async with running(transport) as session:
        table = session.app.screen.query_one("#apps")
        await session.press("T")
        await session.shows("grouped by state", "▿ failed (1)", "▿ running (2)")
        await session.press("T")
        await session.shows("grouped by type", "▿ service (8)", "▿ streamlit (1)")
        await session.press("T")
        await session.shows("grouped by group", "▿ garden (2)", "▿ house (2)", "▿ no group (5)")
        await session.press("home")
        assert table.current is None and table.targets() == ["garden", "thermometer"]
        await session.press("s")
        await session.until(lambda: len(transport.orders) == 2)
        assert {app_id for verb, app_id, _ in transport.orders if verb == "start"} == {"garden", "thermometer"}
        await session.press("space")
        await session.shows("2 selected")
        await session.press("escape", "home", "enter")
        await session.shows("▹ garden (2)")
        assert "thermometer" in table.targets()
        await session.press("minus")
        await session.shows("▿ garden (2)", "Thermometer")
        await session.press("down", "left")
        await session.shows("▹ garden (2)")
        await session.press("right", "T")
        await session.hides("grouped")


async def test_fold_without_groups_says_how_to_group() -> None:
    async with running() as session:
        await session.press("minus")
        await session.shows("T groups them")


async def test_a_filter_matches_letters_in_their_order_marks_them_and_puts_the_best_first() -> None:
    async with running() as session:
        table = session.app.screen.query_one("#apps")
        await session.press("slash")
        await session.type("nrgyrp")
        await session.until(lambda: table.ids == ["energy-report"])
        await session.press(*["backspace"] * 6)
        await session.type("failed")
        await session.until(lambda: table.ids == ["crasher"])
        await session.press(*["backspace"] * 6)
        await session.type("good thermo")
        await session.until(lambda: table.ids == ["thermometer"])
        await session.press(*["backspace"] * 11)
        await session.type("cra")
        await session.until(lambda: table.ids[:1] == ["crasher"])
        looks = session.app.looks
        assert "".join(text for text, style in table.draw(0, 60) if style == looks.found) == "Cra"


async def test_a_graph_of_each_apps_cpu_grows_where_there_is_room() -> None:
    async with running(size=(200, 50)) as session:
        await session.shows("CPU 0-100%")
        for cpu in (0.0, 50.0, 100.0):
            sample = metrics(apps={"doorbell": {"cpu_percent": cpu, "memory_mb": 88.5}})
            session.transport.emit(event(90 + int(cpu), EventType.METRICS, "system", 0, **sample))
        await session.shows("▁▅█")
        assert "▁▅█" in session.line("Doorbell")


async def test_a_hidden_panel_gives_its_room_to_the_others_and_its_number_brings_it_back() -> None:
    async with running() as session:
        screen = session.app.screen
        await session.press("4", "H")
        await session.hides("4 Events")
        await session.shows("The events panel is hidden")
        log = screen.query_one("#log")
        await session.until(lambda: log.outer_size.width == 120)
        await session.press("3", "H")
        await session.hides("3 Log")
        await session.until(lambda: screen.query_one("#apps").outer_size.height > 30)
        await session.press("4")
        await session.shows("4 Events")
        await session.press("1", "H")
        await session.shows("3 Log", "4 Events")
        await session.press("H")
        await session.shows("always there")


async def test_with_a_filter_the_log_panel_is_of_the_app_that_keys_act_on() -> None:
    async with running(size=(160, 50)) as session:
        table, log = session.app.screen.query_one("#apps"), session.app.screen.query_one("#log")
        for cursor, letters, chosen in (("thermometer", "b", "broken"), ("garden", "door", "doorbell")):
            await session.on(cursor)
            await session.until(lambda cursor=cursor: log.app_id == cursor)
            await session.press("slash")
            await session.type(letters)
            await session.until(lambda chosen=chosen: table.current == chosen)
            await session.press("enter")
            await session.until(lambda chosen=chosen: log.app_id == chosen, f"the log of {chosen}")
            assert table.targets() == [chosen]
            await session.press("escape")
