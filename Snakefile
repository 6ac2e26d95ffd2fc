# The pipeline as a DAG: videos and sentences in, results/<dataset>/<split> out. See README.md.

from snakemake.utils import min_version

from workflow.clocks import ignore_clocks
from workflow.console import shorten
from workflow.start import start
from workflow.unfinished import redo_unfinished

min_version("9.20")


configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/inputs.smk"
include: "workflow/rules/tracks.smk"
include: "workflow/rules/selector.smk"
include: "workflow/rules/seg.smk"
include: "workflow/rules/evidence.smk"
include: "workflow/rules/results.smk"
include: "workflow/rules/compare.smk"


report: "workflow/report/workflow.rst"


localrules:
    help,
    collect,


# Run without a target, Snakemake explains instead of starting days of work.
rule help:
    default_target: True
    log:
        f"{CACHE}/logs/help.log",
    localrule: True
    conda:
        "envs/referee.yaml"
    params:
        lines=HELP,
    shell:
        "printf '%s\n' {params.lines:q} | tee {log}"


redo_unfinished()
ignore_clocks()


# In the head of a run alone: jobs on a cluster run without hooks.
onstart:
    start(workflow)


shorten(workflow, ["collect", "help"], TARGETS + COMPARISONS + REPORTS, EXAMPLE, NEEDS)
