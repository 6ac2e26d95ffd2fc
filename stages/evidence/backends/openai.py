"""Backend `openai`: a server that speaks the OpenAI protocol (vLLM, SGLang, llama.cpp, a paid service)."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from stages.core.backends import Backend
from stages.core.config.section import Section
from stages.core.run.batches import Batches
from stages.core.state.weights import Weights
from stages.evidence.backends.server_settings import Server
from stages.evidence.questions import Judge

ROUNDS = 4  # of `concurrency` questions in a pass: a server is rarely idle, and little is lost when a job is killed


class OpenaiSettings(Section):
    server: Server | None = Field(description="Backend openai: the server; null where another backend is chosen")


def _check_chosen(settings: OpenaiSettings) -> None:
    if settings.server is None:
        raise ValueError("backend openai needs a `server`: url, model, key_env and the other keys")


def _identity(settings: OpenaiSettings) -> Mapping[str, Any]:
    assert settings.server is not None
    return {"server": {"url": settings.server.url, "model": settings.server.model}}


def _per_pass(settings: OpenaiSettings, questions: int) -> int:
    assert settings.server is not None
    return ROUNDS * settings.server.concurrency


def _load(settings: OpenaiSettings, weights: Mapping[str, Weights], device: str, batches: Batches) -> Judge:
    from stages.evidence.backends.server import ServerJudge

    assert settings.server is not None
    return ServerJudge(settings.server)


BACKEND = Backend(
    name="openai",
    settings=OpenaiSettings,
    roles=(),
    identity=_identity,
    per_pass=_per_pass,
    load=_load,
    check_chosen=_check_chosen,
    writes=True,
)
