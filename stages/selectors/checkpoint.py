"""A selector's file: safetensors with a header that says what it is and what it was trained for.

The header is one metadata entry, "referee", of canonical JSON (the library keeps no order among
several entries): {"kind", "version", "name", "model", "tda", "inputs", "detector", "token_dim", "text_dim", "weights",
"threshold", "training"}. So the file alone is enough to score, and to decide, on another machine.

To read a header imports no torch: the workflow does it to know what a selector sees.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from stages.core.config.selector_sections import Detector
from stages.core.digests import canonical_json, file_sha256
from stages.core.state.cache import atomic_path

if TYPE_CHECKING:
    from stages.selectors.architectures import Architecture
    from stages.selectors.network import Network

log = logging.getLogger(__name__)
ENTRY, KIND, VERSION = "referee", "selector", 2
IMPORTED = "imported"  # in place of an unknown id: the checkpoint was made elsewhere


@dataclass(frozen=True)
class Header:
    """What a selector's file says about itself.

    Attributes:
        name, model, tda: the architecture, its section of the config, and selector.tda.
        token_dim, text_dim: C of an object token, D of the text features.
        weights: role → id of the models whose tokens and features it was trained on: sam2, text, and those of the
            detector it sees; or IMPORTED.
        threshold: probability above which a track is chosen, as calibrated on the validation split.
        training: fingerprint of the training that made it; or IMPORTED.
        inputs: those of selector.inputs that it takes.
        detector: the section of the detector whose scores it sees; None = of none.
    """

    name: str
    model: Mapping[str, Any]
    tda: Mapping[str, Any]
    token_dim: int
    text_dim: int
    weights: Mapping[str, str]
    threshold: float
    training: str
    inputs: list[str] = field(default_factory=list)
    detector: Mapping[str, Any] | None = None

    @classmethod
    def of(
        cls,
        architecture: "Architecture",
        token_dim: int,
        text_dim: int,
        weights: Mapping[str, str],
        threshold: float,
        training: str,
        detector: Detector | None = None,
    ) -> "Header":
        model, tda = (section.model_dump(mode="json") for section in (architecture.model, architecture.tda))
        seen = None if detector is None else detector.model_dump(mode="json")
        sizes = (token_dim, text_dim)
        return cls(
            architecture.name, model, tda, *sizes, dict(weights), threshold, training, list(architecture.inputs), seen
        )

    @property
    def seen_detector(self) -> Detector | None:
        """The detector whose scores it sees."""
        return None if self.detector is None else Detector.model_validate(self.detector)

    def check_weights(self, weights: Mapping[str, str], path: Path, where: str) -> None:
        """Raises ValueError where tokens or features of `where` come from other weights than it was trained on."""
        for role, identifier in weights.items():
            if self.weights[role] == IMPORTED:
                _warn_unchecked(path)
            elif self.weights[role] != identifier:
                raise ValueError(
                    f"{path}: this selector was trained on features of {role} weights {self.weights[role]}, but "
                    f"{where} holds those of {role} weights {identifier}; take a selector trained on them, or "
                    f"the {role} weights it was trained with"
                )


@cache
def _warn_unchecked(path: Path) -> None:
    """Once per process and file, not once per video."""
    log.warning("%s: imported: which sam2 and text weights it was trained with is not known, and not checked", path)


def save_selector(path: Path, model: "Network", header: Header) -> None:
    """Writes a selector's file atomically; equal weights and headers give equal bytes."""
    from safetensors.torch import save

    entry = canonical_json({"kind": KIND, "version": VERSION, **asdict(header)})
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata={ENTRY: entry}))


def read_header(path: Path) -> Header:
    """
    Raises:
        ValueError: the file is missing, damaged, or not a selector of this version.
    """
    try:
        with safe_open(path, framework="np") as file:
            entry = (file.metadata() or {}).get(ENTRY)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such selector; run stages.train_selector or set selector.weights") from error
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error}); train the selector again") from error
    if entry is None:
        raise ValueError(f"{path}: not a selector of this project (no {ENTRY!r} entry in its metadata)")
    try:
        raw = json.loads(entry)
        if (raw.pop("kind"), raw.pop("version")) != (KIND, VERSION):
            raise ValueError(f"{path}: not a selector of layout version {VERSION}; train it again")
        return Header(**raw)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: damaged selector header ({error!r}); train it again") from error


def selector_id(path: Path) -> str:
    """16 hex digits of the file's sha256."""
    return file_sha256(path)[:16]


def load_model(path: Path) -> tuple["Network", Header]:
    """The model in evaluation mode, loaded strictly.

    Raises:
        ValueError: as `read_header`, another architecture, or tensors that do not fit it.
    """
    from safetensors.torch import load_file

    from stages.selectors.architectures import Architecture

    header = read_header(path)
    try:
        architecture = Architecture.parse(header.name, header.model, header.tda, header.inputs)
        model = architecture.build(header.token_dim, header.text_dim)
        model.load_state_dict(load_file(path))
    except (ValidationError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"{path}: its tensors do not fit its header ({error}); train it again") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return model.eval(), header
