"""Rounding that changes no integer: proved by every entry, maximal, and refused where it is not."""

import numpy as np
import pytest
from hypothesis import given

from networks import EXAMPLES, Builder, example, inputs, networks
from secateur.analysis import analyze
from secateur.errors import NetworkError, RoundingError
from secateur.narrowing import harmless_roundings, narrow, round_by_price, round_harmlessly
from secateur.network import ExplicitTable, Lookup


def array(*rows):
    return np.array(rows, np.int8)


def staircase(rows, values, low=0):
    """A network of one input in [0, 63] whose channels have tables of their own."""
    b = Builder((1,), 0, 63)
    b.linear(np.ones((rows, 1), np.int8), np.full(rows, low))
    b.lookup(ExplicitTable(np.asarray(values), np.full(len(values), low)))
    return b.network()


def steps_at(*positions, entries=64):
    return np.searchsorted(positions, np.arange(entries), side="right")


def every_block_is_constant(values, bits):
    """Slow and obvious: some offset makes the entries of each block equal."""
    return any(
        all(len(set(b)) == 1 for b in np.split(values, range(c, len(values), 1 << bits)) if len(b))
        for c in range(1 << bits)
    )


def bits_of(network, source="linear0"):
    return [r.bits for r in harmless_roundings(network) if r.source == source]


class TestFinding:
    @pytest.mark.parametrize("seed", range(40))
    def test_exactly_those_that_brute_force_finds(self, seed):
        random = np.random.default_rng(seed)
        step = 1 << random.integers(0, 4)
        values = np.stack(
            [
                steps_at(*(random.integers(64) + step * np.arange(random.integers(0, 5))))
                for _ in range(2)
            ]
        )
        network = staircase(2, values)
        expected = [r for r in range(1, 6) if all(every_block_is_constant(v, r) for v in values)]
        assert bits_of(network) == expected

    def test_offsets_are_free_for_each_channel_and_bits_are_shared(self):
        values = np.stack([steps_at(3, 11, 27), steps_at(8, 24)])
        (one, two, three) = harmless_roundings(staircase(2, values))
        assert (one.bits, two.bits, three.bits) == (1, 2, 3)
        assert three.offset.tolist() == [5, 0]
        assert (two.offset.tolist(), one.offset.tolist()) == ([1, 0], [1, 0])

    def test_the_width_counts_the_offset(self):
        (rounding,) = [
            r for r in harmless_roundings(staircase(1, [steps_at(3, 11)])) if r.bits == 3
        ]
        assert rounding.width == 7  # [0, 63] moved by 5 ends at 68

    def test_one_step_may_be_read_as_one_bit(self):
        assert bits_of(staircase(1, [steps_at(32)])) == [1, 2, 3, 4, 5]

    def test_negative_accumulators_are_moved_to_their_first_block(self):
        network = staircase(1, [steps_at(4, 12)], low=-20)
        rounding = harmless_roundings(network)[2]
        assert (rounding.bits, rounding.offset.tolist(), rounding.width) == (3, [24], 7)

    def test_values_beyond_the_proved_range_do_not_count(self):
        b = Builder((1,), 0, 7)
        b.linear(array([4]))  # [0, 28]
        b.lookup(
            ExplicitTable(np.concatenate([steps_at(4, 8, 20), [9, 7, 9]])[None], np.array([0]))
        )
        assert bits_of(b.network()) == [1, 2]

    def test_a_channel_of_few_values_is_stretched(self):
        b = Builder((2,), 0, 30)
        b.linear(array([1, 1], [1, 0]))  # [0, 60] and [0, 30]
        b.lookup(ExplicitTable(np.stack([steps_at(4, 12), steps_at(3, 5)]), np.array([0])))
        network = b.network()
        rounding = harmless_roundings(network)[1]
        assert (rounding.bits, rounding.factor.tolist(), rounding.width) == (2, [1, 2], 6)
        rounded = round_harmlessly(network, {"lookup1": 2})
        x = inputs(network)
        assert (rounded(x) == network(x)).all()
        assert rounded["linear0"].codes.tolist() == [[1, 1], [2, 0]]

    def test_what_something_else_reads_is_not_stretched(self):
        b = Builder((2,), 0, 31)
        b.linear(array([1, 1], [1, 0]))
        b.lookup(ExplicitTable(np.stack([steps_at(4, 12), steps_at(3, 5)]), np.array([0])))
        b.add("lookup1", "linear0")
        network = b.network()
        assert bits_of(network) == [1]
        rounded = round_harmlessly(network, {"lookup1": 1})
        x = inputs(network)
        assert (rounded(x) == network(x)).all()

    def test_all_lookups_of_an_accumulator_have_to_agree(self):
        b = Builder((1,), 0, 63)
        b.linear(array([1]))
        b.lookup(ExplicitTable(steps_at(8, 16)[None], np.array([0])))
        b.at = "linear0"
        b.lookup(ExplicitTable(steps_at(4, 20)[None], np.array([0])))
        b.add("lookup1", "lookup2")
        assert bits_of(b.network()) == [1, 2]

    def test_what_no_bias_can_move_is_rounded_where_it_stands(self):
        b = Builder((1,), 0, 63)
        b.lookup(ExplicitTable(steps_at(8, 24)[None], np.array([0])))
        assert bits_of(b.network(), "input") == [1, 2, 3]
        b = Builder((1,), 0, 63)
        b.lookup(ExplicitTable(steps_at(9, 25)[None], np.array([0])))
        assert bits_of(b.network(), "input") == []

    def test_ranges_too_wide_for_a_table_are_left_alone(self):
        b = Builder((1,), 0, 1 << 20)
        b.linear(array([1]))
        b.activation()
        assert harmless_roundings(b.network()) == ()


class TestRounding:
    @given(networks())
    def test_no_integer_changes(self, network):
        network = narrow(network)
        x = inputs(network, limit=200)
        for rounding in harmless_roundings(network):
            names = [
                o.name
                for o in network.operations
                if isinstance(o, Lookup) and o.source == rounding.source
            ]
            rounded = round_harmlessly(network, {names[0]: rounding.bits})
            assert all(rounded[name].rounding_bits == rounding.bits for name in names)
            assert (rounded(x) == network(x)).all()
            assert analyze(rounded)[rounding.source].channels.hull().low >= min(
                0, analyze(network)[rounding.source].channels.hull().low
            )

    @pytest.mark.parametrize("seed", range(20))
    def test_every_value_of_the_accumulator_gives_the_same_code(self, seed):
        random = np.random.default_rng(seed)
        values = np.stack(
            [steps_at(*(random.integers(20) + 4 * np.arange(random.integers(1, 9)))) for _ in "ab"]
        )
        network = staircase(2, values, low=-7)
        rounded = round_harmlessly(network, {"lookup1": 2})
        x = np.arange(64)[:, None]
        assert (rounded(x) == network(x)).all()
        assert (network(x) == values.T).all()

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_by_price_no_integer_changes(self, name):
        network = narrow(example(name))
        rounded = round_by_price(network, lambda width, dropped: float(width - dropped))
        x = inputs(network, limit=64)
        assert (rounded(x) == network(x)).all()

    def test_by_price_takes_the_cheapest_and_nothing_that_saves_nothing(self):
        network = staircase(1, [steps_at(8, 24)])
        prices = {(6, 0): 10.0, (6, 1): 9.0, (6, 2): 4.0, (6, 3): 5.0}
        best = round_by_price(network, lambda *at: prices.get(at, 99.0))
        assert best["lookup1"].rounding_bits == 2
        assert round_by_price(network, lambda width, dropped: 1.0) is network

    def test_none_is_none(self):
        network = staircase(1, [steps_at(8)])
        assert round_harmlessly(network, {"lookup1": 0}) is network


class TestRefusals:
    def test_the_entries_that_would_become_one_are_named(self):
        network = staircase(2, np.stack([steps_at(8, 24), steps_at(4, 20, 22)]))
        with pytest.raises(RoundingError, match="at most 1 can be dropped") as caught:
            round_harmlessly(network, {"lookup1": 2})
        error = caught.value
        assert (error.layer, error.channel, error.bits, error.most) == ("lookup1", 1, 2, 1)
        assert error.entries == (2, 3)
        assert "accumulators 21 and 22" in str(error)

    @pytest.mark.parametrize("bits", [-1, 6, 7, 63, 64, 1000])
    def test_more_bits_than_there_are(self, bits):
        with pytest.raises(RoundingError, match="lookup1"):
            round_harmlessly(staircase(1, [steps_at(16, 48)]), {"lookup1": bits})

    def test_what_is_no_lookup(self):
        with pytest.raises(RoundingError, match="is no lookup"):
            round_harmlessly(staircase(1, [steps_at(8)]), {"linear0": 1})
        with pytest.raises(NetworkError, match="no operation is named"):
            round_harmlessly(staircase(1, [steps_at(8)]), {"nothing": 1})
