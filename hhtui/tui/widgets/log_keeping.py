"""What is done with lines of a log: opened whole, selected, copied, saved to a file."""

from __future__ import annotations

from pathlib import Path

from textual import work

from hhtui.errors import HomeHelperError
from hhtui.paths import expanded
from hhtui.text import human_bytes
from hhtui.tui.ansi import plain_of
from hhtui.tui.log_file import LinesFile
from hhtui.tui.records import LogLine
from hhtui.tui.widgets.log_finder import LogFinder

# What a terminal takes as OSC 52 differs; beyond this none of them does (characters).
_MOST_COPIED = 100_000


class LogKeeping(LogFinder):
    """Acts on the selection, else on the line under the cursor; saving, else on all that is shown."""

    def opened(self) -> None:
        self.action_open_line()

    def action_open_line(self) -> None:
        """The line under the cursor, whole; JSON indented."""
        from hhtui.tui.screens.log_line import LogLineScreen

        if (line := self._current()) is not None:
            self.app.push_screen(LogLineScreen(line, f"{self.app_id} {self.glyphs.dot} {line.name or self.file}"))

    def action_select(self) -> None:
        """Select from here on, or nothing."""
        line = self._current()
        self.selected_from = line.offset if line is not None and self.selected_from is None else None
        if self.selected_from is not None:
            self.following = False
        self._changed()

    def action_copy(self) -> None:
        """The selected lines, or the one under the cursor, into the clipboard of the user's terminal (OSC 52)."""
        line, selected = self._current(), self.selected
        if line is None:
            return
        lines = self._window.lines[selected[0] : selected[1] + 1] if selected else [line]
        if self.selected_from is not None and self._window.index_of(self.selected_from) is None:
            self.hh.say("The selection is longer than what is held here: save it to a file instead.", "warning")
            return
        # Harmless also for the shell that it may be pasted into.
        text = "\n".join(plain_of(each.text, 65_536) for each in lines)
        if len(text) > _MOST_COPIED:
            self.hh.say(
                f"{human_bytes(len(text))} is more than terminals take as a copy: save it to a file.", "warning"
            )
            return
        self.app.copy_to_clipboard(text)
        many = f"{len(lines)} lines are" if len(lines) > 1 else "The line is"
        self.hh.say(f"{many} copied (where the terminal allows it)")
        self.selected_from = None
        self._changed()

    def action_save(self) -> None:
        """Ask for a file to save the selection in, or all lines that match, or the whole log."""
        if self.hh.read_only:
            self.hh.say("This interface only watches (--read-only): no file is written.", "warning")
            return
        if not self._window.lines:
            self.hh.say("There is no line to save.", "warning")
            return
        what = "selected lines" if self.selected else "matching lines" if self._window.only else "whole log"
        name = f"{self.app_id}-{self.file.replace('+', '-')}.txt"
        self.post_message(self.Asked(self, f"save {what} as: ", str(Path.cwd() / name), self.save))

    def save(self, path: str) -> None:
        """Write what is selected, or shown, to a new file."""
        if not path.strip():
            return
        window, selected = self._window, self.selected
        first, last = window.start, None
        if selected and self.selected_from is not None:
            cursor = window.lines[self._line_at(self.cursor)].offset
            first, last = min(self.selected_from, cursor), max(self.selected_from, cursor)
        self._save(expanded(path.strip()), first, last)

    @work(thread=False, group="log-save", exclusive=True, exit_on_error=True)
    async def _save(self, path: Path, first: int, last: int | None) -> None:
        window = self._window
        lines = cut = 0
        try:
            async with LinesFile(path) as file:
                async for some in window.read(first, last):
                    await file.write([_saved(line) for line in some])
                    lines += len(some)
                    cut += sum(line.cut for line in some)
                    self._doing(f"saving, {lines:,} lines (Esc stops it)")
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
        else:
            shortened = f"; {cut} were longer than 64 KiB and are cut" if cut else ""
            self.hh.say(f"{lines:,} {'line is' if lines == 1 else 'lines are'} saved in {path}{shortened}")
            self.selected_from = None
        finally:
            self._doing("")

    def _current(self) -> LogLine | None:
        lines = self._window.lines
        return lines[self._line_at(self.cursor)] if lines else None


def _saved(line: LogLine) -> str:
    """A merged log's lines name the log that they are from, as ``hhtui logs`` does."""
    return f"{line.name}: {line.text}" if line.name else line.text
