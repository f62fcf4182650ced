"""Results that no memory holds are errors of our tree, at once."""

import numpy as np
import pytest

from secateur import bounds
from secateur.errors import DtypeError, OutOfMemoryError, SecateurError

MANY = 2**44


def repeated(value, *shape):
    """An array of any size that takes no memory."""
    return np.broadcast_to(value, shape)


@pytest.mark.parametrize(
    "call",
    [
        lambda: bounds.linear(np.zeros((MANY, 0), np.int8), 0, 3),
        lambda: bounds.partial_sums(np.zeros((MANY, 0), np.int8), 0, 3),
        lambda: bounds.prefix_sums(np.zeros((MANY, 0), np.int8), 0, 3),
        lambda: bounds.linear(np.ones((1, 1), np.int8), 0, 3, mask=repeated(np.True_, MANY, 1, 1)),
        lambda: bounds.profile(np.zeros((MANY, 0), np.int8), [], 0, 3, [0]),
        lambda: bounds.profile(np.ones((1, 1), np.int8), [], 0, 3, repeated(0, MANY)),
        lambda: bounds.RangeTracker(np.zeros((MANY, 0), np.int8), 0, 3),
        lambda: bounds.linear(np.ones((1, 1), np.int8), repeated(0, MANY), 3),
        lambda: bounds.linear(np.ones((1, 1), np.int8), repeated(np.int8(0), MANY), 3),
        lambda: bounds.conv(np.zeros((MANY, 0, 1), np.int8), 0, 3, input_shape=(0, 4)),
        lambda: bounds.conv(
            np.zeros((2**20, 1, 1), np.int8), 0, 3, input_shape=(1, 2**30), positions=True
        ),
    ],
)
def test_what_memory_does_not_hold_is_refused(call):
    with pytest.raises(SecateurError) as caught:
        call()
    assert isinstance(caught.value, OutOfMemoryError)
    assert caught.value.bytes > 2**40


def test_layers_without_weights_have_nothing_to_select_or_to_hold():
    codes, weight = np.zeros((MANY, 0), np.int8), np.zeros((MANY, 0))
    assert bounds.select(codes, weight, 0, 3, 4).shape == (MANY, 0)
    channels, held = bounds.hold_back(weight, repeated(1.0, MANY), 0, 3, 4, (-1, 1))
    assert (len(channels), held.shape) == (0, (0, 0))


def test_a_convolution_of_many_windows_takes_no_walk_over_them():
    weight = np.array([[[1, -1, 1]]], np.int8)
    most = 2**31 - 4
    found = bounds.conv(weight, 1, 3, input_shape=(1, most), padding=2)
    assert (int(found.low[0]), int(found.high[0])) == (-2, 5)
    apart = bounds.conv(weight, 1, 3, input_shape=(1, 5), stride=2, padding=2**30 - 9)
    assert (int(apart.low[0]), int(apart.high[0])) == (-2, 5)


@pytest.mark.parametrize("threads", ["a", 1.5, [2]])
def test_threads_that_are_no_number(threads):
    with pytest.raises(DtypeError):
        bounds.set_num_threads(threads)
