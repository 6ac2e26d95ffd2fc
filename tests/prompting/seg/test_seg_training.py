"""Training of [SEG] models: losses against plain code, what a step changes, exact resume, two processes, export."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from support.kernel import same
from support.killed import KILLER
from support.project import ROOT
from support.seg_trainings import make_inputs, seg_config, seg_job
from torch import Tensor
from torch.nn import functional

from stages import train_seg
from stages.core.config.file import Config, SegModelEntry
from stages.core.config.loading import load_config, settings_of
from stages.core.config.seg_training_section import Points
from stages.core.state.graph import TRAIN_SEG, Layout
from stages.core.state.weights import find_weights
from stages.prompting.seg.checkpoint.loading import load_seg_model
from stages.prompting.seg.checkpoint.model import SegModel
from stages.prompting.seg.training.data import Clips, supervised
from stages.prompting.seg.training.learning import LOSSES, Draws, Learner, overlap
from stages.prompting.seg.training.losses import dice_loss, mask_losses, text_loss
from stages.prompting.seg.training.order import steps_of
from stages.prompting.seg.training.points import sample_points, values_at
from stages.prompting.seg.training.spoken import force
from stages.prompting.seg.training.task import share_of_rate
from stages.prompting.seg.training.trained import TrainedWeights, seeing
from stages.prompting.seg.variants import VARIANTS
from stages.training.checkpoint import read

POINTS = Points(count=400, oversample=3.0, uncertain=0.75)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- points and losses


def test_values_between_pixels_are_those_of_grid_sample() -> None:
    maps = torch.randn(3, 7, 9, generator=generator(), dtype=torch.float64, requires_grad=True)
    places = torch.rand(3, 50, 2, generator=generator(1), dtype=torch.float64)
    places[:, :4] = torch.tensor([[0, 0], [1, 1], [0, 1], [1, 0]], dtype=torch.float64)
    expected = functional.grid_sample(maps[:, None], 2 * places[:, :, None] - 1, align_corners=False)[:, 0, :, 0]
    mine = values_at(maps, places)
    assert torch.allclose(mine, expected, atol=1e-12)
    weight = torch.randn(3, 50, generator=generator(2), dtype=torch.float64)
    gradients = [torch.autograd.grad((values * weight).sum(), maps)[0] for values in (mine, expected)]
    assert torch.allclose(*gradients, atol=1e-12)


def test_points_are_where_a_mask_is_uncertain() -> None:
    x = torch.arange(32.0)
    logits = (x[None] - 16).expand(2, 32, 32)  # uncertain along a vertical line
    places = sample_points(logits, POINTS, generator())
    assert places.shape == (2, 400, 2) and float(places.min()) >= 0 and float(places.max()) < 1
    near = (places[..., 0] - 16.5 / 32).abs()
    drawn = torch.rand(2, 1200, 2, generator=generator())
    for b in range(2):
        nearest = np.argsort(np.abs(_plain_values(logits[b], drawn[b])))[:300]
        assert {tuple(p) for p in drawn[b][nearest].tolist()} == {tuple(p) for p in places[b, :300].tolist()}
    assert float(near[:, :300].median()) < 0.1 < float(near[:, 300:].median())
    assert torch.equal(places, sample_points(logits, POINTS, generator()))


def test_mask_losses_are_the_plain_ones() -> None:
    logits = 3 * torch.randn(4, 16, 16, generator=generator())
    truth = torch.rand(4, 24, 30, generator=generator(1)) > 0.6
    truth[3] = False
    found = mask_losses(logits, truth, POINTS, generator(2))
    places = sample_points(logits, POINTS, generator(2))
    for b in range(4):
        p = 1 / (1 + np.exp(-_plain_values(logits[b], places[b])))
        t = _plain_values(truth[b].float(), places[b])
        bce = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
        assert float(found.mask_B[b]) == pytest.approx(bce, rel=1e-4)
        dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
        assert float(found.dice_B[b]) == pytest.approx(dice, rel=1e-4)


def _plain_values(map_hw: Tensor, places: Tensor) -> Any:
    grid = 2 * places[None, :, None] - 1
    return functional.grid_sample(map_hw[None, None], grid, align_corners=False)[0, 0, :, 0].double().numpy()


def test_nothing_of_nothing_is_no_dice_loss() -> None:
    nothing, all_of_it = torch.zeros(1, 9), torch.ones(1, 9)
    assert float(dice_loss(nothing, nothing)) == 0.0
    assert float(dice_loss(all_of_it, all_of_it)) == 0.0
    assert float(dice_loss(all_of_it, nothing)) == pytest.approx(0.9)


def test_text_loss_is_the_mean_over_tokens() -> None:
    logits, ids = torch.randn(5, 11, generator=generator()), torch.tensor([3, 0, 10, 7, 7])
    plain = np.mean([-float(logits[t].log_softmax(-1)[ids[t]]) for t in range(5)])
    assert float(text_loss(logits, ids)) == pytest.approx(plain, rel=1e-6)


def test_overlap_of_hand_drawn_masks() -> None:
    mask = torch.zeros(3, 4, 4, dtype=torch.bool)
    truth = mask.clone()
    mask[0, 0, :2] = truth[0, 0, 1:3] = True
    mask[1, 0, 0] = True
    assert overlap(mask, truth).tolist() == pytest.approx([1 / 3, 0, 1])


def test_the_rate_rises_and_falls_as_a_cosine() -> None:
    assert share_of_rate(0.025, 0.05) == pytest.approx(0.5)
    assert share_of_rate(0.05, 0.05) == pytest.approx(1.0)
    assert share_of_rate(0.525, 0.05) == pytest.approx(0.5)
    assert share_of_rate(1.0, 0.05) == pytest.approx(0.0)
    assert share_of_rate(0.0, 0.0) == 1.0


# ---------------------------------------------------------------- what a step learns from


def test_an_epoch_holds_every_sentence_once() -> None:
    known = [[0, 2, 5], [], [1], list(range(9))]
    steps = steps_of(known, 4, 3, (0, 1))
    seen = sorted((g.video, e) for step in steps for g in step for e in g.expressions)
    assert seen == [(v, e) for v, own in enumerate(known) for e in own]
    assert all(sum(len(g.expressions) for g in step) <= 4 for step in steps)
    assert all(len(g.expressions) <= 3 for step in steps for g in step)
    assert steps == steps_of(known, 4, 3, (0, 1)) != steps_of(known, 4, 3, (0, 2))


@pytest.mark.parametrize(
    ("name", "own"),
    [("sa2va", {}), ("sa2va_i", {}), ("frame_tokens", {}), ("svac", {}), ("sasasa2va", {}), ("vrs_hq", {})],
)
def test_supervised_frames_are_shown_whole_and_decoded(name: str, own: dict[str, Any]) -> None:
    settings = settings_of(load_config(ROOT / "config.yaml"), "mevis").prompts["seg"][name]
    plan = VARIANTS[name].plan(120, settings, ())
    learnt = supervised(plan, None, 3, np.random.default_rng(0))
    assert len(learnt) == 3 and learnt == sorted(learnt)
    assert all(d in plan.decodes and (d.frame,) in plan.images for d in learnt)
    assert {d.frame for d in supervised(plan, [learnt[0].frame], 3, None)} == {learnt[0].frame}
    assert supervised(plan, [], 3, None) == []


# ---------------------------------------------------------------- a training


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seg_training")
    make_inputs(folder, seg_config(folder))
    return folder


@pytest.fixture
def config(place: Path) -> Callable[..., Config]:
    """A config in the common place, its trainings removed."""
    shutil.rmtree(folder_of(seg_config(place)), ignore_errors=True)
    return lambda **training: seg_config(place, **training)


def folder_of(config: Config) -> Path:
    return Layout.of(config, "tiny", "train").folder(TRAIN_SEG)


def model_of(config: Config) -> SegModel:
    weights = find_weights(config, "tiny", "seg")
    assert isinstance(weights.model, SegModelEntry)
    return load_seg_model(weights.path, weights.model, "cpu", "float32")


def learner_of(config: Config, model: SegModel) -> Learner:
    own = settings_of(config, "tiny")
    return Learner(model, own.prompts["seg"], own.seg_training)


PARTS: dict[str, Callable[[SegModel], list[torch.nn.Module]]] = {
    "language": lambda model: [model.side.decoder, model.side.head],
    "vision": seeing,
    "projection": lambda model: [model.text_hidden_fcs],
    "decoder": lambda model: [model.sam2.sam_mask_decoder],
    "image_encoder": lambda model: [model.sam2.image_encoder],
}


@pytest.mark.parametrize("chosen", ["language", "vision", "projection", "decoder", "image_encoder"])
def test_a_step_changes_what_is_trained_and_nothing_else(config: Callable[..., Config], chosen: str) -> None:
    trained = {**dict.fromkeys(PARTS, False), "language": "none", chosen: "all" if chosen == "language" else True}
    own = config(trained=trained)
    model = model_of(own)
    weights = TrainedWeights(model, settings_of(own, "tiny").seg_training)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    task = task_of(own, weights)
    task.step(_clock(), 0.0)
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    modules = {id(part) for module in PARTS[chosen](model) for part in module.modules()}
    allowed = {
        f"{path}.{name}"
        for path, module in model.named_modules()
        if id(module) in modules
        for name, _ in module.named_parameters(recurse=False)
    }
    assert changed and changed <= allowed


def _clock() -> Any:
    from stages.training.clock import Clock

    return Clock()


def task_of(config: Config, weights: TrainedWeights) -> Any:
    from stages.core.state.cache import Stamp
    from stages.prompting.seg.training.task import SegTask
    from stages.training.processes import World

    clips = Clips([train_seg.open_part(seg_job(config), "tiny/train")])
    return SegTask(Stamp("train_seg", 1, {}), weights, learner_of(config, weights.model), clips, None, "cpu", World())


def test_merged_adapters_are_the_model_with_them(
    config: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so is the exported checkpoint, read again, in one file or several."""
    from stages.prompting.seg.training.export import OVERLAY, export

    own = config(lora={"targets": ["all-linear"]})
    model = model_of(own)
    weights = TrainedWeights(model, settings_of(own, "tiny").seg_training)
    with torch.no_grad():
        for name, parameter in weights.named.items():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator(len(name))))
    images = [np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8) for i in range(2)]

    def tokens(of: SegModel) -> Tensor:
        of.eval()
        with torch.no_grad():
            [state] = of.states(of.encode(images), ["<image>\nPlease segment the red square."], ["It is [SEG]."])
            return torch.cat([state.flatten(), of.project(state).flatten()])

    untouched = tokens(model_of(own))
    apart = tokens(model)
    weights.merge()
    assert not any("lora" in name for name, _ in model.named_parameters())
    merged = tokens(model)
    given = find_weights(own, "tiny", "seg")
    assert isinstance(given.model, SegModelEntry)
    export(model, given.path, given.model, "micro", tmp_path / "model", tmp_path / "model")
    entry = yaml.safe_load((tmp_path / "model" / OVERLAY).read_text())["presets"]["micro"]["models"]["seg"]
    again = load_seg_model(tmp_path / "model", SegModelEntry.model_validate(entry), "cpu", "float32")
    assert float((apart - untouched).abs().max()) > 1e-2
    assert float((apart - merged).abs().max()) <= 1e-5
    assert float((merged - tokens(again)).abs().max()) <= 1e-5
    assert same(dict(model.state_dict()), dict(again.state_dict()))
    monkeypatch.setattr("stages.prompting.seg.training.export.SHARD_BYTES", 4 << 20)
    export(model, given.path, given.model, "micro", tmp_path / "parts", tmp_path / "parts")
    assert len(list((tmp_path / "parts").glob("model-*-of-*.safetensors"))) > 2
    again = load_seg_model(tmp_path / "parts", given.model, "cpu", "float32")
    assert same(dict(model.state_dict()), dict(again.state_dict()))


def test_rows_of_a_joint_projection_find_their_way_back() -> None:
    from stages.prompting.seg.checkpoint.origins import grouped, third

    joint = torch.randn(24, 5, generator=generator())
    for takes in ([third(i) for i in range(3)], [grouped(part, 4, 2) for part in "qkv"]):
        back = torch.empty_like(joint)
        for take in takes:
            back[take(torch.arange(24))] = take(joint)
        assert torch.equal(back, joint)


@pytest.mark.parametrize("held", [False, True])
def test_a_decoder_of_a_sam2_beside_is_stored_too(tmp_path: Path, held: bool) -> None:
    """Whether the checkpoint held none of it, or its cross-attention alone."""
    from stages.micro.training.seg.evaluate import load_model
    from stages.micro.training.seg.store import entry_of, save_seg_model
    from stages.micro.training.seg.training import attentions_of, frozen_sam2, untrained
    from stages.prompting.seg.checkpoint.loading import text_hidden_fcs
    from stages.prompting.seg.training.export import export

    mllm, processor = untrained(0)
    attentions = attentions_of(frozen_sam2().sam_mask_decoder) if held else None
    save_seg_model(mllm, text_hidden_fcs(128, 256), attentions, processor, tmp_path / "given")
    entry = entry_of(tmp_path / "given")
    model = load_model(tmp_path / "given")
    assert entry.decoder == ("sam_mask_decoder_attention" if held else None)
    assert same(dict(model.sam2.state_dict()), dict(frozen_sam2().state_dict()))
    with torch.no_grad():
        model.sam2.sam_mask_decoder.iou_token.weight += 1
    export(model, tmp_path / "given", entry, "micro", tmp_path / "made", tmp_path / "made")
    assert entry_of(tmp_path / "made").decoder == "sam_mask_decoder"
    again = load_model(tmp_path / "made")
    stored, loaded = ({n: t for n, t in m.state_dict().items() if "untouched" not in n} for m in (model, again))
    assert same(stored, loaded)


def test_sentences_together_learn_as_each_alone(config: Callable[..., Config]) -> None:
    own = config()
    model = model_of(own)
    seen = model.encode([np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)])
    requests = [
        f"<image>\nPlease segment the {words}." for words in ("red square", "blue thing that moves left", "cat")
    ]
    together = force(model, seen, requests, "It is [SEG].", share=True)
    for request, one in zip(requests, together, strict=True):
        [alone] = force(model, seen, [request], "It is [SEG].", share=False)
        assert torch.equal(one.ids_T, alone.ids_T)
        assert torch.allclose(one.states_nD, alone.states_nD, atol=1e-5)
        assert torch.allclose(one.logits_TV, alone.logits_TV, atol=1e-4)


def test_layers_computed_twice_give_the_same_gradients(config: Callable[..., Config]) -> None:
    found = []
    for twice in (False, True):
        own = config(gradient_checkpointing=twice, lora={"dropout": 0.0})
        weights = TrainedWeights(model_of(own), settings_of(own, "tiny").seg_training)
        weights.train()
        clips = Clips([train_seg.open_part(seg_job(own), "tiny/train")])
        sums = learner_of(own, weights.model).losses(clips.open(0), [0, 1], Draws((0,)))
        sum(sums[name] for name in LOSSES).backward()  # type: ignore[union-attr]
        found.append({name: p.grad for name, p in weights.named.items() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert any("lora" in name for name in found[0])
    for name, gradient in found[0].items():
        assert torch.allclose(gradient, found[1][name], atol=1e-5), name


def test_an_untrained_model_learns_some_frames_by_heart(config: Callable[..., Config]) -> None:
    own = config(
        epochs=30,
        warm_up=0.0,
        learning_rate=5e-3,
        trained={"language": "all", "vision": True},
        validate_on="tiny/train",
    )
    train_seg.run(seg_job(own))
    history = json.loads((folder_of(own) / "training.json").read_text())["epochs"]
    assert history[-1]["validation"]["iou"] > history[0]["validation"]["iou"] + 0.2
    assert history[-1]["validation"]["sentences"] == 6


def in_processes(
    config: Config, folder: Path, program: list[str], processes: int = 1
) -> "subprocess.CompletedProcess[str]":
    file = folder / "whole.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(torchrun if processes > 1 else []), *program]
    command += ["--config", str(file), "--dataset", "tiny", "--split", "train"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_killed_training_ends_in_the_same_bytes(config: Callable[..., Config], tmp_path: Path) -> None:
    own = config(validate_on="tiny/valid_u", validation_sentences=3)
    train_seg.run(seg_job(own))
    made = sorted(p.relative_to(folder_of(own)) for p in (folder_of(own) / "model").iterdir())
    expected = {name: (folder_of(own) / name).read_bytes() for name in (*made, Path("training.json"))}
    last = read(folder_of(own))
    assert Path("model/model.safetensors") in expected and last is not None and last.clock.epoch == 2
    shutil.rmtree(folder_of(own))
    done = in_processes(own, tmp_path, ["-c", KILLER, "1", "stages.train_seg"])  # in the middle of the first epoch
    assert done.returncode == -9, done.stderr
    killed = read(folder_of(own))
    assert killed is not None and (killed.clock.epoch, killed.clock.epoch_step) == (0, 1)
    assert not (folder_of(own) / "training.json").exists()
    train_seg.run(seg_job(own))
    assert {name: (folder_of(own) / name).read_bytes() for name in expected} == expected
    found = read(folder_of(own))
    assert found is not None and same(dict(found.parts), dict(last.parts))
    stamp = (folder_of(own) / "model/model.safetensors").stat().st_mtime_ns
    train_seg.run(seg_job(own))  # complete
    assert (folder_of(own) / "model/model.safetensors").stat().st_mtime_ns == stamp


def test_two_processes_train_as_one(config: Callable[..., Config], tmp_path: Path) -> None:
    """Sums in another order: close, and not equal."""
    own = config(epochs=1)
    train_seg.run(seg_job(own))
    alone = read(folder_of(own))
    shutil.rmtree(folder_of(own))
    done = in_processes(own, tmp_path, ["-m", "stages.train_seg"], processes=2)
    assert done.returncode == 0, done.stderr
    together = read(folder_of(own))
    assert alone is not None and together is not None
    theirs = together.parts["weights"]
    assert alone.parts["weights"].keys() == theirs.keys()
    for name, tensor in alone.parts["weights"].items():
        assert torch.allclose(tensor, theirs[name], atol=2e-4), name
    assert (folder_of(own) / "model" / "model.safetensors").is_file()


def test_wrong_input_is_named(config: Callable[..., Config]) -> None:
    with pytest.raises(ValueError, match=r"seg_training.lora.targets: \['nonesuch'\]"):
        train_seg.run(seg_job(config(lora={"targets": ["nonesuch"]})))
    with pytest.raises(ValueError, match="tiny/valid has no ground truth"):
        train_seg.run(seg_job(config(also=["tiny/valid"])))
    with pytest.raises(ValueError, match="nothing is trained"):
        config(trained={"language": "none", "projection": False, "decoder": False})
