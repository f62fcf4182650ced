"""Fused layers: the floats and gradients of Brevitas's own, in fewer calls."""

import brevitas.nn as qnn
import pytest
import torch
from brevitas.core.function_wrapper import TensorClampSte
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
)
from models import Residual, mlp, samples, seeded
from torch import nn

from secateur.reading.torch import freeze, quantize
from secateur.reading.torch.fused import fused


def outcome(model, x):
    """Output and gradients, of parameters by name and of the input."""
    x = x.clone().requires_grad_()
    model.zero_grad(set_to_none=True)
    y = model(x)
    (y * torch.arange(y.numel()).reshape(y.shape)).sum().backward()
    return y.detach(), {"input": x.grad, **{n: p.grad for n, p in model.named_parameters()}}


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: mlp(nn.ReLU, 6, 8, 8, 3, norm=True), samples(50, 6, low=-1.0)),
        (lambda: mlp(nn.Tanh, 6, 8, 3), samples(50, 6)),
        (Residual, samples(10, 1, 8, 8, high=16.0)),
    ],
)
def test_outputs_are_equal_and_gradients_are_but_for_the_order_of_sums(make, x, bits):
    model = quantize(seeded(make), bits, bits, x).train()
    # Some weights and activations beyond their codes, where gradients stop or pass.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("scaling_impl.value"):
                parameter.sub_(0.7)
    expected, gradients = outcome(model, x)
    with fused(model):
        changed = [m for m in model.modules() if "forward" in vars(m)]
        found, others = outcome(model, x)
    assert len(changed) == len([m for m in model.modules() if isinstance(m, QUANTIZED)])
    assert torch.equal(found, expected)
    least = 1e-5 * max(float(g.abs().max()) for g in gradients.values())
    for name, gradient in gradients.items():
        assert torch.allclose(others[name], gradient, rtol=1e-3, atol=least), name


QUANTIZED = (qnn.QuantLinear, qnn.QuantConv2d, qnn.QuantIdentity)


def test_gradients_that_pass_a_clip_do():
    model = qnn.QuantLinear(
        6,
        3,
        weight_quant=Int8WeightPerChannelFloat,
        weight_scaling_impl_type="parameter",
        weight_restrict_scaling_type="log_fp",
        weight_scaling_init=0.1,
        weight_tensor_clamp_impl=TensorClampSte(),
    )
    x = samples(20, 6)
    expected, gradients = outcome(model, x)
    with fused(model):
        assert "forward" in vars(model)
        found, others = outcome(model, x)
    assert torch.equal(found, expected)
    assert (gradients["weight"] != 0).all()
    assert all(torch.allclose(others[n], g, rtol=1e-3) for n, g in gradients.items())


def test_nothing_remains_even_after_an_error():
    model = quantize(seeded(mlp, nn.ReLU, 6, 8, 3), calibration=samples(20, 6))
    with pytest.raises(ZeroDivisionError), fused(model):
        raise ZeroDivisionError
    assert not any("forward" in vars(m) for m in model.modules())


def test_layers_of_other_kinds_stay_as_they_are():
    model = nn.Sequential(
        qnn.QuantIdentity(act_quant=Int8ActPerTensorFloat, return_quant_tensor=True),
        qnn.QuantLinear(6, 3, weight_quant=Int8WeightPerTensorFloat),
        qnn.QuantReLU(),
    )
    with fused(model):
        assert not any("forward" in vars(m) for m in model.modules())


def test_a_fused_model_can_be_frozen():
    x = samples(20, 6)
    model = quantize(seeded(mlp, nn.ReLU, 6, 8, 3), calibration=x)
    with fused(model):
        network = freeze(model)
    assert (network.predict(x) == freeze(model).predict(x)).all()


def test_scales_that_a_state_replaces_are_seen():
    x = samples(20, 6)
    model = quantize(seeded(mlp, nn.ReLU, 6, 8, 3), calibration=x)
    state = {k: v * 2 if k.endswith("value") else v for k, v in model.state_dict().items()}
    with fused(model):
        model.load_state_dict(state)
        found = model(x)
    assert torch.equal(found, model(x))
