#!/bin/sh
# How a job of Slurm is: running, success or failed. PBS: `qstat -x -f`, job_state and Exit_status; SGE: `qstat -j`, `qacct -j`.
# A question that stays unanswered counts as "running": the next one comes soon.
answer=$(scontrol show job "$1" 2>&1) || case "$answer" in
  *"Invalid job id"*) echo failed; exit ;; # ended so long ago that Slurm has forgotten it: it goes on where it stopped
  *) echo running; exit ;;
esac
case "$answer" in
  *JobState=COMPLETED*) echo success ;;
  *JobState=CANCELLED* | *JobState=FAILED* | *JobState=TIMEOUT* | *JobState=NODE_FAIL* | *JobState=OUT_OF_MEMORY* | \
    *JobState=BOOT_FAIL* | *JobState=DEADLINE*) echo failed ;;
  *) echo running ;; # PENDING, RUNNING, COMPLETING, REQUEUED, PREEMPTED on its way back into the queue
esac
