"""The video with the objects marked: for people to look at."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.core.media.captions import add_note
from stages.core.media.display import shrink
from stages.core.media.drawing import resize_mask
from stages.core.media.overlays import Marked, draw_overlay
from stages.core.media.video_writer import H264, VideoWriter
from stages.delivery.clip import add_sound_of, rate_of
from stages.delivery.format import Format, Order, Take
from stages.delivery.shots import Image3, Shot


@contextmanager
def write_overlay(path: Path, order: Order) -> Iterator[Take]:
    """H.264 in MP4 at the source's size and times, with its sound."""
    source = order.segmented.source
    with VideoWriter(path, H264, source.time_base, crf=order.render.crf, rate=rate_of(order.segmented)) as video:
        add_sound_of(order.segmented, video)
        yield lambda shot: video.write(marked(shot, order), shot.start, shot.end)


def marked(shot: Shot, order: Order, longest: int | None = None, *, words: bool = True) -> Image3:
    """The frame with the sentence's objects; the sentence beside the first of them that is visible, and all scores.

    Args:
        longest: of the picture's sides, in pixels; larger frames shrink before they are drawn on.
        words: write the sentence, or why nothing is marked.
    """
    image_HW3 = shrink(shot.image_HW3, longest)
    size = (image_HW3.shape[0], image_HW3.shape[1])
    objects, label = [], order.sentence.text if order.render.captions and words else ""
    for found in order.sentence.objects:
        mask_HW = resize_mask(shot.mask(found), size)
        figure = f"{found.score:.2f}" if order.render.captions else ""
        objects.append(Marked(found.id, mask_HW, label, figure))
        if mask_HW.any():
            label = ""
    image_HW3 = draw_overlay(image_HW3, objects, order.render.opacity, order.render.font)
    note = order.sentence.note if words else ""
    return add_note(image_HW3, note, order.render.font) if note else image_HW3


OVERLAY = Format(
    "overlay", "video with the objects marked, with its sound (any player)", ".overlay.mp4", write_overlay, version=2
)
