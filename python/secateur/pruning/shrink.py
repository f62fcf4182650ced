"""Shrinking: channels that do nothing are removed, so that the circuit looks fewer up."""

from __future__ import annotations

from secateur.analysis import analyze
from secateur.narrowing import drop_dead_channels, fold_constants
from secateur.network import Network


def shrink(network: Network) -> Network:
    """Return `network` without the channels that do nothing; `network(x)` is unchanged.

    A channel does nothing where nothing reads it, or where it is constant and its readers take
    what it adds into their biases: a neuron without weights still yields its table's value at
    its bias. Every node keeps at least one channel, the input and the output all of theirs.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Output
        >>> from secateur.network import Linear, Lookup
        >>> from secateur.network import FunctionTable, Quantize
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((2,), np.array(0), np.array(3)),
        ...     (
        ...         Linear("hidden", "input", np.array([[1, 1], [0, 0]]), np.array([0, 2])),
        ...         Lookup("relu", "hidden", FunctionTable((), Quantize(1.0, 0, 3))),
        ...         Linear("head", "relu", np.array([[1, 3]])),
        ...     ),
        ...     Output("head", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> small = shrink(network)
        >>> small["hidden"].codes, small["head"].codes, small["head"].bias
        (array([[1, 1]]), array([[1]]), array([6]))
        >>> small(np.array([3, 1])) == network(np.array([3, 1]))
        array([ True])
    """
    # A removed channel can make what it read useless in turn.
    while (smaller := drop_dead_channels(analyze(fold_constants(analyze(network))))) is not network:
        network = smaller
    return network
