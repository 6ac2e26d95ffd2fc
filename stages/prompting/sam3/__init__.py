"""Source `sam3`: SAM3's instances of what each sentence names, as masks on some frames, or as SAM3's own tracks."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stages.core.config.loading import dataset_of
from stages.core.records import Split, Video
from stages.core.run.cli import Job
from stages.core.state.fingerprints import expressions_digest
from stages.core.state.weights import find_weights
from stages.core.tables import PromptsOf, PromptSource
from stages.core.work import Load, Work
from stages.prompting.sam3.settings import Sam3Prompts

if TYPE_CHECKING:
    from stages.prompting.sam3.naming import Namer

ROLE = "sam3"
PHRASES = 1  # version of how sentences become phrases: another one makes prompts anew

log = logging.getLogger(__name__)


def _ingredients(job: Job, split: Split, video: Video) -> Mapping[str, Any]:
    settings = job.settings.prompts[SOURCE.name]
    said = {"expressions": expressions_digest(video), "phrases": PHRASES}
    if settings.embeddings is None:
        return said
    from stages.prompting.sam3.vectors import read_vectors, vectors_digest

    return {**said, "vectors": vectors_digest(read_vectors(settings.embeddings, video))}


def _load(job: Job, split: Split, device: str) -> PromptsOf:
    from stages.prompting.sam3.network import load
    from stages.prompting.sam3.prompter import Sam3Prompter

    settings = job.settings.prompts[SOURCE.name]
    if settings.follow == "own" and not dataset_of(job.config, job.dataset).selector.is_none:
        log.warning(
            "prompts.sam3.follow: own gives tracks without object tokens: a selector's scores of them mean nothing"
        )
    weights = find_weights(job.config, job.dataset, ROLE)
    network, own = load(weights.path, settings, device, job.settings.run.batches.pairs)
    job.batches["pairs"] = network.batches
    return Sam3Prompter(network, _namer(job, settings, device), settings, own).prompts


def _namer(job: Job, settings: Sam3Prompts, device: str) -> "Namer":
    """Who names concepts: the MLLM of an entry of `evidence`, which is loaded when it is first asked, or the rule."""
    from stages.prompting.sam3.naming import ByRule

    if settings.phrases_by is None:
        return ByRule()
    from stages.evidence.judging.model import Model
    from stages.prompting.sam3.by_mllm import ByMllm

    entry = job.settings.evidence[settings.phrases_by]
    return ByMllm(Model(job, entry, device), settings.phrase_frames, entry.frame_side)


# A frame through the encoder at 1008 × 1008, and a phrase in it: operations counted with transformers' Sam3Model, traffic and
# launches guessed from models of such a size.
FRAME, PHRASE = Work(4831, 40, 900), Work(247, 2.5, 600 / 8)
PHRASES = 2  # of a sentence: a core concept and a broader one


def _work(settings: Any, models: Any, n_frames: int, n_expressions: int) -> list[Load]:
    n_shown = len(settings.frames.select(n_frames)) + (n_frames if settings.follow == "own" else 0)
    frame, phrase = (work._replace(precision=settings.precision) for work in (FRAME, PHRASE))
    return [Load(frame, n_shown), Load(phrase, n_shown * PHRASES * n_expressions)]


SOURCE = PromptSource(
    name="sam3",
    settings=Sam3Prompts,
    roles=(ROLE,),
    needs_truth=False,
    filtered=True,
    ingredients=_ingredients,
    load=_load,
    asks_by=lambda settings: settings.phrases_by,
    whole=lambda settings: settings.follow == "own",
    work=_work,
)
