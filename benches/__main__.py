"""`python -m benches`: every suite, each of which rewrites its section of RESULTS.md."""

from benches import bounds_report, circuits
from benches.accuracy import __main__ as accuracy

for suite in (bounds_report, circuits, accuracy):
    suite.main()
