"""A training loop for people without one: Adam, cosine learning rate, distillation, pruning."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from secateur.errors import NotFiniteError, ScheduleError, ShapeError
from secateur.reading.torch.fused import fused
from secateur.show.progress import progress as _progress

if TYPE_CHECKING:
    from secateur.pruning.torch import Pruner

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class History:
    """What a training run went through.

    Args:
        losses: mean training loss of each epoch.
        validation_losses: loss on the validation samples after each epoch; empty without any.
        best_epoch: index of the epoch whose state the model has been left in.

    Example:
        >>> History((0.9, 0.4), (0.8, 0.5), best_epoch=1).losses
        (0.9, 0.4)
    """

    losses: tuple[float, ...]
    validation_losses: tuple[float, ...]
    best_epoch: int

    def then(self, after: History) -> History:
        """Return both, one after the other; `after` has best epoch −1 where none beat ours."""
        best = self.best_epoch if after.best_epoch < 0 else len(self.losses) + after.best_epoch
        return History(
            self.losses + after.losses, self.validation_losses + after.validation_losses, best
        )


def fit(
    model: nn.Module,
    samples: Any,
    targets: Any,
    *,
    epochs: int = 100,
    batch_size: int = 64,
    lr: float = 0.01,
    pruner: Pruner | None = None,
    settle: float = 0.2,
    teacher: nn.Module | None = None,
    teacher_weight: float = 0.5,
    temperature: float = 4.0,
    loss: Loss = nn.functional.cross_entropy,
    validation: tuple[Any, Any] | None = None,
    patience: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> History:
    """Train `model` in place, and leave it in evaluation mode.

    Adam (Kingma and Ba, 2015) with a learning rate that falls along a cosine to 0. The same
    seed, data and number of threads give the same model. A last batch of a single sample is
    left out, since batch norm cannot train on it.

    Args:
        model: any torch module; from `quantize`, or plain.
        samples: float [samples, *sample shape].
        targets: [samples, ...]; integers are taken as classes.
        epochs: passes over the samples.
        batch_size: samples of one step.
        lr: the first learning rate.
        pruner: its `step` is called after each of the optimiser's, and in the end its `finish`,
            after which the codes are final.
        settle: the last part of the epochs under a pruner, 0 to 1, which comes after its `finish`
            and tunes what tables absorb: biases, batch norms, the scales of activations. Its
            schedule has the rest to reach its target. With 0 its `finish` is left to you.
        teacher: a model whose softened outputs are learned as well (Hinton et al., "Distilling
            the Knowledge in a Neural Network", 2015): usually the float network.
        teacher_weight: their part of the loss, 0 to 1.
        temperature: what the logits are divided by to soften them.
        loss: (output, targets) ↦ scalar.
        validation: samples and targets on which `loss` is measured after each epoch; the
            model is left in the state of the best one. Under a pruner only epochs that end
            with masks of the full target compete.
        patience: stop after so many epochs without a better one.
        seed: of the shuffling and of dropout.
        progress: show a bar on stderr, where that is a terminal and rich is installed.

    Raises:
        ScheduleError: a setting out of its range, or patience without validation.
        ShapeError: targets that do not go with the samples.
        NotFiniteError: the loss became NaN or infinite; names the epoch.

    >>> import torch
    >>> from torch import nn
    >>> samples = torch.linspace(-1.0, 1.0, 32)[:, None]
    >>> history = fit(nn.Linear(1, 2), samples, samples[:, 0] > 0, epochs=20, lr=0.1)
    >>> history.losses[-1] < history.losses[0]
    True
    """
    _check_settings(
        epochs, batch_size, lr, settle, teacher_weight, temperature, patience, validation
    )
    x, y = _tensors(model, samples, targets)
    held_out = None if validation is None else _tensors(model, *validation)
    soft = None if teacher is None else _outputs(teacher, x).div(temperature).softmax(1)

    def batch_loss(index: torch.Tensor) -> torch.Tensor:
        output = model(x[index])
        hard = loss(output, y[index])
        if soft is None:
            return hard
        divergence = nn.functional.kl_div(
            (output / temperature).log_softmax(1), soft[index], reduction="batchmean"
        )
        return torch.lerp(hard, torch.mul(divergence, temperature**2), teacher_weight)

    def held_out_loss() -> float | None:
        if held_out is None:
            return None
        return float(loss(_outputs(model, held_out[0]), held_out[1]))

    batches = max(1, math.ceil(len(x) / batch_size) - (len(x) % batch_size == 1))
    run = partial(_run, model, len(x), batch_size, batches, lr, batch_loss, held_out_loss, patience)
    settling = 0 if pruner is None else min(epochs - 1, round(settle * epochs))
    with torch.random.fork_rng(devices=[]), _progress("training", epochs, shown=progress) as tell:
        torch.manual_seed(seed)
        history = run(epochs - settling, pruner, tell)
        if pruner is not None and settle > 0:
            pruner.finish()
        if settling:
            history = history.then(run(settling, None, tell, history))
    model.eval()
    return history


def _run(
    model: nn.Module,
    samples: int,
    batch_size: int,
    batches: int,
    lr: float,
    batch_loss: Callable[[torch.Tensor], torch.Tensor],
    held_out_loss: Callable[[], float | None],
    patience: int | None,
    epochs: int,
    pruner: Pruner | None,
    tell: Callable[..., None],
    before: History | None = None,
) -> History:
    """Train with one fall of the learning rate; leave the model in its best state.

    After `before`, the state that it has left competes.
    """
    losses: list[float] = []
    held_out_losses: list[float] = []
    start = 0 if before is None else len(before.losses)
    best, best_loss, best_state = -1, math.inf, None
    if before is not None and before.validation_losses:
        best_loss = before.validation_losses[before.best_epoch]
        best_state = copy.deepcopy(model.state_dict())
    trained = [p for p in model.parameters() if p.requires_grad]
    with fused(model), _flat(trained) as flat:
        optimizer = torch.optim.Adam(flat, lr=lr)
        (settings,) = optimizer.param_groups
        model.train()
        for epoch in range(epochs):
            total = 0.0
            shuffled = torch.split(torch.randperm(samples), batch_size)[:batches]
            for step, index in enumerate(shuffled, epoch * batches):
                settings["lr"] = lr / 2 * (1 + math.cos(math.pi * step / (epochs * batches)))
                optimizer.zero_grad(set_to_none=False)
                value = batch_loss(index)
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                if pruner is not None:
                    pruner.step()
                total += value.item()
            if not math.isfinite(total):
                raise NotFiniteError(
                    f"the loss became {total} in epoch {start + epoch}; try a lower lr than {lr}",
                    argument="loss",
                )
            losses.append(total / batches)
            value_now = held_out_loss()
            if value_now is not None:
                held_out_losses.append(value_now)
                complete = pruner is None or pruner.complete
                if complete and value_now < best_loss:
                    best, best_loss = epoch, value_now
                    best_state = copy.deepcopy(model.state_dict())
            tell(start + epoch + 1, note=f"loss {losses[-1]:.4f}")
            if patience is not None and best >= 0 and epoch - best >= patience:
                break
    if best_state is not None:
        model.load_state_dict(best_state)
    last = best if best_state is not None else len(losses) - 1
    return History(tuple(losses), tuple(held_out_losses), last)


#: Elements of a piece of parameters: with what Adam keeps of each some hundred kilobytes.
_PIECE = 1 << 15


@contextmanager
def _flat(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield `parameters` side by side, in pieces that an optimiser is quickest with.

    Small ones become one, which costs it fewer calls; of large ones its passes over a piece stay
    within the processor's cache. Meanwhile they and their gradients are views of the pieces.
    """
    pieces = []
    for kind in {(p.dtype, p.device): None for p in parameters}:
        alike = [p for p in parameters if (p.dtype, p.device) == kind]
        flat = torch.cat([p.detach().flatten() for p in alike])
        gradients = torch.zeros_like(flat)
        sizes = [p.numel() for p in alike]
        parts = zip(alike, torch.split(flat, sizes), torch.split(gradients, sizes), strict=True)
        for parameter, value, gradient in parts:
            parameter.data, parameter.grad = value.view_as(parameter), gradient.view_as(parameter)
        for value, gradient in zip(
            torch.split(flat, _PIECE), torch.split(gradients, _PIECE), strict=True
        ):
            piece = nn.Parameter(value)
            piece.grad = gradient
            pieces.append(piece)
    try:
        yield pieces
    finally:
        for parameter in parameters:
            parameter.data, parameter.grad = parameter.data.clone(), None


def accuracy(model: nn.Module, samples: Any, targets: Any) -> float:
    """Return the fraction of `samples` whose greatest output is their target, evaluated.

    Args:
        model: in whatever mode, in which it is left.
        samples: float [samples, *sample shape].
        targets: the classes, integers [samples].

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Linear(2, 2, bias=False)
        >>> model.weight.data = torch.eye(2)
        >>> accuracy(model, torch.tensor([[1.0, 0.0], [2.0, 3.0], [0.0, 1.0]]), [0, 1, 0])
        0.6666666666666666
    """
    x, y = _tensors(model, samples, targets)
    return float((_outputs(model, x).argmax(1) == y).double().mean())


def _outputs(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return what `model` gives for `x` in evaluation mode; it is left in its own mode."""
    training = model.training
    model.eval()
    with torch.no_grad():
        output: torch.Tensor = model(x)
    model.train(training)
    return output


def _tensors(model: nn.Module, samples: Any, targets: Any) -> tuple[torch.Tensor, torch.Tensor]:
    like = next(model.parameters())
    x = _tensor(samples).to(like)
    y = _tensor(targets).to(like.device)
    y = y.to(like.dtype) if y.is_floating_point() else y.long()
    if len(x) != len(y) or len(x) == 0:
        raise ShapeError(
            f"{len(x)} samples with {len(y)} targets; expected as many, and at least one",
            argument="targets",
            shape=tuple(y.shape),
            expected=(len(x),),
        )
    return x, y


def _tensor(values: Any) -> torch.Tensor:
    return values if isinstance(values, torch.Tensor) else torch.as_tensor(np.asarray(values))


def _check_settings(
    epochs: int,
    batch_size: int,
    lr: float,
    settle: float,
    teacher_weight: float,
    temperature: float,
    patience: int | None,
    validation: object,
) -> None:
    checks: tuple[tuple[str, object, Callable[[], bool], str], ...] = (
        ("epochs", epochs, lambda: index(epochs) >= 1, "a whole number, at least 1"),
        ("batch_size", batch_size, lambda: index(batch_size) >= 1, "a whole number, at least 1"),
        ("lr", lr, lambda: 0 < lr < math.inf, "more than 0"),
        ("settle", settle, lambda: 0 <= settle <= 1, "0 to 1"),
        ("teacher_weight", teacher_weight, lambda: 0 <= teacher_weight <= 1, "0 to 1"),
        ("temperature", temperature, lambda: temperature > 0, "more than 0"),
        ("patience", patience, lambda: patience is None or index(patience) >= 1, "at least 1"),
        ("patience", patience, lambda: patience is None or validation is not None, "validation"),
    )
    for argument, value, holds, expected in checks:
        try:
            right = holds()
        except TypeError:
            right = False
        if not right:
            raise ScheduleError(
                f"{argument} is {value!r}, expected {expected}", argument=argument, value=value
            )
