# Which tracks a sentence means, by what can be known of them beside the scores: evidence, and the decision.


rule gather_evidence:
    input:
        frames=lambda wildcards: verified(wildcards, "extract_frames"),
        judged=judged,
        weights=weights("gather_evidence"),
    output:
        SHARD.replace("{task}", "gather_evidence-{evidence}"),
    log:
        f"{LOGS}/gather_evidence-{{evidence}}-{{pid}}-of-{{n}}.log",
    benchmark:
        f"{LOGS}/gather_evidence-{{evidence}}-{{pid}}-of-{{n}}.jsonl"
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        **needs("gather_evidence", "gather_evidence"),
    params:
        config=reads("gather_evidence"),
        given=contents(judged),
    shell:
        f"python -m stages.gather_evidence {SHARDED_JOB} --name {{wildcards.evidence}} {MARKED}"


# Not sharded: one job, of seconds.
rule fit_fusion:
    input:
        gathered,
    output:
        VERIFIED.replace("{task}", "fit_fusion"),
    log:
        f"{LOGS}/fit_fusion.log",
    benchmark:
        f"{LOGS}/fit_fusion.jsonl"
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        **needs("fit_fusion", "fit_fusion"),
    params:
        config=reads("fit_fusion"),
    shell:
        f"python -m stages.fit_fusion {JOB} {MARKED}"


ruleorder: fit_fusion > collect


rule rerank_tracks:
    input:
        gathered=gathered,
        fusion=fusion,
    output:
        SHARD.replace("{task}", "rerank_tracks"),
    log:
        f"{LOGS}/rerank_tracks-{{pid}}-of-{{n}}.log",
    benchmark:
        f"{LOGS}/rerank_tracks-{{pid}}-of-{{n}}.jsonl"
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        **needs("rerank_tracks", "rerank_tracks"),
    params:
        config=reads("rerank_tracks"),
        given=contents(fusion),
    shell:
        f"python -m stages.rerank_tracks {SHARDED_JOB} {MARKED}"
