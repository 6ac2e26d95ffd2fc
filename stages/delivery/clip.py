"""What all videos that are made from a source share: its rate, and its sound."""

from fractions import Fraction

from stages.core.media.sound_copy import add_sound
from stages.core.media.video_writer import VideoWriter
from stages.delivery.segmented import Segmented


def rate_of(segmented: Segmented) -> Fraction:
    """Mean frames per second of the span; frames keep their own times."""
    source, span = segmented.source, segmented.span
    ticks = [*source.ticks, source.end]
    return len(span) / ((ticks[span.stop] - ticks[span.start]) * source.time_base)


def add_sound_of(segmented: Segmented, video: VideoWriter) -> None:
    """The sound of the span, in the video; of the whole source, where the span is all of it, to the sound's own end."""
    source, span = segmented.source, segmented.span
    if source.pictures:
        return
    length = source.seconds(span.stop) - source.seconds(span.start) if span.stop < len(source) else None
    add_sound(video, source.path, source.start + source.seconds(span.start), length)
