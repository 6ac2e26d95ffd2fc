"""The list behind the table SELECTORS: every selector architecture. One line adds one."""

from stages.core.tables import SelectorKind
from stages.selectors import course, soc, sola

LISTED: tuple[SelectorKind, ...] = (sola.KIND, soc.KIND, course.KIND)
