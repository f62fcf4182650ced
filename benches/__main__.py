"""`python -m benches`: every suite, each of which rewrites its section of RESULTS.md."""

from benches import bounds_report, circuits, compiling, reading, scale
from benches.accuracy import __main__ as accuracy
from benches.price import __main__ as price

for suite in (bounds_report, circuits, compiling, reading, scale, accuracy, price):
    suite.main()
