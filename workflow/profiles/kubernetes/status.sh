#!/bin/sh
# status.sh NAMESPACE/NAME: running, success or failed. A question that stays unanswered counts as "running".
answer=$(kubectl --request-timeout=30s get job --namespace "${1%/*}" "${1#*/}" -o 'jsonpath={.status.conditions[?(@.status=="True")].type}' 2>&1) ||
  case "$answer" in
    *NotFound*) echo failed; exit ;; # deleted: it goes on where it stopped
    *) echo running; exit ;;
  esac
case "$answer" in
  *Failed*) echo failed ;;
  *Complete*) echo success ;;
  *) echo running ;;
esac
