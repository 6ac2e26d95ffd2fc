"""How a frame becomes GroundingDINO's input, as published: for both of its backends.

Shortest side 800, longest at most 1333, bilinear, in 8 bits. transformers' own processor rounds
the longest side otherwise (854 × 480 becomes 1333 × 749, not 1332 × 749), and by default it resizes in
another arithmetic; either moves boxes, so the size is computed here and PIL resizes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Preprocessing:
    """The values of a preprocessor_config.json.

    Attributes:
        processor: transformers' image processor over PIL.
        shortest, longest: sides in pixels, 800 and 1333 in the published models.
        mean, std: of the red, green and blue channel in 0..1.
    """

    processor: Any
    shortest: int
    longest: int
    mean: tuple[float, ...]
    std: tuple[float, ...]


def read_preprocessing(folder: Path) -> Preprocessing:
    """Reads a folder's preprocessor_config.json.

    Raises:
        ValueError: it is missing, or asks for other than the published steps.
    """
    from PIL.Image import Resampling
    from transformers import GroundingDinoImageProcessorPil

    try:
        processor = GroundingDinoImageProcessorPil.from_pretrained(folder, local_files_only=True)
    except OSError as error:
        raise ValueError(f"{folder}: has no preprocessor_config.json: fetch the one of the same model") from error
    shortest, longest = processor.size["shortest_edge"], processor.size["longest_edge"]
    steps = (processor.do_resize, processor.do_rescale, processor.do_normalize)
    if not all(steps) or processor.resample != Resampling.BILINEAR or not shortest or not longest:
        raise ValueError(
            f"{folder}/preprocessor_config.json: GroundingDINO resizes (bilinear, shortest_edge and longest_edge), "
            "rescales and normalises; this file says otherwise: take that of IDEA-Research/grounding-dino-tiny"
        )
    return Preprocessing(processor, shortest, longest, tuple(processor.image_mean), tuple(processor.image_std))


def published_size(height: int, width: int, shortest: int, longest: int) -> tuple[int, int]:
    """Height and width that the published transforms resize an image to, in pixels."""
    small, large = min(height, width), max(height, width)
    if large / small * shortest > longest:
        shortest = round(longest * small / large)
    if small == shortest:
        return height, width
    if width < height:
        return int(shortest * height / width), shortest
    return shortest, int(shortest * width / height)
