"""Which frames of a video a source of prompts looks at."""

from pydantic import Field, model_validator

from stages.core.config.section import Positive, Section


class FrameChoice(Section):
    """Every `step`-th frame, or `count` frames evenly spaced from 0 (2 = frames 0 and n//2), or, with both, every
    `step`-th as long as these are no more than `count`: so much of a long video, and of a short one no more than ever."""

    step: Positive | None = Field(description="Every step-th frame; null = count alone")
    count: Positive | None = Field(
        description="That many frames, i·n//count; beside step at most that many; null = no limit, every step-th"
    )

    @model_validator(mode="after")
    def _any_of(self) -> "FrameChoice":
        if self.step is None and self.count is None:
            raise ValueError("give step, count, or both; null are both")
        return self

    def select(self, n_frames: int) -> list[int]:
        """Indices of the chosen frames of a video of `n_frames`."""
        stepped = range(0, n_frames, self.step) if self.step is not None else None
        if stepped is not None and (self.count is None or len(stepped) <= self.count):
            return list(stepped)
        assert self.count is not None
        return sorted({i * n_frames // self.count for i in range(self.count)})
