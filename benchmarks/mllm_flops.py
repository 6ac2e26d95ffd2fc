"""FLOPs of a judge that is asked about 8 candidates of one expression: whole passes, and pictures encoded once.

    python -m benchmarks.mllm_flops

The questions are those of `evidence.judge` at MeViS's settings; a micro model answers them, so that the backend itself makes
the passes, and of every pass its tokens, those it goes on from, and its pictures' patches are noted. Operations of
Qwen3-VL-2B follow from these (benchmarks/gpu/judge.py has its sizes; a product of matrices takes 2 m n k). No GPU is needed.

Legend: B questions, L tokens of a pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.gpu.judge import CANDIDATES, PER_PASS, TEXT, VISION, WAYS, asked
from benchmarks.gpu.run import markdown
from stages.core.run.batches import Batches
from stages.evidence.backends.transformers import LocalJudge
from stages.micro.mllm import RANDOM, make_mllm

TARGET = 8  # times fewer


@dataclass(frozen=True)
class Pass:
    """One forward pass: B questions, new tokens of each, tokens it goes on from, patches of each picture."""

    questions: int
    tokens: int
    before: int
    patches: tuple[int, ...]


def main() -> int:
    model, processor = make_mllm(replace(RANDOM, pixels=(64 * 64, 1024 * 1024)), 0)
    judge = LocalJudge(model.eval(), processor, "random", Batches(PER_PASS, "questions"))
    questions = asked(tiny=False)
    judge.answer(questions)  # decides whether this model can share
    judge.prefixes.forget()

    def apart() -> None:
        for start in range(0, len(questions), PER_PASS):
            judge.whole_pass(questions[start : start + PER_PASS])

    ways = dict(zip(WAYS, (lambda: judge.answer(questions), apart), strict=True))
    passes = {way: noted(model, action) for way, action in ways.items()}
    merge = model.config.vision_config.spatial_merge_size
    print(report(passes, merge, len(questions)))
    return 0 if judge.sharing else 1


def noted(model: Any, action: Callable[[], Any]) -> list[Pass]:
    """The passes of a model in an action."""
    passes: list[Pass] = []

    def note(_: Any, __: Any, given: dict[str, Any]) -> None:
        cache, grids = given.get("past_key_values"), given.get("image_grid_thw")
        shown = given.get("pixel_values") is not None
        patches = tuple(grids.prod(-1).tolist()) if shown else ()
        n, tokens = given["input_ids"].shape
        passes.append(Pass(n, tokens, 0 if cache is None else cache.get_seq_length(), patches))

    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        action()
    finally:
        hook.remove()
    return passes


def flop(one: Pass, merge: int) -> float:
    """Of Qwen3-VL-2B."""
    hidden, d = TEXT["hidden_size"], TEXT["head_dim"]
    own, shared = TEXT["num_attention_heads"] * d, TEXT["num_key_value_heads"] * d
    weights = 2 * hidden * own + 2 * hidden * shared + 3 * hidden * TEXT["intermediate_size"]
    reads = 4 * own * (one.before + one.tokens)
    text = one.questions * one.tokens * TEXT["num_hidden_layers"] * (2 * weights + reads)
    spelled = one.questions * 2 * hidden * TEXT["vocab_size"]
    wide = VISION["hidden_size"]
    seen = sum(
        n * VISION["depth"] * (2 * (4 * wide * wide + 2 * wide * VISION["intermediate_size"]) + 4 * wide * n)
        for n in one.patches
    )
    joined = merge * merge * wide
    mergers = 1 + len(VISION["deepstack_visual_indexes"])
    merged = sum(one.patches) / merge**2 * mergers * 2 * joined * (joined + VISION["out_hidden_size"])
    return float(text + spelled + seen + merged)


def report(passes: dict[str, Sequence[Pass]], merge: int, n: int) -> str:
    rows, total = [], {}
    for way, each in passes.items():
        total[way] = sum(flop(one, merge) for one in each)
        tokens = sum(one.questions * one.tokens for one in each)
        pictures = sum(len(one.patches) for one in each)
        rows.append((way, len(each), pictures, f"{tokens:,}", f"{total[way] / 1e12:.2f}"))
    times = total[WAYS[1]] / total[WAYS[0]]
    head = (f"{CANDIDATES} candidates, {n} questions", "passes", "pictures encoded", "tokens", "TFLOP")
    return f"{markdown(head, rows)}\n\n{times:.1f} times fewer FLOPs; target {TARGET}: {'met' if times >= TARGET else 'missed'}"


if __name__ == "__main__":
    raise SystemExit(main())
