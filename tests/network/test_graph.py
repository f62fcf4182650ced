"""The network: its graph, its reference interpreter, its refusals."""

from dataclasses import replace

import numpy as np
import pytest

from networks import EXAMPLES, Builder, example, inputs
from secateur.errors import (
    DtypeError,
    EmptyRangeError,
    InputRangeError,
    NetworkError,
    SecateurError,
    ShapeError,
)
from secateur.network import Activation, Affine, Input, Linear, Network, Output, Ranking


@pytest.mark.parametrize("name", EXAMPLES)
def test_one_sample_gives_what_a_batch_gives(name):
    network = example(name)
    x = inputs(network)[:5]
    together = network(x)
    assert together.dtype == np.int64
    assert all((network(sample) == row).all() for sample, row in zip(x, together, strict=True))


def test_predict_quantizes_runs_and_dequantizes():
    b = Builder((2,), 0, 3, scale=0.5)
    b.linear(np.array([[2, -1]], np.int8))
    network = b.network(factor=(3,), offset=(1,))
    x = np.array([[0.6, 9.0], [-4.0, 0.2]])
    assert network.quantize_input(x).tolist() == [[1, 3], [0, 0]]
    assert network(network.quantize_input(x)).tolist() == [[-2], [1]]
    assert network.predict(x).tolist() == [[-0.75], [0.75]]


def test_operations_are_found_and_replaced_by_name():
    network = example("mlp")
    zeros = replace(network["linear0"], codes=np.zeros((5, 6), np.int8), bias=None)
    changed = network.with_operations(zeros)
    assert (changed.nodes(inputs(network))["linear0"] == 0).all()
    assert (network["linear0"].codes != 0).any()
    assert [layer.name for layer in network.layers] == ["linear0", "linear2"]
    for missing in (
        lambda: network["fc"],
        lambda: network.with_operations(replace(zeros, name="fc")),
    ):
        with pytest.raises(NetworkError, match=r"'fc'.*linear0"):
            missing()


def test_graphs_that_are_none_are_refused():
    network = example("mlp")
    first = network["linear0"]
    with pytest.raises(NetworkError, match="two operations are named 'linear0'"):
        replace(network, operations=(first, first))
    with pytest.raises(NetworkError, match="'linear2' reads 'lookup1'"):
        replace(network, operations=(network["linear2"],))
    with pytest.raises(NetworkError, match="output reads 'linear2'"):
        replace(network, operations=(first,))
    with pytest.raises(
        NetworkError, match=r"'linear0' takes \(6,\).*\(4,\)|'linear0'.*\(6,\).*\(4,\)"
    ):
        Network(
            Input((4,), np.array(0), np.array(1)),
            (first,),
            replace(network.output, source="linear0"),
        )


def test_inputs_outside_the_proof_are_refused():
    network = example("mlp")
    x = np.zeros((2, 6), np.int64)
    x[1, 4] = 4
    with pytest.raises(
        InputRangeError, match=r"value 4 at \(1, 4\) lies outside \[0, 3\]"
    ) as caught:
        network(x)
    assert (caught.value.index, caught.value.value) == ((1, 4), 4)
    with pytest.raises(ShapeError, match=r"\(7,\), expected \(6,\)"):
        network(np.zeros((2, 7), np.int64))
    with pytest.raises(DtypeError, match=r"float64.*quantize_input"):
        network(np.zeros((2, 6)))


def test_an_input_must_be_a_range_of_its_shape():
    with pytest.raises(EmptyRangeError, match="low 3 lies above high 2"):
        Input((2,), np.array(3), np.array(2))
    with pytest.raises(ShapeError, match=r"low has shape \(3,\).*\(2,\)"):
        Input((2,), np.zeros(3, np.int64), np.array(2))


def test_codes_that_are_not_integers_never_become_a_network():
    with pytest.raises(DtypeError, match="expected integers"):
        Linear("fc", "input", np.ones((1, 1)))


def test_every_feature_has_a_scale_and_bias_of_its_own():
    scale, bias = np.array([0.5, 100.0]), np.array([0.0, 5000.0])
    input = Input((2,), np.array(0), np.array(3), scale, bias=bias, features=("age", "income"))
    assert input.quantize([[1.0, 5190.0], [9.0, 0.0]]).tolist() == [[2, 2], [3, 0]]
    scale[0] = 9.0
    assert input.scale.tolist() == [0.5, 100.0]
    assert not input.scale.flags.writeable


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": 0.0},
        {"scale": np.nan},
        {"scale": np.array([1.0, -1.0])},
        {"scale": np.ones(3)},
        {"bias": np.inf},
        {"bias": np.zeros((2, 1, 1))},
        {"features": ("age",)},
    ],
    ids=str,
)
def test_floats_that_no_input_can_have_are_refused(wrong):
    with pytest.raises(SecateurError, match="'input'"):
        Input((2,), np.array(0), np.array(3), **wrong)


def test_an_output_answers_with_labels_and_probabilities():
    network = example("mlp")
    named = replace(network.output, labels=("cat", "dog", "hen"), tail="softmax")
    floats = np.array([[0.0, 2.0, 1.0], [800.0, 0.0, -800.0]])
    assert named.answer(floats).tolist() == ["dog", "cat"]
    assert network.output.answer(floats) is floats
    chances = named.probabilities(floats)
    assert chances[0] == pytest.approx(np.exp([0, 2, 1]) / np.exp([0, 2, 1]).sum())
    assert chances[1].tolist() == [1, 0, 0]
    with pytest.raises(NetworkError, match="no softmax or sigmoid"):
        network.output.probabilities(floats)
    with pytest.raises(NetworkError, match="name two channels alike"):
        replace(network, output=replace(network.output, labels=("cat", "cat", "hen")))
    with pytest.raises(NetworkError, match="2 labels for 3 channels"):
        replace(network, output=replace(network.output, labels=("cat", "dog")))
    with pytest.raises(NetworkError, match="'relu'"):
        replace(network.output, tail="relu")


def test_a_single_channel_answers_yes_or_no():
    output = replace(example("mlp").output, labels=(False, True), tail="sigmoid")
    floats = np.array([[-800.0], [0.0], [3.0]])
    assert output.answer(floats).tolist() == [False, False, True]
    chances = output.probabilities(floats)
    assert chances[:, 1] == pytest.approx([0, 0.5, 1 / (1 + np.exp(-3))])
    assert chances.sum(axis=1) == pytest.approx(1)


def test_an_output_ranks_its_channels():
    floats = np.array([[0.5, 2.0, 2.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
    assert Ranking()(floats).tolist() == [[1], [0]]
    assert Ranking(3)(floats).tolist() == [[1, 2, 0], [0, 1, 2]]
    assert Ranking(3, last=True)(floats).tolist() == [[2, 1, 0], [3, 2, 1]]
    assert Ranking(2, least=True)(floats).tolist() == [[3, 0], [0, 1]]
    assert Ranking(2, least=True, last=True)(floats).tolist() == [[3, 0], [3, 2]]
    one, zero = np.ones(1), np.zeros(1)
    output = Output("fc", one.astype(int), zero.astype(int), one, zero, tuple("abcd"))
    assert output.answer(floats).tolist() == ["b", "a"]
    two = replace(output, ranking=Ranking(2))
    assert two.answer(floats).tolist() == [["b", "c"], ["a", "b"]]
    assert replace(two, labels=None).answer(floats).tolist() == [[2.0, 2.0], [1.0, 1.0]]
    with pytest.raises(NetworkError, match="ranks 0 channels"):
        Ranking(0)
    for wrong in (1.5, True, "2"):
        with pytest.raises(NetworkError, match=f"ranks {wrong} channels"):
            Ranking(wrong)
    with pytest.raises(NetworkError, match="ranks 5 of 4 channels"):
        replace(output, ranking=Ranking(5)).check(4)
    with pytest.raises(NetworkError, match="ranking is 2"):
        replace(output, ranking=2)


def test_an_output_applies_its_steps_and_its_tail():
    one, zero = np.ones(1), np.zeros(1)
    steps = (Activation("relu"), Affine(np.array([1.0, 2.0, 0.5]), one))
    output = Output("fc", one.astype(int), zero.astype(int), one, zero, steps=steps)
    floats = output.dequantize(np.array([[-3, 4, 2]]))
    assert floats.tolist() == [[1.0, 9.0, 2.0]]
    logarithms = replace(output, tail="log_softmax")
    wanted = floats - np.log(np.exp(floats).sum())
    np.testing.assert_allclose(logarithms.answer(floats), wanted)
    np.testing.assert_allclose(logarithms.probabilities(floats), np.exp(wanted))
    with pytest.raises(NetworkError, match="steps are not for 2 channels"):
        output.check(2)
    with pytest.raises(NetworkError, match="no step like 'relu'"):
        replace(output, steps=("relu",))
