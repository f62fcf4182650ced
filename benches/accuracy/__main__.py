"""`python -m benches.accuracy`: run what the journals lack, then write table and figure.

`--data mnist_5k --seeds 2 --splits 1` runs a part of the comparison: of one data set, with so many
of its seeds, chosen by so many validation splits. What has run is kept in the journals and not run
again; the section is written from them.
"""

from __future__ import annotations

import argparse
import os

from benches.accuracy import readme, report, reselection, run, sparsity
from benches.accuracy.datasets import DATASETS
from benches.results import RESULTS, write_section

FIGURE = "accuracy/accuracy.png"


def main(arguments: list[str] | None = None) -> None:
    """Regenerate the accuracy section of RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", choices=DATASETS, default=DATASETS)
    parser.add_argument("--seeds", type=int, default=len(run.SEEDS))
    parser.add_argument("--splits", type=int, default=len(run.SEEDS))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args(arguments)
    results = run.run(
        datasets=given.data,
        seeds=run.SEEDS[: given.seeds],
        splits=run.SEEDS[: given.splits],
        executor=given.workers,
    )
    more = [
        report.sparsity_section(sparsity.means(sparsity.run())),
        report.reselection_section(reselection.run()),
        readme.section(readme.run()),
    ]
    report.draw(results, RESULTS.parent / FIGURE)
    write_section("accuracy", report.section(results, FIGURE, more))


if __name__ == "__main__":
    main()
