# Which tracks a sentence means, by what was learnt: text features, training, scores.


rule encode_text:
    input:
        dataset=dataset_ready,
        weights=weights("encode_text"),
    output:
        SHARD.replace("{task}", "encode_text"),
    log:
        f"{LOGS}/encode_text-{{pid}}-of-{{n}}.log",
    benchmark:
        f"{LOGS}/encode_text-{{pid}}-of-{{n}}.jsonl"
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        **needs("encode_text", "encode_text"),
    params:
        config=reads("encode_text"),
        listing=listing,
    shell:
        f"python -m stages.encode_text {SHARDED_JOB} {MARKED}"


# Not sharded: one job, resumed exactly where it stopped. Its checkpoints are undeclared state too.
rule train_selector:
    input:
        training_inputs,
    output:
        VERIFIED.replace("{task}", "train_selector"),
    log:
        f"{LOGS}/train_selector.log",
    benchmark:
        f"{LOGS}/train_selector.jsonl"
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        **needs("train_selector", "train_selector"),
    params:
        config=reads("train_selector"),
    shell:
        f"python -m stages.train_selector {JOB} {MARKED}"


ruleorder: train_selector > collect


rule score_tracks:
    input:
        tracks=candidate_tracks,
        text=words,
        selector=selector,
        detections=seen_detections,
    output:
        SHARD.replace("{task}", "score_tracks"),
    log:
        f"{LOGS}/score_tracks-{{pid}}-of-{{n}}.log",
    benchmark:
        f"{LOGS}/score_tracks-{{pid}}-of-{{n}}.jsonl"
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        **needs("score_tracks", "score_tracks"),
    params:
        config=reads("score_tracks"),
        given=contents(selector),
    shell:
        f"python -m stages.score_tracks {SHARDED_JOB} {MARKED}"
