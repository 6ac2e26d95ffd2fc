"""What a linear probe reads from an encoder's word vectors and from their mean, on held-out sentences of scenes.

Each probe is multinomial logistic regression on standardised features. On means it reads one vector per
sentence; on words every word vector gives logits, and the largest of a sentence counts.

Legend: B sentences, W words, D channels, K classes.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from stages.micro.training.sentences import held_out
from stages.selectors.text_encoder import TransformersTextEncoder
from stages.worlds.shapes import Sentence, sample_scene, sample_sentences
from stages.worlds.shapes.clauses import CLAUSES, RELATIONS
from stages.worlds.shapes.meaning import kind_of

SCENES = 600  # two thirds train the probes, the others test them
MAX_TOKENS = 128
WEIGHT_DECAY = 1e-4
PROBE_STEPS, PROBE_RATE = 250, 0.05

# Question → its answer for a sentence; None = the question does not apply.
QUESTIONS: Mapping[str, Callable[[Sentence], str | None]] = {
    "colour": lambda s: s.parts[0].looks.colour or "unsaid",
    "shape": lambda s: s.parts[0].looks.shape or "unsaid",
    "landmark_colour": lambda s: None if (mark := s.parts[0].landmark) is None else mark.colour or "unsaid",
    "landmark_shape": lambda s: None if (mark := s.parts[0].landmark) is None else mark.shape,
    "kind": lambda s: kind_of(s.parts[0].clause),
    "motion": lambda s: s.parts[0].clause if s.parts[0].clause in CLAUSES else None,
    "relation": lambda s: s.parts[0].clause if s.parts[0].clause in RELATIONS else None,
    "targets": lambda s: str(len(s.referred)) if s.referred else None,
    "no_target": lambda s: "none" if not s.referred else "some",
}


def probe_figures(folder: Path, n_scenes: int = SCENES) -> dict[str, float]:
    """Accuracies by question, from means ("mean_colour") and words ("words_colour"), and of the most common answer.

    Args:
        folder: a text encoder that encode_text loads.
        n_scenes: held-out scenes whose sentences are read.

    Raises:
        ValueError: `folder` holds no text encoder.
    """
    encoder = TransformersTextEncoder(folder, MAX_TOKENS, "cpu")
    taught, tested = held_out_sentences(n_scenes)
    sentences = [*taught, *tested]
    words = [torch.from_numpy(encoder.encode(s.text, "probe").words_WD) for s in sentences]
    mean_B1D = torch.stack([words_WD.mean(0, keepdim=True) for words_WD in words])
    words_BWD = torch.nn.utils.rnn.pad_sequence(words, batch_first=True, padding_value=float("nan"))
    figures = {}
    for question, answer in QUESTIONS.items():
        answers = [answer(sentence) for sentence in sentences]
        figures[f"most_common_{question}"] = _most_common(answers, len(taught))
        figures[f"mean_{question}"] = probe(mean_B1D, answers, len(taught))
        figures[f"words_{question}"] = probe(words_BWD, answers, len(taught))
    return figures


def rows_of(figures: Mapping[str, float], untrained: Mapping[str, float]) -> list[str]:
    """Rows of the card's table: question, most common answer, then untrained and trained by means and by words."""
    rows = []
    for question in QUESTIONS:
        values = [of_encoder[f"{kind}_{question}"] for kind in ("mean", "words") for of_encoder in (untrained, figures)]
        cells = [question, figures[f"most_common_{question}"], *values]
        rows.append("| " + " | ".join(map(str, cells)) + " |")
    return rows


def held_out_sentences(n_scenes: int) -> tuple[list[Sentence], list[Sentence]]:
    """For training and for testing probes; no text is in both."""
    parts: list[list[Sentence]] = [[], []]
    for index in range(n_scenes):
        rng = held_out(0, index)
        parts[index % 3 == 2] += sample_sentences(rng, sample_scene(rng, 22, (128, 128)))
    training_texts = {sentence.text for sentence in parts[0]}
    return parts[0], [sentence for sentence in parts[1] if sentence.text not in training_texts]


def probe(features_BWD: torch.Tensor, answers: Sequence[str | None], n_taught: int) -> float:
    """Accuracy of a linear probe on the sentences from `n_taught` on, trained on those before; NaN marks padding."""
    classes = sorted({a for a in answers[:n_taught] if a is not None})
    asked = [i for i, a in enumerate(answers) if a in classes]
    label_B = torch.tensor([classes.index(str(answers[i])) for i in asked])
    taught_B = torch.tensor([i < n_taught for i in asked])
    x_BWD = features_BWD[asked]
    absent_BW = x_BWD[..., 0].isnan()
    known_ND = x_BWD[taught_B][~absent_BW[taught_B]]
    x_BWD = ((x_BWD - known_ND.mean(0)) / known_ND.std(0, correction=0).clamp(min=1e-6)).nan_to_num(0.0)
    weight_KD = _taught(x_BWD[taught_B], absent_BW[taught_B], label_B[taught_B], len(classes))
    hit_B = _logits(weight_KD, x_BWD, absent_BW).argmax(1) == label_B
    return round(float(hit_B[~taught_B].float().mean()), 4)


def _taught(x_BWD: torch.Tensor, absent_BW: torch.Tensor, label_B: torch.Tensor, n_classes: int) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        weight_KD = 0.01 * torch.randn(n_classes, x_BWD.shape[2] + 1)  # not zero: equal logits have no largest
    weight_KD.requires_grad_(True)
    optimiser = torch.optim.Adam([weight_KD], PROBE_RATE)
    for step in range(PROBE_STEPS):
        optimiser.param_groups[0]["lr"] = PROBE_RATE * (1 - step / PROBE_STEPS)
        loss = functional.cross_entropy(_logits(weight_KD, x_BWD, absent_BW), label_B)
        (loss + WEIGHT_DECAY * weight_KD.square().sum()).backward()
        optimiser.step()
        optimiser.zero_grad()
    return weight_KD.detach()


def _logits(weight_KD: torch.Tensor, x_BWD: torch.Tensor, absent_BW: torch.Tensor) -> torch.Tensor:
    logits_BWK = x_BWD @ weight_KD[:, :-1].T + weight_KD[:, -1]
    return logits_BWK.masked_fill(absent_BW[..., None], -1e9).amax(1)


def _most_common(answers: Sequence[str | None], n_taught: int) -> float:
    taught = [a for a in answers[:n_taught] if a is not None]
    if not taught:
        raise ValueError("too few held-out scenes: some question applies to no sentence; give --scenes a larger number")
    most_common = max(sorted(set(taught)), key=taught.count)
    return round(float(np.mean([a == most_common for a in answers[n_taught:] if a is not None])), 4)
