"""The embedded MLLM's training: records, packed questions against the plain class, the stages, resuming, the command."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.courses import course_scene, line, stay
from support.kernel import same, train_and_die

from stages.core.run.batches import Batches
from stages.evidence.backends.transformers import load_judge
from stages.evidence.prompts import ask_of_block
from stages.evidence.questions import Picture, Question
from stages.evidence.views.compose import compose
from stages.micro.mllm import TRAINED, make_mllm
from stages.micro.training.mllm import __main__ as command
from stages.micro.training.mllm.evaluate import Pair, asked_about, figures_of
from stages.micro.training.mllm.generate import endless_record, noisy, scene_of, true_tracks
from stages.micro.training.mllm.items import Items
from stages.micro.training.mllm.packing import Words, hidden_states
from stages.micro.training.mllm.questions import about_candidate, noun_phrase, place_or_way
from stages.micro.training.mllm.recipe import MIXES, STAGES, Recipe
from stages.micro.training.mllm.records import SENTENCE, STATEMENT, UNKNOWN, VIEWS, Record, record_of
from stages.micro.training.mllm.scenes import Scenes
from stages.micro.training.mllm.training import MllmTraining, save_model
from stages.micro.training.mllm.truth import Said, labels_of
from stages.micro.training.mllm.vision import features_of, normal, patches_of
from stages.micro.training.sentences import ASPECT_WORDS
from stages.training import checkpoint
from stages.training.clock import Clock, Length
from stages.training.loop import train
from stages.worlds.shapes import sample_clip
from stages.worlds.shapes.grammar import LOOKS_WORDS

SMALL = Recipe(
    window=4, fresh=0.5, cards=6, clips=1, candidates=2, questions=3, vision_until=0.2, nouns_until=0.4, moves_until=0.6
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder whose scenes are made once for all tests."""
    return tmp_path_factory.mktemp("mllm")


@pytest.fixture(scope="module")
def record(place) -> Record:
    return MllmTraining(SMALL, 0, place).batches.draws.scenes[0]


def test_a_record_gives_what_the_views_give(place, record):
    path = place / "record.npz"
    record.save(path)
    read = Record.load(path)
    for field in dataclasses.fields(Record):
        ours, theirs = getattr(record, field.name), getattr(read, field.name)
        assert np.array_equal(ours, theirs, equal_nan=True) if isinstance(ours, np.ndarray) else ours == theirs
    scene = course_scene([line((20, 20), (100, 40)), stay((80, 90)), stay((30, 90))])
    looks = np.zeros((3, 4), np.int8)
    kept = record_of(scene, 5, looks, [("the star", SENTENCE)], np.zeros((1, 3), np.int8))
    for views in MIXES:
        composed = compose([VIEWS[name] for name in views], scene, (), 5)
        stored = kept.composition(views)
        assert _plain(stored.context) == _plain(composed.context)
        assert [_plain(stored.about(n)) for n in range(3)] == [_plain(composed.about(n)) for n in range(3)]
    alone = kept.composition(("card",), [2])
    assert _plain(alone.about(0))[1] == _plain(kept.composition(("card",)).about(2))[1], (
        "the same picture, another number"
    )


def _plain(parts):
    return [part.digest if isinstance(part, Picture) else part for part in parts]


def test_packed_questions_are_answered_as_one_by_one(place, tmp_path):
    training = MllmTraining(SMALL, 0, place)
    save_model(training.model, training.processor, tmp_path)  # in half precision, so both read the same weights
    judge = load_judge(tmp_path, "cpu", "float32", Batches(1, "questions"))
    training.model.load_state_dict(judge.model.state_dict())
    rng = np.random.default_rng(0)
    records = [training.batches.draws.scenes[0], training.batches.draws.scenes[1]]
    for views in MIXES:
        items = Items(rng)
        for record in records:
            composition = record.composition(views)
            asked = [about_candidate(rng, record, n, 3, 0.3, 0.4, 40) for n in (1, 0)]
            items.add(
                composition.context,
                [(composition.about(n), record.first + n) for n in (1, 0)],
                asked,
                record.cards_NSS3,
            )
        packed, true_R, for_R = items.pack(training.batches.words)
        with torch.inference_mode():
            features = features_of(training.model, patches_of(items.shown))
            states = hidden_states(training.model, packed, features)[packed.answer_R]
            chance = training.model.lm_head(states).log_softmax(-1)
        texts = items.texts
        assert true_R.tolist() == [one.true for one in texts]
        abouts = [(i, *of) for i, each in enumerate(items.abouts) for of in each for _ in range(3)]
        questions = [
            Question(items.contexts[i], (*parts, ask_of_block(one.text, number)[0 if speaks_for else 1]))
            for (i, parts, number), one, speaks_for in zip(abouts, texts, for_R.tolist(), strict=True)
        ]
        columns = judge.tokens.of(("yes", "no"))
        ours = torch.stack([chance[:, ids].logsumexp(-1) for ids in columns], 1)
        theirs = torch.tensor([reply.scores for reply in judge.answer(questions)])
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_cards_are_read_as_the_processor_reads_them(record):
    from PIL import Image

    _, processor = make_mllm(TRAINED, 0)
    images = [Image.fromarray(card) for card in record.cards_NSS3[:2]]
    tensors = processor.image_processor(images=images, return_tensors="pt")
    torch.testing.assert_close(normal(patches_of(record.cards_NSS3[:2])), tensors["pixel_values"], atol=1e-6, rtol=0)
    assert tensors["image_grid_thw"].tolist() == [[1, 4, 4]] * 2


def test_tracks_have_a_trackers_mistakes_and_labels_know_them():
    clip = sample_clip(np.random.default_rng(3), 20, (128, 128), 5)
    true = true_tracks(clip)
    assert (true.shares_NO.max(1) == 1).all()
    scene = scene_of(clip, true)
    t = int(np.flatnonzero(scene.visible_NT[0])[0])
    rows = np.flatnonzero(clip.masks_NTHW[int(true.shares_NO[0].argmax()), t].any(1))
    assert scene.boxes_NT4[0, t, 1] == rows[0] and scene.boxes_NT4[0, t, 3] == rows[-1] + 1
    found = [noisy(np.random.default_rng(seed), clip) for seed in range(40)]
    best = np.concatenate([of.shares_NO.max(1) for of in found])
    assert (best == 1).mean() > 0.4 and (best == 0).mean() > 0.1 and ((best > 0) & (best < 1)).mean() > 0.05
    assert all((of.boxes_NT4[..., 2:] > of.boxes_NT4[..., :2]).all() for of in found)
    said = [Said("the star", SENTENCE, (0,)), Said("the bar", STATEMENT, ()), Said("both", SENTENCE, (0, 1))]
    shares = np.array([[0.9, 0.0], [0.4, 0.0], [0.1, 0.6], [0.0, 0.0]])
    assert labels_of(said, shares).tolist() == [[1, UNKNOWN, 0, 0], [0, 0, 0, 0], [1, UNKNOWN, 1, 0]]


def test_scenes_depend_on_seed_and_index_alone(tmp_path):
    one, again, other = endless_record(3, 5), endless_record(3, 5), endless_record(4, 5)
    assert one.words == again.words and np.array_equal(one.cards_NSS3, again.cards_NSS3)
    assert one.sentences == again.sentences and one.sentences != other.sentences
    assert {SENTENCE, STATEMENT} == set(one.forms) and (one.labels_EN == 1).any() and (one.labels_EN == 0).any()
    made = []
    scenes = Scenes(tmp_path, lambda index: made.append(index) or one)
    assert scenes[2] is scenes[2] and Scenes(tmp_path, scenes.make)[2].words == one.words and made == [2]


def test_questions_are_balanced_and_true(record):
    rng = np.random.default_rng(0)
    looks = np.array([0, 1, 2, 3], np.int8)
    asked = [noun_phrase(rng, looks) for _ in range(300)]
    assert 0.4 < np.mean([one.true for one in asked]) < 0.6
    words = {aspect: ASPECT_WORDS[aspect][i] for aspect, i in zip(ASPECT_WORDS, looks)}
    others = {a: [w for w in ASPECT_WORDS[a] if w != words[a]] for a in ("colour", "texture", "shape")}
    wrong = [way for of in [*others.values(), ["large"]] for word in of for way in LOOKS_WORDS.get(word, (word,))]
    for one in asked:
        said = one.text.split()
        assert [i for i, word in enumerate(said) if word in wrong] == ([] if one.true else [one.wrong]), one
    assert not any(noun_phrase(rng, np.full(4, UNKNOWN, np.int8)).true for _ in range(20))
    right = dataclasses.replace(record, course_N82=np.tile(np.linspace([0.2, 0.5], [0.8, 0.5], 8), (1, 1, 1)))
    texts = {one.text: one.true for _ in range(200) if " le" in (one := place_or_way(rng, right, 0)).text}
    assert texts and not any(true for text, true in texts.items() if "left" in text)
    for n in range(len(record)):
        chosen = about_candidate(rng, record, n, 8, 0.25, 0.4, 9)
        assert len(chosen) == 8 and all(len(one.text.split()) <= 9 for one in chosen)


def test_every_stage_has_its_step(place):
    training = MllmTraining(SMALL, 0, place)
    seen = {}
    for step, progress in enumerate((0.1, 0.3, 0.5, 0.9)):
        seen[SMALL.stage(progress)] = training.step(Clock(step), progress)
    assert list(seen) == list(STAGES)
    for stage, values in seen.items():
        assert all(np.isfinite(value) for value in values.values()) and f"{stage}." in "".join(values)
    assert SMALL.against_share(0.3) == 0 < SMALL.against_share(0.9)


def test_steps_lower_the_loss(place):
    training = MllmTraining(dataclasses.replace(SMALL, warm_up_steps=1, fresh=0.0, cards=12), 0, place)
    losses = [training.step(Clock(step), 0.0)["vision.loss"] for step in range(16)]
    assert np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])


def test_resume_equals_an_uninterrupted_training(place, tmp_path, monkeypatch):
    monkeypatch.setattr("stages.training.loop.CHECKPOINT_SECONDS", 0.0)
    length = Length(steps=5)
    whole = MllmTraining(SMALL, 0, place)
    train(whole, length, tmp_path / "whole")
    train_and_die(MllmTraining(SMALL, 0, place), length, tmp_path / "cut", 3)
    resumed = MllmTraining(SMALL, 0, place)
    train(resumed, length, tmp_path / "cut", resume=True)
    assert checkpoint.read(tmp_path / "cut").clock.step == 5
    for ours, theirs in ((whole.model, resumed.model), (whole.averaged.module, resumed.averaged.module)):
        assert same(dict(ours.state_dict()), dict(theirs.state_dict()))
    start = make_mllm(TRAINED, 0)[0].model.visual.merger.linear_fc2.weight
    assert not torch.equal(whole.model.model.visual.merger.linear_fc2.weight, start)
    with pytest.raises(ValueError, match="another recipe or seed"):
        train(MllmTraining(dataclasses.replace(SMALL, wording=1.0), 0, place), length, tmp_path / "cut", resume=True)


def test_the_command_writes_a_model_that_the_pipeline_loads(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("stages.micro.training.mllm.recipe.Recipe", lambda: SMALL)
    out = tmp_path / "out"
    assert command.main(["--out", str(out), "--steps", "1", "--scenes", "1", "--workers", "0"]) == 0
    figures = json.loads((out / "scores.json").read_text())
    assert json.loads(capsys.readouterr().out) == figures and set(figures) == {
        f"scenes, {v}" for v in ("card+facts", "card", "facts")
    }
    assert "1 steps" in (out / "card.md").read_text() and (out / "model.safetensors").stat().st_size < 8e6
    assert command.main(["--out", str(out), "--steps", "1"]) == 2, "it is not overwritten"
    judge = load_judge(out, "cpu", "float32", Batches(4, "questions"))
    record = endless_record(9, 0)
    odds_EN = asked_about(judge, record.composition(("card", "facts")), record.first, ["the red star", "the bar"])
    assert odds_EN.shape == (2, len(record)) and np.isfinite(odds_EN).all()


def test_figures_are_areas_under_the_curve():
    def pair(sentence, true, log_odds, kind="motion", clause="stops"):
        return Pair(("v", sentence), kind, clause, true, log_odds)

    pairs = [
        pair("a", True, 2.0),
        pair("a", False, -1.0),
        pair("b", False, 0.0, "none", ""),
        pair("b", False, 1.0, "none", ""),
    ]
    figures = figures_of(pairs)
    assert figures["all"] == 1.0 and figures["target"] == 1.0 and figures["kinds"] == {"motion": 1.0, "none": None}
    assert figures_of([*pairs, pair("c", True, -3.0)])["all"] == 0.5 and figures["clauses"] == {}


def test_every_word_that_is_shown_or_asked_is_one_token(record):
    words = Words(make_mllm(TRAINED, 0)[1].tokenizer)
    texts = [
        *record.words["card"],
        *record.words["facts"],
        *(f" {s}" for s in record.sentences if "-air" not in s),
        *ask_of_block("x", 3),
    ]
    for text in texts:
        apart = text.replace(",", " ,").replace(":", " :").split()
        assert len(words(text)) == len(apart), text
