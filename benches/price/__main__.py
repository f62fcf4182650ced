"""`python -m benches.price`: run what the journals lack, then write tables and figure.

With `--write` nothing runs, and what the journals have is written.
"""

import sys

from benches.price import report, run
from benches.price.data import RECIPES
from benches.results import RESULTS, write_section

FIGURE = "price/price.png"


def main() -> None:
    """Regenerate the price section of RESULTS.md."""
    measuring = "--write" not in sys.argv[1:]
    ours = {dataset: run.ours_of(dataset, measuring) for dataset in RECIPES}
    rows = {
        dataset: report.ours_rows(ours[dataset])
        + report.their_rows(run.theirs_of(dataset, measuring))
        for dataset in RECIPES
        if ours[dataset]
    }
    sizes = report.sizes(record for found in ours.values() for record in found)
    report.draw(rows, RESULTS.parent / FIGURE)
    write_section("prices", report.section(rows, FIGURE, sizes))


if __name__ == "__main__":
    main()
