"""What each app's process tree uses, with real trees."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from hhtui.engine.hardware.app_usage import AppTrees, Root, TreeUsage, parse_stat, proportional_memory_mb
from hhtui.engine.hardware.folder_size import folder_mb
from tests.hardware.trees_of_processes import BUSY, tree, wait_for

CHILD = "import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {source!r}]{more}).wait()"


def tree_of(trees: AppTrees, root: Root, size: int) -> tuple[int, ...]:
    wait_for(lambda: len(trees.measure([root]).get(root.app_id, ((), 0, ()))[2]) == size)
    return trees.pids(root.app_id)


def test_a_busy_child_shows_on_its_app() -> None:
    trees = AppTrees()
    with tree(CHILD.format(source=BUSY, more="")) as root:
        tree_of(trees, root, 2)
        wait_for(lambda: (trees.measure([root])["app"].cpu_percent or 0) > 20)
        assert trees.measure([root])["app"].memory_mb > 8


def test_an_idle_app_shows_no_cpu_and_its_memory() -> None:
    trees = AppTrees()
    with tree("import time; block = bytearray(50_000_000); time.sleep(60)") as root:
        wait_for(lambda: trees.measure([root])["app"].memory_mb > 50)
        # The first spans hold the block's filling, later ones only sleep.
        wait_for(lambda: trees.measure([root])["app"].cpu_percent == 0)
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
        wait_for(lambda: "app" in trees.measure([root]))
        wait_for(lambda: (trees.measure([root])["app"].cpu_percent or 0) > 20)


def test_apps_do_not_count_one_anothers_processes() -> None:
    trees = AppTrees()
    with tree(BUSY) as busy, tree("import time; time.sleep(60)") as idle:
        roots = [busy._replace(app_id="busy"), idle._replace(app_id="idle")]
        wait_for(lambda: (trees.measure(roots)["busy"].cpu_percent or 0) > 20)
        wait_for(lambda: trees.measure(roots)["idle"].cpu_percent == 0)
        found = trees.measure(roots)
        assert (found["busy"].cpu_percent or 0) > 20
        assert found["idle"].pids == (idle.pid,)


def test_an_app_that_started_while_we_watched_has_a_rate_at_once_and_an_adopted_one_has_not() -> None:
    early = AppTrees()
    with tree(BUSY) as root:
        time.sleep(0.4)
        assert (early.measure([root])["app"].cpu_percent or 0) > 5
        assert AppTrees().measure([root])["app"].cpu_percent is None


def test_a_process_with_the_apps_pid_but_not_its_start_time_is_somebody_else() -> None:
    with tree("import time; time.sleep(60)") as root:
        assert AppTrees().measure([root._replace(start_ticks=root.start_ticks - 1)]) == {}


class LaidOutProcesses:
    """A /proc of files, to reuse pids at will."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = 1000.0
        self.trees = AppTrees(folder, clock=lambda: self.now, boot_clock=lambda: self.now)

    def put(self, pid: int, ppid: int, session: int, start: int, ticks: int = 0, pages: int = 256) -> None:
        (self.folder / str(pid)).mkdir(exist_ok=True)
        zeros = " 0" * 7
        line = f"{pid} (x) S {ppid} {session} {session}{zeros} {ticks} 0 0 0 20 0 1 0 {start} 9 {pages} 9 9\n"
        (self.folder / str(pid) / "stat").write_text(line)

    def end(self, pid: int) -> None:
        (self.folder / str(pid) / "stat").unlink()
        (self.folder / str(pid)).rmdir()

    def measure(self, *roots: Root, after: float = 10) -> dict[str, TreeUsage]:
        self.now += after
        return self.trees.measure(roots)


def test_rates_are_ticks_over_the_span_and_memory_is_pages(tmp_path: Path) -> None:
    proc = LaidOutProcesses(tmp_path)
    root = Root("app", 10, 5)
    proc.put(10, 1, 10, 5, ticks=100)
    proc.put(11, 10, 10, 6, ticks=50)
    assert proc.measure(root)["app"] == TreeUsage(None, 512 * os.sysconf("SC_PAGE_SIZE") / 2**20, (10, 11))
    tick = os.sysconf("SC_CLK_TCK")
    proc.put(10, 1, 10, 5, ticks=100 + tick)
    proc.put(11, 10, 10, 6, ticks=50 + tick // 2)
    assert proc.measure(root)["app"].cpu_percent == 15.0
    # A child's end that nobody waited for takes its time away; that is no negative use.
    proc.end(11)
    assert proc.measure(root)["app"].cpu_percent == 0


def test_a_pid_that_comes_round_again_is_not_taken_for_who_had_it_before(tmp_path: Path) -> None:
    proc = LaidOutProcesses(tmp_path)
    root = Root("app", 10, 5)
    proc.put(10, 1, 10, 5)
    proc.put(11, 10, 11, 6)
    proc.put(20, 1, 20, 7)
    assert set(proc.measure(root, after=2)["app"].pids) == {10, 11}
    # The app's child ends and a stranger gets its pid; a stranger ends and the app's child gets its pid.
    proc.put(11, 1, 11, 900)
    proc.end(20)
    assert proc.measure(root, after=2)["app"].pids == (10,)
    proc.put(20, 10, 20, 901)
    assert set(proc.measure(root, after=2)["app"].pids) == {10, 20}


def test_strangers_are_looked_at_anew_within_half_a_minute(tmp_path: Path) -> None:
    proc = LaidOutProcesses(tmp_path)
    root = Root("app", 10, 5)
    proc.put(10, 1, 10, 5)
    proc.put(20, 1, 20, 7)
    proc.measure(root)
    proc.put(20, 10, 10, 8)
    for _ in range(3):
        found = proc.measure(root)["app"].pids
    assert set(found) == {10, 20}


def test_a_tree_that_is_no_longer_followed_is_forgotten(tmp_path: Path) -> None:
    proc = LaidOutProcesses(tmp_path)
    proc.put(10, 1, 10, 5)
    assert proc.measure(Root("app", 10, 5))
    assert proc.measure() == {}
    assert proc.trees.pids("app") == ()


def test_a_process_name_with_parentheses_and_blanks_is_read() -> None:
    stat = parse_stat(b"7 (a) S 1 (b c) S 3 7 5 0 -1 4194304 98 0 0 0 10 20 3 4 20 0 1 0 140741 3133440 366 18446 1")
    assert stat == (3, 5, 37, 140741, 366)


def test_shared_pages_count_once_when_asked() -> None:
    pss = proportional_memory_mb([os.getpid()])
    assert pss is not None
    rss = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    assert 0 < pss <= rss + 1
    assert proportional_memory_mb([2**22 + 1]) is None


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
