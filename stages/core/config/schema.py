"""Writes workflow/schemas/config.schema.json from the pydantic models of the config."""

import json
from collections.abc import Sequence
from pathlib import Path

from stages.core.config.file import Config
from stages.core.run.cli import build_parser, execute

SCHEMA = Path("workflow/schemas/config.schema.json")


def schema_text() -> str:
    return json.dumps(Config.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


def write_schema() -> None:
    SCHEMA.write_text(schema_text(), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    return execute(build_parser(__doc__), argv, lambda _: write_schema())


if __name__ == "__main__":
    raise SystemExit(main())
