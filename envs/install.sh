#!/usr/bin/env bash
# Installs exactly what requirements.lock pins into the environment of a Python: envs/install.sh .venv/bin/python
# Without dependency resolution (the lock is complete). sam2 asks for torch while it is built, so it comes
# second, and its optional CUDA part is left out. Last comes this project, as the command `referee`; its code stays here.
set -euo pipefail
python=${1:-python}
wheels=$(mktemp)
trap 'rm -f "$wheels"' EXIT
"$python" -m pip install --quiet --upgrade pip setuptools wheel
grep -v '^sam2==' requirements.lock > "$wheels"
"$python" -m pip install --quiet --progress-bar on --no-deps -r "$wheels"
SAM2_BUILD_CUDA=0 "$python" -m pip install --quiet --no-deps --no-build-isolation "$(grep '^sam2==' requirements.lock)"
"$python" -m pip install --quiet --no-deps --no-build-isolation --editable .
