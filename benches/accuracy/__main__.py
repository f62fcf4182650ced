"""`python -m benches.accuracy`: run what the journals lack, then write table and figure."""

from pathlib import Path

from benches.accuracy import report, reselection, run, sparsity

BENCHES = Path(__file__).resolve().parent.parent
FIGURE = "accuracy/accuracy.png"


def main() -> None:
    """Regenerate the accuracy section of RESULTS.md."""
    results = run.run()
    more = [
        report.sparsity_section(sparsity.means(sparsity.run())),
        report.reselection_section(reselection.run()),
    ]
    report.draw(results, BENCHES / FIGURE)
    report.write_section(BENCHES / "RESULTS.md", report.section(results, FIGURE, more))


if __name__ == "__main__":
    main()
