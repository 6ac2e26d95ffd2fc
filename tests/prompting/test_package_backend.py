"""The bridge to groundingdino-py: what it knows and refuses, what it leaves alone; and checkpoints that are refused."""

import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.detectors import build_wide, describe, package_state, prompts, weights

from stages.micro.grounding_dino import build_random_grounding_dino
from stages.prompting.grounding_dino import package_backend
from stages.prompting.grounding_dino.checkpoint import read_config, read_state
from stages.prompting.grounding_dino.detector import GroundingDino, load_detector
from stages.prompting.grounding_dino.names import copies_of, names_of

BACKENDS = ("transformers", "groundingdino")
FRAME = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wide(tmp_path_factory.mktemp("dino"))


@pytest.fixture(scope="module")
def detector(folder: Path) -> GroundingDino:
    loaded = load_detector(weights(folder), prompts("groundingdino"), "cpu", 8)
    assert isinstance(loaded, GroundingDino)
    return loaded


# ---------------------------------------------------------------- versions


def test_the_installed_versions_are_known() -> None:
    package_backend.check_versions()
    assert installed("groundingdino-py") == package_backend.KNOWN_PACKAGE


@pytest.mark.parametrize("transformers", ["5.17.0", "5.23.1", "5.99.0.dev0"])
def test_known_versions_pass(monkeypatch: pytest.MonkeyPatch, transformers: str) -> None:
    known = {"groundingdino-py": "0.4.0", "transformers": transformers}
    monkeypatch.setattr(package_backend, "version", known.__getitem__)
    package_backend.check_versions()


@pytest.mark.parametrize(
    ("package", "transformers", "message"),
    [
        ("0.3.9", "5.23.0", r"knows version 0\.4\.0, installed is 0\.3\.9"),
        ("0.4.1", "5.23.0", r"knows version 0\.4\.0, installed is 0\.4\.1"),
        ("0.4.0", "5.16.2", r"from 5\.17 to below 6\.0, installed is 5\.16\.2"),
        ("0.4.0", "4.57.0", r"installed is 4\.57\.0"),
        ("0.4.0", "6.0.0", r"installed is 6\.0\.0"),
        (None, "5.23.0", r"groundingdino-py is not installed: install groundingdino-py==0\.4\.0"),
    ],
)
def test_unknown_versions_are_refused_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str | None, transformers: str, message: str
) -> None:
    def version(name: str) -> str:
        found = {"groundingdino-py": package, "transformers": transformers}[name]
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(package_backend, "version", version)
    with pytest.raises(ValueError, match=message) as caught:
        load_detector(weights(tmp_path / "nowhere"), prompts("groundingdino"), "cpu", 8)
    assert "set prompts.gdino.backend to 'transformers'" in str(caught.value)


# ---------------------------------------------------------------- the bridge


def test_alone_the_package_stops(folder: Path) -> None:
    """Why there is a bridge: if this passes one day without an error, it may go."""
    from groundingdino.models.GroundingDINO.bertwarper import BertModelWarper
    from transformers import BertModel

    with pytest.raises(AttributeError, match=r"get_extended_attention_mask|get_head_mask|invert_attention_mask"):
        BertModelWarper(BertModel(read_config(folder).text_config))


def test_the_model_is_the_packages_own_with_berts_weights_from_the_checkpoint(
    folder: Path, detector: GroundingDino
) -> None:
    from groundingdino.models.GroundingDINO.groundingdino import GroundingDINO

    model: Any = detector.network.model  # type: ignore[attr-defined]
    assert type(model) is GroundingDINO and not model.training
    state = load_file(folder / "model.safetensors")
    words = state["model.text_backbone.embeddings.word_embeddings.weight"]
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, words)


def test_the_package_is_left_as_it_was(folder: Path, detector: GroundingDino) -> None:
    from groundingdino.models.GroundingDINO import groundingdino as package

    before, state = dict(vars(package)), torch.get_rng_state()
    package_backend.build_model(read_config(folder), detector.tokenizer, folder)
    assert torch.equal(torch.get_rng_state(), state)
    assert vars(package) == before
    config = read_config(folder)
    config.encoder_attention_heads = config.decoder_attention_heads = 3  # 256 is no multiple of it
    with pytest.raises((ValueError, AssertionError)):
        package_backend.build_model(config, detector.tokenizer, folder)
    assert vars(package) == before


def test_detections_have_the_promised_form_and_repeat_to_the_bit(detector: GroundingDino) -> None:
    first, second = (detector.detect([FRAME], ["the red circle", "a dog. a cat"])[0] for _ in range(2))
    for found, again in zip(first, second, strict=True):
        assert found.boxes_N4.dtype == found.scores_N.dtype == np.float32
        assert len(found.boxes_N4) == len(found.scores_N) == len(found.token_scores) == len(found.phrases) > 0
        assert (np.diff(found.scores_N) <= 0).all()
        assert found.boxes_N4.tobytes() == again.boxes_N4.tobytes() and found.token_scores == again.token_scores
    assert first[1].phrases[0] == "a dog a cat"


def test_a_result_does_not_depend_on_what_else_is_asked(detector: GroundingDino) -> None:
    captions = ["the red circle", "two dogs, run away. a zebra? yes"]
    together = detector.detect([FRAME, FRAME[::-1].copy()], captions)
    for caption, expected in zip(captions, together[0]):
        (alone,) = detector.detect([FRAME], [caption])[0]
        assert alone.boxes_N4.tobytes() == expected.boxes_N4.tobytes() and alone.token_scores == expected.token_scores
    assert not np.array_equal(together[0][0].scores_N, together[1][0].scores_N)


def test_the_image_backbone_runs_once_a_frame(detector: GroundingDino) -> None:
    calls: list[int] = []
    model: Any = detector.network.model  # type: ignore[attr-defined]
    handle = model.backbone.backbone.register_forward_hook(lambda *_: calls.append(1))
    try:
        detector.detect([FRAME, FRAME], ["a dog", "a cat", "a bird"])
    finally:
        handle.remove()
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [
        ("d_model", 32, "256"),
        ("max_text_len", 128, "256"),
        ("two_stage", False, "True"),
        ("activation_function", "gelu", "'relu'"),
        ("decoder_ffn_dim", 128, "64"),
        ("decoder_attention_heads", 8, "4"),
    ],
)
def test_architectures_that_the_package_cannot_build_are_refused(
    folder: Path, detector: GroundingDino, name: str, value: Any, needed: str
) -> None:
    config = read_config(folder)
    setattr(config, name, value)
    with pytest.raises(ValueError, match=rf"config.json says {name} {value!r}; groundingdino-py runs {needed} only"):
        package_backend.build_model(config, detector.tokenizer, folder)


def test_the_micro_preset_is_too_narrow_for_the_package(tmp_path: Path) -> None:
    build_random_grounding_dino(tmp_path, 0)
    with pytest.raises(ValueError, match=r"set prompts\.gdino\.backend to 'transformers'"):
        load_detector(weights(tmp_path), prompts("groundingdino"), "cpu", 8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_gpu_gives_the_same_boxes(folder: Path, backend: str) -> None:
    found, expected = (
        load_detector(weights(folder), prompts(backend), device, 8).detect([FRAME], ["a dog"])[0][0]
        for device in ("cuda", "cpu")
    )
    np.testing.assert_allclose(found.scores_N, expected.scores_N, rtol=0, atol=1e-2)
    half = load_detector(weights(folder), prompts(backend, precision="bfloat16"), "cuda", 8)
    assert np.isfinite(half.detect([FRAME], ["a dog"])[0][0].boxes_N4).all()


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("share", [True, False])
def test_every_tensor_has_one_name_in_each_layout(folder: Path, share: bool) -> None:
    config = read_config(folder)
    config.decoder_bbox_embed_share = share
    names = names_of(config)
    theirs = [part for parts in names.values() for part in parts]
    assert len(set(theirs)) == len(theirs)
    copies = copies_of(config)
    assert not set(copies) & (set(names) | set(theirs)) and set(copies.values()) <= set(names) & set(theirs)


# ---------------------------------------------------------------- checkpoints that are refused

State = dict[str, torch.Tensor]


class Payload:
    """Unpickling it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def without(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if name != "feat_map.weight"}


def with_more(state: State) -> State:
    return {**state, "transformer.encoder.layers.2.norm1.weight": torch.zeros(256)}


def of_other_shape(state: State) -> State:
    return {**state, "feat_map.weight": torch.zeros(256, 31)}


def of_uneven_rows(state: State) -> State:
    return {**state, "transformer.decoder.layers.0.self_attn.in_proj_bias": torch.zeros(7)}


def with_other_heads(state: State) -> State:
    return {**state, "bbox_embed.1.layers.0.weight": torch.zeros(256, 256)}


def of_another_model(_: State) -> State:
    return dict(torch.nn.Linear(2, 2).state_dict())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without, r"it lacks feat_map\.weight"),
        (with_more, r"it also has transformer\.encoder\.layers\.2\.norm1\.weight"),
        (of_other_shape, "do not have the shapes of its config.json"),
        (with_other_heads, r"bbox_embed\.1\.layers\.0\.weight are not copies of another"),
        (of_another_model, "not a GroundingDINO: it has neither .*; it has bias, weight"),
    ],
)
def test_wrong_tensors_are_refused_by_name(
    folder: Path, tmp_path: Path, backend: str, change: Callable[[State], State], message: str
) -> None:
    place = describe(folder, tmp_path / "place")
    torch.save({"model": change(package_state(folder))}, place / "weights.pth")
    with pytest.raises(ValueError, match=message) as caught:
        load_detector(weights(place), prompts(backend), "cpu", 8)
    assert "weights.pth" in str(caught.value)


def test_a_projection_that_is_no_three_parts_is_refused(folder: Path, tmp_path: Path) -> None:
    place = describe(folder, tmp_path / "place")
    torch.save({"model": of_uneven_rows(package_state(folder))}, place / "weights.pth")
    with pytest.raises(ValueError, match=r"in_proj_bias has the shape \(7,\), not 3 equal parts by rows"):
        load_detector(weights(place), prompts("transformers"), "cpu", 8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_checkpoint_that_carries_objects_is_refused_and_not_run(folder: Path, tmp_path: Path, backend: str) -> None:
    place = describe(folder, tmp_path / "place")
    torch.save({"model": package_state(folder), "args": Payload(tmp_path / "ran")}, place / "weights.pth")
    with pytest.raises(ValueError, match="refused: it is a pickle that would run"):
        load_detector(weights(place), prompts(backend), "cpu", 8)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["weights.pth", "model.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_refused(folder: Path, tmp_path: Path, name: str, share: float) -> None:
    file = tmp_path / name
    if name.endswith(".pth"):
        torch.save({"model": package_state(folder)}, file)
    else:
        file.write_bytes((folder / name).read_bytes())
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=f"{name}: not .*fetch it again"):
        read_state(file)


def test_an_old_torch_file_of_tensors_alone_is_read(folder: Path, tmp_path: Path) -> None:
    state = package_state(folder)
    torch.save({"model": state}, tmp_path / "weights.pth", _use_new_zipfile_serialization=False)
    found, layout = read_state(tmp_path / "weights.pth")
    assert layout == "package" and all(torch.equal(found[name], state[name]) for name in state)


def test_a_zip_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match=r"weights\.pth: not readable as a torch checkpoint"):
        read_state(tmp_path / "weights.pth")


@pytest.mark.parametrize("content", [[1, 2], {"model": {"a": 1}}, {"epoch": 3}, {"model": {1: torch.zeros(1)}}])
def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match="holds no tensors by name"):
        read_state(tmp_path / "weights.pth")


def test_a_file_that_is_renamed_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"weights\.pth: not a file of torch\.save"):
        read_state(tmp_path / "weights.pth")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_folder_without_or_with_two_checkpoints_is_refused(folder: Path, tmp_path: Path, backend: str) -> None:
    place = describe(folder, tmp_path / "place")
    with pytest.raises(ValueError, match="found neither"):
        load_detector(weights(place), prompts(backend), "cpu", 8)
    save_file({"a": torch.zeros(1)}, place / "model.safetensors")
    torch.save({}, place / "weights.pth")
    with pytest.raises(ValueError, match=r"found model\.safetensors, weights\.pth: leave exactly one"):
        load_detector(weights(place), prompts(backend), "cpu", 8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_folder_that_does_not_describe_the_model_is_refused(folder: Path, tmp_path: Path, backend: str) -> None:
    torch.save({"model": package_state(folder)}, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"has no config.json: put config.json"):
        load_detector(weights(tmp_path), prompts(backend), "cpu", 8)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="model_type 'bert', not 'grounding-dino'"):
        load_detector(weights(tmp_path), prompts(backend), "cpu", 8)


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_preprocessing_than_published_is_refused(folder: Path, tmp_path: Path, backend: str) -> None:
    place = describe(folder, tmp_path / "place")
    (place / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    document = json.loads((place / "processor_config.json").read_text())
    document["image_processor"]["resample"] = 3
    (place / "processor_config.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="this file says otherwise"):
        load_detector(weights(place), prompts(backend), "cpu", 8)
