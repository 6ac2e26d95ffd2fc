"""A real HTTP server that speaks the OpenAI protocol, with as many bad days as a test asks for."""

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stages.evidence.backends.server_settings import Server

KEY = "sk-a-key-that-is-written-nowhere"
MODEL = "a-model"
# (request's JSON, how often its words came before) → (status, body, headers); None = the connection is cut
Said = tuple[int, str, Mapping[str, str]] | None
Behaviour = Callable[[dict[str, Any], int], Said]


@dataclass
class Log:
    """What a server saw.

    Attributes:
        bodies: of all requests for an answer, in the order of their arrival.
        answered: words of a question → how often it was answered with 200.
        most: most requests that were under way at once.
        keys: values of the Authorization header.
    """

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    tries: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    active: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def settings(self, **change: Any) -> Server:
        given = {"url": self.url, "model": MODEL, "key_env": None, "concurrency": 4, "timeout_s": 20.0, "retries": 3}
        return Server.model_validate({**given, "prices": None, **change})


def words_of(body: Mapping[str, Any]) -> str:
    """All words of a request, pictures left out."""
    return "".join(part["text"] for part in body["messages"][0]["content"] if part["type"] == "text")


def completion(top: Mapping[str, float] | None, words: str = "") -> Said:
    """A good answer: the most probable tokens with their logprobs, or words alone."""
    listed = [{"token": token, "logprob": logprob, "bytes": None} for token, logprob in (top or {}).items()]
    logprobs = None if top is None else {"content": [{**listed[0], "top_logprobs": listed}]}
    choice = {"index": 0, "message": {"role": "assistant", "content": words}, "logprobs": logprobs}
    return 200, json.dumps({"id": "x", "object": "chat.completion", "model": MODEL, "choices": [choice]}), {}


def in_tokens(text: str, likely: Mapping[str, Mapping[str, float]]) -> Said:
    """An answer in words, cut into tokens with their logprobs.

    Args:
        likely: a token → the most probable tokens wherever it stands; every other one is certain.
    """
    tokens = re.findall(r"\s*\w+|\s*[^\w\s]|\s+", text)
    assert "".join(tokens) == text
    listed = [
        {"token": token, "logprob": 0.0, "top_logprobs": [{"token": t, "logprob": p} for t, p in top.items()]}
        for token, top in ((token, likely.get(token, {token: 0.0})) for token in tokens)
    ]
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": {"content": listed}}
    return 200, json.dumps({"id": "x", "object": "chat.completion", "model": MODEL, "choices": [choice]}), {}


def failure(status: int, message: str, headers: Mapping[str, str] | None = None) -> Said:
    return status, json.dumps({"error": {"message": message, "type": "x", "code": None}}), headers or {}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # the usual 5 refuses connections where the machine is busy and many come at once


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Log]:
    """A server on a free port of this machine, for as long as the block runs."""
    http = _Server(("127.0.0.1", 0), _handler(behaviour))
    http.daemon_threads = True
    http.log = Log(f"http://127.0.0.1:{http.server_port}/v1")  # type: ignore[attr-defined]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield http.log  # type: ignore[attr-defined]
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _handler(behaviour: Behaviour) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send(200, json.dumps({"object": "list", "data": [{"id": MODEL, "object": "model"}]}), {})

        def do_POST(self) -> None:
            log: Log = self.server.log  # type: ignore[attr-defined]
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            words = words_of(body)
            with log.lock:
                log.active += 1
                log.most = max(log.most, log.active)
                log.bodies.append(body)
                log.keys.add(self.headers.get("Authorization", ""))
                before, log.tries[words] = log.tries[words], log.tries[words] + 1
            said = behaviour(body, before)
            with log.lock:  # before the client can send its next one
                log.active -= 1
                log.answered[words] += bool(said and said[0] == 200)
            if said is None:
                self.close_connection = True
                self.connection.close()
            else:
                self._send(*said)

        def _send(self, status: int, text: str, headers: Mapping[str, str]) -> None:
            payload = text.encode()
            try:
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)
            except OSError:  # the client has given up
                self.close_connection = True

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def finish(self) -> None:
            with suppress(OSError, ValueError):  # cut on purpose
                super().finish()

    return Handler
