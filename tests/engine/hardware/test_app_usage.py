"""What each app's process tree uses, with real trees."""

from __future__ import annotations

import os
import pwd
import signal
import time
from pathlib import Path

from hhtui.engine.hardware.app_sizes import folder_mb
from hhtui.engine.hardware.app_usage import AppTrees, Root, TreeUsage
from hhtui.engine.hardware.processes import ProcessReader, proportional_memory_mb
from hhtui.engine.process.identity import parse_stat
from tests.engine.engine_process import eventually
from tests.engine.hardware.trees_of_processes import BUSY, MadeUpProcesses, tree

CHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {source!r}]{more}).wait()"


def tree_of(trees: AppTrees, root: Root, size: int) -> tuple[int, ...]:
    eventually(lambda: len(trees.measure([root]).get(root.app_id, ((), 0, ()))[2]) == size)
    return trees.pids(root.app_id)


def test_a_busy_child_shows_on_its_app() -> None:
    trees = AppTrees()
    with tree(CHILD.format(source=BUSY, more="")) as root:
        tree_of(trees, root, 2)
        eventually(lambda: (trees.measure([root])["app"].cpu_percent or 0) > 20)
        assert trees.measure([root])["app"].memory_mb > 8


def test_an_idle_app_shows_no_cpu_and_its_memory() -> None:
    trees = AppTrees()
    with tree("import time; block = bytearray(50_000_000); time.sleep(60)") as root:
        eventually(lambda: trees.measure([root])["app"].memory_mb > 50)
        # The first spans hold the block's filling, later ones only sleep.
        eventually(lambda: trees.measure([root])["app"].cpu_percent == 0)
        usage = trees.measure([root])["app"]
        assert 50 < usage.memory_mb < 90


def test_a_child_in_a_session_of_its_own_belongs_to_its_app_also_when_its_parent_is_gone() -> None:
    trees = AppTrees()
    source = CHILD.format(source="import time; time.sleep(60)", more=", start_new_session=True")
    with tree(source) as root:
        pids = tree_of(trees, root, 2)
        child = next(pid for pid in pids if pid != root.pid)
        try:
            os.kill(root.pid, signal.SIGKILL)
            os.waitpid(root.pid, 0)
            usage = trees.measure([root])["app"]
            assert usage.pids == (child,)
        finally:
            os.kill(child, signal.SIGKILL)


def test_the_time_of_short_lived_children_is_not_lost() -> None:
    trees = AppTrees()
    work = "sum(range(1_500_000))"
    source = f"import subprocess, sys\nwhile True: subprocess.run([sys.executable, '-S', '-c', {work!r}])"
    with tree(source) as root:
        eventually(lambda: "app" in trees.measure([root]))
        eventually(lambda: (trees.measure([root])["app"].cpu_percent or 0) > 20)


def test_apps_do_not_count_one_anothers_processes() -> None:
    trees = AppTrees()
    with tree(BUSY) as busy, tree("import time; time.sleep(60)") as idle:
        roots = [busy._replace(app_id="busy"), idle._replace(app_id="idle")]
        trees.measure(roots)

        def told_apart() -> dict[str, TreeUsage] | None:
            found = trees.measure(roots)
            return found if (found["busy"].cpu_percent or 0) > 20 and found["idle"].cpu_percent == 0 else None

        assert eventually(told_apart)["idle"].pids == (idle.pid,)


def test_an_app_that_started_while_we_watched_has_a_rate_at_once_and_an_adopted_one_has_not() -> None:
    early = AppTrees()
    with tree(BUSY) as root:
        time.sleep(0.4)
        assert (early.measure([root])["app"].cpu_percent or 0) > 5
        assert AppTrees().measure([root])["app"].cpu_percent is None


def test_a_process_with_the_apps_pid_but_not_its_start_time_is_somebody_else() -> None:
    with tree("import time; time.sleep(60)") as root:
        assert AppTrees().measure([root._replace(start_ticks=root.start_ticks - 1)]) == {}


class Followed(MadeUpProcesses):
    """Made-up processes, and what is made of them by a clock that a test turns."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.trees = AppTrees(self, clock=lambda: self.now, boot_clock=lambda: self.now)

    def measure(self, *roots: Root, after: float = 10) -> dict[str, TreeUsage]:
        self.now += after
        return self.trees.measure(roots)


def test_rates_are_seconds_over_the_span_and_memory_is_added_up() -> None:
    processes = Followed()
    root = Root("app", 10, 5)
    processes.put(10, 1, 10, 5, seconds=100)
    processes.put(11, 10, 10, 6, seconds=50)
    assert processes.measure(root)["app"] == TreeUsage(None, 2.0, (10, 11))
    processes.put(10, 1, 10, 5, seconds=101)
    processes.put(11, 10, 10, 6, seconds=50.5)
    assert processes.measure(root)["app"].cpu_percent == 15.0
    # A child's end that nobody waited for takes its time away; that is no negative use.
    processes.end(11)
    assert processes.measure(root)["app"].cpu_percent == 0


def test_a_pid_that_comes_round_again_is_not_taken_for_who_had_it_before() -> None:
    processes = Followed()
    root = Root("app", 10, 5)
    processes.put(10, 1, 10, 5)
    processes.put(11, 10, 11, 6)
    processes.put(20, 1, 20, 7)
    assert set(processes.measure(root, after=2)["app"].pids) == {10, 11}
    # The app's child ends and a stranger gets its pid; a stranger ends and the app's child gets its pid.
    processes.put(11, 1, 11, 900)
    processes.end(20)
    assert processes.measure(root, after=2)["app"].pids == (10,)
    processes.put(20, 10, 20, 901)
    assert set(processes.measure(root, after=2)["app"].pids) == {10, 20}


def test_strangers_are_looked_at_anew_within_half_a_minute() -> None:
    processes = Followed()
    root = Root("app", 10, 5)
    processes.put(10, 1, 10, 5)
    processes.put(20, 1, 20, 7)
    processes.measure(root)
    processes.put(20, 10, 10, 8)
    for _ in range(3):
        found = processes.measure(root)["app"].pids
    assert set(found) == {10, 20}


def test_a_tree_that_is_no_longer_followed_is_forgotten() -> None:
    processes = Followed()
    processes.put(10, 1, 10, 5)
    assert processes.measure(Root("app", 10, 5))
    assert processes.measure() == {}
    assert processes.trees.pids("app") == ()


def test_a_process_name_with_parentheses_and_blanks_is_read() -> None:
    line = b"7 (a) S 1 (b c) S 3 7 5 0 -1 4194304 98 0 0 0 10 20 3 4 20 0 1 0 140741 3133440 366 18446 1"
    stat = parse_stat(7, line)
    assert stat is not None
    assert (stat.name, stat.parent, stat.session, stat.start_ticks) == ("a) S 1 (b c", 3, 5, 140741)


def test_a_process_that_got_anothers_pid_is_asked_anew() -> None:
    reader = ProcessReader()
    with tree("import time; time.sleep(60)") as root:
        stat = reader.stat(root.pid)
        assert stat is not None
        assert reader.use(stat) is not None
        assert reader.user(stat) == pwd.getpwuid(os.geteuid()).pw_name
    assert root.pid not in reader.pids()
    assert reader.use(stat) is None


def test_shared_pages_count_once_when_asked() -> None:
    pss = proportional_memory_mb((os.getpid(),))
    assert pss is not None
    rss = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    assert 0 < pss <= rss + 1
    assert proportional_memory_mb((2**22 + 1,)) is None


def test_a_folders_size_counts_blocks_once_and_follows_no_link(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    (data / "deep/file").write_bytes(os.urandom(3 * 2**20))
    os.link(data / "deep/file", data / "same")
    (tmp_path / "big").write_bytes(os.urandom(5 * 2**20))
    (data / "link").symlink_to(tmp_path / "big")
    (data / "up").symlink_to(tmp_path)
    with (data / "sparse").open("wb") as file:
        file.truncate(2**30)
    size = folder_mb(data)
    assert size is not None
    assert 3 <= size < 3.5
    assert folder_mb(tmp_path / "missing") is None
