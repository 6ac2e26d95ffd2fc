"""import_checkpoint: a checkpoint with the published names, scored by the formulas and by what it becomes here."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from support.published_sola import PUBLISHED, TEXT, TOKEN, plain_scores, published_state
from torch import Tensor

from stages.selectors import load
from stages.selectors.checkpoint import IMPORTED, read_header
from stages.tools.import_checkpoint import main


def features(n: int, t: int, w: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n * 100 + t)
    return torch.randn(n, t, TOKEN, generator=generator), torch.randn(w, TEXT, generator=generator)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return published_state()


@pytest.mark.parametrize("shape", [(5, 40, 7), (1, 9, 3), (3, 1, 2)])
def test_scores_are_those_of_the_formulas(
    state: dict[str, Tensor], tmp_path: Path, shape: tuple[int, int, int]
) -> None:
    torch.save(state, tmp_path / "epoch_3.pth")
    assert main([str(tmp_path / "epoch_3.pth"), "--out", str(tmp_path / "selector.safetensors")]) == 0
    tokens_NTC, words_WD = features(*shape)
    expected_N, _ = plain_scores(state, PUBLISHED, tokens_NTC, words_WD)
    found_N = load(tmp_path / "selector.safetensors").score(tokens_NTC, words_WD)
    assert isinstance(found_N, Tensor) and found_N.dtype == torch.float32 and found_N.shape == shape[:1]
    scale = expected_N.abs().max().clamp(min=1)  # float32: 1e-5 of the largest logit where that is above 1
    torch.testing.assert_close(found_N / scale, expected_N / scale, atol=1e-5, rtol=0)
    as_numpy_N = load(tmp_path / "selector.safetensors").score(tokens_NTC.numpy(), words_WD.numpy())
    np.testing.assert_array_equal(as_numpy_N, found_N.numpy())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"model": s, "epoch": 3},
        lambda s: {"state_dict": s},
        lambda s: {f"module.{name}": tensor for name, tensor in s.items()},
        lambda s: {"model": {f"module._orig_mod.{name}": tensor for name, tensor in s.items()}},
    ],
    ids=["model", "state_dict", "module.", "both"],
)
def test_wrapped_checkpoints_give_the_same_bytes(state: dict[str, Tensor], tmp_path: Path, wrap) -> None:
    for name, content in (("plain.pth", state), ("wrapped.pth", wrap(state))):
        torch.save(content, tmp_path / name)
        assert main([str(tmp_path / name), "--out", str(tmp_path / f"{name}.safetensors")]) == 0
    plain, wrapped = (tmp_path / f"{name}.pth.safetensors" for name in ("plain", "wrapped"))
    assert plain.read_bytes() == wrapped.read_bytes()


def test_the_header_says_what_was_read_off_the_tensors(tmp_path: Path) -> None:
    other = PUBLISHED.model_copy(update={"n_layers": 3, "n_negatives": 5, "hidden_dim": 64, "n_heads": 4})
    torch.save(published_state(other), tmp_path / "a.pth")
    assert main([str(tmp_path / "a.pth"), "--out", str(tmp_path / "a.safetensors"), "--heads", "4"]) == 0
    header = read_header(tmp_path / "a.safetensors")
    assert (header.token_dim, header.text_dim, header.training) == (TOKEN, TEXT, IMPORTED)
    assert header.threshold == 0.5, "as published"
    assert header.model == other.model_dump() and header.weights == {"sam2": IMPORTED, "text": IMPORTED}


def test_weights_are_not_checked_and_that_is_said_once(
    state: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(state, tmp_path / "a.pth")
    path = tmp_path / "a.safetensors"
    assert main([str(tmp_path / "a.pth"), "--out", str(path)]) == 0
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for video in ("v1", "v2"):
            read_header(path).check_weights({"sam2": "a" * 16, "text": "b" * 16}, path, video)
        load(path, weights={"sam2": "c" * 16})
    assert [record.getMessage() for record in caplog.records if "not checked" in record.getMessage()] == [
        f"{path}: imported: which sam2 and text weights it was trained with is not known, and not checked"
    ]


def refusal(tmp_path: Path, content: object, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """The message that a checkpoint of this content is refused with."""
    file, out = tmp_path / "epoch_3.pth", tmp_path / "out.safetensors"
    torch.save(content, file)
    assert main([str(file), "--out", str(out), *flags]) == 2
    assert not out.exists()
    message = capsys.readouterr().err
    assert str(file) in message
    return message


def test_what_is_no_such_checkpoint_is_refused_by_name(
    state: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(*names: str, **change: Tensor) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in state.items() if name not in names} | change

    norm, gaussian = "object_lang_align_layers.1.norm.2.bias", "positional_encoding_gaussian_matrix"
    wrong = {"negative_token.weight": torch.zeros(4, 3, 2)}
    for content, words in (
        (torch.zeros(3), "it is a Tensor"),
        ({}, "no tensors by name: it is empty"),
        ({"conv1.weight": torch.zeros(1)}, "short_motion_encoder.0.weight is missing"),
        (without(norm), f"missing: {norm} (1 of {len(state)})"),
        (without(extra=torch.zeros(1)), "unexpected: extra"),
        (without(**{gaussian: torch.zeros(1, 7)}), f"{gaussian} (1, 7) for (1, {TEXT // 2})"),
        (without(**{norm: torch.full((TEXT,), float("nan"))}), f"not finite: {norm}"),
        (without(**wrong), "negative_token.weight is missing or not of 2 dimensions"),
        ({**state, "short_motion_encoder.0.weight": [1.0]}, "short_motion_encoder.0.weight is missing"),
        ({**state, norm: 3}, f"missing: {norm}"),
        ({k.replace("layers.1", "layers.2"): v for k, v in state.items()}, "object_lang_align_layers are [0, 2]"),
    ):
        assert words in refusal(tmp_path, content, capsys)
    assert "--heads" in refusal(tmp_path, state, capsys, "--heads", "7")


def test_an_existing_selector_is_kept(
    state: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"mine")
    torch.save(state, tmp_path / "a.pth")
    assert main([str(tmp_path / "a.pth"), "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err and out.read_bytes() == b"mine"
    assert main([str(tmp_path / "a.pth"), "--out", str(out), "--overwrite"]) == 0
    assert load(out)
