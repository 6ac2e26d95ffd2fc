"""Our log lines, and what of a process our modules leave alone. Every case is a process of its own."""

import subprocess
import sys

from support.project import ROOT


def run(code: str) -> str:
    """What a program writes to standard error."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


SPEAK = """
import logging
from stages.core.run.logs import printing_loggers, set_up_logging
set_up_logging()
set_up_logging()
logging.info("a note of a library")  # adds a handler to the root logger where there is none
logging.warning("a warning of a library")
logging.getLogger("stages.build_tracks").info("a line of ours")
logging.getLogger("stages.build_tracks").debug("a detail of ours")
"""


def test_our_lines_are_printed_once_and_libraries_from_warnings_on() -> None:
    said = run(SPEAK + "assert printing_loggers() == [logging.getLogger('stages')]")
    assert said.count("a line of ours") == 1 and " I stages.build_tracks: a line of ours\n" in said
    assert "a warning of a library" in said
    assert "a note" not in said and "a detail" not in said


def test_a_program_around_us_keeps_its_handlers_and_gets_our_lines() -> None:
    before = "import logging\nlogging.basicConfig(format='theirs %(message)s')\nkept = list(logging.root.handlers)\n"
    after = "assert logging.root.handlers == kept and logging.root.level == logging.WARNING\n"
    said = run(before + SPEAK + after + "assert printing_loggers() == [logging.root]")
    assert said.splitlines() == ["theirs a warning of a library", "theirs a line of ours"]


def test_a_module_that_is_run_is_heard_too() -> None:
    """`python -m` calls it "__main__", whose spec says which module it is."""
    speak = "logging.getLogger('__main__').info('said by the program')"
    assert "said by the program" not in run(f"{SPEAK}\n{speak}"), "another program's own"
    spec = "import sys\nfrom importlib.util import find_spec\nsys.modules['__main__'].__spec__ = find_spec('stages.collect')\n"
    assert run(f"{spec}{SPEAK}\n{speak}").count("I stages.collect: said by the program\n") == 1


def test_importing_our_modules_changes_nothing_global() -> None:
    """Neither of Python's warnings and logging, nor of torch, nor of the sam2 package."""
    run(
        "import logging, warnings, h5py, hdf5plugin, numba, torch, torchvision, transformers, tqdm, tqdm.contrib.logging\n"
        "import sam2.sam2_image_predictor, sam2.utils.amg\n"
        "from importlib import import_module\n"
        "from sam2 import sam2_video_predictor as package\n"
        "def state():\n"
        "    root = logging.getLogger()\n"
        "    logs = [root.level, list(root.handlers), list(root.filters), logging.getLogger('stages').level]\n"
        "    return [list(warnings.filters), logs, torch._dynamo.config.recompile_limit, dict(vars(package))]\n"
        "before = state()\n"
        "for name in ('tracking.stock', 'tracking.lockstep', 'prompting.grid.automatic_masks',\n"
        "             'prompting.grounding_dino.prompter'):\n"
        "    import_module(f'stages.{name}')\n"
        "    assert state() == before, name\n"
    )
