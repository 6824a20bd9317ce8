"""Wheel and sdist contain the package and its schemas. Installs the wheel in a new environment."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.harness import ROOT, environment, uv

SCHEMAS = list((ROOT / "schemas").iterdir())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--out-dir", folder, ROOT)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


@pytest.mark.long
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_installed_package_finds_its_schema(built: dict[str, Path], kind: str, tmp_path: Path) -> None:
    scripts = tmp_path / "venv" / "bin"
    uv("venv", "--python", sys.executable, scripts.parent)
    uv("pip", "install", "--python", scripts / "python", built[kind])
    tap = [str(scripts / "tap-sequence"), "--discover"]
    done = subprocess.run(tap, capture_output=True, text=True, cwd=tmp_path, env=environment(), check=True)
    streams = json.loads(done.stdout)["streams"]
    assert {stream["tap_stream_id"] for stream in streams} == {file.stem for file in SCHEMAS}
    for stream in streams:
        file = ROOT / "schemas" / f"{stream['tap_stream_id']}.json"
        schema = json.loads(file.read_text(encoding="utf-8"))
        assert set(stream["schema"]["properties"]) == set(schema["properties"])
        assert stream["schema"]["required"] == schema["required"]
    source = [str(scripts / "source-sequence"), "spec"]
    done = subprocess.run(source, capture_output=True, text=True, cwd=tmp_path, env=environment(), check=True)
    assert json.loads(done.stdout)["spec"]["documentationUrl"].endswith("/docs/airbyte.md")


def test_images_leave_out_the_credentials_and_states_that_git_ignores() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").partition("# Credentials and state\n")[2]
    patterns = [line for line in ignored.partition("\n\n")[0].splitlines() if not line.startswith("!")]
    assert ".env" in patterns
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {f"**/{pattern}" for pattern in patterns} <= set(left_out)


def test_wheel_contains_only_the_package_and_its_schema(built: dict[str, Path]) -> None:
    names = zipfile.ZipFile(built["wheel"]).namelist()
    assert {f"tap_sequence/schemas/{file.name}" for file in SCHEMAS} <= set(names)
    assert all(name.startswith(("tap_sequence/", "tap_sequence-")) for name in names)


def test_sdist_contains_the_sources_of_the_package(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"schemas/{file.name}" for file in SCHEMAS} <= names
    assert {"tap_sequence/singer/tap.py", "README.md", "LICENSE"} <= names
    assert not [name for name in names if name.startswith(("tests/", "output/"))]
