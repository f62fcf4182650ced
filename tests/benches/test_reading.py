"""The bench of reading: it runs, small, and its rows are those of the files."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("qonnx")

from benches import reading
from secateur.network import Input, Linear, Network, Output


def test_every_row_is_of_its_file():
    for name, path, grid in reading.espcn():
        row = reading.row(name, path, grid, repeats=1)
        assert row[1] == "3×128×128"
        assert int(row[2]) in (20, 22)
        assert all(float(ratio) > 0 for ratio in row[3:])
        break


def test_widths_are_those_of_the_span():
    one, zero = np.ones(1, np.int64), np.zeros(1, np.int64)
    layer = Linear("fc", "input", np.array([[1, -2]], np.int8))
    output = Output("fc", one, zero, one.astype(float), zero.astype(float))
    network = Network(Input((2,), np.array(0), np.array(7)), (layer,), output)
    codes = np.array([[0, 0], [7, 0], [0, 1]])
    assert list(reading.widths(network, codes)) == [["fc", "4", "5"]]


@pytest.mark.slow
def test_the_section_names_the_networks():
    text = reading.section(None, repeats=1)
    assert "## Reading ONNX" in text
    assert text.count("ESPCN") == 2


KWS = Path(__file__).parents[3] / "shared" / "data" / "kws"


@pytest.mark.slow
@pytest.mark.skipif(not KWS.is_dir(), reason=f"{KWS} is not there")
def test_the_readme_says_the_widths_that_the_bench_prints(request):
    text = reading.section(KWS, repeats=1)
    readme = (request.config.rootpath / "README.md").read_text()
    names = ("first layer", "second", "third", "scores")
    rows = [line.split("|")[2:4] for line in text.splitlines() if line.startswith("| MatMul")]
    assert len(rows) == len(names)
    for name, (seen, proved) in zip(names, rows, strict=True):
        assert f"| {name} | {seen.strip()} | {proved.strip()} |" in readme
