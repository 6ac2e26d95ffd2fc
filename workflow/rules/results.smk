# From decisions to the deliverable: scores, pictures, one folder.


rule evaluate:
    input:
        lambda wildcards: verified(wildcards, "rerank_tracks"),
    output:
        SHARD.replace("{task}", "evaluate"),
    log:
        f"{LOGS}/evaluate-{{pid}}-of-{{n}}.log",
    benchmark:
        f"{LOGS}/evaluate-{{pid}}-of-{{n}}.jsonl"
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        **needs("evaluate", "evaluate"),
    params:
        config=reads("evaluate"),
    shell:
        f"python -m stages.evaluate {SHARDED_JOB} {MARKED}"


rule render_predictions:
    input:
        lambda wildcards: verified(wildcards, "rerank_tracks"),
    output:
        SHARD.replace("{task}", "render_predictions"),
    log:
        f"{LOGS}/render_predictions-{{pid}}-of-{{n}}.log",
    benchmark:
        f"{LOGS}/render_predictions-{{pid}}-of-{{n}}.jsonl"
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        **needs("render_predictions", "render_predictions"),
    params:
        config=reads("render_predictions"),
    shell:
        f"python -m stages.render_predictions {SHARDED_JOB} {MARKED}"


rule assemble:
    input:
        lambda wildcards: verified(wildcards, "evaluate", "render_predictions"),
        lambda wildcards: replaceable(
            f"{RESULTS}/{wildcards.dataset}/{wildcards.split}"
        ),
    output:
        results=report(
            directory(f"{RESULTS}/{{dataset}}/{{split}}"),
            patterns=[r"{file,metrics\.json|per_expression\.csv|overlays/.+\.mp4}"],
            caption="../report/results.rst",
            category="{dataset}",
            subcategory="{split}",
            labels={"file": "{file}"},
        ),
        made=VERIFIED.replace("{task}", "assemble"),
    log:
        f"{LOGS}/assemble.log",
    benchmark:
        f"{LOGS}/assemble.jsonl"
    conda:
        "../../envs/referee.yaml"
    resources:
        **needs("assemble"),
    shell:
        f"python -m stages.assemble {JOB} 2>&1 | tee {{log}} && {MARK} > {{output.made}}"


ruleorder: assemble > collect


# To look at: one site about the results, from the same cache. It is its own target, results/report/<dataset>/<split>.
rule report:
    input:
        # A folder has times alone, which a wrong clock can have set; what is recorded of the marker is its content.
        results=ancient(f"{RESULTS}/{{dataset}}/{{split}}"),
        made=VERIFIED.replace("{task}", "assemble"),
        replaceable=lambda wildcards: replaceable(
            f"{RESULTS}/report/{wildcards.dataset}/{wildcards.split}"
        ),
    output:
        report(
            directory(f"{RESULTS}/report/{{dataset}}/{{split}}"),
            htmlindex="index.html",
            caption="../report/report.rst",
            category="{dataset}",
            subcategory="{split}",
            labels={"file": "report"},
        ),
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{LOGS}/report.jsonl"
    conda:
        "../../envs/referee.yaml"
    resources:
        **needs("report"),
    shell:
        "python -m stages.tools.report --config $REFEREE_CONFIG --out {output} {input.results} 2>&1 | tee {log}"
