"""hhtui beside what a user would pick instead: the same apps, the same machine, one run. See docs/performance.md."""
