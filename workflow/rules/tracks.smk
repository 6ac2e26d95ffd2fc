# What SAM2 and GroundingDINO see: prompts, and the tracks that grow from them.


rule generate_prompts:
    input:
        frames=lambda wildcards: verified(wildcards, "extract_frames"),
        weights=prompt_weights,
    output:
        touch(SHARD.replace("{task}", "generate_prompts-{source}")),
    log:
        f"{LOGS}/generate_prompts-{{source}}-{{pid}}-of-{{n}}.log",
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        gpu=lambda wildcards: STAGES["generate_prompts"].gpus(wildcards.source),
    params:
        config=reads("generate_prompts"),
    shell:
        f"python -m stages.generate_prompts {SHARDED_JOB} --source {{wildcards.source}} 2>&1 | tee {{log}}"


rule build_tracks:
    input:
        prompts=lambda wildcards: verified(
            wildcards, f"generate_prompts-{wildcards.source}"
        ),
        weights=weights("sam2"),
    output:
        touch(SHARD.replace("{task}", "build_tracks-{source}")),
    log:
        f"{LOGS}/build_tracks-{{source}}-{{pid}}-of-{{n}}.log",
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        gpu=STAGES["build_tracks"].gpu,
    params:
        config=reads("build_tracks"),
    shell:
        f"python -m stages.build_tracks {SHARDED_JOB} --source {{wildcards.source}} 2>&1 | tee {{log}}"
