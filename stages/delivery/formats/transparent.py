"""Videos of the object alone, transparent around it: ProRes 4444 for editors, VP9 for browsers."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from stages.core.media.video_writer import Encoding, VideoWriter
from stages.delivery.clip import add_sound_of, rate_of
from stages.delivery.format import Format, Order, Take
from stages.delivery.shots import Bool, Image3, Shot

# Profile 4 is 4444; alpha in 16 bits is stored without loss. Vendor: what Apple's programs ask for.
PRORES_4444 = Encoding(
    container="mov",
    codec="prores_ks",
    pixels="yuva444p10le",
    options={"profile": "4", "vendor": "apl0", "alpha_bits": "16"},
    sounds=frozenset(("aac", "mp3", "ac3", "eac3", "alac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be")),
)
# alt-ref frames would come out of order, and libvpx has none with alpha.
VP9_ALPHA = Encoding(
    container="webm",
    codec="libvpx-vp9",
    pixels="yuva420p",
    options={"deadline": "good", "cpu-used": "5", "b": "0", "row-mt": "0", "auto-alt-ref": "0", "lag-in-frames": "0"},
    metadata={"alpha_mode": "1"},
    sounds=frozenset(("opus", "vorbis")),
    sound="libopus",
)
MARGIN = 8  # pixels around the object that keep their colours, so that coding leaves no dark fringe


@contextmanager
def write_transparent(path: Path, order: Order, encoding: Encoding, crf: int | None) -> Iterator[Take]:
    """A video at the source's size and times, with its sound: the object, and nothing of what is around it."""
    base, rate = order.segmented.source.time_base, rate_of(order.segmented)
    with VideoWriter(path, encoding, base, crf=crf, rate=rate) as video:
        add_sound_of(order.segmented, video)

        def take(shot: Shot) -> None:
            mask_HW = shot.union(order.sentence)
            video.write(cut_out(shot.image_HW3, mask_HW, MARGIN), shot.start, shot.end)

        yield take


def cut_out(image_HW3: Image3, mask_HW: Bool, margin: int) -> Image3:
    """RGBA (H, W, 4) of the object: alpha 255 on the mask, 0 elsewhere; black further than `margin` pixels from it."""
    alpha_HW = mask_HW.view(np.uint8) * np.uint8(255)
    kept_HW = cv2.dilate(alpha_HW, np.ones((2 * margin + 1,) * 2, np.uint8)) if margin else alpha_HW
    return np.dstack([np.where(kept_HW[..., None] > 0, image_HW3, np.uint8(0)), alpha_HW])


PRORES = Format(
    "prores",
    "the object on transparency, ProRes 4444 (Final Cut, Premiere, Resolve, After Effects)",
    ".prores.mov",
    partial(write_transparent, encoding=PRORES_4444, crf=None),
)
WEBM = Format(
    "webm",
    "the object on transparency, VP9 (browsers, OBS)",
    ".alpha.webm",
    partial(write_transparent, encoding=VP9_ALPHA, crf=20),
)
