# The [SEG] model of source seg, trained further. No result asks for it: it is its own target, and its model then goes into
# the config.


rule train_seg:
    input:
        frames=seg_training_inputs,
        weights=weights("train_seg"),
    output:
        VERIFIED.replace("{task}", "train_seg"),
    log:
        f"{LOGS}/train_seg.log",
    benchmark:
        f"{LOGS}/train_seg.jsonl"
    conda:
        "../../envs/referee.yaml"
    threads: threads_of
    resources:
        **needs("train_seg", "train_seg"),
    params:
        config=reads("train_seg"),
        listing=listing,
    shell:
        f"python -m stages.train_seg {JOB} {MARKED}"


ruleorder: train_seg > collect
