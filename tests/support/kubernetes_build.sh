#!/bin/sh
# kubernetes_build.sh FOLDER: the programs of Kubernetes, from the source that Debian 12 publishes, into FOLDER; minutes, once.
# Debian packages kubectl alone. As root, on Debian: what builds and runs them is installed first.
set -eu
case "$1" in /*) programs=$1 ;; *) programs=$PWD/$1 ;; esac
wanted="kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl"
for name in $wanted; do [ -x "$programs/$name" ] || missing=1; done
command -v etcd containerd runc go >/dev/null || missing=1
[ -n "${missing:-}" ] || exit 0

export DEBIAN_FRONTEND=noninteractive
apt-get update
apt-get install --yes --no-install-recommends golang-go etcd-server containerd runc containernetworking-plugins rsync gcc libc6-dev

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
# The host's own sources of packages, for source packages: in a list of this script's.
mkdir "$work/sources" "$work/lists"
sed 's/^Types:.*/Types: deb-src/' /etc/apt/sources.list.d/debian.sources >"$work/sources/debian.sources" 2>/dev/null ||
  sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$work/sources/debian.list"
apt="apt-get -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$work/sources -o Dir::State::lists=$work/lists"
$apt update
(cd "$work" && $apt source --download-only kubernetes)
place=$work/go/src/k8s.io/kubernetes
mkdir -p "$place"
tar --extract --strip-components=1 --directory "$place" --file "$work"/kubernetes_*.orig.tar.*

export GOPATH="$work/go" GOCACHE="$work/cache" GO111MODULE=off CGO_ENABLED=0 GOFLAGS=
cd "$place"
make gen_openapi
mkdir -p "$programs"
for name in $wanted; do
  go build -ldflags "-X k8s.io/component-base/version.gitVersion=v1.20.2" -o "$programs/$name" "./cmd/$name"
done
