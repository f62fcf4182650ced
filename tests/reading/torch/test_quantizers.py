"""The codes of masked layers, against Brevitas's own."""

import brevitas.nn as qnn
import pytest
import torch
from brevitas.quant import (
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFixedPoint,
    Int8WeightPerTensorFloat,
    ShiftedUint8WeightPerChannelFloat,
)
from brevitas.quant.scaled_int import (
    Int8AccumulatorAwareWeightQuant,
    Int8AccumulatorAwareZeroCenterWeightQuant,
)
from models import seeded
from torch import nn

from secateur.errors import NotFiniteError
from secateur.network import Quantize
from secateur.reading.torch import masks
from secateur.reading.torch.quantizers import (
    codes_if_kept,
    codes_on,
    quantized_layer,
    quantized_weight,
    set_scales,
    settable_grid,
    settable_scale,
)

SOURCE = Quantize(0.1, 0, 15)


def half_masked(layer):
    """Put a mask on a layer that removes half of it, at random, and return what it keeps."""
    kept = masks.put_on(layer, masks.Progress()).kept
    return kept.copy_(torch.rand(kept.shape) < 0.5).bool()


def ours(bits):
    """One of our layers, some of its weights on the edge between two codes."""
    layer = quantized_layer(seeded(nn.Conv2d, 3, 20, 3), bits)
    scale = layer.weight_quant.scale().detach()
    with torch.no_grad():
        layer.weight[::2] = ((layer.weight / scale).floor() + 0.5)[::2] * scale[::2]
    return layer


def theirs(quantizer, bits):
    return seeded(lambda: qnn.QuantLinear(40, 20, weight_quant=quantizer, weight_bit_width=bits))


class TestCodesIfKept:
    @pytest.mark.parametrize("bits", [3, 8])
    @pytest.mark.parametrize(
        "make",
        [
            ours,
            *[
                lambda bits, quantizer=quantizer: theirs(quantizer, bits)
                for quantizer in (
                    Int8WeightPerChannelFloat,
                    Int8WeightPerTensorFixedPoint,
                    Int8WeightPerTensorFloat,
                    ShiftedUint8WeightPerChannelFloat,
                    Int8AccumulatorAwareWeightQuant,
                    Int8AccumulatorAwareZeroCenterWeightQuant,
                )
            ],
        ],
    )
    def test_are_the_quantisers_own_where_the_mask_keeps(self, make, bits):
        layer = make(bits)
        kept = half_masked(layer).numpy()
        own, _ = quantized_weight("fc", layer, SOURCE)
        codes = codes_if_kept("fc", layer, SOURCE)
        assert codes.dtype == own.dtype
        assert (codes[kept] == own[kept]).all()
        assert codes[~kept].any()

    @pytest.mark.parametrize("bits", [1, 3, 10])
    def test_are_those_of_no_mask_where_scales_are_learned(self, bits):
        layer = ours(bits)
        codes, _ = quantized_weight("fc", layer, SOURCE)
        half_masked(layer)
        assert (codes_if_kept("fc", layer, SOURCE) == codes).all()

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_refuse_what_is_not_finite(self, value):
        layer = ours(3)
        masks.put_on(layer, masks.Progress())
        with torch.no_grad():
            masks.unmasked(layer)[4, 1, 2, 0] = value
        with pytest.raises(NotFiniteError) as caught:
            codes_if_kept("fc", layer, SOURCE)
        assert (caught.value.layer, caught.value.channel) == ("fc", 4)

    def test_take_weights_whose_sum_alone_is_not_finite(self):
        layer = ours(3)
        masks.put_on(layer, masks.Progress())
        with torch.no_grad():
            masks.unmasked(layer).fill_(1e37)
        assert (codes_if_kept("fc", layer, SOURCE) == 3).all()

    @pytest.mark.parametrize("bits", [1, 2, 3, 8])
    def test_by_the_grid_are_those_of_the_quantiser(self, bits):
        layer = ours(bits)
        masks.put_on(layer, masks.Progress())
        grid = settable_grid(layer)
        by_grid = codes_on("fc", layer, grid, settable_scale(layer, grid))
        quantised = layer.quant_weight()
        assert (by_grid == codes_if_kept("fc", layer, SOURCE)).all()
        assert (by_grid == (quantised.value / quantised.scale).round().detach().numpy()).all()

    def test_by_a_grid_are_no_numbers_where_weights_are_none(self):
        layer = ours(3)
        with torch.no_grad():
            layer.weight[4, 1] = float("nan")
        grid = settable_grid(layer)
        with pytest.raises(NotFiniteError) as caught:
            codes_on("fc", layer, grid, settable_scale(layer, grid))
        assert (caught.value.layer, caught.value.channel) == ("fc", 4)


class TestScales:
    @pytest.mark.parametrize(("bits", "codes"), [(1, (-1, 0)), (2, (-1, 1)), (4, (-7, 7))])
    def test_of_our_layers_can_be_set(self, bits, codes):
        layer = ours(bits)
        grid = settable_grid(layer)
        assert (grid.low, grid.high) == codes
        wanted = torch.linspace(0.01, 3.0, 20, dtype=torch.float64).numpy()
        set_scales(layer, wanted)
        assert settable_scale(layer, grid).flatten().tolist() == pytest.approx(wanted, rel=1e-6)
        assert torch.equal(settable_scale(layer, grid), layer.weight_quant.scale())
        assert layer.weight_quant.tensor_quant.scaling_impl.value.requires_grad

    def test_follow_bits_that_change_in_place(self):
        layer = ours(3)
        before = settable_grid(layer)
        assert settable_grid(layer) is before
        width = layer.weight_quant.tensor_quant.msb_clamp_bit_width_impl.bit_width
        width.value.fill_(4.0)
        grid = settable_grid(layer)
        assert (before.high, grid.high) == (3, 7)
        assert torch.equal(settable_scale(layer, grid), layer.weight_quant.scale())

    @pytest.mark.parametrize(
        "quantizer",
        [
            Int8WeightPerChannelFloat,
            Int8WeightPerTensorFixedPoint,
            ShiftedUint8WeightPerChannelFloat,
            Int8AccumulatorAwareZeroCenterWeightQuant,
        ],
    )
    def test_that_follow_from_something_else_cannot(self, quantizer):
        assert settable_grid(theirs(quantizer, 4)) is None
