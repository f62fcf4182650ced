"""Pruning a torch model as it trains: masks that follow the weights, final codes proved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import prune

from secateur.analysis import analyze
from secateur.errors import BrokenPromiseError, ScheduleError
from secateur.network import Box, Lookup, Network, Operation, Shape
from secateur.pruning.apply import (
    Step,
    Strategy,
    apply_strategy,
    promised,
    prove,
    steps_of,
)
from secateur.pruning.couplings import couplings_of
from secateur.pruning.problem import Floats, Mask, Masks, PrunableLayer, PruningProblem
from secateur.pruning.prune import layer_of, problem_of
from secateur.pruning.schedule import Reselect, Schedule
from secateur.pruning.strategy import StrategySpec
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

Link = tuple[StrategySpec, dict[str, Any]]
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
        strategy: Strategy,
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
            strategy: a name, a `StrategySpec`, or a chain as `secateur.prune` takes it.
            schedule: when masks are selected and how far they go; every 20 steps at the full
                target where not given.
            input_shape: shape of one sample; models from `quantize` know theirs.
            samples: float [samples, *input shape], for saliencies that look at activations.
            targets: [samples, ...], with `samples`, for saliencies that look at gradients.
            loss: (output, targets) ↦ scalar, whose gradients those are.
            seed: of the strategy's random generator.
            options: those of a single strategy.

        Raises:
            UnknownStrategyError, ClashingStrategyError, OptionError: see `apply_strategy`.
            UnsupportedModuleError, UnfinishedModelError, ShapeError: see `freeze`.
        """
        self.schedule: Schedule = Reselect() if schedule is None else schedule
        self._steps = steps_of(strategy, options)
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

        Options called `sparsity` and `bits` go that far: from 0, and from the width that no
        mask needs. Others are what they are. A strategy whose option `scales` is "fitted" has
        the learned weight scales fitted to the span that it promises before it selects
        (`bounds.fit_scales`); in a chain the first such strategy.
        """
        progress = self._progress()
        problem = self._problem(self._allowed)
        chain = [(s.spec, _options_at(s, fraction, problem)) for s in self._steps]
        masks = apply_strategy(self._fitted(problem, chain), chain)
        self._set(masks)
        progress[1] = int(fraction == 1.0)
        return masks

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
            chain = [(s.spec, _options_of(s)) for s in self._steps]
            problem = self._fitted(problem, chain)
            self._set(apply_strategy(problem, chain))
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

    def _fitted(self, problem: PruningProblem, chain: Sequence[Link]) -> PruningProblem:
        """Return `problem` with the codes at scales that fit, if a strategy asks for them."""
        steps = steps_of(chain, {})
        asked = [getattr(step.options, "scales", None) == "fitted" for step in steps]
        if True not in asked:
            return problem
        first = asked.index(True)
        step, before = steps[first], chain[:first]
        seen = problem.with_masks(apply_strategy(problem, before)) if before else problem
        scales: dict[Any, Floats] = {}
        budget, widths = promised(step, problem)
        for name, bits in widths.items() if budget == "span" else ():
            layer, module = seen[name], self._layers[name].module
            if codes := settable_codes(module):
                now = learned_scale(module).double().cpu().numpy().reshape(-1)
                fitted = layer.fitted_scales(now, bits, codes)
                # A module that is called twice has one scale for both.
                scales[module] = np.maximum(fitted, scales.get(module, 0.0))
        for module, fitted in scales.items():
            set_scales(module, fitted)
        layers = (
            replace(layer, codes=codes_if_kept(layer.name, x.module, x.source))
            if (x := self._layers[layer.name]).module in scales
            else layer
            for layer in problem.layers
        )
        return replace(problem, layers=tuple(layers))

    def _problem(self, masks: Masks) -> PruningProblem:
        """What the strategy sees: the weights of the moment, and of `masks` what may stay."""
        layers = []
        for template in self._structure.layers:
            x = self._layers[template.name]
            _apply_mask(x.module)
            layers.append(
                replace(
                    template,
                    weight=x.module.weight_orig.detach().double().cpu().numpy(),
                    codes=codes_if_kept(template.name, x.module, x.source),
                    mask=masks[template.name],
                )
            )
        return replace(self._structure, layers=tuple(layers))


#: The buffer with the count of steps and whether the masks are those of the full target.
_PROGRESS = "pruning_progress"


class _StraightThrough(prune.Identity):
    """A mask that the gradient passes, so that a removed weight can earn its way back.

    The gradient is that of the pruned model, the weights it moves are all of them: Lin et
    al., "Dynamic Model Pruning with Feedback" (ICLR 2020), equation 3.
    """

    def apply_mask(self, module: nn.Module) -> torch.Tensor:
        weight: torch.Tensor = module.weight_orig  # type: ignore[assignment]
        removed: torch.Tensor = 1 - module.weight_mask  # type: ignore[assignment,operator]
        return weight - (weight * removed).detach()


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
    nodes = analyze(network, given=_every_code)
    return PruningProblem(
        tuple(layer_of(layer, nodes[layer.source]) for layer in network.layers),
        couplings_of(network),
    )


def _every_code(operation: Operation, sources: Sequence[Box]) -> Ranges | None:
    """Return every code of a lookup's grid, whatever its accumulator; others follow from it."""
    if not isinstance(operation, Lookup):
        return None
    shape = operation.shape(*(s.shape for s in sources))
    return Ranges.full((shape[0], *(1,) * (len(shape) - 1)), operation.table.codomain)


def _options_of(step: Step) -> dict[str, Any]:
    return {field.name: getattr(step.options, field.name) for field in fields(step.options)}


def _options_at(step: Step, fraction: float, problem: PruningProblem) -> dict[str, Any]:
    """Return the options of `step` when `fraction` of the way to its target is to be gone."""
    options = _options_of(step)
    if "sparsity" in options:
        options["sparsity"] *= fraction
    if fraction < 1.0 and options.get("bits") is not None:
        bits = options["bits"]
        per_layer = bits if isinstance(bits, Mapping) else {x.name: bits for x in problem.layers}
        options["bits"] = {
            name: math.ceil(target + (1.0 - fraction) * max(0, _dense(problem[name]) - target))
            for name, target in per_layer.items()
        }
    return options


def _dense(layer: PrunableLayer) -> int:
    """Return the span bits of the widest accumulator of a layer if nothing is removed."""
    return int(layer.costs.reshape(len(layer.costs), -1).sum(axis=1).max()).bit_length()


def _keeps_promises(steps: Sequence[Step], problem: PruningProblem) -> bool:
    try:
        for step in steps:
            prove(step, problem)
    except BrokenPromiseError:
        return False
    return True
