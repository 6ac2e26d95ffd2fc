"""The list behind the table SOURCES: every source of prompts. One line adds one."""

from stages.core.tables import PromptSource
from stages.prompting import grid, ground_truth, grounding_dino, sam3, seg

LISTED: tuple[PromptSource, ...] = (ground_truth.SOURCE, grid.SOURCE, grounding_dino.SOURCE, seg.SOURCE, sam3.SOURCE)
