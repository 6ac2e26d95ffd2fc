"""What the config says of a server: where it is, and how it is treated."""

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from stages.core.config.section import NonNegative, Positive, PositiveFloat, Section, Unshown

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


class Prices(Section):
    """What a million tokens cost, in any currency."""

    input: NonNegative = Field(description="A million tokens of questions and images")
    output: NonNegative = Field(description="A million tokens of answers")


class Server(Section):
    """Where the server is, and how it is treated. Only `url` and `model` enter stamps."""

    url: str = Field(description="Base URL, as http://localhost:8000/v1")
    model: str = Field(min_length=1, description="Name of the model on the server")
    key_env: str | None = Field(description="Environment variable that holds the key; null = the server asks for none")
    concurrency: Positive = Field(description="Most questions under way at once, in each job")
    timeout_s: PositiveFloat = Field(description="Seconds until an answer is given up and asked for again")
    retries: Annotated[int, Field(ge=0)] = Field(
        description="Further tries of a question after a time-out, a cut connection, 408, 409, 429 or 5xx, ever later"
    )
    prices: Prices | None = Field(description="For the cost that --dry-run prints; null = not printed")

    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            plain = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            plain = False
        if not plain or parts.username or parts.password or parts.query or parts.fragment:
            raise Unshown(
                "needs a plain base URL, as http://localhost:8000/v1; a key belongs in an environment variable"
            )
        return url.rstrip("/")

    @field_validator("key_env")
    @classmethod
    def _names_a_variable(cls, name: str | None) -> str | None:
        if name is not None and not VARIABLE.fullmatch(name):  # it may be the key itself, so it is not repeated
            raise Unshown("needs the name of an environment variable, as OPENAI_API_KEY, not the key itself")
        return name
