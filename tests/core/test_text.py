"""encode_text: the real RobertaModel class with tiny random weights, through the stage's command line."""

import hashlib
import json
import logging
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml
from support.project import CONFIG

from stages import encode_text
from stages.core.records import Expression, Video
from stages.core.state.cache import CacheError, Stamp, write_json
from stages.core.state.graph import ENCODE_TEXT
from stages.core.state.h5_arrays import read_strings
from stages.core.state.text_file import TextFeatures, read_text, write_text
from stages.core.state.weights import RECORD_STAGE, RECORD_VERSION
from stages.micro.text import build_random_text
from stages.selectors.text_encoder import TransformersTextEncoder

CAPTIONS = ["the red circle moving left", "a dog", "the red circle moving left", "two birds that fly away"]


def video(captions: list[str], name: str = "v") -> Video:
    expressions = tuple(Expression(str(i), text, None, text) for i, text in enumerate(captions))
    return Video(name, ("00000",), Path("nowhere"), expressions, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_random_text(tmp_path_factory.mktemp("text"), seed=0)


@pytest.fixture(scope="module")
def encoder(folder: Path) -> TransformersTextEncoder:
    return TransformersTextEncoder(folder, 128, "cpu")


def test_features_are_the_last_hidden_state_with_special_tokens(folder: Path, encoder: TransformersTextEncoder) -> None:
    from transformers import AutoTokenizer, RobertaModel

    ids = AutoTokenizer.from_pretrained(folder)(CAPTIONS[0], return_tensors="pt")
    with torch.no_grad():
        expected_WD = RobertaModel.from_pretrained(folder).eval()(**ids).last_hidden_state[0]
    found = encoder.encode(CAPTIONS[0], "here")
    assert ids["input_ids"][0, 0] == 0 and ids["input_ids"][0, -1] == 2  # <s> … </s>
    np.testing.assert_allclose(found.words_WD, expected_WD, atol=1e-6)
    np.testing.assert_allclose(found.mean_D, expected_WD.mean(0), atol=1e-6)
    assert found.words_WD.dtype == found.mean_D.dtype == np.float32


def test_a_caption_does_not_depend_on_the_others(encoder: TransformersTextEncoder) -> None:
    alone = encoder.encode(CAPTIONS[1], "here")
    together = encode_text.encode_all(encoder, video(CAPTIONS))[1]
    assert alone.words_WD.tobytes() == together.words_WD.tobytes()
    assert alone.mean_D.tobytes() == together.mean_D.tobytes()


def test_a_repeated_text_is_encoded_once(encoder: TransformersTextEncoder) -> None:
    found = encode_text.encode_all(encoder, video(CAPTIONS))
    assert found[0] is found[2] and found[0] is not found[1]


def test_long_captions_are_cut_with_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    encoder = TransformersTextEncoder(folder, 6, "cpu")
    with caplog.at_level(logging.WARNING):
        found = encoder.encode("red " * 40, "video v, expression 3")
        short = encoder.encode("red", "video v, expression 4")
    assert found.words_WD.shape[0] == 6 and short.words_WD.shape[0] < 6
    assert [r.getMessage() for r in caplog.records if "cut to 6" in r.getMessage() and "expression 3" in r.getMessage()]
    assert "expression 4" not in caplog.text
    # the last kept token still is </s>: the cut leaves the special tokens in place
    ids = encoder.tokenizer("red " * 40, truncation=True, max_length=6)["input_ids"]
    assert ids[-1] == encoder.tokenizer.eos_token_id


def test_no_caption_is_longer_than_the_model(folder: Path) -> None:
    encoder = TransformersTextEncoder(folder, 100_000, "cpu")
    assert encoder.encode("red " * 2000, "here").words_WD.shape[0] == 512


def test_only_safetensors_are_read(tmp_path: Path) -> None:
    folder = build_random_text(tmp_path / "text", seed=0)
    model = folder / "model.safetensors"
    torch.save({}, folder / "pytorch_model.bin")
    model.unlink()
    with pytest.raises(ValueError, match="not a text encoder of transformers"):
        TransformersTextEncoder(folder, 16, "cpu")


# ------------------------------------------------------------- the file


def test_a_text_file_gives_back_what_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    features = [TextFeatures(w, w.mean(0)) for w in (rng.normal(size=(n, 8)).astype(np.float32) for n in (3, 1, 7))]
    stamp, path, v = Stamp(ENCODE_TEXT.name, ENCODE_TEXT.version, {}), tmp_path / "v.h5", video(["one", "two", "three"])
    write_text(path, stamp, v, features)
    first = path.read_bytes()
    for found, expected in zip(read_text(path, v), features, strict=True):
        np.testing.assert_array_equal(found.words_WD, expected.words_WD)
        np.testing.assert_array_equal(found.mean_D, expected.mean_D)
    write_text(path, stamp, v, features)
    assert path.read_bytes() == first
    with pytest.raises(CacheError, match="holds other sentences than the index"):
        read_text(path, video(["one", "two"]))


def test_a_video_without_expressions_is_a_finished_file(tmp_path: Path) -> None:
    write_text(tmp_path / "v.h5", Stamp(ENCODE_TEXT.name, ENCODE_TEXT.version, {}), video([]), [])
    assert read_text(tmp_path / "v.h5", video([])) == []


def test_statements_follow_the_expressions(tmp_path: Path, encoder: TransformersTextEncoder) -> None:
    plain = video(["one", "two"])
    more = replace(plain, statements=tuple(Expression(f"s{i}", text, (), text) for i, text in enumerate(["a", "two"])))
    stamp, features = Stamp(ENCODE_TEXT.name, ENCODE_TEXT.version, {}), encode_text.encode_all(encoder, more)
    assert len(features) == 4 and features[3] is features[1], "encoded once"
    write_text(tmp_path / "more.h5", stamp, more, features)
    for found, expected in zip(read_text(tmp_path / "more.h5", more), features, strict=True):
        np.testing.assert_array_equal(found.words_WD, expected.words_WD)
    with pytest.raises(CacheError, match="holds other sentences than the index"):
        read_text(tmp_path / "more.h5", plain)


# ------------------------------------------------------------- the stage


def write_record(config_weights: Path, folder: Path) -> None:
    files = {
        path.name: {"size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in sorted(folder.iterdir())
    }
    record = {"path": str(folder), "files": files}
    write_json(config_weights / "micro" / "text" / "record.json", record, Stamp(RECORD_STAGE, RECORD_VERSION, {}))


@pytest.fixture
def flags(tmp_path: Path, folder: Path) -> list[str]:
    """A MeViS tree of two videos without ground truth, weights, and the flags of a run over it."""
    index = {
        name: {"frames": ["00000"], "expressions": {str(i): {"exp": text} for i, text in enumerate(captions)}}
        for name, captions in (("a", CAPTIONS), ("b/c", ["A  Dog "]))
    }
    root = tmp_path / "data" / "test"
    (root / "JPEGImages").mkdir(parents=True)
    write_json(root / "meta_expressions.json", {"videos": index})
    write_record(tmp_path / "weights", folder)
    overlay = {
        "paths": {"weights": str(tmp_path / "weights"), "cache": str(tmp_path / "cache")},
        "run": {"device": "cpu"},
        "datasets": {
            "toy": {
                "format": "mevis",
                "root": str(tmp_path / "data"),
                "generate": False,
                "models": "micro",
                "selector": {"weights": "none.safetensors", "train": None, "validate_on": None},
                "splits": {"test": {"role": "evaluate", "limit": None}},
                "settings": {},
            }
        },
    }
    (tmp_path / "toy.yaml").write_text(yaml.safe_dump(overlay))
    config = CONFIG
    return ["--config", str(config), "--config", str(tmp_path / "toy.yaml"), "--dataset", "toy", "--split", "test"]


def test_the_stage_encodes_a_split_and_repeats_nothing(flags: list[str], tmp_path: Path) -> None:
    assert encode_text.main(flags) == 0
    a, c = (tmp_path / "cache/toy/test/text" / name for name in ("a.h5", "b/c.h5"))
    with h5py.File(a) as file:
        assert read_strings(file, "expressions") == ["0", "1", "2", "3"]
        assert file["words/offset"].shape == (5,) and file["mean"].shape == (4, 64)
        stamp = Stamp.loads(file.attrs["stamp"])
        assert set(stamp.ingredients) == {"config", "expressions", "weights"}
        assert set(stamp.ingredients["weights"]) == {"text"}
    before = a.stat().st_mtime_ns, a.read_bytes()
    c.unlink()
    assert encode_text.main(flags) == 0
    assert (a.stat().st_mtime_ns, a.read_bytes()) == before
    # "A  Dog " is cleaned to "a dog": the same bytes as in the other video
    with h5py.File(a) as one, h5py.File(c) as other:
        start, stop = one["words/offset"][1:3]
        assert one["words/values"][start:stop].tobytes() == other["words/values"][:].tobytes()


def test_a_video_that_gets_statements_is_encoded_anew_alone(flags: list[str], tmp_path: Path) -> None:
    index, masks = (tmp_path / "data/test" / f"{name}.json" for name in ("meta_expressions", "mask_dict"))
    write_json(masks, {})
    assert encode_text.main(flags) == 0
    a, c = (tmp_path / "cache/toy/test/text" / name for name in ("a.h5", "b/c.h5"))
    before = a.stat().st_mtime_ns, c.stat().st_mtime_ns
    document = json.loads(index.read_text())
    document["videos"]["a"]["statements"] = {"s0": {"exp": "a cat", "anno_id": []}}
    write_json(index, document)
    assert encode_text.main(flags) == 0
    assert a.stat().st_mtime_ns != before[0] and c.stat().st_mtime_ns == before[1]
    with h5py.File(a) as file:
        assert read_strings(file, "expressions") == ["0", "1", "2", "3", "s0"]
        assert set(Stamp.loads(file.attrs["stamp"]).ingredients) == {"config", "expressions", "statements", "weights"}


def test_missing_weights_name_the_mend(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "weights/micro/text/record.json").unlink()
    assert encode_text.main(flags) == 2
    assert "python -m stages.fetch_weights --preset micro" in capsys.readouterr().err
    assert not (tmp_path / "cache/toy/test" / ENCODE_TEXT.folder).exists()
