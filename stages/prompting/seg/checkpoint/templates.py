"""Chat templates of the InternVL and Chat-UniVi families: what stands around a request. The Qwen family's are files.

As published in the checkpoints' templates.py (of xtuner); a checkpoint's config.json says which it was trained with.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Template:
    """What stands around a request.

    Attributes:
        before, after: the request; the answer follows.
        end: what ends an answer.
    """

    before: str
    after: str
    end: str

    def around(self, request: str) -> str:
        return f"{self.before}{request}{self.after}"


CHATML = Template("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>")
VICUNA = Template(
    "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, "
    "and polite answers to the human's questions. USER: ",
    " ASSISTANT: ",
    "</s>",
)
TEMPLATES: Mapping[str, Template] = {
    "phi3_chat": Template("<|user|>\n", "<|end|>\n<|assistant|>\n", "<|end|>"),
    "qwen_chat": CHATML,
    "internlm2_chat": CHATML,
    "vicuna_v1": VICUNA,
}
