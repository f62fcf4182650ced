"""Error correction: within the budget always, and nearer to what was than any mask."""

import itertools
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, strategies as st

from networks import EXAMPLES, example, inputs, networks
from secateur import bounds
from secateur.analysis import analyze
from secateur.errors import MaskError, MissingDataError, StrategyFailedError
from secateur.network import (
    Affine,
    FunctionTable,
    Input,
    Linear,
    Lookup,
    Network,
    Output,
    Quantize,
)
from secateur.pruning import Accumulator, Compensated, Magnitude
from secateur.pruning.compensated import fit_codes
from secateur.pruning.prune import prune


def by_layer(network, bits):
    return {layer.name: bits for layer in network.layers}


def some(network, most=200):
    x = inputs(network)
    return x[np.random.default_rng(0).permutation(len(x))[:most]]


def error(codes, x, y):
    lost = y - x @ codes.T
    return ((lost - lost.mean(axis=0)) ** 2).sum()


@given(networks(), st.integers(1, 6))
def test_every_layer_fits_and_no_code_grows_or_comes_back(network, bits):
    pruned = prune(network, Compensated(by_layer(network, bits)), samples=some(network))
    report = analyze(pruned)
    for old in network.layers:
        new = pruned[old.name]
        assert report[old.name].bits() <= bits
        assert new.codes.dtype == old.codes.dtype
        assert (new.codes[old.codes == 0] == 0).all()
        assert np.abs(new.codes.astype(int)).max() <= np.abs(old.codes.astype(int)).max()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_network_that_fits_stays_as_it_is(name):
    network = example(name)
    pruned = prune(network, Compensated(30), samples=some(network))
    for one, other in zip(network.operations, pruned.operations, strict=True):
        assert one is other or (one.codes == other.codes).all()
    x = some(network)
    assert (network(x) == pruned(x)).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_small_layers_are_between_the_best_mask_and_the_best_codes(seed, bits):
    random = np.random.default_rng(seed)
    codes = random.integers(-2, 3, (1, 4))
    x = random.integers(0, 4, (60, 4)) @ random.integers(0, 2, (4, 4)) + random.normal(size=(60, 4))
    y, spread = x @ codes.T, random.integers(1, 4, (1, 4))
    found = fit_codes(codes, x, y, spread, bits)
    assert (abs(found) * spread).sum() <= 2**bits - 1
    allowed = [range(-2, 3) if c else (0,) for c in codes[0]]
    fitting = (np.array([c]) for c in itertools.product(*allowed))
    best = min(error(c, x, y) for c in fitting if (abs(c) * spread).sum() <= 2**bits - 1)
    assert error(found, x, y) >= best - 1e-6
    scores = abs(codes) * x.std(axis=0)
    mask = bounds.select(codes, scores, 0 * spread, spread, bits)
    slack = 0.02 * error(0 * codes, x, y)  # damping weighs a little, too
    assert error(found, x, y) <= error(codes * mask, x, y) + slack + 1e-6


def correlated(seed=0, hidden=24, fan_in=32):
    """A two-layer network and samples whose features say much the same, as real ones do."""
    random = np.random.default_rng(seed)
    first = random.integers(-3, 4, (hidden, fan_in)).astype(np.int8)
    last = random.integers(-3, 4, (5, hidden)).astype(np.int8)
    one, zero = np.ones(1, int), np.zeros(1, int)
    table = FunctionTable((Affine(np.array([0.1]), np.array([0.0])),), Quantize(1.0, 0, 3))
    network = Network(
        Input((fan_in,), np.array(0), np.array(3)),
        (Linear("a", "input", first), Lookup("r", "a", table), Linear("b", "r", last)),
        Output("b", one, zero, np.ones(1), np.zeros(1)),
    )
    latent = random.normal(size=(400, 6)) @ random.normal(size=(6, fan_in))
    return network, np.clip(np.rint(1.5 + 0.6 * latent), 0, 3).astype(int)


@pytest.mark.parametrize("bits", [4, 5, 6])
def test_outputs_stay_nearer_than_under_the_best_mask(bits):
    network, x = correlated()
    calibration, others = x[:200], x[200:]

    def off(pruned):
        outputs = (n.predict(others.astype(float)) for n in (pruned, network))
        return np.square(np.subtract(*outputs)).mean()

    ours = prune(network, Compensated(bits), samples=calibration)
    theirs = prune(network, Accumulator(bits, saliency="activation"), samples=calibration)
    assert analyze(ours).accumulator_bits <= bits
    assert off(ours) < 0.6 * off(theirs)


def dense(codes, low, high):
    one = np.ones(len(codes))
    output = Output("fc", one.astype(int), 0 * one.astype(int), one, 0 * one)
    layer = Linear("fc", "input", codes)
    return Network(Input((codes.shape[1],), np.array(low), np.array(high)), (layer,), output)


def test_codes_of_a_type_s_lowest_never_wrap_to_it():
    """An int8 code of −128 permits steps to 128 elsewhere, which int8 does not hold."""
    network = dense(np.array([[-128, 127, 127, 1]], np.int8), 0, 3)
    # Wants more of the second and third input than 127 gives, once the last is gone.
    x = np.array([[0, 1, 1, 3], [0, 2, 2, 3], [0, 3, 3, 3], [0, 0, 0, 0], [3, 0, 0, 0]])
    y = x @ np.array([[-128], [140], [140], [1]])
    flat = np.array([[-128, 127, 127, 1]])
    spread = np.full((1, 4), 3)
    assert fit_codes(flat, x * 1.0, y * 1.0, spread, 12).max() == 128
    assert fit_codes(flat, x * 1.0, y * 1.0, spread, 12, highest=127).max() == 127
    assert (prune(network, Compensated(12), samples=x)["fc"].codes[0, 1:] >= 0).all()


@pytest.mark.parametrize(
    ("codes", "low", "high", "bits"),
    [
        ([[2**60 + 1, 3]], 0, 1, 62),
        ([[2**60 + 1, 3]], 0, 1, 5),
        ([[2**40, 3]], 0, 1, 5),
        ([[1, 1]], -(2**62), 2**62 - 1, 63),
    ],
)
def test_what_float64_does_not_hold_is_masked(codes, low, high, bits):
    network = dense(np.array(codes), low, high)
    pruned = prune(
        network, Compensated(bits), samples=np.array([[0, 0], [1, 0], [1, 1]]) + max(low, -1)
    )
    assert analyze(pruned)["fc"].bits() <= bits
    kept = pruned["fc"].codes
    assert ((kept == 0) | (kept == codes) | (np.abs(codes) < 2**53)).all()


def test_chains_correct_what_earlier_steps_leave():
    network, x = correlated()
    pruned = prune(network, [Magnitude(0.5), Compensated(6)], samples=x)
    alone = prune(network, Magnitude(0.5))
    for layer in pruned.layers:
        assert not (layer.codes[alone[layer.name].codes == 0]).any()
    assert analyze(pruned).accumulator_bits <= 6


def test_without_samples_there_is_nothing_to_correct_by():
    with pytest.raises(MissingDataError, match="samples="):
        prune(example("mlp"), Compensated(4))


@dataclass(frozen=True)
class Wrong:
    """Corrects as it is told."""

    name: ClassVar[str] = "wrong"
    give: Any = None

    def masks(self, problem):
        return {}

    def corrected(self, problem, layer, inputs, wanted):
        return self.give(layer)


@pytest.mark.parametrize(
    ("give", "kind", "message"),
    [
        (lambda x: x.codes * 1.0, MaskError, "float64"),
        (lambda x: x.codes[:1], MaskError, "expected integers"),
        (lambda x: x.codes * 2, MaskError, "reach beyond"),
        (lambda x: np.ones_like(x.codes), MaskError, "bring back"),
        (lambda x: 1 / 0, StrategyFailedError, "division by zero"),
    ],
)
def test_what_other_strategies_give_is_checked(give, kind, message):
    network, x = correlated()
    with pytest.raises(kind, match=message):
        prune(network, Wrong(give), samples=x)
