"""The micro text encoder's training: sentences with their meaning, states, resuming, probes, and the pipeline's loader."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from support.kernel import same, train_and_die

from stages.micro.text import make_text
from stages.micro.tokenizer import qwen_tokenizer, roberta_tokenizer
from stages.micro.training.card import write_card
from stages.micro.training.sentences import (
    ASPECT_WORDS,
    CLAUSE_NAMES,
    fewer_words,
    put_in_words,
    random_looks,
    random_sentence,
)
from stages.micro.training.text import __main__ as command
from stages.micro.training.text.probes import QUESTIONS, held_out_sentences, probe, probe_figures, rows_of
from stages.micro.training.text.recipe import Recipe
from stages.micro.training.text.states import encode_state, family
from stages.micro.training.text.training import TextTraining, mean_words, save_model
from stages.selectors.text_encoder import TransformersTextEncoder
from stages.training import checkpoint, curve
from stages.training.clock import Clock, Length
from stages.training.loop import train
from stages.worlds.shapes.clauses import CLAUSES, RELATIONS
from stages.worlds.shapes.grammar import LOOKS_WORDS, NOUNS, NUMBERS, wordings_of
from stages.worlds.shapes.meaning import AMONG, Description, Looks

SMALL = Recipe(batch=8, warm_up_steps=1)


def grammar_words() -> set[str]:
    """Every word that a sentence of `shapes` can hold."""
    templates = [t for name in (None, *CLAUSES, *RELATIONS, *AMONG) for pair in wordings_of(name) for t in pair]
    words = {word for t in templates for word in re.findall("[a-z]+", re.sub(r"\{.*?\}", "", t))}
    nouns = [*ASPECT_WORDS["shape"], *NOUNS]
    words |= {*nouns, *(n + ("es" if n.endswith("ss") else "s") for n in nouns), *NUMBERS.values(), "and"}
    for aspect in ("size", "colour", "texture"):
        words |= {way for word in ASPECT_WORDS[aspect] for way in LOOKS_WORDS.get(word, (word,))}
    return words


@pytest.mark.parametrize("make", [roberta_tokenizer, qwen_tokenizer])
def test_every_word_of_the_grammar_is_one_token(make):
    tokenizer = make(512)
    assert {w for w in grammar_words() if len(tokenizer.encode(f" {w}", add_special_tokens=False)) != 1} == set()


def test_sentences_say_where_their_nouns_are():
    rng = np.random.default_rng(0)
    landmarks = joined = 0
    for _ in range(300):
        worded = random_sentence(rng)
        assert len([n for n in worded.nouns if not n.landmark]) == len(worded.parts) <= 2
        for noun in worded.nouns:
            words = worded.text[noun.start : noun.stop].split()
            said = [noun.looks.size, noun.looks.colour, noun.looks.texture]
            ways = [LOOKS_WORDS.get(w, (w,)) for w in said if w]
            assert len(words) == len(ways) + 1 and all(w in way for w, way in zip(words, ways)), worded
            assert words[-1].startswith(noun.looks.shape or NOUNS), worded
            landmarks += noun.landmark
        assert (worded.number > 1) == any(f" {n} " in f" {worded.text} " for n in NUMBERS.values()), worded
        joined += len(worded.parts) == 2
    assert landmarks > 20 and joined > 10


def test_fewer_words_are_some_of_them():
    rng = np.random.default_rng(1)
    looks = Looks("small", "red", "striped", "star")
    for _ in range(50):
        less = fewer_words(rng, looks)
        assert 1 <= less.n_words <= 4
        assert all(getattr(less, a) in (None, getattr(looks, a)) for a in ASPECT_WORDS)
    assert fewer_words(rng, Looks()) == Looks() and random_looks(rng).n_words >= 1


def test_states_hold_what_is_said_and_not_how():
    rng = np.random.default_rng(0)
    star, bar = Looks("small", "red", None, "star"), Looks("large", "blue", None, "bar")  # little, big
    meanings = [
        [Description(star)],
        [Description(bar)],
        [Description(star, "left of", bar)],
        [Description(bar, "left of", star)],
        [Description(star, "spins"), Description(bar)],
        [Description(star), Description(bar, "spins")],
    ]
    states = {}
    for i, parts in enumerate(meanings):
        ways = [put_in_words(rng, parts, 1) for _ in range(12)]
        assert len({way.text for way in ways}) > 1
        assert len({encode_state(way).tobytes() for way in ways}) == 1
        states[i] = encode_state(ways[0]).tobytes()
    assert len(set(states.values())) == len(meanings)
    assert encode_state(put_in_words(rng, meanings[0], 2)).tobytes() != states[0]
    assert len(set(CLAUSE_NAMES)) == len(CLAUSE_NAMES) and {*CLAUSES, *RELATIONS, *AMONG} == set(CLAUSE_NAMES)


def test_families_differ_little():
    rng = np.random.default_rng(3)
    apart = []
    for _ in range(40):
        first, *others = family(rng, 4)
        apart += [int((encode_state(first) != encode_state(other)).sum()) for other in others]
    assert 0 in apart and 2 in apart and np.mean(np.array(apart) <= 6) > 0.6


def test_steps_lower_the_loss():
    training = TextTraining(SMALL, 0)
    losses = [training.step(Clock(step), 0.0)["loss"] for step in range(25)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_resume_equals_an_uninterrupted_training(tmp_path, monkeypatch):
    monkeypatch.setattr("stages.training.loop.CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(TextTraining, "log_every", 2)
    length = Length(steps=5)
    whole = TextTraining(SMALL, 3)
    train(whole, length, tmp_path / "whole")
    train_and_die(TextTraining(SMALL, 3), length, tmp_path / "cut", 3)
    resumed = TextTraining(SMALL, 3)
    assert checkpoint.read(tmp_path / "cut").clock.step == 3
    train(resumed, length, tmp_path / "cut", resume=True)
    trained = dict(whole.model.state_dict())
    assert same(trained, dict(resumed.model.state_dict()))
    start = make_text(3)[0].embeddings.word_embeddings.weight
    assert not torch.equal(trained["embeddings.word_embeddings.weight"], start)
    for folder in ("whole", "cut"):
        records = [json.loads(line) for line in (tmp_path / folder / curve.FILE).read_text().splitlines()]
        assert [r["step"] for r in records] == [2, 4] and {"loss", "accuracy"} <= records[0].keys()


def test_resume_refuses_another_training_damage_and_nothing(tmp_path):
    train(TextTraining(SMALL, 3), Length(steps=1), tmp_path)
    with pytest.raises(ValueError, match="another recipe or seed"):
        train(TextTraining(dataclasses.replace(SMALL, temperature=0.5), 3), Length(steps=1), tmp_path, resume=True)
    assert command.main(["--out", str(tmp_path), "--steps", "1", "--scenes", "3"]) == 2, "it is not overwritten"
    file = tmp_path / checkpoint.FILE
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match="start again without --resume"):
        train(TextTraining(SMALL, 3), Length(steps=1), tmp_path, resume=True)
    with pytest.raises(ValueError, match="does not exist"):
        train(TextTraining(SMALL, 3), Length(steps=1), tmp_path / "nothing", resume=True)


def test_the_command_writes_a_folder_that_the_pipeline_reads(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("stages.micro.training.text.probes.PROBE_STEPS", 2)
    out = tmp_path / "out"
    assert command.main(["--out", str(out), "--steps", "1", "--scenes", "12"]) == 0
    scores = json.loads((out / "scores.json").read_text())
    assert json.loads(capsys.readouterr().out).keys() == scores.keys() == {"trained", "untrained"}
    assert "1 steps" in (out / "card.md").read_text()
    assert command.main(["--evaluate", str(out), "--scenes", "12"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == scores["trained"].keys()
    assert command.main(["--evaluate", str(out), "--scenes", "1"]) == 2
    assert "give --scenes a larger number" in capsys.readouterr().err


def test_the_pipeline_reads_what_was_trained(tmp_path):
    training = TextTraining(SMALL, 0)
    training.step(Clock(), 0.0)
    save_model(training, tmp_path)
    encoder = TransformersTextEncoder(tmp_path, 128, "cpu")
    text = "the small red star that spins"
    features = encoder.encode(text, "here")
    with torch.inference_mode():
        mean_D = mean_words(training.model.eval(), training.tokenizer, [text, "the bar"])[0]
    np.testing.assert_allclose(features.mean_D, mean_D.numpy(), atol=5e-3)  # half precision on disk
    assert features.words_WD.shape == (10, 64)  # t h e, five words, <s> and </s>
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 2e6


def test_probes_read_what_is_there():
    generator = torch.Generator().manual_seed(0)
    answers = [["red", "green", "blue"][i % 3] for i in range(120)]
    code_B3 = torch.eye(3)[torch.arange(120) % 3]
    words_BWD = 0.3 * torch.randn(120, 4, 8, generator=generator)
    words_BWD[:, 1, :3] += 3 * code_B3
    words_BWD[::2, 3] = float("nan")
    assert probe(words_BWD, answers, 80) > 0.9
    assert probe(words_BWD[:, :1], answers, 80) < 0.7
    assert probe(words_BWD[:, 1:2], [None if a == "blue" else a for a in answers], 80) > 0.9


def test_probe_figures_and_card(tmp_path, monkeypatch):
    monkeypatch.setattr("stages.micro.training.text.probes.PROBE_STEPS", 10)
    taught, tested = held_out_sentences(6)
    assert taught and tested and not {s.text for s in taught} & {s.text for s in tested}
    training = TextTraining(SMALL, 0)
    save_model(training, tmp_path)
    figures = probe_figures(tmp_path, 6)
    assert set(figures) == {f"{kind}_{q}" for kind in ("most_common", "mean", "words") for q in QUESTIONS}
    assert all(0 <= v <= 1 or np.isnan(v) for v in figures.values())  # NaN: nobody was asked
    template = Path(command.__file__).with_name("card.md")
    write_card(tmp_path, template, training, Clock(), rows_of(figures, figures))
    assert f"| colour | {figures['most_common_colour']} |" in (tmp_path / "card.md").read_text()
