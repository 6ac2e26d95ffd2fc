"""Which frames of a video a source of prompts looks at."""

from pydantic import Field, model_validator

from stages.core.config.section import Positive, Section


class FrameChoice(Section):
    """Either every `step`-th frame or `count` frames evenly spaced from 0 (2 = frames 0 and n//2)."""

    step: Positive | None = Field(description="Every step-th frame; null = use count")
    count: Positive | None = Field(description="That many frames, i·n//count; null = use step")

    @model_validator(mode="after")
    def _one_of(self) -> "FrameChoice":
        if (self.step is None) == (self.count is None):
            raise ValueError("give exactly one of step and count, the other null")
        return self

    def select(self, n_frames: int) -> list[int]:
        """Indices of the chosen frames of a video of `n_frames`."""
        if self.step is not None:
            return list(range(0, n_frames, self.step))
        assert self.count is not None
        return sorted({i * n_frames // self.count for i in range(self.count)})
