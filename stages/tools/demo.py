"""Runs the embedded data set through every stage, and says where to look.

Takes the flags of `referee run`: --cores 2, -n. Runs for some minutes on a CPU and needs no network.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from stages.core.run.cli import build_parser, execute
from stages.core.run.starting import environment
from stages.tools.run import compose

TARGET = "shapes/valid_u"
CONTENTS = {
    "overlays/": "one video per expression",
    "metrics.json": "the figures, of a few videos; docs/results.md has those of the whole split",
    "submission.zip": "what a server would take",
}


def run(words: Sequence[str]) -> int:
    """Makes the results of the embedded data set.

    Returns:
        snakemake's exit status.
    """
    command = compose([*words, TARGET])
    assert command is not None
    status = wait_for(subprocess.Popen(command, env={"HF_HUB_OFFLINE": "1"} | environment()))
    folder = Path(command[-1])
    if status == 0 and folder.is_dir() and not {"-n", "--dry-run", "--dryrun"} & set(words):
        print(f"\nDone. Look into {folder}:", *(f"  {name:18} {what}" for name, what in CONTENTS.items()), sep="\n")
        print(f"To look at all of it in a browser: referee report {folder}")
    return status


def wait_for(process: subprocess.Popen[bytes]) -> int:
    """The exit status of a process once it ends by itself: signals are left to it."""
    previous = signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
    try:
        while True:
            try:
                status = process.wait()
                return status if status >= 0 else 128 - status
            except KeyboardInterrupt:  # the terminal sent it to snakemake too, which lets its jobs end
                continue
    finally:
        signal.signal(signal.SIGTERM, previous)


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser(__doc__)
    parser.add_argument("words", nargs="*", metavar="FLAG", help="flags of snakemake")
    asks_for_help = any(word in ("-h", "--help") for word in words)
    return execute(parser, ["--help"] if asks_for_help else ["--", *words], lambda arguments: run(arguments.words))


if __name__ == "__main__":
    raise SystemExit(main())
