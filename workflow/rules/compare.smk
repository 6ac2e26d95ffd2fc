# Which method is better: selectors of several seeds, baselines and the oracle on one split.


# A training beside the configured one: another architecture, another seed, or other settings (compare.variants).
rule train_variant:
    input:
        training_inputs,
    output:
        f"{SPLIT}/done/train_selector-{{name}}{{variant}}-{{seed}}.json",
    log:
        f"{LOGS}/train_selector-{{name}}{{variant}}-{{seed}}.log",
    benchmark:
        f"{LOGS}/train_selector-{{name}}{{variant}}-{{seed}}.jsonl"
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        **needs("train_selector", "train_selector"),
    params:
        config=reads_of_variant,
        label=lambda wildcards: wildcards.variant.replace("-", "--variant ", 1),
    shell:
        f"python -m stages.train_selector {JOB} --name {{wildcards.name}} --seed {{wildcards.seed}} {{params.label}} {MARKED}"


ruleorder: train_variant > collect


rule compare:
    input:
        tracks=compared_tracks,
        text=lambda wildcards: verified(wildcards, "encode_text"),
        selectors=compared_selectors,
        decisions=compared_decisions,
        replaceable=lambda wildcards: replaceable(
            f"{RESULTS}/compare/{wildcards.dataset}/{wildcards.split}"
        ),
    output:
        report(
            directory(f"{RESULTS}/compare/{{dataset}}/{{split}}"),
            patterns=[r"{file,table\.csv|.+\.png}"],
            caption="../report/compare.rst",
            category="{dataset}",
            subcategory="{split}",
            labels={"file": "{file}"},
        ),
    log:
        f"{LOGS}/compare.log",
    benchmark:
        f"{LOGS}/compare.jsonl"
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        **needs("compare", "score_tracks"),
    params:
        config=lambda wildcards: section_digest(
            settings(wildcards), ["compare", "evaluate", "rerank", "selector"]
        ),
        given=contents(compared_selectors),
    shell:
        f"python -m stages.tools.compare {JOB} --out {{output}} 2>&1 | tee {{log}}"
