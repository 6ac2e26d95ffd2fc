"""The list behind the table SELECTORS: every selector architecture. One line adds one."""

from stages.core.tables import SelectorKind
from stages.selectors import soc, sola

LISTED: tuple[SelectorKind, ...] = (sola.KIND, soc.KIND)
