# Which tracks a sentence means: text features, training, scores, the MLLM's second look.


rule encode_text:
    input:
        dataset=dataset_ready,
        weights=weights("text"),
    output:
        touch(SHARD.replace("{task}", "encode_text")),
    log:
        f"{LOGS}/encode_text-{{pid}}-of-{{n}}.log",
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        gpu=STAGES["encode_text"].gpu,
    params:
        config=reads("encode_text"),
    shell:
        f"python -m stages.encode_text {SHARDED_JOB} 2>&1 | tee {{log}}"


# Not sharded: one job, resumed exactly where it stopped. Its checkpoints are undeclared state too.
rule train_selector:
    input:
        training_inputs,
    output:
        touch(VERIFIED.replace("{task}", "train_selector")),
    log:
        f"{LOGS}/train_selector.log",
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        gpu=STAGES["train_selector"].gpu,
    params:
        config=reads("train_selector"),
    shell:
        f"python -m stages.train_selector {JOB} 2>&1 | tee {{log}}"


ruleorder: train_selector > collect


rule score_tracks:
    input:
        tracks=candidate_tracks,
        text=lambda wildcards: verified(wildcards, "encode_text"),
        selector=selector,
    output:
        touch(SHARD.replace("{task}", "score_tracks")),
    log:
        f"{LOGS}/score_tracks-{{pid}}-of-{{n}}.log",
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        gpu=STAGES["score_tracks"].gpu,
    params:
        config=reads("score_tracks"),
    shell:
        f"python -m stages.score_tracks {SHARDED_JOB} 2>&1 | tee {{log}}"


rule rerank_tracks:
    input:
        scores=lambda wildcards: verified(wildcards, "score_tracks"),
        weights=rerank_weights,
    output:
        touch(SHARD.replace("{task}", "rerank_tracks")),
    log:
        f"{LOGS}/rerank_tracks-{{pid}}-of-{{n}}.log",
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        gpu=STAGES["rerank_tracks"].gpu,
    params:
        config=reads("rerank_tracks"),
    shell:
        f"python -m stages.rerank_tracks {SHARDED_JOB} 2>&1 | tee {{log}}"
