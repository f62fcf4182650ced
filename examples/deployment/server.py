"""Serve a circuit over HTTP: python server.py DIRECTORY/server [PORT]

POST /keys takes a client's evaluation keys and answers with a session's number;
POST /run/SESSION takes an encrypted input and answers with the encrypted result.
This process holds no secret key and can read neither.
"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from secateur.deployment import EvaluationKeys, Server
from secateur.errors import SecateurError

server = Server.load(sys.argv[1])
sessions: list[EvaluationKeys] = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        message = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            status, answer = 200, self.answer(message)
        except SecateurError as error:
            status, answer = 400, str(error).encode()
        except (IndexError, ValueError):
            status, answer = 404, b"no such session"
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def answer(self, message: bytes) -> bytes:
        if self.path == "/keys":
            sessions.append(server.keys(message))
            return str(len(sessions) - 1).encode()
        return server.run(message, sessions[int(self.path.removeprefix("/run/"))])


port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
with HTTPServer(("localhost", port), Handler) as http:
    print(http.server_port, flush=True)
    http.serve_forever()
