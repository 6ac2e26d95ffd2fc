"""The list behind the table BACKENDS: every way of running an MLLM that is asked for evidence. One line adds one."""

from stages.core.backends import Backend
from stages.evidence.backends import openai, transformers

LISTED: tuple[Backend, ...] = (transformers.BACKEND, openai.BACKEND)
