#!/bin/sh
# cancel.sh NAMESPACE/NAME …: deletes the Jobs; their pods get SIGTERM.
for job in "$@"; do
  kubectl delete job --namespace "${job%/*}" "${job#*/}" --ignore-not-found --wait=false
done
