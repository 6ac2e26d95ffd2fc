# From the outside world into the cache: weights, the embedded data set, frames.


rule fetch_weights:
    output:
        expand(f"{WEIGHTS}/{{{{preset}}}}/{{role}}/record.json", role=ROLES),
    log:
        f"{CACHE}/logs/fetch_weights-{{preset}}.log",
    conda:
        "../../envs/referee.yaml"
    params:
        models=lambda wildcards: CONFIG.presets[
            wildcards.preset
        ].models.model_dump_json(),
    shell:
        "python -m stages.fetch_weights --config $REFEREE_CONFIG --preset {wildcards.preset} 2>&1 | tee {log}"


for name, entry in CONFIG.datasets.items():
    if entry.generate:

        rule:
            name:
                f"make_{name}"
            output:
                f"{entry.root}/shapes.json",
            log:
                f"{CACHE}/logs/make_{name}.log",
            conda:
                "../../envs/referee.yaml"
            params:
                dataset=name,
            shell:
                "python -m stages.make_shapes --config $REFEREE_CONFIG --dataset {params.dataset} 2>&1 | tee {log}"


rule extract_frames:
    input:
        dataset_ready,
    output:
        touch(SHARD.replace("{task}", "extract_frames")),
    log:
        f"{LOGS}/extract_frames-{{pid}}-of-{{n}}.log",
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    params:
        config=reads("extract_frames"),
    shell:
        f"python -m stages.extract_frames {SHARDED_JOB} 2>&1 | tee {{log}}"


# A task is complete when every video has its file, whoever made it and in however many shards.
rule collect:
    input:
        shards_of,
    output:
        VERIFIED,
    log:
        f"{LOGS}/collect-{{task}}.log",
    conda:
        "../../envs/referee.yaml"
    shell:
        f"python -m stages.collect {JOB} --task {{wildcards.task}} 2>&1 | tee {{log}}"
