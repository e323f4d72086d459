from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import fastavro
import pytest

from nurt.adapters.files.avro_container import schema_id_of
from nurt.adapters.files.schema_registry import FolderRegistry
from nurt.errors import ConfigurationError

CORPUS = Path(__file__).parents[1] / "corpus"
FOLDERS = [CORPUS / name for name in ("postgres", "mariadb", "postgres_outbox_router", "sqlserver_synthetic")]
ROW = {"type": "record", "name": "Row", "fields": [{"name": "id", "type": "long"}]}


def test_schemas_of_several_archives_are_found_together(tmp_path: Path) -> None:
    registry = FolderRegistry(tmp_path, FOLDERS)
    for folder in FOLDERS:
        for text, schema in json.loads((folder / "schemas.json").read_text()).items():
            assert registry.schema(int(text), str(folder)) == schema


def test_an_archive_is_never_written_to(tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in CORPUS.rglob("*.json")}
    schema_id = FolderRegistry(tmp_path, FOLDERS).register("t-value", ROW)
    assert schema_id > 43
    assert {path: path.read_bytes() for path in CORPUS.rglob("*.json")} == before


def test_an_id_means_what_its_own_archive_says(tmp_path: Path) -> None:
    other = {**ROW, "name": "Other"}
    for name, schemas in (("a", {"1": ROW, "2": ROW}), ("b", {"1": other})):
        (tmp_path / name).mkdir()
        (tmp_path / name / "schemas.json").write_text(json.dumps(schemas))
    a, b = tmp_path / "a", tmp_path / "b"
    registry = FolderRegistry(tmp_path / "home", [a, b])
    assert [registry.schema(1, str(a)), registry.schema(1, str(b))] == [ROW, other]
    assert registry.schema(2, str(b)) == ROW, "what an archive lacks is looked for in the others"
    assert registry.schema(1) is None, "nobody can say whose this is"


def test_one_id_for_two_schemas_in_one_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "schemas.json").write_text(json.dumps({"1": ROW}))
    registry = FolderRegistry(tmp_path)
    (tmp_path / "schemas.json").write_text(json.dumps({"1": {**ROW, "name": "Other"}}))
    with pytest.raises(ConfigurationError, match="id 1 is another schema"):
        registry.schema(7)


def test_the_schema_inside_a_container_is_known_even_when_it_comes_later(tmp_path: Path) -> None:
    registry = FolderRegistry(tmp_path)
    assert registry.schema(schema_id_of(ROW)) is None
    with (tmp_path / "t.avro").open("wb") as file:
        fastavro.writer(file, ROW, [{"id": 1}])
    assert registry.schema(schema_id_of(ROW)) == ROW


def test_a_file_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "schemas.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"schemas\.json"):
        FolderRegistry(tmp_path)


REGISTERING = """
import sys
from pathlib import Path
from nurt.adapters.files.schema_registry import FolderRegistry
registry = FolderRegistry(Path(sys.argv[1]))
for index in range(15):
    fields = [{"name": f"{sys.argv[2]}{index}", "type": "long"}]
    print(registry.register(f"{sys.argv[2]}{index}-value", {"type": "record", "name": "Row", "fields": fields}))
"""


def test_processes_that_register_at_once_share_no_id(tmp_path: Path) -> None:
    running = [
        subprocess.Popen([sys.executable, "-c", REGISTERING, str(tmp_path), who], stdout=subprocess.PIPE)
        for who in "ab"
    ]
    told = [[int(line) for line in child.communicate(timeout=120)[0].split()] for child in running]
    assert sorted(told[0] + told[1]) == list(range(1, 31))
    registry = FolderRegistry(tmp_path)
    for who, ids in zip("ab", told, strict=True):
        names = [(registry.schema(schema_id) or {})["fields"][0]["name"] for schema_id in ids]
        assert names == [f"{who}{index}" for index in range(15)]
