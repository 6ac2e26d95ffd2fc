"""What pip installs: extras, the lock file, the environments of envs/, the wheel; and that no OpenGL is needed."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from email import message_from_string
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from support.project import ROOT

from stages.core.trackers import TRACKERS

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
LOCKED = [extra for extra in EXTRAS if extra not in TRACKERS]  # experiment trackers are not in the lock
DIRECT = [Requirement(line) for line in [*PROJECT["dependencies"], *(r for extra in LOCKED for r in EXTRAS[extra])]]


def locked() -> dict[str, str]:
    """Name → version of every pin."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [re.split(r"==|\s*;", line.strip()) for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert all(len(pin) >= 2 for pin in pins), "every line of the lock is name==version"
    return {canonicalize_name(name.split("[")[0]): pin for name, pin, *_ in pins}


# ---------------------------------------------------------------- extras and the lock


def test_there_is_an_extra_for_each_kind_of_user() -> None:
    assert {"cpu", "gpu", "dev", "slurm", "cluster", "groundingdino", "bench", "docs"} == set(LOCKED)
    asked = re.findall(r"--extra (\w+)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert sorted(asked) == sorted(LOCKED), "what `make lock` pins"


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_every_direct_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    assert requirement.specifier, f"{requirement.name} has no range in pyproject.toml"
    pin = locked().get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name} is not in requirements.lock: run `make lock`"
    assert requirement.specifier.contains(pin), f"{requirement} against {pin} in requirements.lock: run `make lock`"


@pytest.mark.parametrize("requirement", [Requirement(line) for line in PROJECT["dependencies"]], ids=lambda r: r.name)
def test_what_is_installed_is_within_the_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(version(requirement.name), prereleases=True)


def test_the_pins_fit_each_other() -> None:
    """What each pinned package asks of others, as far as the pinned version is the installed one."""
    pins, wrong, asked = locked(), [], 0
    left_out = {"opencv-python", "supervision"}  # see [tool.uv] in pyproject.toml
    for distribution in distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        if pins.get(name) != distribution.version:
            continue
        for requirement in map(Requirement, distribution.requires or []):
            other = canonicalize_name(requirement.name)
            if (requirement.marker and not requirement.marker.evaluate({"extra": ""})) or other in left_out:
                continue
            asked += 1
            if other not in pins or not requirement.specifier.contains(pins[other], prereleases=True):
                wrong.append(f"{name} {distribution.version} asks for {requirement}, pinned is {pins.get(other)}")
    assert not wrong and asked > 100


# ---------------------------------------------------------------- environments


def test_environments_are_of_the_python_that_the_lock_is_for() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    found = re.search(r"--python-version (\S+)", makefile)
    assert found is not None
    target = found.group(1)
    assert SpecifierSet(PROJECT["requires-python"]).contains(target)
    environments = sorted((ROOT / "envs").glob("*.yaml"))
    assert environments
    for file in environments:
        wanted = yaml.safe_load(file.read_text(encoding="utf-8"))["dependencies"]
        plain = dict(
            re.split("[=<>]+", line, maxsplit=1) if re.search("[=<>]", line) else (line, "") for line in wanted
        )
        assert plain.pop("python") == target, file.name
        assert plain.pop("pip") == ""
        for name, pin in plain.items():  # what conda brings must not differ from what pip would bring
            assert locked()[canonicalize_name(name)] == pin, f"{file.name}: {name}"
        script = (file.with_suffix(".post-deploy.sh")).read_text(encoding="utf-8")
        assert "envs/install.sh" in script
    assert "-r" in (ROOT / "envs/install.sh").read_text(encoding="utf-8")


# ---------------------------------------------------------------- no OpenGL


def test_opencv_is_the_headless_build_and_the_only_one() -> None:
    pins = locked()
    assert "opencv-python-headless" in pins
    assert not {"opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"} & pins.keys()
    for other in ("opencv-python", "opencv-contrib-python"):
        with pytest.raises(PackageNotFoundError):
            version(other)


def test_nothing_that_a_stage_loads_needs_opengl() -> None:
    """Every module of the project and the libraries that they import inside functions; then what is mapped."""
    code = (
        "import importlib, pkgutil, re, stages\n"
        "for module in pkgutil.walk_packages(stages.__path__, 'stages.'):\n"
        "    importlib.import_module(module.name)\n"
        "for name in ('cv2', 'av', 'h5py', 'transformers', 'sam2.sam2_video_predictor', 'torchvision', 'pandas',\n"
        "             'sam2.automatic_mask_generator', 'groundingdino.models.GroundingDINO.groundingdino'):\n"
        "    importlib.import_module(name)\n"
        "libraries = {line.split('/')[-1].strip() for line in open('/proc/self/maps') if '.so' in line}\n"
        "assert len(libraries) > 50\n"
        "print(sorted(name for name in libraries if re.match(r'lib(GL|EGL|GLX|OpenGL|X11|Qt\\d)', name)))\n"
    )
    if not Path("/proc/self/maps").exists():
        pytest.skip("this system does not say which libraries a process has loaded")
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


# ---------------------------------------------------------------- the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: setuptools leaves folders where it builds."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", PROJECT["readme"], "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "stages", source / "stages", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--no-index", "-w"]
    done = subprocess.run([*command, str(target)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = target.glob("*.whl")
    return file


def test_the_wheel_says_what_pyproject_says(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = message_from_string(archive.read(name).decode())
    assert metadata["Name"] == PROJECT["name"] and metadata["Version"] == PROJECT["version"]
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert set(metadata.get_all("Provides-Extra")) == EXTRAS.keys()
    found = [Requirement(line) for line in metadata.get_all("Requires-Dist")]
    for extra, lines in {"": PROJECT["dependencies"], **EXTRAS}.items():
        marked = [r for r in found if (f'extra == "{extra}"' if extra else "extra ==") in str(r.marker)]
        asked = marked if extra else [r for r in found if r not in marked]
        assert {(r.name, str(r.specifier)) for r in asked} == {
            (r.name, str(r.specifier)) for r in map(Requirement, lines)
        }


def test_the_wheel_brings_the_command(wheel: Path, tmp_path: Path) -> None:
    """Installed somewhere, as pip does it, and typed."""
    command = [sys.executable, "-m", "pip", "install", str(wheel), "--no-deps", "--no-index", "--prefix", str(tmp_path)]
    done = subprocess.run([*command, "--ignore-installed", "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (packages,) = tmp_path.glob("lib*/python*/site-packages")
    for words, said in ((["--version"], f"referee {PROJECT['version']}\n"), (["run", "--help"], "usage: referee run ")):
        done = subprocess.run(
            [tmp_path / "bin" / "referee", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(packages)},
        )
        assert done.returncode == 0 and done.stdout.startswith(said), done.stdout + done.stderr


def test_an_installation_from_the_lock_has_the_command() -> None:
    assert "--editable ." in (ROOT / "envs/install.sh").read_text(encoding="utf-8")
    assert shutil.which("referee", path=str(Path(sys.executable).parent)), "run `make install`"


def test_the_wheel_holds_every_module_and_what_they_read(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if name.startswith("stages/")}
    files = [path for path in (ROOT / "stages").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.relative_to(ROOT).as_posix() for path in files} == inside
