"""The command line: `referee <verb>`, one help for all, and how a command ends. `run`: test_referee_run.py."""

import ast
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.project import ROOT, referee

from stages.__main__ import MODULES, VERBS, docstring_line, overview, source_of
from stages.core.run.cli import at_least, build_parser, execute, stage_parser

HEAVY = ("torch", "transformers", "sam2", "pandas", "cv2", "av", "scipy", "snakemake")


def python(code: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


# ---------------------------------------------------------------- the table


def commands() -> set[str]:
    """Every module that has a `main`, by parsing the files."""
    names = set()
    for path in (ROOT / "stages").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body):
            names.add(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return names - {"stages.__main__"}


def test_every_module_with_a_main_is_a_verb_and_every_verb_a_module() -> None:
    assert commands() == set(MODULES.values())
    assert len(MODULES) == sum(len(group) for group in VERBS.values()), "a verb is in two groups"


def test_a_verb_is_named_as_its_module() -> None:
    """So that `python -m stages.build_tracks` and `referee build-tracks` are known from each other."""
    for verb, module in MODULES.items():
        name = module.removesuffix(".__main__").rpartition(".")[2].replace("_", "-")
        assert verb.endswith(name), (verb, module)


def test_every_main_has_the_same_form() -> None:
    for module in MODULES.values():
        text = source_of(module).read_text(encoding="utf-8")
        assert "def main(argv: Sequence[str] | None = None) -> int:" in text, module
        assert "raise SystemExit(main())" in text, module
        assert "ArgumentParser(" not in text, f"{module}: stages.core.run.cli builds the parsers"


# ---------------------------------------------------------------- help


def test_the_overview_imports_nothing() -> None:
    done = python(
        "import sys\n"
        "from stages.__main__ import main\n"
        "assert main(['--help']) == 0 and main(['--version']) == 0\n"
        "ours = [name for name in sys.modules if name.startswith('stages.') and name != 'stages.__main__']\n"
        f"heavy = [*{HEAVY!r}, 'numpy', 'pydantic', 'yaml', 'argparse']\n"
        "assert not ours and not set(heavy) & set(sys.modules), ours or set(heavy) & set(sys.modules)\n"
    )
    assert done.returncode == 0, done.stderr


def test_the_overview_names_every_verb_with_the_line_of_its_docstring() -> None:
    text = overview(width=10_000)
    for title, group in VERBS.items():
        assert f"\n\n{title}\n" in text
        for verb, module in group.items():
            tree = ast.parse(source_of(module).read_text(encoding="utf-8"))
            first = (ast.get_docstring(tree) or "").splitlines()[0]
            assert docstring_line(module) == first and re.search(rf"^  {verb} +{re.escape(first)}$", text, re.MULTILINE)
            assert first.endswith(".") and first[0].isupper() and len(first) <= 120, f"{module}: {first}"
    assert max(map(len, overview(width=80).splitlines())) <= 80


def test_help_of_every_verb_loads_no_model_library() -> None:
    """Instead of a timed assertion: what makes --help slow is never imported."""
    done = python(
        "import contextlib, io, sys\n"
        "from stages.__main__ import MODULES, main\n"
        "for verb in MODULES:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as text:\n"
        "        try: main([verb, '--help'])\n"
        "        except SystemExit as end: assert end.code == 0, (verb, end.code)\n"
        "        else: raise AssertionError(verb)\n"
        "    assert text.getvalue().startswith(f'usage: referee {verb} '), text.getvalue()\n"
        f"    heavy = set({HEAVY!r}) & set(sys.modules)\n"
        "    assert not heavy, (verb, heavy)\n"
        "    print(verb, '--config' in text.getvalue())\n"
    )
    assert done.returncode == 0, done.stderr
    configured = {verb for verb, _, has in (line.partition(" ") for line in done.stdout.splitlines()) if has == "True"}
    stages = {verb for verb, module in MODULES.items() if module.count(".") == 1}
    assert len(stages) >= 13 and stages <= configured, "every stage takes --config"


@pytest.mark.parametrize("module", ["stages.build_tracks", "stages.tools.compare", "stages.micro.training.text"])
def test_help_names_what_was_typed(module: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith(f"usage: python -m {module} "), done.stdout + done.stderr


@pytest.mark.parametrize(
    ("typed", "nearest"),
    [
        ("buld-tracks", "build-tracks"),
        ("build_track", "build-tracks"),
        ("rum", "run"),
        ("train-sam2", "train-micro-sam2"),
    ],
)
def test_an_unknown_verb_names_the_nearest(typed: str, nearest: str) -> None:
    done = referee(typed)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == f"error: no verb {typed!r}; did you mean {nearest!r}?\n"


def test_underscores_are_accepted() -> None:
    assert referee("build_tracks", "--help").stdout.startswith("usage: referee build-tracks ")


SAID = re.compile(
    r"python -m (stages(?:\.\w\w+)+)|`referee ([a-z][a-z0-9_-]*)|^(?:\t|    |)referee ([a-z][a-z0-9_-]*)", re.M
)
TEXTS = (
    "README.md",
    "Makefile",
    "config.yaml",
    "docs/*.md",
    "stages/**/*.py",
    "stages/**/*.md",
    "workflow/rules/*.smk",
)


def test_every_command_that_is_named_anywhere_is_true() -> None:
    """In messages, documents, cards and rules."""
    named = 0
    for path in (path for pattern in TEXTS for path in sorted(ROOT.glob(pattern))):
        for module, *verbs in SAID.findall(path.read_text(encoding="utf-8")):
            verb = "".join(verbs)
            known = MODULES if verb else {name.removesuffix(".__main__") for name in MODULES.values()}
            assert (verb or module) in known, f"{path.relative_to(ROOT)}: {verb or module}"
            named += 1
    assert named > 60


def test_what_a_damaged_file_asks_to_run_exists() -> None:
    """`remedy` makes its command from the name of a stage."""
    from stages.core.state.graph import STAGES

    assert {f"stages.{name}" for name in STAGES} <= set(MODULES.values())


# ---------------------------------------------------------------- flags and how a command ends


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--limit", "0"], "argument --limit: needs a whole number of at least 1; got '0'"),
        (["--limit", "many"], "argument --limit: needs a whole number of at least 1; got 'many'"),
        (["--pid", "-1"], "argument --pid: needs a whole number of at least 0; got '-1'"),
        (["--n-pids", "0"], "argument --n-pids: needs a whole number of at least 1; got '0'"),
        (["--pid", "4", "--n-pids", "4"], "--pid 4 with --n-pids 4: shards are numbered 0 to 3"),
    ],
)
def test_shards_and_limits_are_checked_as_they_are_parsed(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        execute(stage_parser("A stage."), ["--dataset", "d", "--split", "s", *flags], lambda _: pytest.fail("it ran"))
    assert end.value.code == 2 and capsys.readouterr().err.endswith(f"{message}\n")


def test_at_least_gives_the_number() -> None:
    assert at_least(0)("0") == 0 and at_least(1)("12") == 12


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (ValueError("f: wrong; fix it"), 2, "error: f: wrong; fix it\n"),
        (FileNotFoundError(2, "No such file", "f"), 2, "error: [Errno 2] No such file: 'f'\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_an_error_of_input_is_one_line(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def action(_: object) -> None:
        raise error

    assert execute(build_parser("A command."), [], action) == status
    assert capsys.readouterr().err == line


def test_ctrl_c_ends_a_running_command_with_one_line(tmp_path: Path) -> None:
    """A real one: the embedded data set is being made when the signal comes."""
    (tmp_path / "config.yaml").write_text(
        (ROOT / "config.yaml").read_text(encoding="utf-8").replace("data/shapes", str(tmp_path / "shapes"))
    )
    command = [sys.executable, "-m", "stages", "make-shapes", "--size", "full", "--jobs", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*shapes*/*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, text = process.communicate(timeout=60)
    assert process.returncode == 130, text
    assert "Traceback" not in text and text.rstrip().endswith("interrupted")
