"""Checkpoints as training loops leave them: each model in each form loads strictly and equals the plain one."""

import logging
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sam2.modeling.sam2_base import SAM2Base
from support.detectors import build_wide, describe, package_state, prompts, weights
from support.published_sola import published_state
from support.sam2 import MICRO_CONFIG, micro_weights, sam2_model
from support.sam2_published import CONFIGS, at_side, transformers_model
from torch import Tensor, nn

from stages.core.state.state_dict import differences, unwrap
from stages.core.state.torch_file import read_torch_file
from stages.core.state.weights import Weights
from stages.prompting.grounding_dino.detector import load_detector
from stages.selectors import load as load_selector
from stages.tools.import_checkpoint import import_checkpoint
from stages.tracking.sam2_model import load_sam2

State = dict[str, Tensor]
SIDE = 128


@dataclass(frozen=True)
class Case:
    """A model's plain state dict, and what loads a file into a model of it."""

    state: State
    load: Callable[[Path], nn.Module]


def load_sam2_as(config: str) -> Callable[[Path], nn.Module]:
    return lambda file: load_sam2(Weights(file, "x", sam2_model(config)), "cpu", SAM2Base)


def sam2_package(folder: Path) -> Case:
    return Case(load_file(micro_weights(folder).path), load_sam2_as(MICRO_CONFIG))


def sam2_transformers(folder: Path) -> Case:
    config = next(config for config in CONFIGS if config.endswith("_t.yaml"))
    model = transformers_model(config, SIDE, seed=1)
    return Case(model.state_dict(), load_sam2_as(at_side(config, SIDE, folder)))


def dino(backend: str, folder: Path, state: Callable[[Path], State]) -> Case:
    build_wide(folder / "whole")

    def load(file: Path) -> nn.Module:
        place = describe(folder / "whole", file.parent / "place")
        file.rename(place / file.name)
        model: nn.Module = load_detector(weights(place), prompts(backend), "cpu", 8).network.model  # type: ignore[attr-defined]
        return model

    return Case(state(folder / "whole"), load)


def selector(folder: Path) -> Case:
    def load(file: Path) -> nn.Module:
        out = file.parent / "selector.safetensors"
        import_checkpoint(file, out)
        model: nn.Module = load_selector(out).model  # type: ignore[attr-defined]
        return model

    return Case(published_state(), load)


CASES: Mapping[str, Callable[[Path], Case]] = {
    "sam2": sam2_package,
    "sam2 of transformers": sam2_transformers,
    "dino": lambda folder: dino("transformers", folder, package_state),
    "dino of transformers": lambda folder: dino(
        "transformers", folder, lambda whole: load_file(whole / "model.safetensors")
    ),
    "selector": selector,
}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + name: tensor for name, tensor in state.items()}


def with_compiled_part(state: State) -> State:
    """Of a model of which one module is compiled, and so wrapped."""
    part = max((name.split(".")[0] for name in state if "." in name), key=lambda p: sum(n.startswith(p) for n in state))
    return {name.replace(f"{part}.", f"{part}._orig_mod.", 1): tensor for name, tensor in state.items()}


BESIDE = {
    "epoch": 3,
    "best": np.float64(0.71),
    "step": np.int64(4000),
    "done": np.bool_(True),
    "name": np.str_("run 7"),
    "rate": np.float32(1e-5),
    "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": np.float64(1e-4)}]},
}
FORMS: Mapping[str, Callable[[State], Any]] = {
    "plain": lambda s: s,
    "model": lambda s: {"model": s},
    "state_dict": lambda s: {"state_dict": s},
    "model_state_dict": lambda s: {"model_state_dict": s, **BESIDE},
    "module.": lambda s: prefixed("module.", s),
    "_orig_mod.": lambda s: {"model": prefixed("_orig_mod.", s)},
    "module._orig_mod.": lambda s: prefixed("module._orig_mod.", s),
    "a compiled part": with_compiled_part,
    "Lightning": lambda s: {
        "state_dict": prefixed("model.", s),
        "pytorch-lightning_version": "2.5",
        "hyper_parameters": {"lr": np.float32(0.1)},
        **BESIDE,
    },
    "Lightning, compiled": lambda s: {"state_dict": prefixed("model._orig_mod.", s), **BESIDE},
    "another attribute": lambda s: {"state_dict": prefixed("net.", s)},
    "numbers among the tensors": lambda s: {**s, "best": np.float64(0.5), "epoch": 3},
    "a key within a key": lambda s: {"checkpoint": {"model": s}, **BESIDE},
    "parameters": lambda s: {"model": {n: nn.Parameter(t) if t.is_floating_point() else t for n, t in s.items()}},
    "legacy": lambda s: {"model": s, **BESIDE},
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, State]:
    """A case, and the state of its model as the plain file loads."""
    case = CASES[request.param](tmp_path_factory.mktemp("made"))
    file = tmp_path_factory.mktemp("plain") / "weights.pth"
    torch.save({"model": case.state}, file)
    return case, case.load(file).state_dict()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_loads_strictly_and_equal(case: tuple[Case, State], form: str, tmp_path: Path) -> None:
    given, expected = case
    file = tmp_path / "weights.pth"
    torch.save(FORMS[form](given.state), file, _use_new_zipfile_serialization=form != "legacy")
    loaded = given.load(file).state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)


def test_the_plain_file_gives_the_models_own_values(case: tuple[Case, State]) -> None:
    """Or the equality of all forms would say nothing."""
    given, expected = case
    values = {tensor.double().sum().item() for tensor in given.state.values() if tensor.numel() > 8}
    found = {tensor.double().sum().item() for tensor in expected.values()}
    assert len(values & found) > 0.5 * len(values)


def test_safetensors_are_unwrapped_too(tmp_path: Path) -> None:
    given = sam2_package(tmp_path / "made")
    save_file(prefixed("model._orig_mod.", given.state), tmp_path / "weights.safetensors")
    loaded = given.load(tmp_path / "weights.safetensors").state_dict()
    assert all(torch.equal(loaded[name], given.state[name]) for name in given.state)


# ------------------------------------------------------------- what else is in a file

MARK = "encoder.weight"
GOOD = {MARK: torch.ones(2), "head.bias": torch.zeros(1)}
HERE = Path("here.pt")


def differing(state: State) -> list[str]:
    assert state.keys() == GOOD.keys()
    return [name for name in state if not torch.equal(state[name], GOOD[name])]


def other(value: float) -> State:
    return {MARK: torch.full((2,), value), "head.bias": torch.zeros(1)}


def test_what_is_the_models_is_taken_and_the_rest_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        document = {"state_dict": {**prefixed("model.", GOOD), "loss.weight": torch.ones(3)}}
        assert not differing(unwrap(document, [MARK], HERE))
    assert "left out: loss.weight" in caplog.text


@pytest.mark.parametrize(
    "document",
    [
        {"ema": other(5), "model": GOOD},
        {"model_ema": {"model": other(5)}, "state_dict": GOOD},
        {"state_dict": prefixed("model.", GOOD) | prefixed("ema_model.", other(5))},
        {"state_dict": GOOD | prefixed("teacher.", other(5))},
    ],
    ids=lambda d: "+".join(d),
)
def test_the_usual_one_of_several_models_is_taken_and_said(document: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert not differing(unwrap(document, [MARK], HERE))
    assert "takes the model at" in caplog.text and "left out: that at" in caplog.text


def test_none_of_several_unusual_models_is_taken() -> None:
    document = {"state_dict": prefixed("student.", GOOD) | prefixed("teacher.", other(5))}
    with pytest.raises(ValueError, match=r"several places .*'student\.'.*'teacher\.'.*save only the right one"):
        unwrap(document, [MARK], HERE)
    with pytest.raises(ValueError, match="several places"):
        unwrap({"generator": GOOD, "copy": other(5)}, [MARK], HERE)


def test_a_name_with_and_without_its_wrapper_is_refused() -> None:
    with pytest.raises(ValueError, match=r"holds encoder\.weight twice"):
        unwrap({"model": GOOD | prefixed("module.", other(5))}, [MARK], HERE)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([1, 2], "it is a list"),
        (torch.zeros(3), "it is a Tensor"),
        ({}, "it is empty"),
        ({"epoch": 3, "args": {}}, "its keys are epoch, args"),
        ({"model": {1: torch.zeros(1)}}, "its keys are model"),
    ],
    ids=str,
)
def test_a_file_without_tensors_says_what_it_holds(document: Any, words: str) -> None:
    with pytest.raises(ValueError, match=f"here.pt: holds no tensors by name: {words}"):
        unwrap(document, [MARK], HERE)


def test_differences_name_count_and_neighbour() -> None:
    expected = {f"blocks.{i}.weight": torch.zeros(2) for i in range(9)} | {"head.bias": torch.zeros(3)}
    state = {"blocks.0.weights": torch.zeros(2), "head.bias": torch.zeros(4)}
    text = differences(state, expected)
    assert "missing: blocks.0.weight, blocks.1.weight" in text and "(9 of 10)" in text
    assert "unexpected: blocks.0.weights (1; blocks.0.weights is nearest to blocks.0.weight)" in text
    assert "head.bias (4,) for (3,)" in text and differences(expected, expected) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: {n: t for n, t in s.items() if n.startswith("sam_mask_decoder.")}, "a part of the model"),
        (lambda s: prefixed("net.", {n: t for n, t in s.items() if n.startswith("sam_")}), "none of its tensors"),
        (
            lambda s: {n.replace("memory_encoder", "mem_encoder"): t for n, t in s.items()},
            "is nearest to memory_encoder",
        ),
        (lambda s: {"conv1.weight": torch.zeros(1)}, "none of its tensors is SAM2's"),
        (lambda s: {n: t for n, t in s.items() if n != "no_obj_ptr"}, r"missing: no_obj_ptr \(1 of"),
    ],
)
def test_advice_fits_what_was_found(change: Callable[[State], State], words: str, tmp_path: Path) -> None:
    given = sam2_package(tmp_path / "made")
    torch.save({"model": change(given.state)}, tmp_path / "sam2.pt")
    with pytest.raises(ValueError, match=words):
        given.load(tmp_path / "sam2.pt")


# ------------------------------------------------------------- numpy's scalars

SCALARS = [
    np.float64(0.71),
    np.float32(-1e-5),
    np.float16(0.5),
    np.int64(-7),
    np.int32(7),
    np.uint8(255),
    np.bool_(True),
    np.bool_(False),
    np.complex128(1 + 2j),
    np.str_("run 7, ✓"),
    np.bytes_(b"run"),
    np.dtype(">f8").type(2.5),
    np.frombuffer(np.array([2.5], ">f8").tobytes(), ">f8")[0],
]


@pytest.mark.parametrize("value", SCALARS, ids=lambda v: f"{type(v).__name__} {v}")
def test_plain_numpy_scalars_keep_type_and_value(value: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    torch.save({"value": value, "tensor": torch.ones(1)}, file)
    found = read_torch_file(file)["value"]
    assert type(found) is type(value) and found == value


class Reduced:
    """Pickles as a call of `function`, and a state."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


SCALAR = type(np.float64(1)).__reduce__(np.float64(1))[0]


@pytest.mark.parametrize(
    "value",
    [
        np.array([1.0, 2.0]),
        np.array([{"a": 1}], object),
        Reduced(bytes, (1 << 40,)),
        Reduced(SCALAR, (np.dtype(object), b"\0" * 8)),
        Reduced(SCALAR, (np.dtype([("a", "f8")]), b"\0" * 8)),
        Reduced(SCALAR, (np.dtype("f8"), b"\0" * 4)),
        Reduced(SCALAR, (np.dtype("f8"), "text")),
        Reduced(SCALAR, ("f8", b"\0" * 8)),
        Reduced(np.dtype, ("f8,O", False, True)),
        Reduced(np.dtype, ("f8", False, True), (3, "<", None, ("a",), {"a": (np.dtype("O"), 0)}, 64, 1, 63)),
        Reduced(np.dtype, ("f8", False, True), (3, "evil", None, None, None, -1, -1, 63)),
        Reduced(np.load, ("/etc/passwd",)),
        Reduced(np.fromfile, ("/etc/passwd", "u1")),
        Reduced(exec, ("raise SystemExit(7)",)),
        Reduced(getattr, ("", "join")),
    ],
)
def test_what_is_no_plain_scalar_is_refused_or_inert(value: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.pt"
    torch.save({"value": value, "model": GOOD}, file)
    try:
        found = read_torch_file(file)["value"]
    except ValueError as error:
        assert str(error).startswith(f"{file}: ") and "fetch it again" not in str(error)
    else:  # a state that numpy would take over: here all but the byte order is passed over
        assert vars(found) == {"code": "f8", "order": "<"}


def test_numpys_own_functions_are_not_called(tmp_path: Path) -> None:
    """The file names them; what runs is ours."""
    file = tmp_path / "a.pt"
    torch.save({"value": np.float64(1)}, file)
    before = set(torch.serialization.get_safe_globals())
    read_torch_file(file)
    assert set(torch.serialization.get_safe_globals()) == before, "nobody else's files are read differently afterwards"
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=True)
