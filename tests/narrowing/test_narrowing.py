"""Narrowing changes no result, finds nothing twice, and saves what it says."""

import numpy as np
import pytest
from hypothesis import given

from networks import EXAMPLES, Builder, example, inputs, networks
from secateur.analysis import analyze
from secateur.narrowing import (
    divide_common_factors,
    drop_dead_channels,
    explain,
    fold_constants,
    narrow,
    shift_to_zero,
    skip_identities,
)
from secateur.network import (
    Activation,
    Add,
    Affine,
    Conv,
    ExplicitTable,
    FunctionTable,
    Linear,
    Lookup,
    Quantize,
)

STEPS = [
    skip_identities,
    fold_constants,
    drop_dead_channels,
    divide_common_factors,
    shift_to_zero,
    narrow,
]
RELU = FunctionTable((Activation("relu"),), Quantize(2.0, 0, 3))


def array(*rows, dtype=np.int64):
    return np.array(rows, dtype=dtype)


def widths(network):
    return {node.name: node.bits() for node in analyze(network).accumulators}


def natural_bits(network):
    """The width of the widest node, as an integer type holds it."""
    bits = []
    for node in analyze(network):
        low, high = int(node.ranges.low.min()), int(node.ranges.high.max())
        signed = 1 + max(high.bit_length(), (~low).bit_length())
        bits.append(high.bit_length() if low >= 0 else signed)
    return max(bits)


def applied(step, network):
    """What a step, or all of narrowing, makes of a network."""
    return step(network) if step is narrow else step(analyze(network))


@pytest.mark.parametrize("step", STEPS, ids=lambda f: f.__name__)
class TestEveryStep:
    @given(network=networks())
    def test_keeps_every_integer(self, step, network):
        x = inputs(network, limit=512)
        assert (applied(step, network)(x) == network(x)).all()

    @given(network=networks())
    def test_finds_nothing_more_in_what_it_gave(self, step, network):
        once = applied(step, network)
        assert applied(step, once) is once

    @given(network=networks())
    def test_never_needs_more_bits(self, step, network):
        assert natural_bits(applied(step, network)) <= natural_bits(network)

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_keeps_common_architectures(self, step, name):
        for seed in range(5):
            network = example(name, seed)
            x = inputs(network)
            assert (applied(step, network)(x) == network(x)).all()

    def test_leaves_the_network_it_was_given_alone(self, step):
        network = example("mlp")
        before = [layer.codes.copy() for layer in network.layers]
        applied(step, network)
        assert all((a == b.codes).all() for a, b in zip(before, network.layers, strict=True))


class TestShiftToZero:
    def test_moves_every_channel_into_its_span(self):
        b = Builder((2,), 0, 3)
        b.linear(array([1, -2], [-1, -1]), array(5, 0))
        b.lookup(RELU)
        b.linear(array([-1, 1]))
        shifted = shift_to_zero(analyze(b.network()))
        report = analyze(shifted)
        assert report["linear0"].channels.low.tolist() == [0, 0]
        assert report["linear0"].channels.high.tolist() == [9, 6]
        assert shifted["linear0"].bias.tolist() == [6, 6]
        assert shifted["lookup1"].offset.tolist() == [-1, -6]
        assert report["linear2"].channels.low.tolist() == [0]
        assert shifted.output.offset.tolist() == [-3]

    def test_a_rounding_lookup_takes_multiples_of_its_step(self):
        b = Builder((1,), 0, 1)
        b.linear(array([-6]))
        b.lookup(RELU, rounding_bits=2)
        shifted = shift_to_zero(analyze(b.network()))
        # −6 is no multiple of 4: the next lower one, −8, is taken out.
        assert shifted["lookup1"].offset.tolist() == [-8]
        assert analyze(shifted)["linear0"].channels.low.tolist() == [2]

    def test_channels_mixed_by_a_reshape_share_one_offset(self):
        b = Builder((1,), 0, 1)
        b.linear(array([-1], [-2], [-3], [-4]))
        b.reshape((2, 2))
        b.lookup(RELU)
        shifted = shift_to_zero(analyze(b.network()))
        assert shifted["linear0"].bias.tolist() == [4, 4, 4, 4]
        assert shifted["lookup2"].offset.tolist() == [-4, -4]

    def test_padding_of_the_next_convolution_stays_zero(self):
        b = Builder((1, 2), 0, 1)
        b.conv(array([[-1]]))
        b.conv(array([[1, 1]]), padding=((1, 0),))
        shifted = shift_to_zero(analyze(b.network()))
        assert shifted["conv0"].bias is None
        assert analyze(shifted)["conv1"].channels.low.tolist() == [0]

    def test_a_sum_pool_passes_on_the_sum_of_the_offsets(self):
        b = Builder((1, 2), 0, 1)
        b.conv(array([[-3]]))
        b.sum_pool((2,), (1,), ((0, 0),))
        shifted = shift_to_zero(analyze(b.network()))
        assert shifted["conv0"].bias.tolist() == [3]
        assert shifted.output.offset.tolist() == [-6]

    def test_a_residual_add_takes_the_offsets_of_both_sides(self):
        b = Builder((2,), 0, 1)
        b.linear(array([-1, 0], [0, -2]))
        left = b.at
        b.at = "input"
        b.linear(array([0, -4], [1, 0]))
        b.add(left, b.at)
        shifted = shift_to_zero(analyze(b.network()))
        assert [shifted[n].bias.tolist() for n in ("linear0", "linear1")] == [[1, 2], [4, 0]]
        assert analyze(shifted)["add2"].channels.low.tolist() == [0, 0]
        assert shifted.output.offset.tolist() == [-5, -2]


class TestDivideCommonFactors:
    def test_a_table_absorbs_factor_and_residue(self):
        b = Builder((2,), 0, 1)
        b.linear(array([4, -6], [3, 0], [1, 2]), array(5, -1, 0))
        b.lookup(RELU)
        divided = divide_common_factors(analyze(b.network()))
        assert divided["linear0"].codes.tolist() == [[2, -3], [1, 0], [1, 2]]
        assert divided["linear0"].bias.tolist() == [2, -1, 0]
        assert divided["lookup1"].factor.tolist() == [2, 3, 1]
        assert divided["lookup1"].offset.tolist() == [1, 2, 0]

    def test_codes_keep_their_dtype(self):
        b = Builder((1,), 0, 1)
        b.linear(array([4], dtype=np.int8))
        assert divide_common_factors(analyze(b.network()))["linear0"].codes.dtype == np.int8

    def test_a_layer_that_multiplies_again_is_left_alone(self):
        b = Builder((1,), 0, 1)
        b.linear(array([2]))
        b.linear(
            array(
                [
                    3,
                ]
            )
        )
        divided = divide_common_factors(analyze(b.network()))
        assert divided["linear0"].codes.tolist() == [[2]]
        assert divided["linear1"].codes.tolist() == [[1]]

    def test_rounding_keeps_its_units(self):
        b = Builder((1,), 0, 3)
        b.linear(array([2]))
        b.lookup(RELU, rounding_bits=1)
        network = b.network()
        assert divide_common_factors(analyze(network)) is network


class TestFoldConstants:
    def test_the_product_goes_into_the_bias(self):
        b = Builder((3,), array(0, 2, -1), array(1, 2, -1))
        b.linear(array([1, 2, 3], [0, 1, 0]))
        folded = fold_constants(analyze(b.network()))
        assert folded["linear0"].codes.tolist() == [[1, 0, 0], [0, 0, 0]]
        assert folded["linear0"].bias.tolist() == [1, 2]

    def test_a_padded_convolution_keeps_all_but_zeros(self):
        low = array([0, 0], [2, 2], [0, 0])
        b = Builder((3, 2), low, low + array([1], [0], [0]))
        b.conv(array([[1, 1], [1, 1], [1, 1]]), padding=((1, 0),))
        folded = fold_constants(analyze(b.network()))
        assert folded["conv0"].codes.tolist() == [[[1, 1], [1, 1], [0, 0]]]

    def test_groups_meet_their_own_inputs(self):
        low = array([3, 3], [0, 0])
        b = Builder((2, 2), low, low + array([0], [1]))
        b.conv(array([[1, 2]], [[3, 4]]), groups=2)
        folded = fold_constants(analyze(b.network()))
        assert folded["conv0"].codes.tolist() == [[[0, 0]], [[3, 4]]]
        assert folded["conv0"].bias.tolist() == [9, 0]


class TestDropDeadChannels:
    def test_a_channel_that_all_readers_multiply_by_zero_goes(self):
        b = Builder((2,), 0, 1)
        b.linear(array([1, 1], [1, -1], [2, 1]), array(1, 2, 3))
        scales = Affine(np.array([1.0, 2.0, 3.0]), np.array([0.0]))
        b.lookup(FunctionTable((scales,), Quantize(1.0, 0, 9)), offset=array(4, 5, 6))
        b.linear(array([1, 0, 2]))
        dropped = drop_dead_channels(analyze(b.network()))
        assert dropped["linear0"].codes.tolist() == [[1, 1], [2, 1]]
        assert dropped["linear0"].bias.tolist() == [1, 3]
        assert dropped["lookup1"].offset.tolist() == [4, 6]
        assert dropped["lookup1"].table.steps[0].scale.tolist() == [1.0, 3.0]
        assert dropped["linear2"].codes.tolist() == [[1, 2]]

    def test_rows_of_an_explicit_table_go_with_their_channels(self):
        b = Builder((1,), 0, 1)
        b.linear(array([1], [1]))
        b.lookup(ExplicitTable(array([0, 1], [2, 3]), array(0, 0)))
        b.linear(array([0, 1]))
        dropped = drop_dead_channels(analyze(b.network()))
        assert dropped["lookup1"].table.values.tolist() == [[2, 3]]

    def test_a_dead_channel_goes_through_pool_and_flatten(self):
        b = Builder((1, 4), 0, 1)
        b.conv(array([[1]], [[1]], [[-1]]))
        b.max_pool((2,), (2,), ((0, 0),))
        b.reshape((6,))
        b.linear(array([1, 1, 0, 0, 0, 1]))
        dropped = drop_dead_channels(analyze(b.network()))
        assert dropped["conv0"].codes.tolist() == [[[1]], [[-1]]]
        assert dropped["reshape2"].to == (4,)
        assert dropped["linear3"].codes.tolist() == [[1, 1, 0, 1]]

    def test_groups_go_whole(self):
        b = Builder((1, 3), 0, 1)
        b.conv(array([[1]], [[2]]))
        b.conv(array([[1]], [[1]], [[3]], [[1]]), groups=2)
        b.conv(array([[0], [0], [1], [0]]))
        dropped = drop_dead_channels(analyze(b.network()))
        assert dropped["conv0"].codes.tolist() == [[[2]]]
        assert dropped["conv1"].groups == 1
        assert dropped["conv1"].codes.tolist() == [[[3]], [[1]]]

    def test_operations_that_nothing_reads_go(self):
        b = Builder((1,), 0, 1)
        b.linear(array([1]))
        b.at = "input"
        b.linear(array([2]))
        assert [o.name for o in drop_dead_channels(analyze(b.network())).operations] == ["linear1"]

    def test_the_input_and_the_output_keep_their_shapes(self):
        b = Builder((2,), 0, 1)
        b.linear(array([0, 1], [0, 0]))
        network = b.network()
        assert drop_dead_channels(analyze(network)) is network

    def test_a_network_that_is_constant_keeps_one_channel(self):
        b = Builder((2,), 0, 1)
        b.linear(array([1, 1], [1, 0]))
        b.linear(array([0, 0]), array(7))
        dropped = drop_dead_channels(analyze(b.network()))
        assert dropped["linear0"].codes.tolist() == [[1, 1]]
        assert dropped(array([1, 1], [0, 1])).tolist() == [[7], [7]]


class TestSkipIdentities:
    def test_a_rectifier_of_what_is_never_negative_goes(self):
        b = Builder((2,), 0, 1)
        b.linear(array([1, 2]))
        b.lookup(FunctionTable((Activation("relu"),), Quantize(1.0, 0, 15)))
        b.linear(array([1]))
        skipped = skip_identities(analyze(b.network()))
        assert [o.name for o in skipped.operations] == ["linear0", "linear2"]
        assert skipped["linear2"].source == "linear0"

    def test_one_value_that_differs_keeps_the_table(self):
        b = Builder((2,), 0, 1)
        b.linear(array([1, 2]))
        b.lookup(FunctionTable((Activation("relu"),), Quantize(1.0, 0, 2)))
        network = b.network()
        assert skip_identities(analyze(network)) is network

    def test_an_added_constant_goes_into_the_reader(self):
        b = Builder((1,), 0, 3)
        b.lookup(FunctionTable((), Quantize(1.0, -8, 7)), offset=array(-2))
        b.linear(array([5]))
        skipped = skip_identities(analyze(b.network()))
        assert [o.name for o in skipped.operations] == ["linear1"]
        assert skipped["linear1"].bias.tolist() == [-10]

    def test_the_output_reads_past_a_skipped_table(self):
        b = Builder((1,), 0, 3)
        b.linear(array([2]))
        b.lookup(FunctionTable((), Quantize(1.0, 0, 7)))
        assert skip_identities(analyze(b.network())).output.source == "linear0"

    def test_rounding_is_never_an_identity(self):
        b = Builder((1,), 0, 3)
        b.lookup(FunctionTable((), Quantize(1.0, 0, 7)), rounding_bits=1)
        network = b.network()
        assert skip_identities(analyze(network)) is network


class TestNarrow:
    def wasteful(self):
        """One thing to do for every step: each makes work for the next."""
        b = Builder((3,), array(0, 1, 0), array(3, 1, 3))
        b.lookup(FunctionTable((Activation("relu"),), Quantize(1.0, 0, 3)))
        b.linear(array([2, 4, -2], [0, 1, 0], [1, 1, 1]), array(0, 5, 0))
        b.lookup(RELU)
        b.linear(array([1, 1, 0], [-1, 1, 0]))
        return b.network()

    def test_all_steps_work_together(self):
        network = self.wasteful()
        narrowing = explain(network)
        narrowed = narrowing.network
        assert [type(o) for o in narrowed.operations] == [Linear, Lookup, Linear]
        assert narrowed["linear1"].codes.tolist() == [[1, 0, -1]]
        assert narrowed["lookup2"].factor.tolist() == [2]
        x = inputs(network)
        assert (narrowed(x) == network(x)).all()

    def test_the_report_says_what_each_step_saved(self):
        narrowing = explain(self.wasteful())
        steps = {step.name: step for step in narrowing.steps}
        assert list(steps) == [
            "skip identities",
            "fold constants",
            "drop dead channels",
            "divide common factors",
            "shift to zero",
        ]
        skipped = steps["skip identities"]
        assert (skipped.before.lookups, skipped.after.lookups) == (6, 3)
        dropped = steps["drop dead channels"]
        assert dropped.after.channels == dropped.before.channels - 4
        assert steps["divide common factors"].before.bits == 5
        assert steps["shift to zero"].after.bits == 3
        assert narrowing.bits == {"linear1": (5, 3), "linear3": (3, 2)}
        assert "shift to zero" in str(narrowing)
        assert "5→3" in str(narrowing)

    def test_what_was_dropped_is_reported_as_such(self):
        b = Builder((1,), 0, 1)
        b.linear(array([1]))
        b.at = "input"
        b.linear(array([2]))
        narrowing = explain(b.network())
        assert narrowing.bits["linear0"] == (1, None)
        assert "1→dropped" in str(narrowing)

    @given(network=networks())
    def test_accumulators_that_only_tables_read_start_at_zero(self, network):
        narrowed = narrow(network)
        report = analyze(narrowed)
        for operation in narrowed.operations:
            readers = [o for o in narrowed.operations if operation.name in o.sources]
            if (
                isinstance(operation, Linear | Conv | Add)
                and readers
                and all(isinstance(o, Lookup) and not o.rounding_bits for o in readers)
                and narrowed.output.source != operation.name
            ):
                assert (report[operation.name].channels.low == 0).all()


def test_a_table_of_huge_codes_over_a_wide_accumulator_is_left_alone_unlisted():
    wide = FunctionTable((), Quantize(1.0, -(1 << 50), 1 << 50))
    b = Builder((1,), 0, 1 << 40)
    b.lookup(wide)
    assert narrow(b.network())(np.array([[1 << 40]])) == 1 << 40
