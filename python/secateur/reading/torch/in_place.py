"""Traced models without calls that change a tensor in place: what is read later is their result."""

from __future__ import annotations

import operator
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.fx.graph import Graph
from torch.fx.node import Node as Call

from secateur.errors import UnsupportedModuleError

_OPERATORS = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}
#: Calls whose result may share the memory of their first argument.
_VIEWS = frozenset(
    {"chunk", "contiguous", "detach", "double", "dropout", "flatten", "float", "getitem"}
    | {"movedim", "narrow", "permute", "reshape", "select", "split", "squeeze", "swapaxes"}
    | {"swapdims", "to", "transpose", "unflatten", "unsqueeze", "view"}
)
_VIEWING_MODULES = (
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    *(nn.Flatten, nn.Identity, nn.Unflatten),
)


def without_in_place(root: nn.Module, graph: Graph) -> None:
    """Rewrite `graph` so that no call changes its argument, with the same results.

    Modules of `root` stay as they are: who reads their argument after them reads their result.

    Raises:
        UnsupportedModuleError: a tensor is changed in place, and then read through another
            view of it.
    """
    modules = dict(root.named_modules())
    calls = list(graph.nodes)
    order = {call: k for k, call in enumerate(calls)}
    whole: dict[Call, Call] = {}
    for call in calls:
        source = call.args[0] if call.args and isinstance(call.args[0], Call) else None
        changes = source is not None and _changes(call, modules)
        if source is None or not (changes or _views(call, modules)):
            whole[call] = call
            continue
        whole[call] = whole[source]
        if not changes:
            continue
        for view in [v for v in order if whole.get(v) is whole[source] and v not in (call, source)]:
            if any(order[user] > order[call] for user in view.users):
                raise UnsupportedModuleError(
                    f"layer {call.name!r} changes {source.name!r} in place, which is read "
                    f"again as {view.name!r}; leave inplace=True and the trailing _ out",
                    layer=call.name,
                    operation=str(call.target),
                )
        for user in [u for u in source.users if order[u] > order[call]]:
            user.replace_input_with(source, call)
        _calm(call)


def _changes(call: Call, modules: dict[str, nn.Module]) -> bool:
    if call.op == "call_module":
        return bool(getattr(modules[str(call.target)], "inplace", False))
    name = getattr(call.target, "__name__", str(call.target))
    trailing = name.endswith("_") and not name.endswith("__")
    return trailing or call.target in _OPERATORS or bool(_arguments(call).get("inplace"))


def _arguments(call: Call) -> dict[str, Any]:
    """Return the arguments of a function of Python by name; none where they have no names."""
    try:
        return dict(signature(call.target).bind(*call.args, **call.kwargs).arguments)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return dict(call.kwargs)


def _views(call: Call, modules: dict[str, nn.Module]) -> bool:
    if call.op == "call_module":
        return isinstance(modules[str(call.target)], _VIEWING_MODULES)
    return getattr(call.target, "__name__", str(call.target)) in _VIEWS


def _calm(call: Call) -> None:
    """Make a call leave its argument alone."""
    if call.op == "call_module":
        return
    target: Any = call.target
    if (arguments := _arguments(call)).pop("inplace", False):
        call.args, call.kwargs = call.args[:1], dict(list(arguments.items())[1:])
    if target in _OPERATORS:
        call.target = _OPERATORS[target]
    elif call.op == "call_method":
        call.target = str(target).rstrip("_")
    elif target.__name__.endswith("_"):
        name = target.__name__.rstrip("_")
        call.target = getattr(nn.functional, name, None) or getattr(torch, name)
