"""Every loader against checkpoints that are empty, damaged, cut, of another model, or carry a program."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from sam2.modeling.sam2_base import SAM2Base
from support.project import make_config
from support.published_sola import published_state
from support.sam2 import MICRO_CONFIG, micro_weights, sam2_model

from stages.core.config.file import Model
from stages.core.config.loading import settings_of
from stages.core.run.batches import Batches
from stages.core.state.torch_file import read_torch_file
from stages.core.state.weights import Weights
from stages.evidence.backends.transformers import load_judge
from stages.micro.grounding_dino import build_random_grounding_dino
from stages.micro.mllm import build_random_mllm
from stages.micro.text import build_random_text
from stages.prompting.grounding_dino.detector import load_detector
from stages.selectors import load
from stages.selectors.text_encoder import TransformersTextEncoder
from stages.tools.import_checkpoint import import_checkpoint
from stages.tracking.sam2_model import load_sam2


@dataclass(frozen=True)
class Loader:
    """How a model's files are made, which of them is the checkpoint, and what loads it."""

    build: Callable[[Path], Path]
    load: Callable[[Path], Any]


def sam2_pt(folder: Path) -> Path:
    torch.save({"model": load_file(micro_weights(folder / "made").path)}, folder / "sam2.pt")
    return folder / "sam2.pt"


def load_dino(file: Path) -> Any:
    model = Model(hub=None, revision=None, files=[], seed=0, path=None, license=None)
    settings = settings_of(make_config(file.parent), "shapes").prompts.gdino
    return load_detector(Weights(file.parent, "x", model), settings, "cpu", 8)


def selector_pth(folder: Path) -> Path:
    torch.save(published_state(), folder / "epoch_3.pth")
    return folder / "epoch_3.pth"


def selector(folder: Path) -> Path:
    import_checkpoint(selector_pth(folder), folder / "selector.safetensors")
    return folder / "selector.safetensors"


def weights_in(build: Callable[[Path, int], Path]) -> Callable[[Path], Path]:
    return lambda folder: build(folder, 0) / "model.safetensors"


def load_sam2_file(file: Path) -> Any:
    return load_sam2(Weights(file, "x", sam2_model(MICRO_CONFIG)), "cpu", SAM2Base)


LOADERS = {
    "sam2 .pt": Loader(sam2_pt, load_sam2_file),
    "sam2 .safetensors": Loader(lambda folder: micro_weights(folder).path, load_sam2_file),
    "grounding_dino": Loader(weights_in(build_random_grounding_dino), load_dino),
    "text": Loader(weights_in(build_random_text), lambda file: TransformersTextEncoder(file.parent, 16, "cpu")),
    "mllm": Loader(
        weights_in(build_random_mllm), lambda file: load_judge(file.parent, "cpu", "float32", Batches(8, "questions"))
    ),
    "selector": Loader(selector, load),
    "selector .pth": Loader(selector_pth, lambda file: import_checkpoint(file, file.parent / "out.safetensors")),
}


@pytest.fixture(scope="module", params=LOADERS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Loader, Path]:
    """A loader and its good checkpoint, which loads."""
    loader = LOADERS[request.param]
    file = loader.build(tmp_path_factory.mktemp("good"))
    loader.load(file)
    return loader, file


@pytest.fixture
def given(made: tuple[Loader, Path], tmp_path: Path) -> tuple[Loader, Path]:
    """The loader, and where it expects the checkpoint: nothing is there yet but what else its folder holds."""
    loader, file = made
    beside = shutil.ignore_patterns("made", "out.*", file.name)
    return loader, Path(shutil.copytree(file.parent, tmp_path / "model", ignore=beside)) / file.name


def refusal(loader: Loader, file: Path) -> str:
    with pytest.raises(ValueError) as error:
        loader.load(file)
    assert str(file.parent) in str(error.value), "the message names the file or its folder"
    return str(error.value)


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, -1], ids=str)
def test_a_file_that_is_cut_short_is_refused(
    made: tuple[Loader, Path], given: tuple[Loader, Path], keep: float
) -> None:
    loader, file = given
    content = made[1].read_bytes()
    end = int(len(content) * keep) if isinstance(keep, float) else keep
    file.write_bytes(content[:end])
    refusal(loader, file)


@pytest.mark.parametrize("content", [b"not a checkpoint " * 99, b"\xff" * 64, b"\x00" * 64, b"<html>404</html>"])
def test_a_file_that_is_no_checkpoint_is_refused(given: tuple[Loader, Path], content: bytes) -> None:
    loader, file = given
    file.write_bytes(content)
    refusal(loader, file)


def test_a_missing_checkpoint_is_named(given: tuple[Loader, Path]) -> None:
    refusal(*given)


def write_tensors(file: Path, tensors: dict[str, torch.Tensor]) -> None:
    if file.suffix == ".safetensors":
        file.write_bytes(save(tensors, metadata={"format": "pt"}))
    else:
        torch.save({"model": tensors}, file)


def test_the_checkpoint_of_another_model_is_refused_by_name(given: tuple[Loader, Path]) -> None:
    loader, file = given
    write_tensors(file, {"conv1.weight": torch.zeros(3, 3), "conv1.bias": torch.zeros(3)})
    message = refusal(loader, file)
    assert "conv1" in message or "missing" in message or "not a selector" in message


def test_a_checkpoint_of_another_size_is_refused(made: tuple[Loader, Path], given: tuple[Loader, Path]) -> None:
    loader, file = given
    good = made[1]
    if file.name == "selector.safetensors":
        pytest.skip("its header says its size, and another is in test_sola.py")
    state = load_file(good) if good.suffix == ".safetensors" else torch.load(good, weights_only=True)
    state = state.get("model", state)
    name = max((name for name, tensor in state.items() if tensor.ndim == 2), key=lambda name: state[name].numel())
    state[name] = state[name][:-1].clone()
    write_tensors(file, state)
    message = refusal(loader, file)
    assert name.rpartition(".")[0].split(".")[-1] in message or "shape" in message


class Program:
    """Makes a folder when it is unpickled: what a malicious checkpoint could do with any command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_the_program_is_a_real_one(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Program(tmp_path / "ran")))
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_program_in_a_checkpoint_does_not_run(given: tuple[Loader, Path], form: str, tmp_path: Path) -> None:
    loader, file = given
    program = {"model": Program(tmp_path / "ran"), "state_dict": {}}
    if form == "pickle":
        file.write_bytes(pickle.dumps(program))
    else:
        torch.save(program, file, _use_new_zipfile_serialization=form == "zip")
    message = refusal(loader, file)
    assert not (tmp_path / "ran").exists()
    if file.suffix in (".pt", ".pth") and form != "pickle":
        assert "posix.mkdir" in message and "refused" in message


@pytest.mark.parametrize("role", ["text", "mllm", "grounding_dino"])
def test_a_program_beside_the_weights_does_not_run(role: str, tmp_path: Path) -> None:
    """A .bin in place of the safetensors, and code that the configs ask for."""
    loader = LOADERS[role]
    file = loader.build(tmp_path / "model")
    (file.parent / "evil.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    for name, auto_map in (
        ("config.json", {"AutoConfig": "evil.E", "AutoModel": "evil.E", "AutoModelForImageTextToText": "evil.E"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.E", "evil.E"]}),
        ("processor_config.json", {"AutoProcessor": "evil.E", "AutoImageProcessor": "evil.E"}),
    ):
        if (file.parent / name).is_file():
            config = json.loads((file.parent / name).read_text())
            (file.parent / name).write_text(json.dumps({**config, "auto_map": auto_map}))
    loader.load(file)  # the library's own classes are taken, not those of the folder
    config = json.loads((file.parent / "config.json").read_text())
    (file.parent / "config.json").write_text(json.dumps({**config, "model_type": "evil"}))
    refusal(loader, file)
    (file.parent / "config.json").write_text(json.dumps(config))
    torch.save({"model": Program(tmp_path / "ran")}, file.parent / "pytorch_model.bin")
    file.unlink()
    refusal(loader, file)
    assert not (tmp_path / "ran").exists()


def test_a_missing_torch_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.pt: no such file"):
        read_torch_file(tmp_path / "nowhere.pt")
