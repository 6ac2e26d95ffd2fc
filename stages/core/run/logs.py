"""Where our log lines go: to standard error, unless the program around us takes log lines itself.

The root logger is not ours and stays as it is. So libraries log from WARNING on, as is Python's default.
"""

import logging
import sys

FORMAT, DATE_FORMAT = "%(asctime)s %(levelname).1s %(name)s: %(message)s", "%H:%M:%S"


class Lines(logging.Formatter):
    """Lines of what `python -m` runs are its module's, which Python calls "__main__"."""

    def format(self, record: logging.LogRecord) -> str:
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        if record.name == "__main__" and spec is not None:
            record = logging.makeLogRecord({**vars(record), "name": spec.name})
        return super().format(record)


def set_up_logging() -> None:
    """Lets our lines through from INFO on, and prints them where no other handler does."""
    for logger in our_loggers():
        if not logger.hasHandlers():
            handler = logging.StreamHandler(sys.stderr)
            handler.setFormatter(Lines(FORMAT, DATE_FORMAT))
            logger.addHandler(handler)
            logger.propagate = False  # a library's first `logging.info` gives the root logger a handler too
        logger.setLevel(logging.INFO)


def our_loggers() -> list[logging.Logger]:
    """The package's logger, and "__main__" where `python -m` runs a module of ours under that name."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    is_ours = spec is not None and spec.name.partition(".")[0] == "stages"
    return [logging.getLogger(name) for name in ("stages", *(["__main__"] if is_ours else []))]


def printing_loggers() -> list[logging.Logger]:
    """The loggers whose handlers print our lines."""
    return [logger for logger in our_loggers() if logger.handlers] or [logging.getLogger()]
