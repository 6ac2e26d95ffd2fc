"""A real Kubernetes on this machine alone: one node with pretended GPUs, its programs and state in a folder of its own.

The programs come from Debian's source (kubernetes_build.sh), containers from Debian's containerd and runc. The image of the jobs
is an empty root: folders of this machine that Python is in are bound into every container, instead of gigabytes that are copied.
"""

import io
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import yaml
from support.project import ROOT
from support.slurm import free_ports, running

PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl")
OF_DEBIAN = ("etcd", "containerd", "runc", "ctr", "gcc", "openssl")
NODE, TOKEN, GPUS = "node", "tests", 2
IMAGE, PAUSE = "registry.example/referee:1", "registry.example/pause:1"
SEEN = ("/usr", "/bin", "/lib", "/lib64", "/sbin", "/etc/ssl", "/etc/alternatives")
# The process that holds the namespaces of a pod.
PAUSE_C = """
#include <signal.h>
#include <unistd.h>
static void end(int number) { _exit(0); }
int main(void) { signal(SIGTERM, end); signal(SIGINT, end); for (;;) pause(); }
"""


def lacking(programs: Path) -> str:
    """Why no Kubernetes can be started here; empty where one can."""
    missing = [name for name in PROGRAMS if not (programs / name).is_file()]
    missing += [name for name in OF_DEBIAN if shutil.which(name, path=paths()) is None]
    if missing:
        return f"{', '.join(missing)} not there (Debian: `make test-kubernetes` installs and builds them)"
    return "" if os.geteuid() == 0 else "containers are started by root alone"


def paths() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


@dataclass(frozen=True)
class Kubernetes:
    """A running Kubernetes. `environment` makes kubectl, and so the workflow, talk to it."""

    place: Path
    environment: dict[str, str]
    server: str
    processes: dict[str, int] = field(default_factory=dict)

    def ask(self, *words: str) -> str:
        """What kubectl prints."""
        done = subprocess.run(["kubectl", *words], env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"kubectl {words}: {done.stderr}"
        return done.stdout.strip()

    def jobs(self, state: str = "") -> list[str]:
        """Names of Jobs, in the order of their making: all, or those that are "active", "succeeded" or "failed"."""
        jobs = json.loads(self.ask("get", "jobs", "--sort-by=.metadata.creationTimestamp", "-o", "json"))["items"]
        return [job["metadata"]["name"] for job in jobs if not state or job["status"].get(state)]

    def call(self, path: str, method: str = "GET", document: object = None, kind: str = "json") -> bytes:
        """What the server answers; raises OSError where it does not."""
        request = urllib.request.Request(f"{self.server}{path}", method=method)
        request.add_header("Authorization", f"Bearer {TOKEN}")
        if document is not None:
            request.data = json.dumps(document).encode()
            request.add_header("Content-Type", f"application/{kind}")
        unchecked = ssl._create_unverified_context()
        with urllib.request.urlopen(request, context=unchecked, timeout=10) as answer:
            return bytes(answer.read())

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """The server answers no questions meanwhile."""
        os.kill(self.processes["kube-apiserver"], signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.processes["kube-apiserver"], signal.SIGCONT)

    @contextmanager
    def starting_nothing(self) -> Iterator[None]:
        """Pods wait meanwhile."""
        self.ask("cordon", NODE)
        try:
            yield
        finally:
            self.ask("uncordon", NODE)

    def claim(self, folder: Path) -> None:
        """The volume that the profile names, `referee`: a folder of this machine."""
        size = {"storage": "1Gi"}
        about = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        volume = {"kind": "PersistentVolume", "spec": {"capacity": size, "hostPath": {"path": str(folder)}, **about}}
        claim = {"kind": "PersistentVolumeClaim", "spec": {"resources": {"requests": size}, **about}}
        for document in (volume, claim):
            self.make({"apiVersion": "v1", "metadata": {"name": "referee"}, **document})

    def forget(self) -> None:
        """Ends all jobs, and waits until their containers are gone; then there is no volume either."""
        self.ask("delete", "jobs", "--all", "--wait")
        self.ask("delete", "pods", "--all", "--wait", "--timeout=60s")
        self.ask("delete", "pvc,pv", "--all", "--wait", "--timeout=60s")

    def make(self, document: object) -> None:
        subprocess.run(
            ["kubectl", "create", "-f", "-"], input=json.dumps(document), text=True, env=self.environment, check=True
        )


@contextmanager
def one_node(place: Path, programs: Path) -> Iterator[Kubernetes]:
    """Starts Kubernetes in `place`, and ends it."""
    etcd, peer, server, kubelet, health, controller, scheduler = free_ports(7)
    environment = os.environ | {"KUBECONFIG": str(place / "kubeconfig"), "PATH": f"{programs}:{paths()}"}
    cluster = Kubernetes(place, environment, f"https://127.0.0.1:{server}")
    write_files(place, server, kubelet, health)
    own = ["--kubeconfig=kubeconfig", "--leader-elect=false"]
    with ExitStack() as stack:
        stack.callback(unmount_below, place)

        def start(*command: str) -> None:
            log = place / f"{command[0]}.log"
            cluster.processes[command[0]] = stack.enter_context(running(list(command), log, environment, place))

        urls = {name: f"http://127.0.0.1:{port}" for name, port in (("client", etcd), ("peer", peer))}
        start("etcd", "--data-dir=etcd", "--unsafe-no-fsync", *(f"--listen-{name}-urls={url}" for name, url in urls.items()),
              f"--advertise-client-urls={urls['client']}")  # fmt: skip
        keys = ("--service-account-signing-key-file=key", "--service-account-key-file=key.pub")
        start("kube-apiserver", f"--etcd-servers={urls['client']}", "--cert-dir=certificates", f"--secure-port={server}",
              "--bind-address=127.0.0.1", "--token-auth-file=tokens.csv", "--service-account-issuer=https://tests", *keys,
              "--service-cluster-ip-range=10.99.0.0/24", "--disable-admission-plugins=ServiceAccount")  # fmt: skip
        wait_for(cluster, "/readyz")
        start("kube-controller-manager", *own, f"--secure-port={controller}", "--service-account-private-key-file=key")
        start("kube-scheduler", *own, f"--secure-port={scheduler}")
        start("containerd", "--config=containerd.toml")
        while not (place / "containerd.sock").exists():
            time.sleep(0.1)
        write_images(place / "images.tar", place)
        ctr = ["ctr", "--address=containerd.sock", "--namespace=k8s.io", "images", "import", "images.tar"]
        subprocess.run(ctr, cwd=place, env=environment, check=True, capture_output=True)
        start("kubelet", "--kubeconfig=kubeconfig", "--config=kubelet.yaml", "--container-runtime=remote",
              f"--container-runtime-endpoint=unix://{place}/containerd.sock", f"--root-dir={place}/kubelet",
              f"--hostname-override={NODE}", "--node-ip=127.0.0.1", f"--cert-dir={place}/certificates")  # fmt: skip
        wait_for(cluster, f"/api/v1/nodes/{NODE}")
        cluster.ask("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=60s")
        gpus = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(GPUS)}]
        cluster.call(f"/api/v1/nodes/{NODE}/status", "PATCH", gpus, "json-patch+json")
        try:
            yield cluster
        finally:
            cluster.forget()


def unmount_below(place: Path) -> None:
    """What kubelet and containers have mounted; a folder that is mounted cannot be removed."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mounted in reversed([path for path in mounts if Path(path).is_relative_to(place)]):
        subprocess.run(["umount", "--lazy", mounted], check=False)


def wait_for(cluster: Kubernetes, path: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(OSError, urllib.error.URLError):
            cluster.call(path)
            return
        time.sleep(0.2)
    logs = "\n".join(f"{file.name}: {file.read_text(errors='replace')[-1000:]}" for file in cluster.place.glob("*.log"))
    raise TimeoutError(f"{path} is not there after {seconds} s\n{logs}")


def write_files(place: Path, server: int, kubelet: int, health: int) -> None:
    """Keys, configs, and what a container sees of this machine."""
    subprocess.run(["openssl", "genrsa", "-out", "key", "2048"], cwd=place, check=True, capture_output=True)
    subprocess.run(
        ["openssl", "rsa", "-in", "key", "-pubout", "-out", "key.pub"], cwd=place, check=True, capture_output=True
    )
    (place / "tokens.csv").write_text(f'{TOKEN},tests,1,"system:masters"\n')
    access = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "c", "cluster": {"server": f"https://127.0.0.1:{server}", "insecure-skip-tls-verify": True}}
        ],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    node = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "port": kubelet,
        "healthzPort": health,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    }
    runtime = {"runtime_type": "io.containerd.runc.v2", "base_runtime_spec": str(place / "spec.json")}
    network = {
        "type": "ptp",
        "ipam": {"type": "host-local", "dataDir": str(place / "addresses"), "ranges": [[{"subnet": "10.98.0.0/24"}]]},
    }
    (place / "network").mkdir()
    (place / "network/ptp.conflist").write_text(
        json.dumps({"cniVersion": "0.4.0", "name": "ptp", "plugins": [network]})
    )
    (place / "kubeconfig").write_text(yaml.safe_dump(access))
    (place / "kubelet.yaml").write_text(yaml.safe_dump(node))
    (place / "containerd.toml").write_text(f"""
version = 2
root = "{place}/containers"
state = "{place}/containers-now"
[grpc]
  address = "{place}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  cni = {{bin_dir = "/usr/lib/cni", conf_dir = "{place}/network"}}
[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "{runtime["runtime_type"]}"
  base_runtime_spec = "{runtime["base_runtime_spec"]}"
""")
    spec = json.loads(subprocess.run(["ctr", "oci", "spec"], capture_output=True, text=True, check=True).stdout)
    for folder in dict.fromkeys([*SEEN, sys.base_prefix, sys.prefix, str(ROOT)]):
        if Path(folder).exists():
            spec["mounts"].append({"destination": folder, "type": "bind", "source": folder, "options": ["rbind", "ro"]})
    (place / "spec.json").write_text(json.dumps(spec))


def write_images(archive: Path, place: Path) -> None:
    """The images of jobs and of pods, as `docker save` writes them."""
    (place / "pause.c").write_text(PAUSE_C)
    subprocess.run(["gcc", "-static", "-o", "pause", "pause.c"], cwd=place, check=True)
    accounts = {"etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n", "etc/group": b"root:x:0:\n"}
    variables = [f"PATH={Path(sys.prefix) / 'bin'}:/usr/bin:/bin", "HOME=/tmp", "HF_HUB_OFFLINE=1", "OMP_NUM_THREADS=1"]
    with tarfile.open(archive, "w") as out:
        images = [
            _add_image(out, PAUSE, {"pause": (place / "pause").read_bytes()}, {"Entrypoint": ["/pause"]}),
            _add_image(out, IMAGE, accounts, {"Env": variables}),
        ]
        _add(out, "manifest.json", json.dumps(images).encode())


def _add_image(
    out: tarfile.TarFile, name: str, files: dict[str, bytes], config: dict[str, object]
) -> dict[str, object]:
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as root:
        for path, content in files.items():
            _add(root, path, content)
        temporary = tarfile.TarInfo("tmp")
        temporary.type, temporary.mode = tarfile.DIRTYPE, 0o1777
        root.addfile(temporary)
    content = layer.getvalue()
    own = sha256(content).hexdigest()
    about = {
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{own}"]},
    }
    text = json.dumps(about).encode()
    _add(out, f"{own}.tar", content)
    _add(out, f"{sha256(text).hexdigest()}.json", text)
    return {"Config": f"{sha256(text).hexdigest()}.json", "RepoTags": [name], "Layers": [f"{own}.tar"]}


def _add(archive: tarfile.TarFile, path: str, content: bytes) -> None:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(content), 0o755
    archive.addfile(entry, io.BytesIO(content))
