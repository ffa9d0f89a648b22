#!/usr/bin/env bash
# Makes the secrets that the manifests name, with random values, in the namespace given (jpo). Those that exist are kept.
# No value appears on a command line: they go through pipes.
set -euo pipefail
namespace=${1:-jpo}

random() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
make() {  # make NAME KEY=VALUE…
  name=$1
  shift
  if kubectl --namespace "$namespace" get secret "$name" > /dev/null 2>&1; then
    echo "secret/$name exists"
    return
  fi
  {
    printf 'apiVersion: v1\nkind: Secret\nmetadata:\n  name: %s\n  namespace: %s\ntype: Opaque\nstringData:\n' "$name" "$namespace"
    for pair in "$@"; do printf '  %s: "%s"\n' "${pair%%=*}" "${pair#*=}"; done
  } | kubectl create --filename -
}

make ray-token auth_token="$(random)"
make postgres password="$(random)"
make redis password="$(random)"
make mlflow-admin password="$(random)" session-key="$(random)"
make mlflow-user username=jpo password="$(random)"
