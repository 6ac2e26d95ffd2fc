"""Prints the size of the models of the `large` preset, and what one pass through them costs here.

    python -m benchmarks.model_sizes             # parameters and bytes of weights, every SAM2 size too
    python -m benchmarks.model_sizes --forward   # and one pass on the CPU, random weights: seconds, peak memory

Nothing is downloaded: architectures come from the installed packages, or are written out here as in config.json
files on the hub.
"""

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

SAM2 = [f"configs/sam{v}/sam{v}_hiera_{size}.yaml" for v in ("2", "2.1") for size in ("t", "s", "b+", "l")]
ROBERTA_LARGE = {  # sentence-transformers/all-roberta-large-v1
    "vocab_size": 50265,
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
}
QWEN3_VL_4B_TEXT = {  # Qwen/Qwen3-VL-4B-Instruct
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
QWEN3_VL_4B_VISION = {
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_heads": 16,
    "out_hidden_size": 2560,
    "num_position_embeddings": 2304,
    "patch_size": 16,
    "deepstack_visual_indexes": [5, 11, 17],
}


def sam2(config: str) -> Any:
    from sam2.modeling.sam2_base import SAM2Base

    from stages.tracking.sam2_model import build_sam2

    return build_sam2(config, SAM2Base).eval()


def grounding_dino() -> Any:
    """The defaults of transformers are the Swin-T model."""
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection

    return GroundingDinoForObjectDetection(GroundingDinoConfig()).eval()


def text() -> Any:
    from transformers import RobertaConfig, RobertaModel

    return RobertaModel(RobertaConfig(**ROBERTA_LARGE)).eval()


def mllm() -> Any:
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    config = Qwen3VLConfig(text_config=QWEN3_VL_4B_TEXT, vision_config=QWEN3_VL_4B_VISION, tie_word_embeddings=True)
    return Qwen3VLForConditionalGeneration(config)


def sizes() -> dict[str, int]:
    """Model → parameters; those that are tied are counted once."""
    import torch

    parameters_of = {config: parameters(sam2(config)) for config in SAM2}
    with torch.device("meta"):
        for name, build in (
            ("IDEA-Research/grounding-dino-tiny", grounding_dino),
            ("sentence-transformers/all-roberta-large-v1", text),
            ("Qwen/Qwen3-VL-4B-Instruct", mllm),
        ):
            model = build()
            getattr(model, "tie_weights", lambda: None)()
            parameters_of[name] = parameters(model)
    return parameters_of


def parameters(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def pass_sam2() -> Callable[[], Any]:
    import torch

    model, image = sam2("configs/sam2/sam2_hiera_l.yaml"), torch.zeros(1, 3, 1024, 1024)
    return lambda: model.forward_image(image)


def pass_grounding_dino() -> Callable[[], Any]:
    import torch

    model = grounding_dino()
    ids = torch.tensor([[101, 1037, 3899, 1012, 102]])
    return lambda: model(pixel_values=torch.zeros(1, 3, 800, 1333), input_ids=ids)


def pass_text() -> Callable[[], Any]:
    import torch

    model, ids = text(), torch.arange(4, 24)[None]
    return lambda: model(input_ids=ids)


PASSES = {
    "SAM2 large, image encoder, one frame of 1024 x 1024": pass_sam2,
    "GroundingDINO Swin-T, one frame of 800 x 1333": pass_grounding_dino,
    "RoBERTa large, one caption of 20 tokens": pass_text,
}


def measure(name: str) -> None:
    """One pass after a first that warms up, in this process alone: its peak memory is the model's."""
    import torch

    with torch.inference_mode():
        run = PASSES[name]()
        run()
        start = time.perf_counter()
        run()
    seconds, peak = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name}: {seconds:.2f} s, peak {peak:.1f} GiB, {torch.get_num_threads()} threads, float32")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--forward", action="store_true", help="also time one pass of each but the MLLM")
    parser.add_argument("--one", choices=PASSES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        return measure(arguments.one)
    for name, count in sizes().items():
        print(
            f"{name}: {count:,} parameters, {count * 4 / 1e9:.2f} GB in float32, {count * 2 / 1e9:.2f} GB in bfloat16"
        )
    for name in PASSES if arguments.forward else ():
        subprocess.run([sys.executable, "-m", "benchmarks.model_sizes", "--one", name], check=True)
    return None


if __name__ == "__main__":
    main()
