#!/usr/bin/env bash
# Snakemake runs this inside the new environment, from the project's root: the same packages as `make install`.
set -euo pipefail
bash envs/install.sh python
