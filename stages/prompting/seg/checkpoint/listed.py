"""The list behind the table FAMILIES. One line adds one."""

from stages.prompting.seg.checkpoint import chat_univi, internvl, qwen
from stages.prompting.seg.checkpoint.families import Family

LISTED: tuple[Family, ...] = (internvl.FAMILY, *qwen.FAMILIES, chat_univi.FAMILY)
