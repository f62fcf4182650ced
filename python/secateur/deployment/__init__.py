"""Deployment: a circuit on disk, run by a server that never sees a secret key.

    circuit.save("circuit")        → circuit/server, circuit/client, circuit/network
    client = Client.load("circuit/client")      server = Server.load("circuit/server")
    client.evaluation_keys()  ──────────────▶   keys = server.keys(message)
    client.encrypt(x)         ──────────────▶   server.run(message, keys)
    client.decrypt(message)   ◀──────────────

Each part is complete without the others and says which circuit it belongs to. What passes
between the processes is bytes, which say the same. `secateur serve circuit` and
`client.connect(url).predict(X)` carry them over HTTP: docs/deployment.md.
"""

from secateur.deployment.client import Client as Client
from secateur.deployment.server import EvaluationKeys as EvaluationKeys, Server as Server
