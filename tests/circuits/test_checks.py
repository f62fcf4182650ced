"""The two proofs of a layer are really compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_lowering import trace

from backends import on_each_backend
from networks import example
from secateur.circuits.checks import check_agreement
from secateur.circuits.proof import prove
from secateur.errors import ProofMismatchError
from secateur.ranges import Range, Ranges


@on_each_backend
def test_a_disagreement_names_the_layer_and_both_ranges(backend):
    network = example("mlp")
    lowered, graph = trace(network, backend)
    report = lowered.report
    proof = prove(graph, {"x": report["input"].ranges}, lowered.joined)
    check_agreement(report, lowered.nodes, proof)
    true = report["linear0"].ranges
    off = np.zeros_like(true.high)
    off[3] = 1
    altered = replace(report["linear0"], ranges=Ranges(true.low, true.high + off))
    report = replace(report, nodes={**report.nodes, "linear0": altered})
    with pytest.raises(ProofMismatchError, match="layer 'linear0', channel 3") as caught:
        check_agreement(report, lowered.nodes, proof)
    low, high = int(true.low[3]), int(true.high[3])
    assert (caught.value.graph, caught.value.network) == (Range(low, high), Range(low, high + 1))
