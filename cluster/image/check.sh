#!/usr/bin/env bash
# `make image-check`: builds both Dockerfiles without a daemon (buildah) on a Debian made by debootstrap, and tries the
# images as Kubernetes would run them: read-only root, uid 1000, no capability, no network. Debian, root; ten minutes.
#
#   TORCH=torch==2.13.0+cpu PIP_EXTRA_INDEX_URL=… make image-check     with another torch, or index
#   FLAVOR=cuda make image-check                                       with the other torch, still on the CPU
#   IMAGE_WORK=/var/tmp/jpo-image make image-check                     keeps storage and layers there for the next time
#
# The pip settings of this machine reach the build as a secret, with a canary in them that must not be in the image.
set -euo pipefail
cd "$(dirname "$0")/../.."

[ "$(id -u)" = 0 ] || { echo "image-check makes a root file system and mounts it: run it as root" >&2; exit 2; }
for tool in buildah debootstrap; do
  command -v "$tool" > /dev/null || missing=1
done
if [ "${missing:-}" ]; then
  command -v apt-get > /dev/null || { echo "image-check needs buildah and debootstrap" >&2; exit 2; }
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends buildah debootstrap
fi

work=${IMAGE_WORK:-$(mktemp -d /var/tmp/jpo-image.XXXXXX)}
mkdir -p "$work"
started=$SECONDS
image=localhost/jpo-dist:check
buildah() { nice -n 10 /usr/bin/buildah --root "$work/storage" --runroot "$work/run" "$@"; }
say() { printf '%4d s  %s\n' "$((SECONDS - started))" "$*"; }

finish() {
  buildah rm --all > /dev/null 2>&1 || true
  rm -rf "$work/secret"
  [ "${IMAGE_WORK:-}" ] || { buildah rmi --all --force > /dev/null 2>&1 || true; rm -rf "$work"; }
}
trap finish EXIT

# ---- the base image
if ! buildah inspect --type image localhost/debian:bookworm > /dev/null 2>&1; then
  rm -rf "$work/rootfs"
  nice -n 10 debootstrap --variant=minbase bookworm "$work/rootfs" "${DEBIAN_MIRROR:-http://deb.debian.org/debian}" \
    > "$work/debootstrap.log" 2>&1 || { tail -20 "$work/debootstrap.log" >&2; exit 1; }
  rm -rf "$work"/rootfs/var/cache/apt/*.bin "$work"/rootfs/var/cache/apt/archives/*.deb "$work"/rootfs/var/lib/apt/lists/*
  container=$(buildah from scratch)
  buildah copy --quiet "$container" "$work/rootfs" / > /dev/null
  buildah commit --quiet --rm "$container" localhost/debian:bookworm > /dev/null
  rm -rf "$work/rootfs"
  say "base image by debootstrap"
fi

# ---- the build
canary="canary-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
mkdir -p "$work/secret" && chmod 700 "$work/secret"
settings=$(python3 -m pip --disable-pip-version-check config list | sed -nE "s/^[^.]+\.([^=]+)='(.*)'$/\1=\2/p")
{
  echo "# $canary"
  echo "[global]"
  # An option once, the last (the environment's) wins. Certificates, constraints and indexes on disk stay outside.
  echo "$settings" | awk -F= '{ key = $1; sub(/^[^=]*=/, ""); value[key] = $0 }
    END { for (key in value) if (key != "cert" && key != "constraint" && value[key] !~ /file:/) print key " = " value[key] }'
  [ ! -e /etc/ssl/certs/ca-certificates.crt ] || echo "cert = /run/ca.pem"
} > "$work/secret/pip.conf"
cat /etc/ssl/certs/ca-certificates.crt > "$work/secret/ca.pem" 2> /dev/null || : > "$work/secret/ca.pem"
volumes=()
for place in $(echo "$settings" | sed -n 's/^find-links=//p' | tr ' ' '\n' | sort -u); do
  [ ! -d "$place" ] || volumes+=(--volume "$place:$place:ro")
done

build() {  # build TAG DOCKERFILE ARGUMENT…
  buildah build --isolation chroot --format docker --layers --tag "$1" --file "$2" \
    --build-arg BASE_IMAGE=localhost/debian:bookworm "${@:3}" \
    --secret "id=pip,src=$work/secret/pip.conf" --secret "id=ca,src=$work/secret/ca.pem" \
    "${volumes[@]}" . > "$work/build.log" 2>&1 || { tail -60 "$work/build.log" >&2; exit 1; }
}
build "$image" Dockerfile ${TORCH:+--build-arg "TORCH=$TORCH"} ${FLAVOR:+--build-arg "FLAVOR=$FLAVOR"} \
  --build-arg "REVISION=$(git rev-parse HEAD 2> /dev/null || echo unknown)"
say "built"

# ---- what the image says of itself
buildah inspect --type image "$image" > "$work/inspect.json"
mapfile -t hosts < <(echo "$settings" | grep -oE 'https?://[^/ ]+' | sed -E 's,https?://([^@]*@)?,,' | sort -u)
python3 cluster/image/examine.py "$work/inspect.json" "$canary" "${hosts[@]}"
container=$(buildah from "$image")
root=$(buildah mount "$container")
if grep -rqF "$canary" "$root"; then echo "the image holds the pip settings of the build" >&2; exit 1; fi
say "size: $(du -sm "$root" | cut -f1) MB ($(du -sm "$root/opt/jpo" | cut -f1) MB of it Python), packed: \
$(tar --create --one-file-system --directory "$root" . | gzip -1 | wc -c | awk '{ printf "%d MB", $1 / 1e6 }')"

# ---- the image at work
mkdir -p "$work/runs"
chown 1000:1000 "$work/runs"
mapfile -t variables < <(python3 -c 'import json, sys; print(*json.load(sys.stdin)["Docker"]["config"]["Env"], sep="\n")' < "$work/inspect.json")
# shellcheck disable=SC2016  # these scripts are for the shell inside
inside() {  # a command in the image, as a pod with `restricted` security would run it
  root="$root" runs="$work/runs" source="$PWD" unshare --mount --pid --net --ipc --fork bash -euc '
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    for place in tmp home/jpo dev; do mount -t tmpfs tmpfs "$root/$place"; done
    chmod 1777 "$root/tmp"; chown 1000:1000 "$root/home/jpo"
    for device in null zero random urandom; do : > "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
    ln -s /proc/self/fd "$root/dev/fd"
    mkdir "$root/dev/shm"; mount -t tmpfs -o size=2g,mode=1777 tmpfs "$root/dev/shm"
    mount --bind "$runs" "$root/runs"
    mkdir "$root/tmp/source"; mount --bind "$source" "$root/tmp/source"; mount -o remount,ro,bind "$root/tmp/source"
    mount -o remount,ro,bind "$root"
    ip link set lo up
    exec nice -n 10 chroot "$root" setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs \
      --bounding-set=-all --inh-caps=-all env --ignore-environment --chdir=/opt/jpo HOME=/home/jpo "$@"
  ' inside "${variables[@]}" /usr/bin/tini -g -- "$@"
}

# shellcheck disable=SC2016
refused='refused() { if "$@" > /dev/null 2>&1; then echo "worked and should not: $*" >&2; exit 1; fi; }'
# shellcheck disable=SC2016
inside bash -euc "$refused"'
  [ "$(id -u):$(id -g)" = 1000:1000 ]
  for program in gcc g++ cc c++ pip pip3; do refused command -v "$program"; done
  refused touch /opt/jpo/x
  refused python -m pip
  touch /runs/x && rm /runs/x
  [ "$(awk "/^Cap(Prm|Eff|Bnd)/ { print \$2 }" /proc/self/status | sort -u)" = 0000000000000000 ]
  bash -lc "ray --version && command -v jpo" > /dev/null
'
say "uid 1000, read-only root, no compiler, no pip"
inside jpo doctor
say "jpo doctor"

# shellcheck disable=SC2016
inside bash -euc "$refused"'
  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=/tmp/token
  (umask 077; head -c 32 /dev/urandom | od -An -tx1 | tr -d " \n" > /tmp/token)
  python -m cluster.health                                # no node: nothing to ask
  ray start --head --num-cpus=1 --object-store-memory=100000000 > /tmp/start.log 2>&1 || { cat /tmp/start.log; exit 1; }
  for try in $(seq 60); do python -m cluster.health 2> /dev/null && break; sleep 1; done
  python -m cluster.health                                # the node answers
  refused env RAY_AGENT_PORT=1 python -m cluster.health   # and if it did not
  ray stop > /dev/null
'
say "health check: none, alive, silent"

rm -rf "$work"/runs/*
inside env PYTHONPATH=/tmp/source python -c 'from pathlib import Path; from tests.support.commands import tiny_files; tiny_files(Path("/runs"))'
inside jpo train /runs/tiny.yaml cluster.workers=2 > "$work/train.log" 2>&1 || { tail -40 "$work/train.log" >&2; exit 1; }
python3 - "$work/runs/run" <<'PYTHON'
import json, math, pathlib, sys
run = pathlib.Path(sys.argv[1])
lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
steps = sorted({line["step"] for line in lines})
assert steps == list(range(7)), steps
first = next(line["metrics"] for line in lines if line["step"] == 0)
assert math.isclose(first["eval/loss"], math.log(2), abs_tol=1e-6), first
assert (run / "export" / "model.safetensors").is_file(), list((run / "export").iterdir())
print(f"        2 workers, 6 steps; loss before {first['eval/loss']:.4f}, at the end {lines[-1]['metrics']['loss']:.4f}")
PYTHON
say "trained and exported inside"

# ---- the MLflow server's image
build localhost/jpo-mlflow:check cluster/kubernetes/mlflow/Dockerfile
container=$(buildah from localhost/jpo-mlflow:check)
root=$(buildah mount "$container")
if grep -rqF "$canary" "$root"; then echo "the MLflow image holds the pip settings of the build" >&2; exit 1; fi
mkdir -p "$root/runs" "$root/home/jpo" "$root/opt/jpo"  # places that `inside` expects
variables=(PATH=/opt/mlflow/bin:/usr/bin:/bin)
# shellcheck disable=SC2016
inside bash -euc "$refused"'
  [ "$(id -u)" = 1000 ]
  refused command -v pip
  python -c "import psycopg2, flask_wtf, mlflow.server.auth"
  cd /tmp
  mlflow server --host=127.0.0.1 --port=5000 > /tmp/server.log 2>&1 &
  for try in $(seq 120); do
    python -c "import urllib.request as u; u.urlopen(\"http://127.0.0.1:5000/health\")" 2> /dev/null && break
    sleep 1
  done
  python -c "import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:5000/version\").read().decode())"
  kill %1
' > "$work/mlflow.log" 2>&1 || { tail -40 "$work/mlflow.log" >&2; exit 1; }
say "MLflow server $(tail -n 1 "$work/mlflow.log"): $(du -sm "$root" | cut -f1) MB"
