"""`python -m benches.accuracy`: run what the journals lack, then write table and figure."""

from benches.accuracy import report, reselection, run, sparsity
from benches.results import RESULTS, write_section

FIGURE = "accuracy/accuracy.png"


def main() -> None:
    """Regenerate the accuracy section of RESULTS.md."""
    results = run.run()
    more = [
        report.sparsity_section(sparsity.means(sparsity.run())),
        report.reselection_section(reselection.run()),
    ]
    report.draw(results, RESULTS.parent / FIGURE)
    write_section("accuracy", report.section(results, FIGURE, more))


if __name__ == "__main__":
    main()
