"""Every function of the table compiles, answers right, and is no wider than with samples."""

from __future__ import annotations

#: What one backend alone refuses, and its own compiler as well.
REFUSED = {
    "concrete-numpy": {
        "copy": "np.copy is not supported",
        "shape, ndim, size, len": "its tracers have no len",
        "scalar + vector": "",
    },
    "concrete-python": {},
}

#: Wider than with samples, and why.
WIDER = {
    "x == y, right signed": "operands are moved above zero, [0, 6] and [-2, 1] to [0, 8]",
}


def plain(values):
    """Arguments of their own, as both compilers take them."""
    return tuple(int(v) if v.shape == () else v.copy() for v in values)


def sampled_width(backend, function, case):
    """The width of the backend's own circuit, from samples; None where it compiles none."""
    statuses = {name: "clear" if name in case.clear else "encrypted" for name in case.boxes}
    samples = [plain(sample) for sample in case.samples(600)]
    if len(case.boxes) == 1 and backend.name == "concrete-numpy":
        samples = [sample[0] for sample in samples]
    options = {"dump_artifacts_on_unexpected_failures": False}
    configuration = backend.namespace.Configuration(**options)
    try:
        compiled = backend.namespace.Compiler(function, statuses).compile(samples, configuration)
    except Exception:
        return None
    return max(backend.widths(compiled.graph).values())
