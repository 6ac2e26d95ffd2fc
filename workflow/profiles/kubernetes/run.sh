#!/bin/sh
# run.sh SCRIPT: runs the script of a job and hands SIGTERM on. The first process of a container is not ended by it, and what it
# runs is not told: the pod would be killed after its whole grace period, with a video half done.
sh "$1" &
job=$!
trap 'kill -TERM -1' TERM # everything in this container but this shell
wait "$job"
status=$?
while kill -0 "$job" 2>/dev/null; do # the signal ended the wait, not the job
  wait "$job"
  status=$?
done
exit "$status"
