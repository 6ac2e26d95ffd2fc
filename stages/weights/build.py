"""Random weights from a seed: the `micro` preset's models, built by stages.micro."""

import hashlib
from pathlib import Path
from typing import Any

from stages.core.config.file import Model
from stages.micro.builders import BUILDERS
from stages.weights.files import FetchError


def build(role: str, model: Model, folder: Path) -> Path:
    """Builds a role's model into `folder`, which must not exist; returns the model's file or folder inside it.

    Raises:
        FetchError: nothing builds random weights of the role.
    """
    assert model.seed is not None
    if role not in BUILDERS:
        raise FetchError(f"no random weights of role {role} (there are {', '.join(BUILDERS)}): give `path` or `hub`")
    folder.mkdir(parents=True)
    return BUILDERS[role](folder, model, model.seed)


def recipe(model: Model) -> dict[str, Any]:
    """What random weights are made of: seed, the entry's own keys, and a digest of the code and files that count."""
    assert model.seed is not None
    own = model.model_dump(mode="json", exclude=set(Model.model_fields))
    folder = Path(__file__).parent.parent / "micro"
    sha = hashlib.sha256()
    for file in sorted([*folder.glob("*.py"), *folder.glob("*.yaml")]):
        sha.update(file.name.encode() + b"\0" + file.read_bytes())
    for value in own.values():
        if isinstance(value, str) and Path(value).is_file():
            sha.update(Path(value).read_bytes())
    return {"seed": model.seed, "builder": sha.hexdigest()[:16], **own}
