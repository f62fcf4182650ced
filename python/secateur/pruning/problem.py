"""What a pruning strategy sees: NumPy arrays and how the layers hang together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from secateur import bounds
from secateur.errors import (
    AccumulatorOverflowError,
    MissingDataError,
    NotFiniteError,
    SaliencyError,
    SecateurError,
    ShapeError,
    UnknownLayerError,
    UnknownSaliencyError,
    told,
)
from secateur.network.arrays import frozen
from secateur.ranges import Ranges

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
Masks = Mapping[str, Mask]


@dataclass(frozen=True)
class Span:
    """How far the ends of an accumulator may lie apart, where that is no full width.

    Args:
        most: at least 1, less than 2^31.

    Example:
        >>> Span.beside(6, 3)  # 6 bits, 2^2 of whose values stay free at each end
        Span(most=55)
    """

    most: int

    @classmethod
    def beside(cls, bits: int, dropped: int) -> Span:
        """Return what `bits` leave where `dropped` low bits are to be dropped about.

        Half a block of 2^dropped stays free below the least and above the greatest value. In a
        span of 2^bits − 1 − 2^dropped or less blocks may begin anywhere that leaves the low end
        at half a block; where it needs all of that, they begin half a block below it.
        """
        return cls((1 << bits) - 1 - (1 << dropped))

    @property
    def budget(self) -> tuple[int, int]:
        """A factor and bits: costs add up to `most` where factor · costs do to 2^bits − 1.

        The engine knows whole widths. With k = ⌊(2^B − 1) / most⌋ and 2^B > most² whole numbers
        c obey c ≤ most exactly where k · c ≤ 2^B − 1, since k · (most + 1) > 2^B − 1.
        """
        bits = 2 * self.most.bit_length()
        return ((1 << bits) - 1) // self.most, bits


@dataclass(frozen=True, eq=False)
class Geometry:
    """How a convolution meets its source, which bounds its accumulators exactly.

    Args:
        input_shape: (channels, *spatial) of the source.
        low, high: int64, broadcastable to `input_shape`: the range of every element.
        stride, dilation: one int per spatial axis.
        padding: (before, after) per spatial axis.
    """

    input_shape: tuple[int, ...]
    low: Integers
    high: Integers
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]

    def __post_init__(self) -> None:
        _freeze(self, "low", "high")


@dataclass(frozen=True, eq=False)
class PrunableLayer:
    """One affine layer as a strategy sees it; every array is its own, C-contiguous, read-only.

    Args:
        name: the layer's name in its network.
        weight: float64 [out, in / groups, *kernel], the weights before quantisation (the codes
            themselves, as floats, where a network has no others).
        codes: integer, shaped like `weight`; what the circuit multiplies by. A weight that the
            mask of the moment removes has the code that it would have if it came back.
        low: int64, broadcastable to [groups, in / groups, *kernel]; the least input that each
            tap meets at any position, 0 included where it meets zero padding.
        high: int64, likewise; the greatest.
        bias: int64 [out]; zeros where the layer has none.
        mask: bool, shaped like `weight`; True = kept so far. A strategy never brings back
            what is False here.
        groups: number of groups that the channels are split into.
        geometry: how a convolution meets its source, where that is known.
        scale: float64 [out]; what a code of each channel is worth, where it can be chosen.
        code_range: the least and the greatest code at any scale; None where no scale can be
            chosen: in a frozen network, and where a quantiser has its own idea of them.

    Raises:
        ShapeError: arrays that do not fit `weight`; names the layer and both shapes.

    Example:
        >>> import numpy as np
        >>> codes, zero = np.array([[3, -1, 2]]), np.zeros(1, int)
        >>> layer = PrunableLayer("fc", codes * 1.0, codes, zero, zero + 3, zero, codes != 0)
        >>> layer.shape, layer.ranges().low, layer.ranges().high
        ((1, 3), array([-3]), array([15]))
    """

    name: str
    weight: Floats
    codes: NDArray[Any]
    low: Integers
    high: Integers
    bias: Integers
    mask: Mask
    groups: int = 1
    geometry: Geometry | None = None
    scale: Floats | None = None
    code_range: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        out, *fan_in = np.shape(self.weight)
        for argument, expected in (
            ("weight", (out, *fan_in)),
            ("codes", (out, *fan_in)),
            ("mask", (out, *fan_in)),
            ("bias", (out,)),
            ("low", (self.groups, *fan_in)),
            ("high", (self.groups, *fan_in)),
        ):
            given = np.asarray(getattr(self, argument))
            try:
                fitted = np.broadcast_to(given, expected) if argument in ("low", "high") else given
            except ValueError:
                fitted = given
            if fitted.shape != expected:
                raise ShapeError(
                    f"layer {self.name!r}: {argument} has shape {given.shape}, expected {expected}",
                    argument=argument,
                    shape=given.shape,
                    expected=expected,
                    layer=self.name,
                )
            object.__setattr__(self, argument, frozen(fitted))
        if self.scale is not None:
            _freeze(self, "scale")

    @property
    def shape(self) -> tuple[int, ...]:
        """[out, in / groups, *kernel]."""
        return self.weight.shape

    @property
    def kernel(self) -> tuple[int, ...]:
        """The kernel's spatial extent; empty for a linear layer."""
        return self.weight.shape[2:]

    @cached_property
    def costs(self) -> Integers:
        """What each weight adds to its accumulator's span, int64 shaped like `weight`.

        |code| · (high − low): removing a weight narrows the span by exactly this much, and an
        accumulator fits P span bits where the costs of what is kept add up to at most 2^P − 1.

        Raises:
            AccumulatorOverflowError: a cost that 64 bits do not hold.
        """
        largest = max(-int(self.codes.min()), int(self.codes.max()))
        widest = int(self.high.max()) - int(self.low.min())
        if largest * widest >= 1 << 63:
            raise AccumulatorOverflowError(
                f"layer {self.name!r}: codes up to {largest} over inputs {widest} apart have "
                "costs that 64 bits do not hold",
                layer=self.name,
            )
        return frozen(
            np.abs(self.codes.astype(np.int64))
            * self.spread(Ranges(self.low, self.high).span.astype(np.int64))
        )

    def ranges(self, mask: Mask | None = None) -> Ranges:
        """Return the proved range of every accumulator under `mask` (the layer's own if None).

        Args:
            mask: bool, shaped like `weight`.

        Returns:
            Low and high, int64 [out]. Over the border patterns that occur where the geometry
            is known, else over every tap's own range, which is sound and, where 0 lies within
            the ranges and some window meets no padding, the same.

        Raises:
            AccumulatorOverflowError: an accumulator that 64 bits do not hold.
        """
        try:
            return self._ranges(self.mask if mask is None else mask)
        except AccumulatorOverflowError as error:
            raise error.at_layer(self.name) from None

    def _ranges(self, mask: Mask) -> Ranges:
        if self.geometry is not None:
            return bounds.conv(
                self.codes,
                self.geometry.low,
                self.geometry.high,
                self.bias,
                mask,
                input_shape=self.geometry.input_shape,
                stride=self.geometry.stride,
                padding=self.geometry.padding,
                dilation=self.geometry.dilation,
                groups=self.groups,
            )
        flat = self.codes.reshape(len(self.codes), -1)
        kept = mask.reshape(flat.shape)
        parts = [
            bounds.linear(flat[rows], low, high, self.bias[rows], kept[rows])
            for rows, low, high in self.blocks
        ]
        return Ranges(*(np.concatenate([getattr(p, s) for p in parts]) for s in ("low", "high")))

    def fitted_scales(self, width: int | Span) -> Floats:
        """Return the scales, float64 [out], that suit the weights best in so many span bits.

        The codes that the layer has do not matter; `bounds.fit_scales` says what is best.

        Raises:
            MissingDataError: no scale can be chosen here; `code_range` is None.
            NotFiniteError: a scale that is not positive and finite; names layer and channel.
        """
        if self.scale is None or self.code_range is None:
            raise MissingDataError(
                f"layer {self.name!r} has no scales that can be chosen: its code_range is None",
                needed="scales",
            )
        rows = len(self.weight)
        weight, mask = self.weight.reshape(rows, -1), self.mask.reshape(rows, -1)
        low, high, bits = self.budgeted(width)
        kept = None if mask.all() else mask
        try:
            return bounds.fit_scales(
                weight, self.scale, low, high, bits, self.code_range, mask=kept
            )
        except NotFiniteError as error:
            raise error.at_layer(self.name) from None

    def budgeted(self, width: int | Span) -> tuple[Integers, Integers, int]:
        """Return lows and highs of the inputs, by row, and bits, by which the engine keeps `width`.

        Raises:
            AccumulatorOverflowError: inputs so great that 64 bits do not hold them so; names the
                layer.
        """
        if not isinstance(width, Span):
            return self.per_row(self.low), self.per_row(self.high), width
        factor, bits = width.budget
        try:
            given = Ranges(self.low, self.high) * factor
        except AccumulatorOverflowError as error:
            raise error.at_layer(self.name) from None
        return self.per_row(given.low), self.per_row(given.high), bits

    def spread(self, per_tap: NDArray[Any]) -> NDArray[Any]:
        """Return `per_tap` [groups, in / groups, *kernel] repeated for every weight."""
        rows = np.repeat(per_tap, len(self.weight) // self.groups, axis=0)
        return rows.reshape(self.shape)

    def per_row(self, per_tap: NDArray[Any]) -> NDArray[Any]:
        """Return `per_tap` as the engine takes it for the weights in rows.

        [in · taps] where all channels share it, which is no copy; else [out, in / groups · taps].
        """
        if self.groups == 1:
            return per_tap.reshape(-1)
        return self.spread(per_tap).reshape(len(self.weight), -1)

    @property
    def blocks(self) -> Iterator[tuple[slice, Integers, Integers]]:
        """The rows of every group with the ranges that they share, int64 [in / groups · taps]."""
        size = len(self.weight) // self.groups
        for group in range(self.groups):
            rows = slice(group * size, (group + 1) * size)
            yield rows, self.low[group].reshape(-1), self.high[group].reshape(-1)


@dataclass(frozen=True, eq=False)
class Coupling:
    """Which output channels of one layer are read by which input channels of another.

    Channels that feed one input channel together (through a residual add) stand in the
    couplings of their own layers, with that input channel in each.

    Args:
        producer: name of the layer whose output channels these are.
        consumer: name of the layer that reads them.
        columns: int64 [pairs, 2]; each row an output channel of the producer and an input
            channel of the consumer that carries its activation.
        removable: bool [out of producer]; False for channels that also reach the network's
            output, where no mask can remove them.
    """

    producer: str
    consumer: str
    columns: Integers
    removable: Mask

    def __post_init__(self) -> None:
        _freeze(self, "columns", "removable")


def _freeze(value: Any, *names: str) -> None:
    for name in names:
        object.__setattr__(value, name, frozen(getattr(value, name)))


@runtime_checkable
class Saliency(Protocol):
    """A score of how much each weight matters.

    It may have a method `effects(problem, layer)` ↦ float64 [samples, *weight shape]: what the
    loss of each sample changes by as a weight goes. Where weights go together, these are added
    up and squared, instead of their scores.
    """

    name: ClassVar[str]

    def score(self, problem: PruningProblem, layer: PrunableLayer) -> Floats:
        """Return float64 shaped like the layer's weight, finite, not negative."""


@dataclass(frozen=True, eq=False)
class PruningProblem:
    """The layers to prune, in the order of the data, and what is known about them.

    Args:
        layers: in the order in which data meets them.
        couplings: which output channels feed which input channels.
        fixed: node name → the ranges of its accumulators, of those that no mask narrows: sum
            pools and residual adds.
        seed: of the random generator.
        activate: gives layer name → float64 [samples, in, ...], the inputs of every layer on
            the caller's data; None where there is no data.
        differentiate: gives layer name → float64 [samples or 1, *weight shape], the gradients
            of the caller's loss with respect to the weights; None where there is no data.
        find_saliency: gives the saliency of a name; the host puts it here.

    Example:
        >>> import numpy as np
        >>> codes, zero = np.array([[3, -1, 2]]), np.zeros(1, int)
        >>> layer = PrunableLayer("fc", codes * 1.0, codes, zero, zero + 3, zero, codes != 0)
        >>> problem = PruningProblem((layer,))
        >>> problem["fc"].codes, len(problem.layers)
        (array([[ 3, -1,  2]]), 1)
    """

    layers: tuple[PrunableLayer, ...]
    couplings: tuple[Coupling, ...] = ()
    seed: int = 0
    activate: Callable[[], Mapping[str, Floats]] | None = field(default=None, repr=False)
    differentiate: Callable[[], Mapping[str, Floats]] | None = field(default=None, repr=False)
    find_saliency: Callable[[str], Saliency] | None = field(default=None, repr=False)
    fixed: Mapping[str, Ranges] = field(default_factory=dict)

    def __getitem__(self, name: str) -> PrunableLayer:
        """Return the layer called `name`.

        Raises:
            UnknownLayerError: there is none.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        known = [layer.name for layer in self.layers]
        raise UnknownLayerError(
            f"no layer is named {name!r}; there are {', '.join(known)}", layer=name, known=known
        )

    @cached_property
    def random(self) -> np.random.Generator:
        """The random generator of this problem, seeded by `seed`."""
        return np.random.default_rng(self.seed)

    @cached_property
    def activations(self) -> Mapping[str, Floats]:
        """Layer name → float64 [samples, in, ...], its inputs on the caller's data.

        Raises:
            MissingDataError: the caller gave no data.
        """
        if self.activate is None:
            raise MissingDataError(
                "activations need data and none was given; pass samples=",
                needed="activations",
            )
        return {name: frozen(x) for name, x in self.activate().items()}

    @cached_property
    def gradients(self) -> Mapping[str, Floats]:
        """Layer name → float64 [samples or 1, *weight shape], of the caller's loss.

        Raises:
            MissingDataError: the caller gave no data with a loss.
        """
        if self.differentiate is None:
            raise MissingDataError(
                "gradients need data with a loss and none was given; a frozen network has "
                "none: use them while training, through secateur.Pruner",
                needed="gradients",
            )
        return {name: frozen(x) for name, x in self.differentiate().items()}

    def saliency(self, saliency: str | Saliency) -> Mapping[str, Floats]:
        """Return the scores of every layer's weights under a saliency, by value or by name.

        Returns:
            Layer name → float64 shaped like its weight; finite, not negative, higher = matters
            more.

        Raises:
            UnknownSaliencyError: there is no such saliency; names those like it.
            MissingDataError: it needs data that the caller did not give.
            SaliencyError: its code raised, or its scores are misshapen, negative or not finite;
                names the layer.
        """
        found = self._found(saliency)
        return {layer.name: self._score(found, layer) for layer in self.layers}

    def effects(self, saliency: str | Saliency) -> Mapping[str, Floats] | None:
        """Return what the loss changes by as weights go, where a saliency tells; else None.

        Returns:
            Layer name → float64 [samples, *weight shape]; finite.

        Raises:
            UnknownSaliencyError, MissingDataError, SaliencyError: see `saliency`.
        """
        found = self._found(saliency)
        if not callable(getattr(found, "effects", None)):
            return None
        return {layer.name: self._effects(found, layer) for layer in self.layers}

    def _found(self, saliency: str | Saliency) -> Saliency:
        if not isinstance(saliency, str):
            return saliency
        if self.find_saliency is None:
            raise UnknownSaliencyError(
                f"saliency {saliency!r}: this problem has no registry; hand it to "
                "apply_strategy, or give the saliency by value",
                name=saliency,
            )
        return self.find_saliency(saliency)

    def _score(self, saliency: Saliency, layer: PrunableLayer) -> Floats:
        scores = self._asked(saliency, "score", layer)
        if scores.shape != layer.shape:
            raise _misshapen(saliency, "scores", scores, layer, layer.shape)
        _check_entries(saliency, "score", scores, layer, scores >= 0, " not below 0")
        return scores

    def _effects(self, saliency: Saliency, layer: PrunableLayer) -> Floats:
        effects = self._asked(saliency, "effects", layer)
        if effects.ndim != 1 + len(layer.shape) or effects.shape[1:] != layer.shape:
            raise _misshapen(saliency, "effects", effects, layer, ("samples", *layer.shape))
        _check_entries(saliency, "effect", effects, layer, np.isfinite(effects), "")
        return effects

    def _asked(self, saliency: Saliency, method: str, layer: PrunableLayer) -> Floats:
        try:
            return np.asarray(getattr(saliency, method)(self, layer), dtype=np.float64)
        except (SecateurError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise SaliencyError(
                f"saliency {saliency.name!r}, layer {layer.name!r}: its code raised {told(error)}",
                saliency=saliency.name,
                layer=layer.name,
            ) from error

    def with_masks(self, masks: Masks) -> PruningProblem:
        """Return the problem with `masks` in place of its layers' own."""
        layers = tuple(replace(x, mask=masks.get(x.name, x.mask)) for x in self.layers)
        return replace(self, layers=layers)


def _misshapen(
    saliency: Saliency, what: str, values: Floats, layer: PrunableLayer, expected: object
) -> SaliencyError:
    return SaliencyError(
        f"saliency {saliency.name!r}, layer {layer.name!r}: {what} have shape {values.shape}, "
        f"expected {expected}",
        saliency=saliency.name,
        layer=layer.name,
    )


def _check_entries(
    saliency: Saliency, what: str, values: Floats, layer: PrunableLayer, fine: Mask, than: str
) -> None:
    wrong = ~(np.isfinite(values) & fine)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise SaliencyError(
            f"saliency {saliency.name!r}, layer {layer.name!r}: the {what} at {at} is "
            f"{values[at]}, expected a finite number{than}",
            saliency=saliency.name,
            layer=layer.name,
            index=at,
            value=float(values[at]),
        )
