"""Pruning a torch model as it trains: masks that follow the weights, final codes proved."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from secateur.analysis import analyze
from secateur.errors import MissingDataError, ScheduleError, SpecificationError
from secateur.network import Box, Lookup, Network, Operation, Shape
from secateur.pruning.apply import (
    AppliedMasks,
    Miss,
    Offered,
    Strategies,
    apply_steps,
    masks_of,
    misses,
    promised,
    prove,
    steps_of,
)
from secateur.pruning.couplings import couplings_of
from secateur.pruning.hold import Hold
from secateur.pruning.problem import Floats, Mask, Masks, PrunableLayer, PruningProblem
from secateur.pruning.prune import fixed_of, layer_of, problem_of
from secateur.pruning.schedule import Reselect, Schedule
from secateur.pruning.strategy import Strategy, method_of
from secateur.ranges import Range, Ranges
from secateur.reading.torch import masks
from secateur.reading.torch.freeze import freeze, read
from secateur.reading.torch.loading import keep_parameters
from secateur.reading.torch.masks import Progress, WeightMask
from secateur.reading.torch.quantizers import (
    codes_if_kept,
    codes_on,
    fix_codes,
    set_scales,
    settable_grid,
    settable_scale,
)
from secateur.reading.torch.trace import evaluating

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


#: Steps after which masks are selected anew within the last ones, where none are due.
_EVERY = 20


class Pruner:
    """Masks on a Brevitas model that is being trained, and a proof of its final codes.

    The masks are parametrizations of torch (`torch.nn.utils.parametrize`): each layer trains
    `parametrizations.weight.original`, and its `weight` is what the mask leaves of it. Masks and
    the count of steps are part of the model's `state_dict`: to resume, make the pruner again and
    load the state. `copy.deepcopy` of a model copies its masks, and of (model, pruner) both.

    A mask is selected among all weights, and removed weights go on training, so that what
    one selection removed the next may bring back; only what a mask of torch.nn.utils.prune
    had removed before stays removed.

    Once the target is reached, the codes of every step keep to the widths that the strategy
    promises. Weights that a step takes beyond are held back at the edge of the code that fits
    (`bounds.hold_back`), and every 20 steps without a selection one is made within the last
    masks, at scales fitted anew. Of a chain, that is within what its first strategies have left
    that promise no width: the neurons that `Structured` has removed stay removed, while
    `Accumulator` goes on choosing among the weights of the others. So what training ends with is
    what `finish` proves, at the same accuracy.

    >>> import torch
    >>> from torch import nn
    >>> from secateur.reading.torch import freeze, quantize
    >>> samples = torch.linspace(-1.0, 1.0, 64).reshape(16, 4)
    >>> module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> model = quantize(module, calibration=samples)
    >>> pruner = Pruner(model, "accumulator", bits=4)
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     model(samples).square().sum().backward()
    ...     optimizer.step()
    ...     pruner.step()
    >>> bool(pruner.fits)
    True
    >>> pruner.finish().removed
    {'0': 0, '2': 0}
    >>> from secateur.analysis import analyze
    >>> analyze(freeze(model)).accumulator_bits <= 4
    True
    """

    def __init__(
        self,
        model: nn.Module,
        strategy: Strategies,
        /,
        *,
        schedule: Schedule | None = None,
        input_shape: Shape | None = None,
        samples: torch.Tensor | None = None,
        targets: torch.Tensor | None = None,
        loss: Loss = nn.functional.cross_entropy,
        seed: int = 0,
        **options: Any,
    ) -> None:
        """Attach masks that keep everything.

        Args:
            model: from `quantize`, or built with Brevitas's layers.
            strategy: a strategy, its name, or a chain as `secateur.prune` takes it.
            schedule: when masks are selected and how far they go; every 20 steps at the full
                target where not given.
            input_shape: shape of one sample; models from `quantize` know theirs.
            samples: float [samples, *input shape], for saliencies that look at activations.
            targets: [samples, ...], with `samples`, for saliencies that look at gradients. Without
                them these see the gradients of training itself, of the last batches.
            loss: (output, targets) ↦ scalar, whose gradients those are.
            seed: of the strategy's random generator.
            options: those of a single name.

        Raises:
            UnknownStrategyError, ClashingStrategyError, OptionError: see `apply_strategy`.
            ScheduleError: the schedule is none, or goes gradually and a strategy cannot; names it.
            InfeasibleError: the strategy promises a width that masks cannot bring about, of a
                sum pool or a residual add; names it.
            UnsupportedModuleError, UnfinishedModelError, ShapeError: see `freeze`.
        """
        self.schedule: Schedule = Reselect() if schedule is None else schedule
        if not all(callable(getattr(self.schedule, name, None)) for name in ("due", "fraction")):
            raise ScheduleError(
                f"schedule is {schedule!r}, which has no methods due and fraction; expected a "
                "schedule, such as Gradual(begin=100, end=1000)",
                argument="schedule",
                value=schedule,
            )
        self._steps = steps_of(strategy, options)
        for step in self._steps if getattr(self.schedule, "gradual", False) else ():
            if method_of(step.strategy, "toward") is None:
                raise _cannot_go_gradually(step)
        self._model = model
        reading = read(model, input_shape)
        self._input_shape = reading.network.input.shape
        self._holds: tuple[tuple[Hold, ...], bool] | None = None
        paths = {module: path for path, module in model.named_modules()}
        # By name, so that a copy of model and pruner has its own.
        self._paths = {name: paths[x.module] for name, x in reading.layers.items()}
        self._sources = {name: x.source for name, x in reading.layers.items()}
        self._structure = replace(_structure(reading.network), seed=seed)
        if samples is not None:
            activate = partial(_activations, model, self._paths, samples)
            self._structure = replace(self._structure, activate=activate)
        self._recorded: deque[Mapping[str, NDArray[np.float32]]] | None = None
        self._differentiate: Callable[[], Mapping[str, Floats]] | None = None
        if samples is not None and targets is not None:
            self._differentiate = partial(_gradients, model, self._paths, samples, targets, loss)
        for miss in misses(self._steps, self._structure):
            if miss.fixed:
                raise miss.error()
        progress = Progress()
        for name in self._paths:
            masks.put_on(self._module(name), progress)
        self._finished: FinalMasks | None = None
        self._allowed = self.masks
        keep_parameters(model)

    @property
    def masks(self) -> dict[str, Mask]:
        """Layer name → mask of the moment, bool, shaped like its weight; True is kept."""
        if self._finished is not None:
            return dict(self._finished)
        return {name: _numpy(self._mask(name).kept.bool()) for name in self._paths}

    @property
    def complete(self) -> bool:
        """Whether the masks of the moment are those of the full target."""
        return self._finished is not None or self._progress.complete

    @property
    def fits(self) -> Fit:
        """Whether the codes of the moment keep the full target's promise, as the engine proves."""
        if self._finished is not None:
            return Fit()
        return Fit(tuple(misses(self._steps, self._problem(self.masks))))

    def step(self) -> None:
        """Count one training step, after the optimiser's; select masks if they are due.

        Raises:
            SecateurError: whatever `apply_strategy` raises.
        """
        progress = self._progress
        progress.steps += 1
        if self._recorded is not None:
            self._recorded.append(self._last_gradients())
        if self.schedule.due(progress.steps):
            self.select(self.schedule.fraction(progress.steps))
        elif progress.complete:
            self._hold()

    def select(self, fraction: float = 1.0) -> Masks:
        """Select the masks of the moment now, `fraction` of the way to the target; return them.

        A strategy goes `toward` its target, and fits the scales of the weights before it
        selects where it has a say in them (`fitted_scales`).

        Raises:
            ScheduleError: a fraction below 1, and a strategy that cannot go gradually.
            SecateurError: whatever `apply_strategy` raises.
        """
        progress = self._progress
        problem = self._problem(self._allowed)
        steps = tuple(_toward(step, fraction, problem) for step in self._steps)
        leading = next((k for k, s in enumerate(steps) if method_of(s.strategy, "widths")), 0)
        # What these remove stays removed; what the others do may come back within it.
        left = apply_steps(problem, steps[:leading], self._rescaled)
        final = apply_steps(left, steps[leading:], self._rescaled)
        self._set(masks_of(left if leading else final), selected=True)
        self._set(masks_of(final))
        progress.complete, progress.selected_at = fraction == 1.0, progress.steps
        promising = self._promising
        if progress.complete and self._budgets(promising)[1]:
            self._cut(promising)
        return self.masks

    def finish(self) -> FinalMasks:
        """Fix the final codes, prove them, and take masks and pruner off the model.

        Where training ended before the schedule, masks of the full target are selected now;
        where weights have been changed since the last step, more go until the widths are kept.
        Either removes what training has counted on, and is warned of. Each layer's weight is
        then exactly codes · scale, and no longer trains. What tables absorb does: biases, batch
        norms and the scales of activations may be tuned further (`training.fit` does so), and no
        accumulator's span budget is exceeded by it.

        Returns:
            Layer name → final mask, and how many codes other than 0 were removed here; the same
            where it has finished before.

        Raises:
            SecateurError: whatever `apply_strategy` raises.
        """
        if self._finished is not None:
            return self._finished
        progress = self._progress
        now = problem = self._problem(self.masks)
        if not progress.complete or any(misses(self._steps, now)):
            base = now if progress.complete else self._problem(self._allowed)
            problem = apply_steps(base, self._steps, self._rescaled)
            self._set(masks_of(problem), selected=True)
        kept = self.masks
        removed = {}
        for x in now.layers:
            after = (problem[x.name].codes != 0) & kept[x.name]
            removed[x.name] = int(((x.codes != 0) & x.mask & ~after).sum())
        for module, name in {self._module(name): name for name in self._paths}.items():
            codes = np.where(kept[name], problem[name].codes, 0)
            scale = module.weight_quant.scale().detach()
            masks.take_off(module)
            fix_codes(module, codes, scale)
        final = problem_of(freeze(self._model, input_shape=self._input_shape))
        prove(self._steps, final)
        self._finished = FinalMasks(kept, self._steps, removed)
        if any(count > 0 for count in removed.values()):
            _warn(removed, progress)
        return self._finished

    @property
    def _progress(self) -> Progress:
        return self._mask(next(iter(self._paths))).progress

    def _module(self, name: str) -> Any:
        return self._model.get_submodule(self._paths[name])

    @property
    def _promising(self) -> tuple[Offered, ...]:
        return tuple(s for s in self._steps if method_of(s.strategy, "widths"))

    def _mask(self, name: str) -> WeightMask:
        """The mask on a layer of the model."""
        mask = masks.on(self._module(name))
        if mask is None:
            raise ScheduleError(
                "the pruner has finished; to prune further, make another on the same model"
            )
        return mask

    def _hold(self) -> None:
        """Bring the codes of the moment back to the widths that are promised."""
        progress, promising = self._progress, self._promising
        if not promising:
            return
        if (progress.steps - progress.selected_at) % _EVERY == 0:
            within = {name: _numpy(self._mask(name).selected.bool()) for name in self._paths}
            again = apply_steps(self._problem(within), promising, self._rescaled)
            self._set(masks_of(again))
            return
        holds, others = self._budgets(promising)
        for hold in holds:
            hold.back()
        if others:
            self._cut(promising)

    def _cut(self, steps: tuple[Offered, ...]) -> None:
        """Remove what does not fit from channels that no `Hold` brings back.

        Each round leaves less: the scales that a quantiser takes from what is left can grow
        codes again.
        """
        while True:
            now = self._problem(self.masks)
            wide = {m.name: m.too_wide for m in misses(steps, now) if not m.fixed}
            if not wide:
                return
            again = masks_of(apply_steps(now, steps))
            channels = {name: _column(w, again[name]) for name, w in wide.items()}
            self._set({n: np.where(c, again[n], now[n].mask) for n, c in channels.items()})

    def _budgets(self, promising: tuple[Offered, ...]) -> tuple[tuple[Hold, ...], bool]:
        """Return the holds on layers whose spans have a budget, and whether others have one."""
        if self._holds is not None and all(hold.current for hold in self._holds[0]):
            return self._holds
        holds: list[Hold | None] = []
        for step in promising:
            for name, width in promised(step, self._structure).items():
                if name in self._structure.fixed:
                    continue
                if isinstance(width, Range) or (isinstance(width, int) and width < 0):
                    holds.append(None)
                    continue
                low, high, bits = self._structure[name].budgeted(width)
                holds.append(Hold.on(name, self._module(name), low, high, min(bits, 64)))
        found = tuple(hold for hold in holds if hold is not None)
        self._holds = found, len(found) < len(holds)
        return self._holds

    def _set(self, new: Masks, selected: bool = False) -> None:
        joint: dict[WeightMask, Mask] = {}
        for name, mask in new.items():
            # A module that is called twice is two layers, whose one mask fits both.
            on = self._mask(name)
            joint[on] = mask & joint.get(on, mask)
        for on, mask in joint.items():
            on.kept.copy_(torch.from_numpy(mask.view(np.uint8)))
            if selected:
                on.selected.copy_(on.kept)

    def _rescaled(self, problem: PruningProblem, scales: Mapping[str, Floats]) -> PruningProblem:
        """Give layers these scales; return `problem` with the codes that weights then have."""
        joint: dict[Any, Floats] = {}
        for name, values in scales.items():
            # A module that is called twice has one scale for both.
            module = self._module(name)
            joint[module] = np.maximum(values, joint.get(module, 0.0))
        for module, values in joint.items():
            set_scales(module, values)
        renewed = (self._coded(x) if self._module(x.name) in joint else x for x in problem.layers)
        return replace(problem, layers=tuple(renewed))

    def _problem(self, kept: Masks) -> PruningProblem:
        """What the strategy sees: the weights of the moment, and of `kept` what may stay."""
        layers = tuple(self._layer(x, kept[x.name]) for x in self._structure.layers)
        differentiate = self._differentiate or self._training_gradients
        return replace(self._structure, layers=layers, differentiate=differentiate)

    def _training_gradients(self) -> Mapping[str, Floats]:
        """Return the gradients of the last training steps: of one, where none was asked before.

        Molchanov et al. (2019) average so, over batches: what training computes in any case.
        """
        if self._recorded is None:
            self._recorded = deque([self._last_gradients()], maxlen=_EVERY)
        return {
            name: np.stack([each[name] for each in self._recorded]).astype(np.float64)
            for name in self._paths
        }

    def _last_gradients(self) -> Mapping[str, NDArray[np.float32]]:
        gradients = {name: masks.unmasked(self._module(name)).grad for name in self._paths}
        missing = [name for name, gradient in gradients.items() if gradient is None]
        if missing:
            raise MissingDataError(
                f"layer {missing[0]!r} has no gradient to compare its weights by; call step() "
                "between backward() and zero_grad(), within training, or pass samples= and "
                "targets= to the Pruner",
                needed="gradients",
            )
        return {name: _numpy(g.float()) for name, g in gradients.items() if g is not None}

    def _layer(self, layer: PrunableLayer, mask: Mask) -> PrunableLayer:
        """Return `layer` with the weights, codes and scales of the moment."""
        weight = masks.unmasked(self._module(layer.name)).detach().double()
        return self._coded(layer, weight=weight.cpu().numpy(), mask=mask)

    def _coded(self, layer: PrunableLayer, **others: Any) -> PrunableLayer:
        """Return `layer` with the codes and scales of the moment, and with `others` of it."""
        module = self._module(layer.name)
        grid = settable_grid(module)
        if grid is None:
            codes = codes_if_kept(layer.name, module, self._sources[layer.name])
            return replace(layer, codes=codes, scale=None, code_range=None, **others)
        scale = settable_scale(module, grid)
        return replace(
            layer,
            codes=codes_on(layer.name, module, grid, scale),
            scale=_numpy(scale.double()).reshape(-1),
            code_range=(grid.low, grid.high),
            **others,
        )


@dataclass(frozen=True)
class Fit:
    """Whether the codes of a model keep what a strategy promises; true where they do.

    Args:
        misses: what they do not keep, with the channel that misses it most, and by how much.
    """

    misses: tuple[Miss, ...] = ()

    def __bool__(self) -> bool:
        return not self.misses

    def __str__(self) -> str:
        return "; ".join(map(str, self.misses)) or "every accumulator fits"


class FinalMasks(AppliedMasks):
    """The masks of a finished model, and what they took away that it had in the last step.

    `removed` is layer name → how many codes other than 0.
    """

    def __init__(
        self, masks: Masks, steps: tuple[Offered, ...], removed: Mapping[str, int]
    ) -> None:
        super().__init__(masks, steps)
        self.removed = dict(removed)


def _warn(removed: Mapping[str, int], progress: Progress) -> None:
    reason = (
        "weights or scales have changed since the last step"
        if progress.complete
        else f"the schedule had not reached its target after {progress.steps} steps"
    )
    counts = ", ".join(f"{count} of layer {name!r}" for name, count in removed.items() if count > 0)
    warnings.warn(
        f"finish() has removed codes that the model was trained with: {counts}; {reason}. "
        "Measure its accuracy again",
        stacklevel=3,
    )


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    return np.array(tensor.cpu())


def _column(channels: Mask, like: Mask) -> Mask:
    return channels.reshape(-1, *(1,) * (like.ndim - 1))


def _activations(
    model: nn.Module, paths: Mapping[str, str], samples: torch.Tensor
) -> Mapping[str, Floats]:
    """Return layer name → its inputs on the samples, with the masks of the moment."""
    seen: dict[str, Floats] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen[name] = inputs[0].detach().double().cpu().numpy()

        return hook

    handles = [
        model.get_submodule(path).register_forward_pre_hook(watch(name))
        for name, path in paths.items()
    ]
    try:
        with evaluating(model):
            model(samples)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _gradients(
    model: nn.Module,
    paths: Mapping[str, str],
    samples: torch.Tensor,
    targets: torch.Tensor,
    loss: Loss,
) -> Mapping[str, Floats]:
    """Return layer name → the gradient of each sample's loss, masked weights included."""
    found: dict[str, list[Floats]] = {name: [] for name in paths}
    with evaluating(model), torch.enable_grad():
        for k in range(len(samples)):
            value = loss(model(samples[k : k + 1]), targets[k : k + 1])
            weights = [masks.unmasked(model.get_submodule(path)) for path in paths.values()]
            for name, gradient in zip(found, torch.autograd.grad(value, weights), strict=True):
                found[name].append(gradient.double().cpu().numpy())
    return {name: np.stack(gradients) for name, gradients in found.items()}


def _structure(network: Network) -> PruningProblem:
    """Return the problem of `network` with input ranges that hold for any weights.

    A lookup is taken to yield every code of its quantiser, so that the ranges stay sound
    while training moves weights, scales and biases, and one structure serves all selections.
    """
    report = analyze(network, given=_every_code)
    return PruningProblem(
        tuple(layer_of(layer, report[layer.source]) for layer in network.layers),
        couplings_of(network),
        fixed=fixed_of(report),
    )


def _every_code(operation: Operation, sources: Sequence[Box]) -> Ranges | None:
    """Return every code of a lookup's grid, whatever its accumulator; others follow from it."""
    if not isinstance(operation, Lookup):
        return None
    shape = operation.shape(*(s.shape for s in sources))
    return Ranges.full((shape[0], *(1,) * (len(shape) - 1)), operation.table.codomain)


def _toward(step: Offered, fraction: float, problem: PruningProblem) -> Offered:
    """Return `step` with its strategy `fraction` of the way to its target."""
    if fraction == 1.0:
        return step
    part = step.call("toward", fraction, problem)
    if part is None:
        raise _cannot_go_gradually(step)
    if not isinstance(part, Strategy):
        raise SpecificationError(
            f"strategy {step}: toward({fraction}) gave {part!r}, expected a strategy",
            name=step.strategy.name,
            argument="toward",
        )
    return replace(step, strategy=part)


def _cannot_go_gradually(step: Offered) -> ScheduleError:
    return ScheduleError(
        f"strategy {step} has no toward(fraction, problem), so that it cannot go gradually; "
        "use OneShot or Reselect, which select at the full target",
        argument="schedule",
        value=step.strategy.name,
    )
