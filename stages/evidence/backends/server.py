"""A judge that a server runs: questions go out side by side, and every one gets its answer or fails in clear words."""

import asyncio
import base64
import io
import logging
import os
import re
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from stages.evidence.backends.completion import Completion, parsed, weighed
from stages.evidence.backends.marks import choices_in
from stages.evidence.backends.server_settings import Server
from stages.evidence.questions import PartlyAnswered, Parts, Picture, Question, Reply, Said, Unanswered, Written

if TYPE_CHECKING:
    from openai import AsyncOpenAI

S = TypeVar("S", bound=Said)

TOP = (20, 5)  # most probable tokens that are asked for; some servers give no more than 5
WORDS = 8  # tokens of an answer that comes without probabilities
PROBE = Question((), ("Is water wet? Answer with yes or no only.",))
NO_KEY = "none"  # the client wants one

log = logging.getLogger(__name__)


class ServerJudge:
    """Implements `stages.evidence.questions.Writer`.

    Args:
        server: from the config.

    Raises:
        ValueError: the environment variable that should hold the key is not set.
    """

    def __init__(self, server: Server) -> None:
        self.server, self.key = server, key_of(server)
        self.top: int | None = None  # tokens that are asked for; 0 = answers come in words; None = not known yet
        for name in ("httpcore2", "httpx2", "openai"):  # lines per request otherwise
            logging.getLogger(name).setLevel(logging.WARNING)

    def answer(self, questions: Sequence[Question]) -> list[Reply]:
        """
        Raises:
            PartlyAnswered: one failed for good; what was under way then has been waited for, and is kept in the error.
        """
        return asyncio.run(self._all(questions, self._reply))

    def write(self, questions: Sequence[Question]) -> list[Written]:
        """
        Raises:
            PartlyAnswered: as `answer`.
        """
        return asyncio.run(self._all(questions, self._written))

    async def _all(
        self,
        questions: Sequence[Question],
        ask: "Callable[[AsyncOpenAI, Question, Pictures], Awaitable[S]]",
    ) -> list[S]:
        replies: dict[int, S] = {}
        failures: list[str] = []
        refused: dict[int, str] = {}
        waiting, encoded = iter(enumerate(questions)), Pictures()

        async def work(client: "AsyncOpenAI") -> None:
            while not failures and (taken := next(waiting, None)):
                try:
                    replies[taken[0]] = await ask(client, taken[1], encoded)
                except ValueError as error:
                    failures.append(str(error))
                    if isinstance(error, Unanswered):
                        refused[taken[0]] = str(error)

        async with self._client() as client:
            if self.top is None:
                self.top = await self._probe(client)
            await asyncio.gather(*(work(client) for _ in range(min(self.server.concurrency, len(questions)))))
        if failures:
            own_matter = len(refused) == len(failures)
            raise PartlyAnswered(failures[0], replies, refused if own_matter else None)
        return [replies[index] for index in range(len(questions))]

    async def _reply(self, client: "AsyncOpenAI", question: Question, encoded: "Pictures") -> Reply:
        messages = encoded.chat(question.parts)
        if not self.top:
            return parsed((await self._ask(client, messages, 0, WORDS)).words, question.options)
        completion = await self._ask(client, messages, self.top, 1)
        if completion.top:
            return weighed(completion.top, question.options)
        reply = parsed(completion.words, question.options)
        if reply.mass:
            raise ValueError(f"{self._where}: an answer came without logprobs, which others had; look at its log")
        return reply  # off its format: llama.cpp has no logprobs of a token that is a part of a character

    async def _written(self, client: "AsyncOpenAI", question: Question, encoded: "Pictures") -> Written:
        messages = encoded.chat(question.parts)
        completion = await self._ask(client, messages, self.top or 0, question.answer_tokens)
        choices = choices_in(completion.words, completion.tokens, completion.top_at, question.options)
        return Written(completion.words, choices)

    async def _probe(self, client: "AsyncOpenAI") -> int:
        """How many tokens can be asked for; 0 where the server gives no probabilities."""
        from openai import BadRequestError, UnprocessableEntityError

        messages = Pictures().chat(PROBE.parts)
        for top in TOP:
            try:
                if (await self._ask(client, messages, top, 1, explained=False)).top:
                    return top
                break
            except (BadRequestError, UnprocessableEntityError) as error:
                if "logprob" not in str(error):
                    raise ValueError(await self._explained(client, error)) from None
        await self._ask(client, messages, 0, WORDS)
        log.warning("%s gives no logprobs: answers in words are all there is, and say nothing of how sure", self._where)
        return 0

    async def _ask(
        self, client: "AsyncOpenAI", messages: Any, top: int, most: int, *, explained: bool = True
    ) -> Completion:
        """
        Args:
            top: most probable tokens that are asked for; 0 = none.
            most: tokens of the answer.

        Raises:
            ValueError: there is no answer, or it is none; says why and names the fix. Unanswered where another question
                may have one.
        """
        from openai import BadRequestError, OpenAIError, UnprocessableEntityError

        more: dict[str, Any] = {"max_tokens": most, **({"logprobs": True, "top_logprobs": top} if top else {})}
        try:
            ask = client.chat.completions.with_raw_response.create
            raw = await ask(model=self.server.model, messages=messages, temperature=0, **more)
            return Completion.read(raw.http_response.text)
        except OpenAIError as error:
            if not explained and isinstance(error, BadRequestError | UnprocessableEntityError):
                raise
            failure = Unanswered if is_of_question(error) else ValueError
            raise failure(await self._explained(client, error)) from None
        except ValueError as error:
            raise Unanswered(
                f"{self._where}: its answer is no chat completion ({self._scrubbed(str(error))}); "
                "check that `server.url` is the base URL of an OpenAI-compatible server"
            ) from None

    async def _explained(self, client: "AsyncOpenAI", error: Exception) -> str:
        import openai

        tries = f"after {self.server.retries} retries"
        match error:
            case openai.AuthenticationError() | openai.PermissionDeniedError():
                held = f"the key in {self.server.key_env}" if self.server.key_env else "questions without a key"
                why = (
                    f"refuses {held} ({error.status_code}); set `server.key_env` to the variable that holds a valid one"
                )
            case openai.NotFoundError():
                why = f"has no model {self.server.model!r}, or is not at this URL (404){await self._models(client)}"
            case openai.APITimeoutError():
                why = f"gave no answer within {self.server.timeout_s:g} s {tries}; raise `server.timeout_s` or lower `server.concurrency`"
            case openai.APIConnectionError():
                why = f"cannot be reached or cut the connection {tries} ({error.__cause__ or error}); start it, or correct `server.url`"
            case openai.RateLimitError():
                why = f"says too many requests {tries} (429: {_told(error)}); lower `server.concurrency`, raise `server.retries`, or look at your quota"
            case openai.InternalServerError():
                why = f"failed {tries} ({error.status_code}: {_told(error)}); look at its log, then run the stage again"
            case openai.APIStatusError():
                why = f"refuses a question ({error.status_code}: {_told(error)}); change what it names, or the model"
            case _:
                why = f"failed: {error}"
        return self._scrubbed(f"{self._where} {why}")

    async def _models(self, client: "AsyncOpenAI") -> str:
        """What the server has, for a message."""
        from openai import OpenAIError

        try:
            names = sorted(str(model.id) for model in (await client.with_options(max_retries=0).models.list()).data)
        except (OpenAIError, AttributeError, TypeError):
            return "; correct `server.model` or `server.url`"
        return f"; set `server.model` to one of {', '.join(names)}"

    @property
    def _where(self) -> str:
        return f"server {self.server.url}"

    def _client(self) -> "AsyncOpenAI":
        from openai import AsyncOpenAI

        return AsyncOpenAI(
            base_url=self.server.url,
            api_key=self.key or NO_KEY,
            timeout=self.server.timeout_s,
            max_retries=self.server.retries,
        )

    def _scrubbed(self, text: str) -> str:
        """Without the key, which a server may repeat."""
        return text.replace(self.key, "(key)") if self.key else text


def is_of_question(error: Exception) -> bool:
    """Whether an error says something of a question, and not of the key, the URL or the quota: others may be answered."""
    import openai

    of_server = (
        openai.AuthenticationError,
        openai.PermissionDeniedError,
        openai.NotFoundError,
        openai.RateLimitError,
    )
    if isinstance(error, openai.APITimeoutError):
        return True
    return isinstance(error, openai.APIStatusError) and not isinstance(error, of_server)


class Pictures:
    """Writes chats, each picture's PNG made once however many chats show it."""

    def __init__(self) -> None:
        self._urls: dict[str, str] = {}

    def chat(self, parts: Parts) -> list[dict[str, Any]]:
        """Pictures and words in order, neighbouring words as one."""
        content: list[dict[str, Any]] = []
        for is_picture, group in groupby(parts, lambda part: isinstance(part, Picture)):
            if is_picture:
                content += [{"type": "image_url", "image_url": {"url": self._url(part)}} for part in group]
            elif words := "".join(map(str, group)):
                content.append({"type": "text", "text": defused(words)})
        return [{"role": "user", "content": content}]

    def _url(self, picture: Any) -> str:
        if picture.digest not in self._urls:
            self._urls[picture.digest] = f"data:image/png;base64,{base64.b64encode(png(picture)).decode()}"
        return self._urls[picture.digest]


def png(picture: Picture) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture.pixels_HW3).save(file, "PNG")
    return file.getvalue()


def defused(words: str) -> str:
    """Breaks what a server may take for a control token: <|im_end|>, <image>."""
    return re.sub(r"<(?=[|/]?\w)", "< ", words)


def key_of(server: Server) -> str | None:
    """The key, which is only ever in the environment and in memory.

    Raises:
        ValueError: the variable is not set.
    """
    if server.key_env is None:
        return None
    if not (key := os.environ.get(server.key_env, "").strip()):
        raise ValueError(
            f"server {server.url}: the environment variable {server.key_env} is not set; export it with your key, or "
            "set `server.key_env` to null where the server asks for none"
        )
    return key


def _told(error: Any) -> str:
    """A server's own words on one line."""
    body = error.body if isinstance(error.body, dict) else {}
    return " ".join(str(body.get("message") or error.message).split())[:300]
