"""Ingredients that several stages share: digests of expressions and annotations, upstream fingerprints."""

from collections.abc import Mapping
from typing import Any

from stages.core.digests import digest
from stages.core.records import MaskSequence, Source, Split, Video
from stages.core.state.cache import read_stamp
from stages.core.state.graph import Layout, Stage


def expressions_digest(video: Video) -> str:
    """Digest of the ids and captions of a video's expressions, in order."""
    return digest([[expression.id, expression.text] for expression in video.expressions])


def statements_digest(video: Video) -> str:
    """Digest of the ids and captions of a video's statements, in order."""
    return digest([[statement.id, statement.text] for statement in video.statements])


def annotations_digest(video: Video, annotations: Mapping[str, MaskSequence]) -> str | None:
    """Digest of a video's masks and of which expression refers to which; None without ground truth."""
    if not annotations and all(expression.annotations is None for expression in video.expressions):
        return None
    referred = {expression.id: expression.annotations for expression in video.expressions}
    return digest([referred, {key: list(masks) for key, masks in annotations.items()}])


def truth_facts(split: Split, video: Video) -> dict[str, Any]:
    """What a video's scores depend on beside the answers: all that they are compared with, and the protocol."""
    if not split.has_truth:
        return {"annotations": None, "rules": split.protocol}
    groups = [[expression.id, expression.group] for expression in video.expressions]
    masks = [split.void(video), split.foreground(video)]
    scored = split.scored_frames(video)
    return {
        "annotations": annotations_digest(video, split.annotations(video)),
        "rules": digest([split.protocol, groups, masks, None if scored is None else list(scored)]),
    }


def upstream(layout: Layout, stage: Stage, video: str, source: Source | None = None) -> str:
    """The fingerprint of the file an earlier stage left; raises CacheError naming that stage if there is none."""
    return read_stamp(layout.file(stage, video, source), stage.name).fingerprint
