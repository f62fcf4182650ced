"""Emulation of concrete-python's circuits: how its client encodes and decodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from secateur.backends.emulation import Kind, Program, Remainders, Ring, Torus, Values, centred


def emulator(circuit: Any) -> Callable[..., Values | tuple[Values, ...]]:
    """Return the function from a circuit's arguments to what it decrypts to, int64."""
    (gates,) = json.loads(circuit.client.specs.program_info.serialize())["circuits"]
    modes = [
        gate["typeInfo"]["lweCiphertext"]["encoding"]["integer"]["mode"]
        for gate in gates["inputs"] + gates["outputs"]
        if "lweCiphertext" in gate["typeInfo"]
    ]
    moduli = next((mode["crt"]["moduli"] for mode in modes if "crt" in mode), None)
    ring: Ring = Torus() if moduli is None else Remainders(tuple(moduli))
    program = Program(circuit.mlir, ring)

    def encode(value: Any, kind: Kind) -> Values:
        values = np.asarray(value, dtype=np.int64)
        return ring.encode(values, kind.bits) if kind.encrypted else values

    def decode(numbers: Values, kind: Kind) -> Values:
        if not kind.encrypted:
            return numbers
        messages = ring.message(numbers, kind.bits)
        if not kind.signed:
            return messages
        values = centred(messages, ring.modulus(kind.bits))
        if moduli is not None:
            return values
        # The client takes the padding bit for a sign, and then the sign bit where there is none.
        return np.where(values < 1 << (kind.bits - 1), values, values - (1 << kind.bits))

    def emulate(*arguments: Any) -> Values | tuple[Values, ...]:
        numbers = program(*map(encode, arguments, program.inputs))
        results = tuple(map(decode, numbers, program.output_kinds))
        return results if len(results) > 1 else results[0]

    return emulate
