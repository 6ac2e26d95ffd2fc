"""The formats of outputs, one file each; docs/outputs.md says who opens them."""

from stages.delivery.format import Format
from stages.delivery.formats.coco import COCO
from stages.delivery.formats.cvat import CVAT
from stages.delivery.formats.gif import GIF
from stages.delivery.formats.labelme import LABELME
from stages.delivery.formats.masks import MASKS
from stages.delivery.formats.matte import MATTE
from stages.delivery.formats.overlay import OVERLAY
from stages.delivery.formats.rgba import RGBA
from stages.delivery.formats.sheet import SHEET
from stages.delivery.formats.times import TIMES
from stages.delivery.formats.transparent import PRORES, WEBM
from stages.delivery.formats.yolo import YOLO

LISTED: tuple[Format, ...] = (
    OVERLAY,
    MASKS,
    SHEET,
    MATTE,
    PRORES,
    WEBM,
    RGBA,
    GIF,
    COCO,
    YOLO,
    LABELME,
    CVAT,
    TIMES,
)
