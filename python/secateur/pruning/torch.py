"""Pruning a torch model as it trains: masks that follow the weights, final codes proved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import prune

from secateur.analysis import analyze
from secateur.errors import BrokenPromiseError, ScheduleError, SpecificationError
from secateur.network import Box, Lookup, Network, Operation, Shape
from secateur.pruning.apply import (
    Step,
    Strategies,
    apply_steps,
    masks_of,
    prove,
    prove_fixed,
    steps_of,
)
from secateur.pruning.couplings import couplings_of
from secateur.pruning.problem import Floats, Mask, Masks, PrunableLayer, PruningProblem
from secateur.pruning.prune import fixed_of, layer_of, problem_of
from secateur.pruning.schedule import Reselect, Schedule
from secateur.pruning.strategy import Strategy, method_of
from secateur.ranges import Ranges
from secateur.reading.torch.freeze import freeze, read
from secateur.reading.torch.quantizers import (
    codes_if_kept,
    fix_codes,
    learned_scale,
    set_scales,
    settable_codes,
)
from secateur.reading.torch.trace import evaluating

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Pruner:
    """Masks on a Brevitas model that is being trained, and a proof of its final codes.

    The masks are torch.nn.utils.prune's: each layer has `weight_orig`, which the optimiser
    trains, and the buffer `weight_mask`. Masks and the count of steps are part of the
    model's `state_dict`: to resume, make the pruner again, load the state, then make the
    optimiser (loading makes Brevitas replace the parameters of its scales).

    A mask is selected among all weights, and removed weights go on training, so that what
    one selection removed the next may bring back; only what a mask of torch.nn.utils.prune
    had removed before stays removed.

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
    >>> masks = pruner.finish()
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
            targets: [samples, ...], with `samples`, for saliencies that look at gradients.
            loss: (output, targets) ↦ scalar, whose gradients those are.
            seed: of the strategy's random generator.
            options: those of a single name.

        Raises:
            UnknownStrategyError, ClashingStrategyError, OptionError: see `apply_strategy`.
            ScheduleError: the schedule goes gradually and a strategy cannot; names it.
            InfeasibleError: the strategy promises a width that masks cannot bring about, of a
                sum pool or a residual add; names it.
            UnsupportedModuleError, UnfinishedModelError, ShapeError: see `freeze`.
        """
        self.schedule: Schedule = Reselect() if schedule is None else schedule
        self._steps = steps_of(strategy, options)
        for step in self._steps if getattr(self.schedule, "gradual", False) else ():
            if method_of(step.strategy, "toward") is None:
                raise _cannot_go_gradually(step)
        self._model = model
        reading = read(model, input_shape)
        self._input_shape = reading.network.input.shape
        self._layers = reading.layers
        self._structure = replace(_structure(reading.network), seed=seed)
        modules = {name: x.module for name, x in self._layers.items()}
        if samples is not None:
            activate = partial(_activations, model, modules, samples)
            self._structure = replace(self._structure, activate=activate)
        if samples is not None and targets is not None:
            differentiate = partial(_gradients, model, modules, samples, targets, loss)
            self._structure = replace(self._structure, differentiate=differentiate)
        for step in self._steps:
            prove_fixed(step, self._structure)
        for x in self._layers.values():
            if not hasattr(x.module, "weight_mask"):
                _StraightThrough.apply(x.module, "weight")  # type: ignore[no-untyped-call]
        self._allowed = self.masks
        model.register_buffer(_PROGRESS, torch.zeros(2, dtype=torch.int64))

    @property
    def masks(self) -> Masks:
        """Layer name → mask of the moment, bool, shaped like its weight; True is kept."""
        return {
            name: x.module.weight_mask.detach().cpu().numpy().astype(bool)
            for name, x in self._layers.items()
        }

    @property
    def complete(self) -> bool:
        """Whether the masks of the moment are those of the full target."""
        return bool(self._progress()[1])

    def step(self) -> None:
        """Count one training step, after the optimiser's; select masks if they are due.

        Raises:
            SecateurError: whatever `apply_strategy` raises.
        """
        progress = self._progress()
        progress[0] += 1
        count = int(progress[0])
        if self.schedule.due(count):
            self.select(self.schedule.fraction(count))

    def select(self, fraction: float = 1.0) -> Masks:
        """Select the masks of the moment now, `fraction` of the way to the target; return them.

        A strategy goes `toward` its target, and fits the scales of the weights before it
        selects where it has a say in them (`fitted_scales`).

        Raises:
            ScheduleError: a fraction below 1, and a strategy that cannot go gradually.
            SecateurError: whatever `apply_strategy` raises.
        """
        progress = self._progress()
        problem = self._problem(self._allowed)
        steps = tuple(_toward(step, fraction, problem) for step in self._steps)
        self._set(masks_of(apply_steps(problem, steps, self._rescaled)))
        progress[1] = int(fraction == 1.0)
        return self.masks

    def finish(self) -> Masks:
        """Fix the final codes, prove them, and take masks and pruner off the model.

        Weights and scales may have moved since the last selection, and with them the codes; the
        proof is of the codes that the model ends with. Where the last masks no longer keep to
        the strategy's promise on these, more weights go until they do, after scales that are
        fitted have been fitted again. Each layer's weight is then exactly codes · scale, and
        no longer trains. What tables absorb does: biases, batch norms and the scales of
        activations may be tuned further, and no accumulator's span budget is exceeded by it.

        Returns:
            Layer name → final mask.

        Raises:
            SecateurError: whatever `apply_strategy` raises.
        """
        complete = self.complete
        problem = self._problem(self.masks if complete else self._allowed)
        if not complete or not _keeps_promises(self._steps, problem):
            problem = apply_steps(problem, self._steps, self._rescaled)
            self._set(masks_of(problem))
        masks = self.masks
        for module, name in {x.module: name for name, x in self._layers.items()}.items():
            kept = np.where(masks[name], problem[name].codes, 0)
            scale = module.weight_quant.scale().detach()
            prune.remove(module, "weight")  # type: ignore[no-untyped-call]
            fix_codes(module, kept, scale)
        delattr(self._model, _PROGRESS)
        final = problem_of(freeze(self._model, input_shape=self._input_shape))
        for step in self._steps:
            prove(step, final)
        return masks

    def _progress(self) -> torch.Tensor:
        """The model's count of steps, and whether its masks are those of the full target."""
        if not hasattr(self._model, _PROGRESS):
            raise ScheduleError(
                "the pruner has finished; to prune further, make another on the same model"
            )
        progress: torch.Tensor = getattr(self._model, _PROGRESS)
        return progress

    def _set(self, masks: Masks) -> None:
        joint: dict[Any, Mask] = {}
        for name, x in self._layers.items():
            # A module that is called twice is two layers, whose one mask fits both.
            joint[x.module] = masks[name] & joint.get(x.module, masks[name])
        for module, mask in joint.items():
            module.weight_mask.copy_(torch.from_numpy(mask.view(np.uint8)))

    def _rescaled(self, problem: PruningProblem, scales: Mapping[str, Floats]) -> PruningProblem:
        """Give layers these scales; return `problem` with the codes that weights then have."""
        joint: dict[Any, Floats] = {}
        for name, values in scales.items():
            # A module that is called twice has one scale for both.
            module = self._layers[name].module
            joint[module] = np.maximum(values, joint.get(module, 0.0))
        for module, values in joint.items():
            set_scales(module, values)
        renewed = (
            self._layer(x, x.mask) if self._layers[x.name].module in joint else x
            for x in problem.layers
        )
        return replace(problem, layers=tuple(renewed))

    def _problem(self, masks: Masks) -> PruningProblem:
        """What the strategy sees: the weights of the moment, and of `masks` what may stay."""
        layers = tuple(self._layer(x, masks[x.name]) for x in self._structure.layers)
        return replace(self._structure, layers=layers)

    def _layer(self, layer: PrunableLayer, mask: Mask) -> PrunableLayer:
        """Return `layer` with the weights, codes and scales of the moment."""
        x = self._layers[layer.name]
        _apply_mask(x.module)
        code_range = settable_codes(x.module)
        scale = None if code_range is None else learned_scale(x.module)
        return replace(
            layer,
            weight=x.module.weight_orig.detach().double().cpu().numpy(),
            codes=codes_if_kept(layer.name, x.module, x.source),
            mask=mask,
            scale=None if scale is None else scale.double().cpu().numpy().reshape(-1),
            code_range=code_range,
        )


#: The buffer with the count of steps and whether the masks are those of the full target.
_PROGRESS = "pruning_progress"


class _Kept(torch.autograd.Function):
    """weight · mask, whose gradient is that of the weight as if nothing had been removed."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return weight * mask

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return gradient, None


class _StraightThrough(prune.Identity):
    """A mask that the gradient passes, so that a removed weight can earn its way back.

    The gradient is that of the pruned model, the weights it moves are all of them: Lin et
    al., "Dynamic Model Pruning with Feedback" (ICLR 2020), equation 3.
    """

    def apply_mask(self, module: nn.Module) -> torch.Tensor:
        kept: torch.Tensor = _Kept.apply(module.weight_orig, module.weight_mask)
        return kept


def _apply_mask(module: nn.Module) -> None:
    """Bring a pruned layer's `weight` up to date with what it is made of."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, prune.BasePruningMethod):
            hook(module, ())


def _activations(
    model: nn.Module, layers: Mapping[str, Any], samples: torch.Tensor
) -> Mapping[str, Floats]:
    """Return layer name → its inputs on the samples, with the masks of the moment."""
    seen: dict[str, Floats] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen[name] = inputs[0].detach().double().cpu().numpy()

        return hook

    handles = [layer.register_forward_pre_hook(watch(name)) for name, layer in layers.items()]
    try:
        with evaluating(model):
            model(samples)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _gradients(
    model: nn.Module,
    layers: Mapping[str, Any],
    samples: torch.Tensor,
    targets: torch.Tensor,
    loss: Loss,
) -> Mapping[str, Floats]:
    """Return layer name → the gradient of each sample's loss, masked weights included."""
    found: dict[str, list[Floats]] = {name: [] for name in layers}
    with evaluating(model), torch.enable_grad():
        for k in range(len(samples)):
            value = loss(model(samples[k : k + 1]), targets[k : k + 1])
            weights = [layer.weight for layer in layers.values()]
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


def _toward(step: Step, fraction: float, problem: PruningProblem) -> Step:
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


def _cannot_go_gradually(step: Step) -> ScheduleError:
    return ScheduleError(
        f"strategy {step} has no toward(fraction, problem), so that it cannot go gradually; "
        "use OneShot or Reselect, which select at the full target",
        argument="schedule",
        value=step.strategy.name,
    )


def _keeps_promises(steps: Sequence[Step], problem: PruningProblem) -> bool:
    try:
        for step in steps:
            prove(step, problem)
    except BrokenPromiseError:
        return False
    return True
