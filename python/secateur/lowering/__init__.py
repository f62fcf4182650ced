"""From a network to the circuit of a backend, with proved ranges."""
