"""The ways from frames and a sentence to masks, published ones and one of our own, each a value of the table VARIANTS. One line adds one."""

from stages.core.table import Table
from stages.prompting.seg.variants import clips, frames, token_driven
from stages.prompting.seg.variants.variant import Variant

LISTED: tuple[Variant, ...] = (
    frames.SA2VA,
    frames.SA2VA_I,
    frames.FRAME_TOKENS,
    clips.SVAC,
    clips.SASASA2VA,
    token_driven.VRS_HQ,
)
VARIANTS = Table[Variant]("variant of [SEG] models", "stages.prompting.seg.variants:LISTED")
