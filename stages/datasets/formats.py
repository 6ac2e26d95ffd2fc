"""The list behind the table FORMATS: every layout of a data set that can be read. One line adds one."""

from stages.core.tables import Format
from stages.datasets import a2d, folder, jhmdb, long_rvos, mevis, own, ref_davis17, ref_youtube_vos, revos

LISTED: tuple[Format, ...] = (
    mevis.FORMAT,
    folder.FORMAT,
    own.FORMAT,
    ref_youtube_vos.FORMAT,
    ref_davis17.FORMAT,
    revos.FORMAT,
    long_rvos.FORMAT,
    a2d.FORMAT,
    jhmdb.FORMAT,
)
