"""What the config says of published [SEG] checkpoints, where no file of theirs does; and a family of one's own."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.project import ROOT
from support.seg_checkpoints import entry, write_internvl

from stages.core.config.file import SegModelEntry
from stages.core.config.loading import load_config
from stages.prompting.seg.checkpoint.families import FAMILIES
from stages.prompting.seg.checkpoint.loading import load_seg_model
from stages.prompting.seg.checkpoint.templates import TEMPLATES
from stages.tracking.sam2_model import config_file

SA2VA, MODIFIED = "sam_mask_decoder", "sam_mask_decoder_modified"
# family, chat template, tuned decoder, state, where it is, object score: as the checkpoints were trained (their own code).
PUBLISHED = {
    "sa2va_4b": ("sa2va_internvl", "phi3_chat", SA2VA, "after_norm", 0, "forced"),
    "sa2va_i_4b": ("sa2va_internvl", "phi3_chat", MODIFIED, "after_norm", 0, "forced"),
    "sasasa2va_4b": ("sa2va_internvl", "phi3_chat", SA2VA, "after_norm", 0, "predicted"),
    "vrs_hq_7b": ("chat_univi", "vicuna_v1", SA2VA, "after_norm", -1, "predicted"),
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_presets_are_as_published(preset: str) -> None:
    models = load_config(ROOT / "config.yaml").presets[preset].models
    said = models["seg"]
    assert isinstance(said, SegModelEntry)
    family = FAMILIES[said.family]
    fields = (said.family, said.template, said.decoder, said.state, family.shift, said.object_score)
    assert fields == PUBLISHED[preset]
    assert said.hub and said.license and said.size_gb and said.template in TEMPLATES
    assert config_file(said.sam2).name == "sam2_hiera_l.yaml"
    assert models["sam2"] == load_config(ROOT / "config.yaml").presets["large"].models["sam2"]


def test_a_family_of_its_own(tmp_path: Path) -> None:
    """One value: here InternVL's, for another name in config.json and the state before the token."""
    write_internvl(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"Sa2VAChatModel"', '"ToyChatModel"'))
    toy = replace(FAMILIES["sa2va_internvl"], name="toy", kinds=("ToyChatModel",), shift=-1)
    with pytest.raises(ValueError, match="no family of \\[SEG\\] checkpoints 'toy'"):
        load_seg_model(tmp_path, entry("toy"), "cpu", "float32")
    with FAMILIES.extended_by(toy):
        assert load_seg_model(tmp_path, entry("toy"), "cpu", "float32").reading.shift == -1
