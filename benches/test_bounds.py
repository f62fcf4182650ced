"""The engine and its peers under pytest-benchmark: tiny and untimed in every test run.

`pytest benches/test_bounds.py --benchmark-enable` times the full sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from secateur import bounds

from . import bounds_peers as peers

SIZES = {"64x64": (64, 64), "512x4608": (512, 4608), "4096x4096": (4096, 4096)}
LARGE = {"8192x8192": (8192, 8192), "65536x8192": (65_536, 8192)}

Timed = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def tiny(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("benchmark_disable"))


@pytest.mark.parametrize("each", [False, True], ids=["one range", "a range each"])
@pytest.mark.parametrize("size", [*SIZES, *LARGE])
def test_linear(benchmark: Timed, tiny: bool, size: str, each: bool) -> None:
    codes = peers.layer(*((3, 70) if tiny else {**SIZES, **LARGE}[size]), each)
    low, high = benchmark(peers.secateur(codes))
    row = codes.weight[0].astype(np.int64)
    assert low[0] == np.minimum(row * codes.low, row * codes.high).sum()
    assert high[0] == np.maximum(row * codes.low, row * codes.high).sum()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("peer", peers.PEERS)
def test_peer(benchmark: Timed, tiny: bool, peer: str, size: str) -> None:
    if not peers.available(peer):
        pytest.skip(f"{peer.split()[0]} is not installed")
    codes = peers.layer(*((3, 70) if tiny else SIZES[size]))
    answer = benchmark(peers.PEERS[peer](codes))
    if tiny:  # few enough inputs for every peer to be right
        assert peers.wrong_channels(answer, peers.secateur(codes)()) == 0


RESNET18 = {
    "conv1": ((64, 3, 7, 7), (3, 224, 224), 2, 3),
    "layer1": ((64, 64, 3, 3), (64, 56, 56), 1, 1),
    "layer2 down": ((128, 64, 1, 1), (64, 56, 56), 2, 0),
    "layer2": ((128, 128, 3, 3), (128, 28, 28), 1, 1),
    "layer3": ((256, 256, 3, 3), (256, 14, 14), 1, 1),
    "layer4": ((512, 512, 3, 3), (512, 7, 7), 1, 1),
}


@pytest.mark.parametrize("name", RESNET18)
@pytest.mark.parametrize("each", [False, True], ids=["one range", "per channel"])
def test_conv(benchmark: Timed, tiny: bool, name: str, each: bool) -> None:
    shape, image, stride, padding = RESNET18[name]
    if tiny:
        shape, image = (2, 3, *shape[2:]), (3, 8, 8)
    rng = np.random.default_rng(0)
    weight = rng.integers(-8, 8, shape, np.int8)
    low, high = (
        (0, 15) if not each else (-rng.integers(0, 8, image[0]), rng.integers(0, 8, image[0]))
    )
    geometry = {"input_shape": image, "stride": stride, "padding": padding}
    ranges = benchmark(lambda: bounds.conv(weight, low, high, **geometry))
    # Zero lies in every input range and some window sees every tap.
    per_input = (s if np.ndim(s) == 0 else np.repeat(s, shape[2] * shape[3]) for s in (low, high))
    assert ranges == bounds.linear(weight.reshape(len(weight), -1), *per_input)


NETWORKS = {"22 M": [(64, 147), *[(256, 2304)] * 9, *[(512, 4608)] * 6, (1000, 1536)]}
NETWORKS["100 M"] = [(4096, 4096)] * 6


@pytest.mark.parametrize("name", NETWORKS)
def test_network(benchmark: Timed, tiny: bool, name: str) -> None:
    shapes = [(3, 5), (4, 3)] if tiny else NETWORKS[name]
    layers = [peers.layer(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    ranges = benchmark(lambda: [bounds.linear(*layer) for layer in layers])
    assert [len(r) for r in ranges] == [out for out, _ in shapes]


@pytest.mark.parametrize("masks", [1, 16, 64])
def test_masks(benchmark: Timed, tiny: bool, masks: int) -> None:
    codes = peers.layer(*((3, 70) if tiny else (512, 4608)))
    batch = np.random.default_rng(0).random((masks, *codes.weight.shape)) < 0.5
    ranges = benchmark(lambda: bounds.linear(*codes, mask=batch))
    assert ranges.shape == (masks, len(codes.weight))


def test_profile(benchmark: Timed, tiny: bool) -> None:
    shapes = [(3, 5), (4, 3)] if tiny else NETWORKS["22 M"]
    weights = [peers.layer(*shape, seed=seed).weight for seed, shape in enumerate(shapes)]
    size = sum(weight.size for weight in weights)
    order = np.random.default_rng(0).permutation(size)
    counts = np.linspace(0, size, 1000).astype(np.int64)
    ends = [0] * len(weights), [15] * len(weights)
    profiles = benchmark(lambda: bounds.profile_network(weights, order, *ends, counts))
    assert all((low[-1] == 0).all() and (high[-1] == 0).all() for low, high in profiles)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("method", ["exact", "greedy"])
def test_select(benchmark: Timed, tiny: bool, method: Any, bits: int) -> None:
    rng = np.random.default_rng(0)
    codes = rng.normal(0, 40, (3, 70) if tiny else (512, 4608)).round().clip(-127, 127)
    codes, saliency = codes.astype(np.int8), rng.random(codes.shape)
    kept = benchmark(lambda: bounds.select(codes, saliency, 0, 15, bits, method))
    assert (bounds.linear(codes, 0, 15, mask=kept).bits() <= bits).all()


@pytest.mark.parametrize("bits", [6, 8])
def test_fit_scales(benchmark: Timed, tiny: bool, bits: int) -> None:
    weight = np.random.default_rng(0).normal(size=(3, 70) if tiny else (1000, 784))
    fitted = bounds.fit_scales(weight, np.ones(len(weight)), 0, 3, bits, (-3, 3))
    again = benchmark(lambda: bounds.fit_scales(weight, fitted, 0, 3, bits, (-3, 3)))
    assert (np.abs(np.log2(again / fitted)) < 0.2).all()
