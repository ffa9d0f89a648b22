# One image for head, workers, driver and submitter. Docker, BuildKit, Podman and buildah build it:
#   CPU    docker build -t jpo-dist:cpu --secret id=pip,src=pip.conf .        pip.conf names the index of CPU builds
#   CUDA   docker build -t jpo-dist:cuda --build-arg FLAVOR=cuda .            torch by hash too, with its CUDA libraries
# The final stage has no compiler and no pip, and runs as uid 1000. `make image-check` builds and tries it.

# A Debian 12; for production pin it by digest: --build-arg BASE_IMAGE=docker.io/library/debian@sha256:…
ARG BASE_IMAGE=docker.io/library/debian:bookworm-20250520-slim

FROM ${BASE_IMAGE} AS base
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# libgomp1 is what DeepSpeed's CPU operator is linked to. tini passes signals on and reaps what Ray leaves behind.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends libgomp1=12.2.0-14+deb12u1 python3=3.11.2-1+b1 tini=0.19.0-1+b3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && groupadd --gid 1000 jpo && useradd --uid 1000 --gid 1000 --create-home jpo

FROM base AS build
# cpu or cuda. The compiled operator is that of the CPU in both: a head without a GPU uses it too.
ARG FLAVOR=cpu
# The torch of FLAVOR=cpu, by version only: a CPU build is another file, with another hash, on every index.
ARG TORCH=torch==2.13.0
# runtime, or judge: with what `jpo data build` and `jpo judge` need.
ARG LOCK=runtime
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
      g++=4:12.2.0-3 python3-dev=3.11.2-1+b1 python3-venv=3.11.2-1+b1 \
 && python3 -m venv /opt/jpo
ENV PATH=/opt/jpo/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
COPY locks /src/locks
# An index of one's own, with its password, comes in as a secret: it is in no layer and not in the history.
# hadolint ignore=DL3013
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/run/ca.pem \
    pip install --require-hashes -r /src/locks/build.txt \
 && case "$FLAVOR" in \
      cpu) pip install --no-deps "$TORCH" ;; \
      cuda) pip install --require-hashes --no-deps -r /src/locks/cuda.txt ;; \
      *) echo "FLAVOR ($FLAVOR) must be cpu or cuda" >&2; exit 2 ;; \
    esac \
 && pip install --require-hashes --no-deps --only-binary :all: -r "/src/locks/$LOCK.txt" \
 && DS_ACCELERATOR=cpu DS_BUILD_SHM_COMM=1 \
      pip install --require-hashes --no-deps --no-build-isolation -r /src/locks/deepspeed.txt
COPY pyproject.toml setup.py MANIFEST.in README.md LICENSE /src/
COPY configs /src/configs
COPY launcher /src/launcher
COPY jpo_dist /src/jpo_dist
COPY cluster /src/cluster
# hadolint ignore=DL3003
RUN pip install --no-deps --no-build-isolation --no-index /src \
 && pip check && jpo doctor --build \
 # Nothing is compiled or installed from here on; tests of libraries are a tenth of them.
 && pip uninstall --yes pip wheel \
 && cd /opt/jpo/lib/python3.11/site-packages \
 && rm -rf torch/include torch/share pyarrow/include ray/cpp \
 && find . -type d -name tests -prune -exec rm -rf {} + \
 && find . -name '*.a' -delete

FROM base AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="jpo-dist" \
      org.opencontainers.image.description="Joint Preference Optimization, distributed with Ray and DeepSpeed" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /opt/jpo /opt/jpo
COPY configs /opt/jpo/configs
# A login shell, which an operator may use to start Ray, sets PATH anew.
# hadolint ignore=SC2016
RUN echo 'PATH=/opt/jpo/bin:$PATH' > /etc/profile.d/jpo.sh && install --directory --owner=1000 --group=1000 /runs
# TORCH_EXTENSIONS_DIR: a writable place when the root file system is read-only.
# hadolint ignore=DL3064
ENV PATH=/opt/jpo/bin:$PATH \
    PYTHONPATH=/opt/jpo/lib/python3.11/site-packages/jpo_dist/installed \
    PYTHONUNBUFFERED=1 \
    TORCH_EXTENSIONS_DIR=/tmp/torch_extensions \
    TOKENIZERS_PARALLELISM=false \
    HF_HUB_DISABLE_TELEMETRY=1 \
    MLFLOW_DISABLE_TELEMETRY=true \
    RAY_USAGE_STATS_ENABLED=0
WORKDIR /opt/jpo
USER 1000:1000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "-m", "cluster.health"]
ENTRYPOINT ["/usr/bin/tini", "-g", "--"]
CMD ["jpo", "doctor"]
