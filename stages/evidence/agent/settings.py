"""Settings of kind `agent`."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from stages.core.config.section import NonNegative, Positive, PositiveFloat, Section
from stages.evidence.judging.settings import AskingSettings

ROUNDS = 3  # more gained nothing in the published ablation


class Budget(Section):
    """What a video may take. The question that would exceed it is not asked, nor is any after it."""

    questions: Positive | None = Field(description="Questions per video; null = no limit")
    tokens: Positive | None = Field(
        description="Tokens per video, as --dry-run counts them, each answer at its longest; null = no limit"
    )
    money: PositiveFloat | None = Field(description="Cost per video at server.prices; null = no limit")
    unanswered: Annotated[int, Field(ge=0)] = Field(
        description="Questions per video that may remain without an answer (time-outs, refusals); 0 = one fails the video"
    )


class AgentSettings(AskingSettings):
    """Settings of kind `agent`."""

    verdicts: Literal["json", "likelihood"] = Field(
        description="json = the model writes a verdict on every candidate that is shown; likelihood = it is asked yes or no "
        "about each, as by kind judge, for models that cannot write JSON"
    )
    rounds: Annotated[int, Field(ge=1, le=ROUNDS)] = Field(
        description="Looks at the video; from the second on only those candidates are shown that are still uncertain"
    )
    margin: NonNegative = Field(description="likelihood: log-odds nearer to 0 than this are uncertain")
    stated: PositiveFloat = Field(
        description="json: log-odds of accept, and less those of reject, where the model gives no probabilities"
    )
    answer_tokens: Positive = Field(description="json: most tokens of an answer")
    budget: Budget = Field(description="What a video may take")

    @property
    def all_at_once(self) -> bool:
        return self.verdicts == "json"

    @property
    def prices(self) -> tuple[float, float] | None:
        """Of the chosen backend, per million tokens of questions and of answers; None = not known."""
        server = getattr(self.own, "server", None)
        return None if server is None or server.prices is None else (server.prices.input, server.prices.output)

    @model_validator(mode="after")
    def _fits_together(self) -> "AgentSettings":
        if self.views == ["plain"]:
            raise ValueError("views: plain shows no candidate; add one of the others")
        if self.frames.mode == "clips":
            raise ValueError("frames.mode: clips are judged apart, and an agent looks at the whole video; use seen")
        if self.verdicts == "json" and not self.chosen.writes:
            raise ValueError(f"backend {self.backend} answers with one word: set verdicts to likelihood")
        if self.budget.money is not None and self.prices is None:
            raise ValueError("budget.money needs server.prices of backend openai")
        return self

    def stamped(self) -> dict[str, Any]:
        """Prices move results where they end the questions."""
        return super().stamped() | ({"prices": self.prices} if self.budget.money is not None else {})
