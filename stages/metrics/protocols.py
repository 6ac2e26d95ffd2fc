"""The protocols by the names that readers give (`Split.protocol`)."""

from collections.abc import Mapping

from stages.metrics.a2d import A2D, JHMDB
from stages.metrics.davis17 import DAVIS17
from stages.metrics.long_rvos import LONG_RVOS
from stages.metrics.mevis import MEVIS
from stages.metrics.plain import UNNAMED, YTVOS
from stages.metrics.protocol import Protocol
from stages.metrics.revos import REVOS

PROTOCOLS: Mapping[str, Protocol] = {
    "mevis": MEVIS,
    "ytvos": YTVOS,
    "davis17": DAVIS17,
    "revos": REVOS,
    "long_rvos": LONG_RVOS,
    "a2d": A2D,
    "jhmdb": JHMDB,
    "none": UNNAMED,
}


def protocol_of(name: str) -> Protocol:
    """Raises ValueError where no protocol has the name."""
    if name not in PROTOCOLS:
        raise ValueError(f"no scoring protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
