"""Loading a state without losing an optimiser: parameters stay the objects that they were."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_BEFORE = "_parameters_before_loading"


def keep_parameters(model: nn.Module) -> None:
    """Let `model.load_state_dict` write into the parameters that `model` has.

    Brevitas makes new parameters of its scales when a state is loaded; an optimiser made before
    would go on with the old ones, and train nothing.
    """
    if _BEFORE not in vars(model):
        vars(model)[_BEFORE] = {}
        model._register_load_state_dict_pre_hook(_remember, with_module=True)  # type: ignore[no-untyped-call]
        model.register_load_state_dict_post_hook(_put_back)  # type: ignore[no-untyped-call]


def _remember(module: nn.Module, *rest: Any) -> None:
    vars(module)[_BEFORE] = dict(module.named_parameters())


def _put_back(module: nn.Module, *rest: Any) -> None:
    now = dict(module.named_parameters())
    for name, parameter in vars(module)[_BEFORE].items():
        if name in now and now[name] is not parameter and now[name].shape == parameter.shape:
            home, _, leaf = name.rpartition(".")
            with torch.no_grad():
                parameter.copy_(now[name])
            module.get_submodule(home)._parameters[leaf] = parameter
    vars(module)[_BEFORE] = {}
