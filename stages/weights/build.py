"""Random weights from a seed: the `micro` preset's models, built by stages.micro."""

import hashlib
from pathlib import Path

from stages.core.config.file import Model, Sam2Model


def build(role: str, model: Model, folder: Path) -> Path:
    """Builds a role's model into `folder`, which must not exist; returns the model's file or folder inside it."""
    assert model.seed is not None
    folder.mkdir(parents=True)
    if isinstance(model, Sam2Model):
        from stages.micro.sam2 import build_random_sam2

        return build_random_sam2(folder, model.config, model.seed)
    if role == "grounding_dino":
        from stages.micro.grounding_dino import build_random_grounding_dino

        return build_random_grounding_dino(folder, model.seed)
    if role == "text":
        from stages.micro.text import build_random_text

        return build_random_text(folder, model.seed)
    from stages.micro.mllm import build_random_mllm

    assert role == "mllm", role
    return build_random_mllm(folder, model.seed)


def recipe(model: Model) -> dict[str, str | int]:
    """What random weights are made of: the seed, and a digest of the code and configuration that builds them."""
    assert model.seed is not None
    sha = hashlib.sha256()
    folder = Path(__file__).parent.parent / "micro"
    for file in sorted([*folder.glob("*.py"), *folder.glob("*.yaml")]):
        sha.update(file.name.encode() + b"\0" + file.read_bytes())
    config = {"config": model.config} if isinstance(model, Sam2Model) else {}
    if config and Path(config["config"]).is_file():
        sha.update(Path(config["config"]).read_bytes())
    return {"seed": model.seed, "builder": sha.hexdigest()[:16], **config}
