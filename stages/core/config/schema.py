"""Writes workflow/schemas/config.schema.json from the pydantic models of the config."""

import json
from pathlib import Path

from stages.core.config.file import Config

SCHEMA = Path("workflow/schemas/config.schema.json")


def schema_text() -> str:
    return json.dumps(Config.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="utf-8")
