"""Emulation of concrete-numpy's circuits: how its client encodes and decodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from secateur.backends.emulation import Kind, Program, Remainders, Ring, Torus, Values, centred
from secateur.errors import UnprovableError


def emulator(circuit: Any) -> Callable[..., Values]:
    """Return the function from a circuit's arguments to what it decrypts to, int64.

    Raises:
        UnprovableError: the circuit is virtual, or has an operation that is not emulated.
    """
    if circuit.configuration.virtual:
        raise UnprovableError(
            "a virtual circuit has no program, so that nothing can be emulated; simulate it",
            operation="virtual",
        )
    specs = circuit.client.specs
    parameters = json.loads(specs.client_parameters.serialize())
    (output,) = parameters["outputs"]
    moduli = ((output["encryption"] or {}).get("encoding") or {}).get("crt") or []
    ring: Ring = Remainders(tuple(moduli)) if moduli else Torus()
    program = Program(circuit.mlir, ring)
    (kind,), (signed,) = program.output_kinds, specs.output_signs

    def encode(value: Any, kind: Kind, signed: bool) -> Values:
        values = np.asarray(value, dtype=np.int64)
        if not kind.encrypted:
            return values
        # The client sends signed values moved up; the program begins by moving them back.
        return ring.encode(values + (1 << (kind.bits - 1) if signed else 0), kind.bits)

    def emulate(*arguments: Any) -> Values:
        (numbers,) = program(*map(encode, arguments, program.inputs, specs.input_signs))
        if not kind.encrypted:
            return numbers
        messages, modulus = ring.message(numbers, kind.bits), ring.modulus(kind.bits)
        if not signed:
            return messages
        if not moduli:  # the client drops the padding bit
            modulus //= 2
        return centred(messages % modulus, modulus)

    return emulate
