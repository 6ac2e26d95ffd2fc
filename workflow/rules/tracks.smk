# What SAM2 and GroundingDINO see: prompts, and the tracks that grow from them.


rule generate_prompts:
    input:
        frames=lambda wildcards: verified(wildcards, "extract_frames"),
        weights=weights("generate_prompts"),
    output:
        SHARD.replace("{task}", "generate_prompts-{source}"),
    log:
        f"{LOGS}/generate_prompts-{{source}}-{{pid}}-of-{{n}}.log",
    benchmark:
        f"{LOGS}/generate_prompts-{{source}}-{{pid}}-of-{{n}}.jsonl"
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        **needs("generate_prompts", "generate_prompts"),
    params:
        config=reads("generate_prompts"),
    shell:
        f"python -m stages.generate_prompts {SHARDED_JOB} --source {{wildcards.source}} {MARKED}"


rule build_tracks:
    input:
        prompts=lambda wildcards: verified(
            wildcards, STAGES["generate_prompts"].task(wildcards.source)
        ),
        weights=weights("build_tracks"),
    output:
        SHARD.replace("{task}", "build_tracks-{source}"),
    log:
        f"{LOGS}/build_tracks-{{source}}-{{pid}}-of-{{n}}.log",
    benchmark:
        f"{LOGS}/build_tracks-{{source}}-{{pid}}-of-{{n}}.jsonl"
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        **needs("build_tracks", "build_tracks"),
    params:
        config=reads("build_tracks"),
    shell:
        f"python -m stages.build_tracks {SHARDED_JOB} --source {{wildcards.source}} {MARKED}"
