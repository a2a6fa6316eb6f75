#!/bin/sh
# A sweep from a pack in a bare virtual environment without a network, and its records back home: the transcript of
# docs/bare_node.md. Linux; as root it has no network at all (unshare -n), else a proxy that does not exist.
#
#     sh benchmarks/bare_node.sh > transcript.txt
set -eu
home=$(cd "$(dirname "$0")/.." && pwd)
drscale="${DRSCALE:-$home/.venv/bin/drscale}"
node=$(mktemp -d)
trap 'rm -rf "$node"' EXIT
say() { printf '$ %s\n' "$*" | sed "s#$drscale#drscale#"; "$@" 2>&1; }
offline() { if [ "$(id -u)" = 0 ]; then unshare -n "$@"; else env http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 "$@"; fi; }

cd "$node"
cat > study.toml <<'TOML'
[base]
texts = "docs"
steps = 60
[[grid]]
rung = ["L2H12", "L2H16"]
seed = [0, 1]
TOML
echo '# at home'
say cat study.toml
say "$drscale" pack study.toml study.pack
say du -sh study.pack
echo
echo '# on the node: torch, transformers, pandas, pyarrow, safetensors and what they bring, no network'
mkdir node && cp -r study.pack node/ && cd node
python3 -m venv .venv
.venv/bin/pip install --quiet --disable-pip-version-check -c "$home/constraints.txt" torch transformers pandas pyarrow safetensors 2>pip.log || { cat pip.log >&2; exit 1; }
say .venv/bin/pip list --disable-pip-version-check --format=freeze
echo '$ .venv/bin/python study.pack --workers 2'
offline env HOME="$node/nobody" OMP_NUM_THREADS=1 .venv/bin/python study.pack --workers 2 2>&1
say ls study.pack/runs
echo
echo '# at home again'
cd "$node"
say mkdir study
echo '$ cp node/study.pack/runs/*.json node/study.pack/runs/*.parquet study/'
cp node/study.pack/runs/*.json node/study.pack/runs/*.parquet study/
say "$drscale" plan study.toml --quick
