"""A local server that speaks the hub's API, and a project folder whose preset fetches from it."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.project import CONFIG

from stages.core.config.loading import load_config
from stages.core.state.weights import find_weights
from stages.fetch_weights import main

SAM2, DINO, TEXT = "facebook/sam2-tiny", "IDEA-Research/dino-tiny", "org/text-tiny"
Repository = dict[str, bytes]


class Hub:
    """A server of repositories: branch "main" of each at its newest commit, older commits by their name."""

    def __init__(self) -> None:
        self.commits: dict[str, list[tuple[str, Repository]]] = {}
        self.tampered: dict[str, bytes] = {}  # file name → bytes sent instead of the announced ones
        self.cuts: list[str] = []  # files whose connection breaks off half-way, once each
        self.sent: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def push(self, repository: str, files: Repository) -> str:
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits.setdefault(repository, []).append((commit, files))
        return commit

    def find(self, repository: str, revision: str) -> tuple[str, Repository] | None:
        commits = self.commits.get(repository, [])
        by_name = dict(commits) | ({"main": commits[-1][1]} if commits else {})
        names = {commit: commit for commit, _ in commits} | ({"main": commits[-1][0]} if commits else {})
        return (names[revision], by_name[revision]) if revision in by_name else None

    def answer(self, request: BaseHTTPRequestHandler, *, body: bool) -> None:
        parts = request.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repository, kind, revision = "/".join(parts[2:4]), parts[4], parts[5]
        else:
            repository, kind, revision = "/".join(parts[:2]), parts[2], parts[3]
        found = self.find(repository, revision)
        name = "/".join(parts[4:])
        if found is None or (kind == "resolve" and name not in found[1]):
            request.send_response(404)
            request.send_header("X-Error-Code", "EntryNotFound" if found else "RevisionNotFound")
            request.end_headers()
        elif kind == "resolve":
            self.sent += [name] if body else []
            content = self.tampered.get(name, found[1][name])
            self.send(request, content, body, self.headers(*found, name), cut=body and name in self.cuts)
            self.cuts = [cut for cut in self.cuts if not body or cut != name]
        else:
            document = self.tree(found[1]) if kind == "tree" else self.info(repository, *found)
            self.send(request, json.dumps(document).encode(), body, {"Content-Type": "application/json"})

    @staticmethod
    def headers(commit: str, files: Repository, name: str) -> dict[str, str]:
        return {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(files[name]).hexdigest()}"'}

    @staticmethod
    def info(repository: str, commit: str, files: Repository) -> dict[str, Any]:
        return {"id": repository, "sha": commit, "siblings": [{"rfilename": name} for name in files]}

    @staticmethod
    def tree(files: Repository) -> list[dict[str, Any]]:
        return [
            {
                "type": "file",
                "path": name,
                "size": len(content),
                "oid": hashlib.sha1(content).hexdigest(),
                **(
                    {"lfs": {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}}
                    if name.endswith((".safetensors", ".pt"))
                    else {}
                ),
            }
            for name, content in files.items()
        ]

    @staticmethod
    def send(
        request: BaseHTTPRequestHandler, content: bytes, body: bool, headers: dict[str, str], cut: bool = False
    ) -> None:
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        request.send_response(206 if start else 200)
        if start:
            headers = {**headers, "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        content = content[start:]
        for key, value in {**headers, "Content-Length": str(len(content))}.items():
            request.send_header(key, value)
        request.end_headers()
        if body:
            request.wfile.write(content[: len(content) // 2] if cut else content)


def go_online(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Lets huggingface_hub ask `url`, whatever the environment of the tests says."""
    monkeypatch.setenv("HF_ENDPOINT", url)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def model(**given: Any) -> dict[str, Any]:
    base: dict[str, Any] = {"hub": None, "revision": None, "files": [], "seed": None, "path": None, "license": None}
    return {**base, **given}


class Place:
    """A project folder with a preset `test`: SAM2 and GroundingDINO from the hub, the rest from a path."""

    def __init__(self, root: Path, text_folder: Path) -> None:
        self.root = root
        self.weights, self.lock_file = root / "weights", root / "weights.lock.json"
        self.lock_file.write_text("{}\n")
        self.models: dict[str, dict[str, Any]] = {
            "sam2": model(config="stages/micro/sam2_micro.yaml", hub=SAM2, revision="main", files=["sam2.pt"]),
            "grounding_dino": model(hub=DINO, revision="main", files=["*.json", "*.txt", "model.safetensors"]),
            "text": model(path=str(text_folder)),
            "mllm": model(path=str(text_folder)),
        }

    @property
    def config_files(self) -> list[Path]:
        overlay = {
            "paths": {"weights": str(self.weights), "weights_lock": str(self.lock_file)},
            "presets": {"test": {"models": self.models, "settings": {}}},
            "datasets": {"shapes": {"models": "test"}},
        }
        (self.root / "overlay.yaml").write_text(yaml.safe_dump(overlay))
        return [CONFIG, self.root / "overlay.yaml"]

    def only(self, *roles: str) -> None:
        """Takes the other roles out of the preset."""
        self.models = {role: self.models[role] for role in roles}

    def fetch(self, *flags: str) -> int:
        return main(["--preset", "test", *(f"--config={file}" for file in self.config_files), *flags])

    def found(self, role: str) -> Any:
        return find_weights(load_config(*self.config_files), "shapes", role)

    @property
    def lock(self) -> dict[str, Any]:
        return json.loads(self.lock_file.read_text())


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
