"""Ranges of whole networks, held against every input of small boxes."""

import numpy as np
import pytest
from hypothesis import given

from networks import EXAMPLES, Builder, example, inputs, networks
from secateur.analysis import analyze
from secateur.errors import AccumulatorOverflowError, ArgumentError, NetworkError
from secateur.network import Linear, Network
from secateur.ranges import Range


def channel_extremes(values):
    """Least and greatest value of every channel of [batch, channels, ...]."""
    axes = (0, *range(2, values.ndim))
    return values.min(axis=axes), values.max(axis=axes)


@given(networks())
def test_no_node_leaves_its_range(network):
    report = analyze(network)
    for name, values in network.nodes(inputs(network)).items():
        ranges = report[name].ranges
        assert (values >= ranges.low).all(), name
        assert (values <= ranges.high).all(), name


@given(networks())
def test_witnesses_attain_both_ends_of_every_exact_range(network):
    report = analyze(network)
    for node in report:
        for channel in np.flatnonzero(node.exact):
            low = network.nodes(report.witness(node.name, channel, "low")[None])[node.name]
            high = network.nodes(report.witness(node.name, channel)[None])[node.name]
            assert low[0, channel].min() == node.channels.low[channel]
            assert high[0, channel].max() == node.channels.high[channel]


@pytest.mark.parametrize("name", EXAMPLES)
def test_first_accumulators_are_exact_over_all_inputs(name):
    network = example(name)
    first = next(network.layers)
    node = analyze(network)[first.name]
    assert node.exact.all()
    low, high = channel_extremes(network.nodes(inputs(network, limit=1 << 14))[first.name])
    witnesses = [
        analyze(network).witness(first.name, c, end)
        for c in range(len(low))
        for end in ("low", "high")
    ]
    at_witnesses = network.nodes(np.array(witnesses))[first.name]
    low_there, high_there = channel_extremes(at_witnesses)
    assert (np.minimum(low, low_there) == node.channels.low).all()
    assert (np.maximum(high, high_there) == node.channels.high).all()


def test_a_sound_range_gives_no_witness():
    network = example("mlp")
    with pytest.raises(NetworkError, match=r"'linear2', channel 1: .* sound"):
        analyze(network).witness("linear2", 1)


def test_border_windows_count_where_zero_lies_outside_the_inputs():
    b = Builder((1, 3, 3), 1, 15)
    b.conv(np.ones((1, 1, 3, 3), np.int8), padding=((1, 1), (1, 1)))
    node = analyze(b.network())["conv0"]
    assert (node.channels.low[0], node.channels.high[0]) == (4, 135)


def test_a_table_is_searched_inside_its_range_not_only_at_its_ends():
    b = Builder((1,), -3, 3)
    b.activation("abs", low=0, high=3)
    node = analyze(b.network())["lookup0"]
    assert (node.channels.low[0], node.channels.high[0]) == (0, 3)
    # |v| is least between the ends of [-3, 3], where no witness is known.
    assert not node.exact[0]


def test_a_table_over_a_vast_accumulator_falls_back_to_its_codomain():
    b = Builder((1,), 0, 1 << 40)
    b.activation("relu", low=0, high=3)
    node = analyze(b.network())["lookup0"]
    assert (node.ranges.low[0], node.ranges.high[0]) == (0, 3)


def test_overflow_names_layer_and_channel():
    b = Builder((2,), 0, 1 << 40)
    b.linear(np.array([[1, 0], [1 << 30, 1 << 30]], np.int64))
    with pytest.raises(AccumulatorOverflowError, match="'linear0'") as caught:
        analyze(b.network())
    assert (caught.value.layer, caught.value.channel) == ("linear0", 1)


def test_a_sum_beyond_64_bits_names_layer_and_channel():
    b = Builder((2,), 0, (1 << 62))
    b.add("input", "input")
    with pytest.raises(AccumulatorOverflowError, match=r"'add0'.*channel 0") as caught:
        analyze(b.network())
    assert caught.value.high == 1 << 63


def test_report_finds_nodes_by_name_and_says_what_it_has():
    report = analyze(example("mlp"))
    assert [node.name for node in report] == ["input", "linear0", "lookup1", "linear2"]
    assert [node.name for node in report.accumulators] == ["linear0", "linear2"]
    assert report.accumulator_bits == max(report["linear0"].bits(), report["linear2"].bits())
    with pytest.raises(NetworkError, match=r"'fc9'.*linear0"):
        report["fc9"]


@pytest.mark.parametrize("wrong", [3, (0, 1), Range(0, 1)], ids=str)
def test_given_ranges_are_ranges(wrong):
    network = example("mlp")
    with pytest.raises(ArgumentError, match=f"given for {network.operations[0].name!r}"):
        analyze(network, given={network.operations[0].name: wrong})


@pytest.mark.parametrize("wrong", ["x", None, -1, float("nan")], ids=str)
def test_seconds_of_search_are_a_number(wrong):
    with pytest.raises(ArgumentError, match="attain is"):
        analyze(example("mlp"), attain=wrong)


@pytest.mark.parametrize("channel", [-1, 0.5, 10**30, "0"], ids=str)
def test_a_witness_is_of_a_channel(channel):
    report = analyze(example("mlp"))
    with pytest.raises(NetworkError, match=f"not {channel!r}"):
        report.witness(report.network.operations[0].name, channel)


def test_report_prints_one_row_a_node():
    lines = str(analyze(example("mlp"))).splitlines()
    assert lines[0].split() == [
        "node",
        "kind",
        "shape",
        "widest",
        "channel",
        "low",
        "high",
        "span",
        "bits",
        "exact",
    ]
    assert len(lines) == 5
    assert lines[2].startswith("linear0")
    assert lines[2].endswith("all")


def test_what_is_no_operation_is_refused():
    class Square:
        name, sources = "square", ("input",)

    network = example("mlp")
    with pytest.raises(NetworkError, match=r"Square.* is no operation"):
        Network(network.input, (Square(),), Builder((6,), 0, 1).network().output)


def test_pruning_never_widens_a_first_layer():
    network = example("mlp")
    before = analyze(network)["linear0"].channels
    layer = network["linear0"]
    pruned = layer.codes.copy()
    pruned[:, ::2] = 0
    after = analyze(network.with_operations(Linear("linear0", "input", pruned, layer.bias)))[
        "linear0"
    ].channels
    assert (before.low <= after.low).all()
    assert (after.high <= before.high).all()
    assert (after.high - after.low < before.high - before.low).any()
