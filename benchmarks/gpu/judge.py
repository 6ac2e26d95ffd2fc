"""A judge of two billion parameters asked about 8 candidates of one expression, as `evidence.judge` asks.

Qwen3-VL's architecture at the sizes of its 2B model, random weights in bfloat16 made on the device. One encoding of the
pictures for all questions against a whole pass per question; the ratio of FLOPs is counted while they run.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.models import settings
from benchmarks.gpu.run import Row, Run, markdown
from benchmarks.mllm_cost import questions_of
from stages.core.run.batches import Batches
from stages.evidence.backends.transformers import LocalJudge
from stages.evidence.judging.settings import JudgeSettings
from stages.evidence.questions import Question
from stages.micro.mllm import RANDOM, make_mllm

CODE = ("benchmarks/mllm_cost.py", "stages/evidence/backends", "stages/evidence/judging", "stages/evidence/views")
TEXT = {  # Qwen/Qwen3-VL-2B-Instruct
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "initializer_range": 0.02,
    "tie_word_embeddings": True,
}
VISION = {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_heads": 16,
    "out_hidden_size": 2048,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [5, 11, 17],
    "initializer_range": 0.02,
}
MROPE = [24, 20, 20]
CANDIDATES, PER_PASS = 8, 8
KERNELS = ("flash_attention", "efficient_attention", "cudnn_attention", "flash_attention_for_cpu")
WAYS = ("encoded once", "whole passes")


def measure(run: Run) -> Iterator[tuple[str, Row]]:
    judge = tiny_judge(run.device) if run.tiny else large_judge(run.device)
    questions = asked(run.tiny)
    judge.answer(questions)  # decides whether this model can share

    def once() -> None:
        judge.prefixes.forget()
        judge.answer(questions)

    def apart() -> None:
        for start in range(0, len(questions), PER_PASS):
            judge.whole_pass(questions[start : start + PER_PASS])

    makers = {WAYS[0]: once, WAYS[1]: apart}
    for name, row in run.each(
        {name: lambda action=action: timed(run, action, len(questions)) for name, action in makers.items()}
    ):
        yield name, {**row, "shared": judge.sharing, "parameters": sum(p.numel() for p in judge.model.parameters())}


def attention_flop(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """FLOPs from shapes (B, heads, L, d); torch's own formula refuses fewer heads of keys than of queries."""
    return int(2 * query[0] * query[1] * query[2] * key[2] * (query[3] + value[3]))


ATTENTION = {getattr(torch.ops.aten, f"_scaled_dot_product_{kernel}"): attention_flop for kernel in KERNELS}


def timed(run: Run, action: Any, n: int) -> Row:
    peak = run.peak_gib(action)
    taken = run.seconds(action)["min"]
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        action()
    return {
        "questions": n,
        "seconds": round(taken, 4),
        "questions per s": round(n / taken, 2),
        "TFLOP": round(counter.get_total_flops() / 1e12, 4),
        "peak GiB": peak,
    }


def asked(tiny: bool) -> list[Question]:
    """Both polarities about each candidate, on 4 frames with numbers."""
    entry: JudgeSettings = settings().evidence["judge"]
    if tiny:
        entry = entry.model_copy(update={"frame_side": 64})
    return questions_of(entry, 2 if tiny else CANDIDATES)


def tiny_judge(device: str) -> LocalJudge:
    model, processor = make_mllm(RANDOM, 0)
    return LocalJudge(model.to(device).eval(), processor, "random", Batches(PER_PASS, "questions"))


def large_judge(device: str) -> LocalJudge:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    micro, processor = make_mllm(replace(RANDOM, pixels=(64 * 64, 1024 * 1024)), 0)
    known = micro.config
    text, vision = {**known.text_config.to_dict(), **TEXT}, {**known.vision_config.to_dict(), **VISION}
    text["rope_parameters"] = {**text["rope_parameters"], "mrope_section": MROPE}
    ids = {
        name: getattr(known, name)
        for name in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    }
    config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True, **ids)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if device == "cuda" else torch.float32)
    try:
        torch.manual_seed(0)
        with torch.device(device):
            model = Qwen3VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(default)
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    return LocalJudge(model.eval(), processor, "random", Batches(PER_PASS, "questions"))


def table(rows: Mapping[str, Row]) -> str:
    columns = ("questions", "seconds", "questions per s", "TFLOP", "peak GiB")
    text = markdown(
        ("8 candidates", *columns), [(name, *(row[column] for column in columns)) for name, row in rows.items()]
    )
    if not all(way in rows for way in WAYS):
        return text
    once, apart = (rows[way] for way in WAYS)
    parameters = f"{once['parameters'] / 1e9:.2f} billion parameters"
    return (
        f"{text}\n\n{parameters}; encoded once: {apart['seconds'] / once['seconds']:.1f} times faster, "
        f"{apart['TFLOP'] / once['TFLOP']:.1f} times fewer FLOPs."
    )
