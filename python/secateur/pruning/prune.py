"""Post-training pruning: from a network to the same network with fewer weights.

The promises that are proved here hold for the pruned network, although pruning one layer
moves the ranges of the next: a problem's input ranges are sound for *every* mask. A removed
weight is a weight whose input is 0, so the accumulators that any mask can bring about lie
within those of inputs widened to hold 0; from there ranges flow on through tables, sums and
pools, all of which keep inclusion. Where every range holds 0 already, as those of centred
codes nearly always do, these are the ranges of `analyze`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from secateur.analysis import RangeReport, analyze
from secateur.network import Box, Conv, Layer, Network, Operation
from secateur.pruning.apply import (
    Strategies,
    apply_steps,
    masks_of,
    prove,
    saliency_named,
    steps_of,
)
from secateur.pruning.correct import corrected
from secateur.pruning.couplings import couplings_of
from secateur.pruning.problem import (
    Floats,
    Geometry,
    Masks,
    PrunableLayer,
    PruningProblem,
)
from secateur.pruning.strategy import method_of
from secateur.ranges import Ranges


def prune(
    network: Network,
    strategy: Strategies,
    /,
    *,
    samples: ArrayLike | None = None,
    seed: int = 0,
    **options: Any,
) -> Network:
    """Return `network` with the codes that `strategy` removes set to zero.

    A strategy with a method `corrected`, such as `Compensated`, gives other codes than 0 as
    well, layer by layer, where there are samples; biases and tables then follow.

    Args:
        network: what to prune.
        strategy: a strategy, its name, or a chain: a sequence of these, where a name may stand
            in a pair with a mapping of its options.
        samples: integer codes [batch, *input.shape], for strategies that look at activations.
        seed: of the strategy's random generator.
        options: those of a single name.

    Raises:
        DtypeError, ShapeError, InputRangeError: samples that the network does not take.
        SecateurError: whatever `apply_strategy` raises.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Output
        >>> from secateur.network import Linear
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> prune(network, "accumulator", bits=4)["fc"].codes
        array([[3, 0, 2]], dtype=int8)
    """
    steps = steps_of(strategy, options)
    see = partial(_problem, samples=samples, seed=seed)
    if samples is None or not any(method_of(s.strategy, "corrected") for s in steps):
        return _masked(network, masks_of(apply_steps(see(network), steps)))
    codes = np.asarray(samples)
    network.input.check(codes)
    for step in steps:
        if method_of(step.strategy, "corrected"):
            network = corrected(network, codes, see, partial(step.call, "corrected"))
        else:
            network = _masked(network, masks_of(apply_steps(see(network), (step,))))
    prove(steps, see(network))
    return network


def _problem(network: Network, samples: ArrayLike | None, seed: int) -> PruningProblem:
    problem = problem_of(network, samples=samples, seed=seed)
    return replace(problem, find_saliency=saliency_named)


def _masked(network: Network, masks: Masks) -> Network:
    pruned = (
        replace(layer, codes=np.where(masks[layer.name], layer.codes, 0).astype(layer.codes.dtype))
        for layer in network.layers
    )
    return network.with_operations(*pruned)


def problem_of(
    network: Network, *, samples: ArrayLike | None = None, seed: int = 0
) -> PruningProblem:
    """Return what a strategy sees of `network`; its input ranges are sound for every mask.

    A network has no weights but its codes, so that `weight` is the codes as floats. A code
    that is zero counts as removed already.

    Args:
        network: the network.
        samples: integer codes [batch, *input.shape], for `problem.activations`.
        seed: of `problem.random`.

    Raises:
        DtypeError, ShapeError, InputRangeError: samples that the network does not take.
    """
    report = analyze(network, given=_whatever_is_removed)
    activate = None
    if samples is not None:
        codes = np.asarray(samples)
        network.input.check(codes)
        activate = partial(_activations, network, codes)
    return PruningProblem(
        tuple(layer_of(operation, report[operation.source]) for operation in network.layers),
        couplings_of(network),
        seed,
        activate,
        fixed=fixed_of(report),
    )


def fixed_of(report: RangeReport) -> Mapping[str, Ranges]:
    """Return the ranges of the accumulators that are no layers', [channels] each."""
    layers = {layer.name for layer in report.network.layers}
    return {node.name: node.channels for node in report.accumulators if node.name not in layers}


def _activations(network: Network, samples: Any) -> Mapping[str, Floats]:
    nodes = network.nodes(samples)
    return {layer.name: nodes[layer.source].astype(np.float64) for layer in network.layers}


def _whatever_is_removed(operation: Operation, sources: Sequence[Box]) -> Ranges | None:
    """Return the range of a layer that no mask over its codes leaves; others follow from it."""
    if not isinstance(operation, Layer):
        return None
    return operation.ranges(*(Box(s.shape, s.ranges.union(0)) for s in sources))


def layer_of(operation: Layer, source: Box) -> PrunableLayer:
    """Return what a strategy sees of one operation, whose source has this range."""
    full, taps = source.full, operation.tap_ranges(source)
    geometry = None
    if isinstance(operation, Conv):
        geometry = Geometry(
            source.shape,
            full.low,
            full.high,
            operation.stride,
            operation.padding,
            operation.dilation,
        )
    bias = operation.bias
    return PrunableLayer(
        name=operation.name,
        weight=operation.codes.astype(np.float64),
        codes=operation.codes,
        low=taps.low,
        high=taps.high,
        bias=np.zeros(len(operation.codes), np.int64) if bias is None else bias,
        mask=operation.codes != 0,
        groups=taps.shape[0],
        geometry=geometry,
    )
