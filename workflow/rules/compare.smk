# What beats what: the wind tunnel. Selectors of several seeds, baselines and the oracle on one split.


# A training beside the configured one: another architecture or another seed.
rule train_variant:
    input:
        training_inputs,
    output:
        touch(f"{SPLIT}/done/train_selector-{{name}}-{{seed}}.json"),
    log:
        f"{LOGS}/train_selector-{{name}}-{{seed}}.log",
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        gpu=STAGES["train_selector"].gpu,
    params:
        config=reads("train_selector"),
    shell:
        f"python -m stages.train_selector {JOB} --name {{wildcards.name}} --seed {{wildcards.seed}} 2>&1 | tee {{log}}"


rule compare:
    input:
        tracks=compared_tracks,
        text=lambda wildcards: verified(wildcards, "encode_text"),
        selectors=compared_selectors,
    output:
        report(
            directory(f"{RESULTS}/compare/{{dataset}}/{{split}}"),
            patterns=["table.csv", "{name}.png"],
            caption="../report/compare.rst",
            category="{dataset}",
            subcategory="{split}",
        ),
    log:
        f"{LOGS}/compare.log",
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        gpu=STAGES["score_tracks"].gpu,
    params:
        config=lambda wildcards: section_digest(
            settings(wildcards), ["compare", "evaluate", "selector"]
        ),
    shell:
        f"python -m stages.tools.compare {JOB} --out {{output}} 2>&1 | tee {{log}}"
