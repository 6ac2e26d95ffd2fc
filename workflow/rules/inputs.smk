# From the outside world into the cache: weights, the embedded data set, frames.


# One model, so that a run fetches what it loads and nothing else. Jobs wait for each other: one uses the network.
rule fetch_weights:
    output:
        f"{WEIGHTS}/{{preset}}/{{role}}/record.json",
    log:
        f"{CACHE}/logs/fetch_weights-{{preset}}-{{role}}.log",
    benchmark:
        f"{CACHE}/logs/fetch_weights-{{preset}}-{{role}}.jsonl"
    conda:
        "../../envs/referee.yaml"
    resources:
        **needs("fetch_weights"),
    params:
        model=model_entry,
    shell:
        f"python -m stages.fetch_weights --config $REFEREE_CONFIG --preset {{wildcards.preset}} --role {{wildcards.role}} {LOGGED}"


for name, entry in CONFIG.datasets.items():
    if entry.generate:

        rule:
            name:
                f"make_{name}"
            output:
                f"{entry.root}/shapes.json",
            log:
                f"{CACHE}/logs/make_{name}.log",
            benchmark:
                f"{CACHE}/logs/make_{name}.jsonl"
            conda:
                "../../envs/referee.yaml"
            resources:
                **needs("make_shapes"),
            params:
                dataset=name,
            shell:
                f"python -m stages.make_shapes --config $REFEREE_CONFIG --dataset {{params.dataset}} {LOGGED}"


rule extract_frames:
    input:
        dataset_ready,
    output:
        SHARD.replace("{task}", "extract_frames"),
    log:
        f"{LOGS}/extract_frames-{{pid}}-of-{{n}}.log",
    benchmark:
        f"{LOGS}/extract_frames-{{pid}}-of-{{n}}.jsonl"
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        **needs("extract_frames", "extract_frames"),
    params:
        config=reads("extract_frames"),
        listing=listing,
    shell:
        f"python -m stages.extract_frames {SHARDED_JOB} {MARKED}"


# A task is complete when every video has its file, whoever made it and in however many shards.
rule collect:
    input:
        shards_of,
    output:
        VERIFIED,
    log:
        f"{LOGS}/collect-{{task}}.log",
    benchmark:
        f"{LOGS}/collect-{{task}}.jsonl"
    conda:
        "../../envs/referee.yaml"
    resources:
        **needs("collect"),
    shell:
        f"python -m stages.collect {JOB} --task {{wildcards.task}} {LOGGED}"
