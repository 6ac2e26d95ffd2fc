"""Sa2VA, Sa2VA-i and SaSaSa2VA over InternVL: published names, strictly, into the native class."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.seg_checkpoints import TOKENS, Written, entry, random_sam2, write_internvl

from stages.prompting.seg.checkpoint.loading import load_seg_model
from stages.prompting.seg.checkpoint.model import SegModel

TOLERANCE = 1e-6
ANSWER = "It is [SEG]."
REQUEST = "<image>\nPlease segment the red circle."


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_internvl(tmp_path_factory.mktemp("sa2va"))


@pytest.fixture(scope="module")
def model(written: Written) -> SegModel:
    return load_seg_model(written.folder, entry("sa2va_internvl"), "cpu", "float32")


def pictures(count: int) -> list[Any]:
    rng = np.random.default_rng(count)
    return [rng.integers(0, 256, (40, 70, 3), dtype=np.uint8) for _ in range(count)]


def same_tensors(module: Any, other: Any) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in module.state_dict().items())


def test_every_tensor_arrives(written: Written, model: SegModel) -> None:
    assert same_tensors(model.mllm, written.native)
    assert same_tensors(model.text_hidden_fcs, written.heads)
    assert same_tensors(model.sam2, written.sam2)
    assert model.untouched_decoder is None
    assert not [name for name, p in model.named_parameters() if p.is_meta or p.requires_grad]


def test_states_are_those_of_the_native_class(written: Written, model: SegModel) -> None:
    images = pictures(3)
    seen = model.encode(images)
    ids = model.side.ids(seen, REQUEST, ANSWER)
    assert ids.count(model.side.image_id) == 3 * TOKENS
    pixels = torch.stack([_published_pixels(image) for image in images])
    with torch.no_grad():
        native = written.native(input_ids=torch.tensor([ids]), pixel_values=pixels, output_hidden_states=True)
    place = ids.index(model.seg_id)
    [state] = model.states(seen, [REQUEST], [ANSWER])
    assert state.shape == (1, 64)
    assert (state[0] - native.hidden_states[-1][0, place]).abs().max() <= TOLERANCE


def _published_pixels(image: Any) -> torch.Tensor:
    """torchvision's transforms, as the published code has them."""
    import torchvision.transforms as T
    from PIL import Image
    from torchvision.transforms.functional import InterpolationMode

    steps = [T.Resize((56, 56), interpolation=InterpolationMode.BICUBIC), T.ToTensor()]
    steps += [T.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))]
    return T.Compose(steps)(Image.fromarray(image))


def test_sentences_together_are_as_each_alone(model: SegModel) -> None:
    seen = model.encode(pictures(2))
    texts = [REQUEST, "<image>\nPlease segment the blue square that moves to the left behind the tree.", REQUEST]
    together = model.states(seen, texts, [ANSWER] * 3)
    for text, state in zip(texts, together, strict=True):
        [alone] = model.states(seen, [text], [ANSWER])
        assert (state - alone).abs().max() <= 5e-6
    assert (together[0] - together[1]).abs().max() > 1e-2


def test_prompt_is_the_published_one(model: SegModel) -> None:
    seen = model.encode(pictures(2))
    one = "<img>" + "<IMG_CONTEXT>" * TOKENS + "</img>"
    expected = f"<|user|>\n{one}\n{one}\nPlease segment the red circle.<|end|>\n<|assistant|>\n"
    assert model.tokenizer.decode(model.prompt(seen, REQUEST)) == expected


def test_two_decoders(tmp_path: Path) -> None:
    written = write_internvl(tmp_path, two_decoders=True)
    model = load_seg_model(tmp_path, entry("sa2va_internvl", decoder="sam_mask_decoder_modified"), "cpu", "float32")
    assert same_tensors(model.sam2.sam_mask_decoder, random_sam2(1).sam_mask_decoder)
    assert same_tensors(model.untouched_decoder, written.sam2.sam_mask_decoder)
    with pytest.raises(ValueError, match=r"it also has .*sam_mask_decoder_modified"):
        load_seg_model(tmp_path, entry("sa2va_internvl"), "cpu", "float32")


@pytest.mark.parametrize(
    "changes", [{"vit_6b": True}, {"tied": True}], ids=["vision tower of 26B", "head is the embeddings"]
)
def test_other_shapes(tmp_path: Path, changes: dict[str, bool]) -> None:
    written = write_internvl(tmp_path, **changes)
    model = load_seg_model(tmp_path, entry("sa2va_internvl"), "cpu", "float32")
    assert same_tensors(model.mllm, written.native)
    assert (model.mllm.lm_head.weight is model.side.embeddings.weight) == bool(changes.get("tied"))
    image = pictures(1)[0]
    with torch.inference_mode():
        expected = written.native.get_image_features(pixel_values=_published_pixels(image)[None]).pooler_output[0]
        assert (model.encode([image]).features_ND - expected).abs().max() <= TOLERANCE


def test_precision(written: Written) -> None:
    """The MLLM and its head in bfloat16, rotary frequencies and SAM2 in float32."""
    model = load_seg_model(written.folder, entry("sa2va_internvl"), "cpu", "bfloat16")
    assert {p.dtype for part in (model.mllm, model.text_hidden_fcs) for p in part.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.sam2.parameters()} | {b.dtype for b in model.mllm.buffers()} == {torch.float32}
    with torch.inference_mode():
        [state] = model.states(model.encode(pictures(2)), [REQUEST], [ANSWER])
        assert torch.isfinite(model.project(state)).all()


def test_an_answer_without_seg_is_refused(model: SegModel) -> None:
    with pytest.raises(ValueError, match=r"the answer 'It is there\.' holds no \[SEG\]"):
        model.states(model.encode(pictures(1)), [REQUEST], ["It is there."])
