#!/bin/sh
# submit.sh RULE THREADS MEM_MB MINUTES GPUS SCRIPT: creates the Job of job.yaml and prints its name.
set -eu
rule=$(echo "$1" | tr A-Z_ a-z-) # a job of several is GROUP
here=$(dirname "$0")
volume=${REFEREE_VOLUME:-$PWD} # where the volume is mounted; the folder of the project, unless that is inside it
sed -e "s|@RULE|$rule|g" -e "s|@CPUS|$2|" -e "s|@MEMORY|$3|g" -e "s|@SECONDS|$(($4 * 60))|" -e "s|@GPUS|$5|" \
  -e "s|@SCRIPT|$6|" -e "s|@FOLDER|$PWD|" -e "s|@VOLUME|$volume|" -e "s|@HERE|$here|" "$here/job.yaml" |
  kubectl create -f - -o 'jsonpath={.metadata.namespace}/{.metadata.name}'
