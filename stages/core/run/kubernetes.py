"""What a Kubernetes says of itself, by `kubectl`: whether Jobs may be created there, and what its nodes have to give."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from stages.core.run.slurm import Partition

PATIENCE = 20  # seconds
RIGHTS = ("create", "get", "delete")
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity
SUFFIXES = {"": 1.0, "m": 1e-3, **{s: 10.0 ** (3 * n) for n, s in enumerate("kMGTPE", 1)}}
SUFFIXES |= {f"{s}i": 2.0 ** (10 * n) for n, s in enumerate("KMGTPE", 1)}
GPU = "nvidia.com/gpu"


@dataclass(frozen=True)
class Place:
    """Where the Jobs of a manifest go: namespace, and the claims of volumes that they mount."""

    namespace: str
    claims: tuple[str, ...]


def read_place(manifest: Path) -> Place:
    """Of job.yaml, in which @WORDS are still to be filled in; raises ValueError where it is no manifest of a Job."""
    try:
        job = yaml.safe_load(re.sub(r"@[A-Z]+", "1", manifest.read_text(encoding="utf-8")))
        volumes = job["spec"]["template"]["spec"].get("volumes") or []
        claims = [
            volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume
        ]
        return Place(str(job["metadata"].get("namespace", "default")), tuple(claims))
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{manifest}: is no manifest of a Job ({' '.join(str(error).split())})") from error


def defects(place: Place) -> Iterator[str]:
    """What keeps Jobs from being created, or their pods from starting, as sentences with the fix.

    Raises:
        ValueError: no cluster answers.
    """
    for verb in RIGHTS:
        answer = _ask("auth", "can-i", verb, "jobs.batch", "--namespace", place.namespace)
        if answer.splitlines()[-1:] != ["yes"]:
            yield f"there is no right to {verb} Jobs in namespace {place.namespace}; ask for a role that has it"
    for claim in place.claims:
        state = _ask("get", "pvc", claim, "--namespace", place.namespace, "-o", "jsonpath={.status.phase}")
        if "NotFound" in state:
            yield f"there is no volume claim {claim} in namespace {place.namespace}; create it, or name another in job.yaml"
        elif state != "Bound":
            yield f"volume claim {claim} is {state}, not Bound: pods would wait for it; see `kubectl describe pvc {claim}`"


def read_largest() -> Partition | None:
    """The most that a pod can get on any node that is there now; None where nodes may not be looked at.

    Raises:
        ValueError: no cluster answers, or it cannot say.
    """
    text = _ask("get", "nodes", "-o", "json")
    if text.startswith("Error from server (Forbidden)"):
        return None
    if text.startswith("Error"):
        raise ValueError(f"kubectl get nodes: {text}")
    gives = [node["status"]["allocatable"] for node in json.loads(text)["items"]]
    return Partition(
        memory=max((int(quantity(each["memory"]) / 1e6) for each in gives), default=0),
        cpus=max((int(quantity(each["cpu"])) for each in gives), default=0),
        gpus=max((int(quantity(each.get(GPU, "0"))) for each in gives), default=0),
        minutes=None,
    )


def quantity(text: str) -> float:
    """A number of Kubernetes, as "64Gi", "32000M" or "500m"."""
    match = re.fullmatch(r"([\d.]+(?:e\d+)?)([A-Za-z]*)", text)
    if match is None or match[2] not in SUFFIXES:
        raise ValueError(f"{text!r} is no quantity of Kubernetes")
    return float(match[1]) * SUFFIXES[match[2]]


def _ask(*words: str) -> str:
    """What kubectl prints, an error of the server included; raises ValueError where no server answers."""
    command = ["kubectl", f"--request-timeout={PATIENCE}s", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "Error from server" not in done.stderr and not done.stdout.strip():
        complaint = (done.stderr.strip().splitlines() or [f"ended with status {done.returncode}"])[-1]
        raise ValueError(f"kubectl reaches no cluster: {complaint}")
    return done.stdout.strip() or done.stderr.strip()
