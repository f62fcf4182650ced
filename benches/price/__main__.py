"""`python -m benches.price`: run what the journals lack, then write tables and figure."""

from benches.price import report, run
from benches.price.data import RECIPES
from benches.results import RESULTS, write_section

FIGURE = "price/price.png"


def main() -> None:
    """Regenerate the price section of RESULTS.md."""
    ours = {dataset: run.ours_of(dataset) for dataset in RECIPES}
    rows = {
        dataset: report.ours_rows(ours[dataset]) + report.their_rows(run.theirs_of(dataset))
        for dataset in RECIPES
    }
    report.draw(rows, RESULTS.parent / FIGURE)
    write_section("prices", report.section(rows, FIGURE, report.sizes(ours.values())))


if __name__ == "__main__":
    main()
