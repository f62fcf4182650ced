"""Networks at the edges of int64: exact, or an error that names layer, channel and numbers."""

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from networks import example
from secateur.analysis import analyze
from secateur.circuits.certificate import Certificate, verify
from secateur.errors import (
    AccumulatorOverflowError,
    DtypeError,
    InputRangeError,
    NetworkError,
    NotFiniteError,
    SecateurError,
)
from secateur.narrowing import narrow
from secateur.network import (
    Activation,
    Add,
    Affine,
    Concat,
    Conv,
    ExplicitTable,
    FunctionTable,
    Input,
    Linear,
    Lookup,
    MaxPool,
    Network,
    Output,
    Quantize,
    Reshape,
    SumPool,
    Transpose,
)

ONE, ZERO = np.ones(1, np.int64), np.zeros(1, np.int64)


def network(low, high, *operations, shape=(1,), factor=1, offset=0):
    output = Output(operations[-1].name, ONE * factor, ZERO + offset, np.ones(1), np.zeros(1))
    return Network(Input(shape, np.array(low), np.array(high)), operations, output)


class TestArithmetic:
    @pytest.mark.parametrize("unit", [1, 40, 1 << 20, 1 << 40, 1 << 56])
    @pytest.mark.parametrize("groups", [1, 2, 4])
    def test_a_convolution_is_the_same_at_every_magnitude(self, unit, groups):
        """However it is computed: in bytes, in floats, in 64 bits, in Python's integers."""
        rng = np.random.default_rng(groups)
        codes = rng.integers(-9, 10, (4, 4 // groups, 3, 2))
        conv = Conv("cv", "x", codes, np.arange(4), (2, 1), ((1, 2), (0, 1)), groups=groups)
        x = rng.integers(-1, 3, (3, 4, 5, 6))
        bias = np.arange(4).reshape(1, 4, 1, 1)
        unbiased = conv.evaluate(x) - bias
        window = np.pad(x, [(0, 0), (0, 0), (1, 2), (0, 1)])[1, -codes.shape[1] :, 2:5, 3:5]
        assert unbiased[1, -1, 1, 3] == (codes[-1] * window).sum()
        assert (conv.evaluate(x * unit) == unbiased * unit + bias).all()

    def test_a_table_over_a_span_beyond_int64_is_looked_up_right(self):
        """The difference of the ends is 6 · 2^61, which int64 does not hold."""
        relu = FunctionTable((Activation("relu"),), Quantize(float(1 << 61), 0, 3))
        wide = network(
            -3,
            3,
            Linear("fc", "input", np.array([[1 << 61]])),
            Lookup("act", "fc", relu),
            Linear("head", "act", np.array([[1]])),
        )
        x = np.arange(-3, 4)[:, None]
        assert wide(x)[:, 0].tolist() == [0, 0, 0, 0, 1, 2, 3]
        assert analyze(wide)["head"].ranges[0].low == 0
        assert analyze(wide)["head"].ranges[0].high == 3
        assert (narrow(wide)(x) == wide(x)).all()
        assert verify(Certificate.of(wide), wide).holds

    def test_a_product_that_int64_does_not_hold_is_an_error_that_names_it(self):
        wide = network(0, 2, Linear("fc", "input", np.array([[1 << 62]])))
        assert wide(np.array([1])) == 1 << 62
        with pytest.raises(AccumulatorOverflowError, match=rf"'fc', channel 0.*{1 << 63}"):
            wide(np.array([2]))
        with pytest.raises(AccumulatorOverflowError, match="'fc'"):
            analyze(wide)

    def test_sums_that_leave_int64_on_the_way_and_come_back_are_right(self):
        big = (1 << 62) + 1
        wide = network(0, 2, Linear("fc", "input", np.array([[big, big, -big]])), shape=(3,))
        assert wide(np.array([1, 1, 1])) == big
        assert wide(np.array([2, 0, 2])) == 0
        x = np.array([[1, 1, 2]])
        assert wide(x) == 0

    def test_an_add_that_comes_back_is_right(self):
        big = 1 << 62
        wide = network(
            -1,
            1,
            Linear("a", "input", np.array([[big]])),
            Linear("b", "input", np.array([[-big]])),
            Add("sum", ("a", "a", "b", "b")),
        )
        assert wide(np.array([[-1], [1], [0]])).tolist() == [[0], [0], [0]]

    @pytest.mark.parametrize("side", ["factor", "offset"])
    def test_an_output_that_int64_does_not_hold_is_an_error(self, side):
        wide = network(
            0, 1, Linear("fc", "input", np.array([[1 << 62]])), **{side: (1 << 62) + (1 << 61)}
        )
        assert wide(np.array([0])) in (0, (1 << 62) + (1 << 61))
        with pytest.raises(AccumulatorOverflowError):
            wide(np.array([1]))

    def test_a_lookups_factor_and_offset_never_wrap(self):
        grid = FunctionTable((), Quantize(1.0, -1, 1))
        for side in ("factor", "offset"):
            wide = network(
                0,
                3,
                Linear("fc", "input", np.array([[1 << 61]])),
                Lookup("act", "fc", grid, **{side: np.array([1 << 62])}),
            )
            with pytest.raises(AccumulatorOverflowError, match="'act'"):
                wide(np.array([3]))
            with pytest.raises(AccumulatorOverflowError, match="'act'"):
                analyze(wide)

    @given(st.integers(-(2**63), 2**63 - 1), st.integers(-3, 0), st.integers(0, 3))
    def test_one_product_is_python_s_or_an_error(self, code, low, high):
        wide = network(low, high, Linear("fc", "input", np.array([[code]])))
        ends = sorted((code * low, code * high))
        if ends[0] >= -(1 << 63) and ends[1] < 1 << 63:
            found = analyze(wide)["fc"].ranges[0]
            assert (found.low, found.high) == tuple(ends)
            x = np.arange(low, high + 1)
            assert wide(x[:, None])[:, 0].tolist() == [code * v for v in x.tolist()]
        else:
            with pytest.raises(AccumulatorOverflowError, match="'fc'"):
                analyze(wide)

    def test_convolutions_and_pools_are_exact_at_every_magnitude(self):
        big = (1 << 53) + 1  # no float64
        conv = network(
            0,
            3,
            Conv("cv", "input", np.full((1, 1, 2), big), padding=((1, 0),)),
            SumPool("sp", "cv", (2,), (1,), ((0, 0),)),
            MaxPool("mp", "sp", (2,), (1,), ((0, 0),)),
            shape=(1, 3),
        )
        x = np.array([[[3, 1, 2]]])
        windows = [3, 4, 3]
        sums = [windows[0] + windows[1], windows[1] + windows[2]]
        assert conv(x)[0, 0].tolist() == [big * max(sums)]

    def test_a_bias_brings_back_what_leaves_int64_and_padding_stays_an_integer(self):
        """Found by the search over networks: spurious errors, and a float among the integers."""
        low = -((1 << 61) + 2)
        conv = network(
            low,
            8,
            Conv("cv", "input", np.array([[[0, -4]]]), np.array([-512]), padding=((1, 0),)),
            shape=(1, 2),
        )
        assert analyze(conv)["cv"].ranges[0, 0].high == -4 * low - 512
        assert conv(np.array([[low, low]])).tolist() == [[-4 * low - 512] * 2]
        fc = network(low, 8, Linear("fc", "input", np.array([[-4]]), np.array([-512])))
        assert fc(np.array([low])) == -4 * low - 512
        assert (narrow(fc)(np.array([[low], [8]])) == fc(np.array([[low], [8]]))).all()


class TestConstruction:
    @pytest.mark.parametrize("scale", [np.nan, np.inf, 0.0, -1.0])
    def test_scales_are_finite_and_positive(self, scale):
        with pytest.raises(NotFiniteError, match="scale"):
            Quantize(scale, 0, 3)
        with pytest.raises(NotFiniteError, match="scale"):
            Input((2,), np.array(0), np.array(3), scale)

    @pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
    def test_steps_and_outputs_hold_finite_numbers(self, number):
        with pytest.raises(NotFiniteError, match="scale"):
            Affine(np.array([number]), np.zeros(1))
        with pytest.raises(NotFiniteError, match="offset"):
            Affine(np.ones(1), np.array([number]))
        with pytest.raises(NotFiniteError, match="negative_slope"):
            Activation("leaky_relu", {"negative_slope": number})
        with pytest.raises(NotFiniteError, match="scale"):
            Output("fc", ONE, ZERO, np.array([number]), np.zeros(1))

    def test_float_ends_of_an_input_are_never_cut(self):
        with pytest.raises(DtypeError, match="low"):
            Input((1,), np.array(0.9), np.array(3))
        with pytest.raises(DtypeError, match="high"):
            Quantize(1.0, 0, 3.5)

    def test_samples_that_are_not_numbers_have_no_code(self):
        given = Input((2,), np.array(0), np.array(3))
        for number in (np.nan, np.inf):
            with pytest.raises(NotFiniteError, match=r"\(0, 1\)"):
                given.quantize(np.array([[1.0, number]]))
        assert given.quantize(np.array([[1e300, -1e300]])).tolist() == [[3, 0]]

    def test_unsigned_codes_are_what_they_say(self):
        for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
            codes = np.array([[np.iinfo(dtype).max >> 1]], dtype)
            wide = network(0, 1, Linear("fc", "input", codes))
            assert wide(np.array([1])) == int(codes[0, 0])
            assert analyze(wide)["fc"].ranges[0].high == int(codes[0, 0])
        with pytest.raises(DtypeError, match=f"'fc'.*{2**64 - 1}"):
            Linear("fc", "input", np.array([[2**64 - 1]], np.uint64))

    def test_unsigned_inputs_beyond_int64_are_outside(self):
        small = network(-1, 3, Linear("fc", "input", np.array([[1]])))
        with pytest.raises(InputRangeError):
            small(np.array([2**64 - 1], np.uint64))
        assert small(np.array([3], np.uint64)) == 3

    @pytest.mark.parametrize(
        "wrong",
        [
            {"stride": 0},
            {"stride": (0,)},
            {"dilation": 0},
            {"padding": 0},
            {"stride": (-1,)},
            {"stride": (1.5,)},
            {"dilation": (0,)},
            {"padding": ((-1, 0),)},
            {"padding": ((1,),)},
            {"groups": 0},
        ],
        ids=str,
    )
    def test_a_convolution_s_geometry_is_one(self, wrong):
        with pytest.raises(NetworkError, match=rf"'cv': {next(iter(wrong))}"):
            Conv("cv", "input", np.ones((1, 1, 2), np.int8), **wrong)

    def test_pools_and_shapes_are_ones(self):
        for kernel, stride in (((0,), (1,)), ((2,), (0,)), ((), ())):
            with pytest.raises(NetworkError, match="'p'"):
                SumPool("p", "input", kernel, stride, ((0, 0),) * len(kernel))
        with pytest.raises(NetworkError, match="at least one axis"):
            Input((), np.array(0), np.array(1))
        with pytest.raises(NetworkError, match="shape"):
            Input((0,), np.array(0), np.array(1))
        with pytest.raises(NetworkError, match="'r'"):
            Reshape("r", "input", (-1,))
        with pytest.raises(NetworkError, match="'t'"):
            Transpose("t", "input", (0.5,))
        with pytest.raises(NetworkError, match="'c'"):
            Concat("c", ())
        with pytest.raises(NetworkError, match="'a'"):
            Add("a", ())

    def test_tables_fit_their_channels(self):
        per_channel = ExplicitTable(np.zeros((3, 2), int), np.zeros(3, int))
        with pytest.raises(NetworkError, match="'act': its table is for 3 channels"):
            network(0, 1, Lookup("act", "input", per_channel), shape=(2,))
        with pytest.raises(NetworkError, match="factor"):
            network(0, 1, Lookup("act", "input", per_channel, factor=np.ones(2, int)), shape=(3,))
        with pytest.raises(NetworkError):
            ExplicitTable(np.zeros((1, 0), int), np.zeros(1, int))
        with pytest.raises(NetworkError, match="rounding_bits"):
            Lookup("act", "input", per_channel, rounding_bits=63)


class TestFrozen:
    def arrays(self, value):
        found = []
        for item in vars(value).values():
            if isinstance(item, np.ndarray):
                found.append(item)
            elif isinstance(item, tuple):
                found += [a for i in item if hasattr(i, "__dict__") for a in self.arrays(i)]
            elif hasattr(item, "__dict__") and type(item).__module__.startswith("secateur"):
                found += self.arrays(item)
        return found

    @pytest.mark.parametrize("name", ["mlp", "convolutional", "per_channel", "residual"])
    @pytest.mark.parametrize(
        "copied", [lambda n: n, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))]
    )
    def test_no_array_of_a_network_can_be_written(self, name, copied):
        whole = copied(example(name))
        arrays = self.arrays(whole)
        assert len(arrays) >= 6
        for array in arrays:
            while isinstance(array, np.ndarray):
                assert not array.flags.writeable
                if array.base is None:  # of a range: nothing else looks at it
                    break
                with pytest.raises(ValueError, match="WRITEABLE"):
                    array.setflags(write=True)
                array = array.base

    def test_what_the_caller_does_with_its_array_changes_nothing(self):
        codes, low = np.array([[1, 2]]), np.array(0)
        fc = Linear("fc", "input", codes)
        whole = network(low, 3, fc, shape=(2,))
        before = analyze(whole)["fc"].ranges
        codes[:] = 100
        low[...] = -100
        assert analyze(whole)["fc"].ranges == before
        assert whole(np.array([1, 1])) == 3

    def test_a_changed_network_has_ranges_of_its_own(self):
        whole = example("mlp")
        layer = whole["linear0"]
        changed = whole.with_operations(replace(layer, codes=layer.codes * 2))
        assert analyze(changed)["linear0"].ranges != analyze(whole)["linear0"].ranges

    def test_every_error_here_is_of_the_tree(self):
        with pytest.raises(SecateurError):
            Network(Input((1,), np.array(0), np.array(1)), (None,), None)
