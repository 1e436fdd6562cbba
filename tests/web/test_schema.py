"""The OpenAPI description holds: every answer to generated requests is one that it names, of the shape it gives."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("fastapi")
schemathesis = pytest.importorskip("schemathesis")

from web_studio import Studio, write_song  # noqa: E402


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schema")
    with Studio(folder / "s", waiting=2000) as studio:
        studio.song = write_song(folder / "a.wav", 1.0)
        studio.done = studio.separate(studio.song)
        yield studio


def generate(studio, folder, *options, config=""):
    (folder / "schemathesis.toml").write_text(config)
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        f"{studio.url}/api/openapi.json",
        "--checks",
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        "--exclude-path-regex",
        "events$",
        "--generation-database",
        "none",
        "--seed",
        "1",
        "--no-color",
        "--request-timeout",
        "20",
        *options,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=240, env={**os.environ, "NO_PROXY": "*"}
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


@pytest.mark.slow
def test_generated_requests_meet_the_description(studio, tmp_path):
    generate(studio, tmp_path, "--phases", "coverage,fuzzing", "--max-examples", "8")
    assert studio.client.get("/api/jobs").status_code == 200


@pytest.mark.slow
def test_generated_requests_for_a_song_that_is_there(studio, tmp_path):
    job = studio.separate(studio.song)
    values = {"path.job_id": job["id"], "path.stem": "drums", "path.lane": "drums", "query.take": "full"}
    config = "[parameters]\n" + "".join(f'"{key}" = "{value}"\n' for key, value in values.items())
    generate(studio, tmp_path, "--phases", "fuzzing", "--max-examples", "12", "--include-method", "GET", config=config)
    assert studio.job(job["id"])["state"] == "done"


def test_the_description_names_what_a_script_needs(studio):
    described = studio.client.get("/api/openapi.json").json()
    paths = described["paths"]
    assert {"post", "get"} <= paths["/api/v1/jobs"].keys()
    assert {"get", "delete"} <= paths["/api/v1/jobs/{job_id}"].keys()
    assert "get" in paths["/api/v1/jobs/{job_id}/events"] and "get" in paths["/api/v1/jobs/{job_id}/stems/{stem}.wav"]
    form = paths["/api/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file"]
    assert {"400", "401", "403", "413", "415", "422", "429", "507"} <= paths["/api/v1/jobs"]["post"]["responses"].keys()
    job = described["components"]["schemas"]["JobView"]["properties"]
    assert {"id", "state", "progress", "error", "stems"} <= job.keys()
    assert set(job["state"]["enum"]) == {"queued", "running", "done", "failed", "cancelled"}
