# From decisions to the deliverable: scores, pictures, one folder.


rule evaluate:
    input:
        lambda wildcards: verified(wildcards, "rerank_tracks"),
    output:
        touch(SHARD.replace("{task}", "evaluate")),
    log:
        f"{LOGS}/evaluate-{{pid}}-of-{{n}}.log",
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    params:
        config=reads("evaluate"),
    shell:
        f"python -m stages.evaluate {SHARDED_JOB} 2>&1 | tee {{log}}"


rule render_predictions:
    input:
        lambda wildcards: verified(wildcards, "rerank_tracks"),
    output:
        touch(SHARD.replace("{task}", "render_predictions")),
    log:
        f"{LOGS}/render_predictions-{{pid}}-of-{{n}}.log",
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    params:
        config=reads("render_predictions"),
    shell:
        f"python -m stages.render_predictions {SHARDED_JOB} 2>&1 | tee {{log}}"


rule assemble:
    input:
        lambda wildcards: verified(wildcards, "evaluate", "render_predictions"),
    output:
        report(
            directory(f"{RESULTS}/{{dataset}}/{{split}}"),
            patterns=["metrics.json", "per_expression.csv", "overlays/{name}.mp4"],
            caption="../report/results.rst",
            category="{dataset}",
            subcategory="{split}",
        ),
    log:
        f"{LOGS}/assemble.log",
    conda:
        "../../envs/referee.yaml"
    shell:
        f"python -m stages.assemble {JOB} 2>&1 | tee {{log}}"
