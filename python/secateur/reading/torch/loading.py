"""Loading a state without losing an optimiser: parameters stay the objects that they were."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import nn


def keep_parameters(model: nn.Module) -> None:
    """Let `model.load_state_dict` write into the parameters that `model` has.

    Brevitas makes new parameters of its scales when a state is loaded; an optimiser made before
    would go on with the old ones, and train nothing.
    """
    # A copy of the model copies its hooks: functions, which know the model that they are for.
    meant = weakref.ref(model)
    before: dict[str, nn.Parameter] = {}

    def remember(*ignored: Any) -> None:
        if (module := meant()) is not None:
            before.update(module.named_parameters())

    def put_back(module: nn.Module, *ignored: Any) -> None:
        if module is meant():
            _put_back(module, before)
            before.clear()

    model._register_load_state_dict_pre_hook(remember)  # type: ignore[no-untyped-call]
    model.register_load_state_dict_post_hook(put_back)  # type: ignore[no-untyped-call]


def _put_back(module: nn.Module, before: dict[str, nn.Parameter]) -> None:
    now = dict(module.named_parameters())
    for name, parameter in before.items():
        if name in now and now[name] is not parameter and now[name].shape == parameter.shape:
            home, _, leaf = name.rpartition(".")
            with torch.no_grad():
                parameter.copy_(now[name])
            module.get_submodule(home)._parameters[leaf] = parameter
