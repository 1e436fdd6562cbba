"""Operating a studio: health, metrics, the access log, HEAD, sources of the token."""

import asyncio
import json
import logging
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi")

from hyperstem.errors import ConfigError
from hyperstem.web import log, server, tokens
from hyperstem.web.jobs import disk
from web_studio import Studio, studio_inside, write_song

TOKEN = "a-long-enough-token"


@pytest.fixture(scope="module")
def wav(tmp_path_factory):
    return write_song(tmp_path_factory.mktemp("songs") / "a.wav", 1.0)


@pytest.fixture(scope="module")
def studio(tmp_path_factory, wav):
    with Studio(tmp_path_factory.mktemp("watch") / "s") as studio:
        studio.song = studio.separate(wav)
        yield studio


# HEAD


def test_head_wherever_get_is(studio):
    base = f"/api/v1/jobs/{studio.song['id']}"
    for path in (
        "/",
        "/docs",
        "/healthz",
        "/metrics",
        "/static/js/main.js",
        "/api/v1/jobs",
        "/api/jobs",
        base,
        f"{base}/stems/bass.wav",
        f"{base}/stems.zip",
        f"{base}/karaoke.wav",
        f"{base}/events",
        "/api/v1/events",
        "/nothing",
        f"{base}/stems/piano.wav",
        "/api/v1/openapi.json",
    ):
        head = studio.client.head(path)
        with studio.client.stream("GET", path) as answer:
            assert head.status_code == answer.status_code, path
            assert head.headers["content-type"] == answer.headers["content-type"], path
            if path != "/metrics":
                assert head.headers.get("content-length") == answer.headers.get("content-length"), path
        assert head.content == b"" and "content-security-policy" in head.headers, path
    assert studio.client.head(f"{base}/restart").status_code == 405


def test_head_leaves_nothing_running(tmp_path):
    async def run():
        async with studio_inside(tmp_path) as (client, runner):
            for _ in range(5):
                assert (await client.head("/api/v1/events")).status_code == 200
            await asyncio.sleep(0.05)
            assert len(runner.subscribers) == 0

    asyncio.run(run())


# Health and figures


def test_health(tmp_path, monkeypatch):
    async def run():
        async with studio_inside(tmp_path, token=TOKEN) as (client, runner):
            answer = await client.get("/healthz")
            assert answer.status_code == 200 and answer.json() == {"status": "ok"}
            monkeypatch.setattr(os, "access", lambda *_: False)
            answer = await client.get("/healthz")
            assert answer.status_code == 503 and "folder" in answer.json()["status"]
            monkeypatch.undo()
            runner._tasks[0].cancel()
            await asyncio.sleep(0.05)
            answer = await client.get("/healthz")
            assert answer.status_code == 503 and "queue" in answer.json()["status"]

    asyncio.run(run())


def figures(text):
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_figures(studio):
    studio.client.get("/nowhere/1")
    studio.client.get("/nowhere/2")
    answer = studio.client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = figures(answer.text)
    assert values['hyperstem_jobs{state="done"}'] == 1 == values['hyperstem_jobs_ended_total{state="done"}']
    folder = studio.folder / "jobs" / studio.song["id"]
    assert values["hyperstem_disk_held_bytes"] == disk.used_bytes(folder)
    assert values["hyperstem_disk_quota_bytes"] == 20 << 30 and values["hyperstem_disk_free_bytes"] > 0
    assert values["hyperstem_separated_seconds_total"] == 1.0 and values["hyperstem_separating_seconds_total"] > 0
    assert values["process_resident_memory_bytes"] > 1e6
    posted = 'hyperstem_http_requests_total{method="POST",route="/jobs",status="201"}'
    assert values[posted] == 1, [name for name in values if "http_requests" in name]
    assert values['hyperstem_http_requests_total{method="GET",route="other",status="404"}'] >= 2
    assert studio.song["id"] not in answer.text  # addresses would be without end


def test_figures_need_the_token(tmp_path):
    async def run():
        async with studio_inside(tmp_path, token=TOKEN) as (client, _):
            assert (await client.get("/metrics")).status_code == 401
            answer = await client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
            assert answer.status_code == 200

    asyncio.run(run())


def test_the_description_names_the_token(studio):
    described = studio.client.get("/api/v1/openapi.json").json()
    scheme = described["components"]["securitySchemes"]["token"]
    assert scheme["type"] == "http" and scheme["scheme"] == "bearer"
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            needed = path not in ("/healthz", "/api/v1/session")
            assert operation.get("security") == ([{"token": []}] if needed else None), (path, method)


def test_events_are_not_collected_by_a_proxy(studio):
    with studio.client.stream("GET", "/api/v1/events") as answer:
        assert answer.headers["x-accel-buffering"] == "no"


# Logs


def command(*arguments):
    return [sys.executable, "-m", "hyperstem", "studio", "--no-browser", "--port", "0", *map(str, arguments)]


class Command:
    """The studio as its command starts it."""

    def __init__(self, tmp_path, *arguments, **environment):
        self.errors = tmp_path / "errors.txt"
        self.process = subprocess.Popen(
            command("--folder", tmp_path / "s", *arguments),
            stdout=subprocess.PIPE,
            stderr=self.errors.open("w"),
            text=True,
            env={**os.environ, **environment},
        )
        self.line = self.process.stdout.readline()
        assert self.line.startswith("hyperstem studio: "), self.errors.read_text()
        self.page = self.line.split()[2]
        self.url = self.page.partition("?")[0]

    def get(self, path, **options):
        return httpx.get(self.url + path, trust_env=False, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        assert self.process.wait(20) == 0  # as with Ctrl-C
        self.process.stdout.close()


def test_requests_are_logged_as_json(tmp_path):
    with Command(tmp_path, "--log-format", "json", "--log-level", "info") as studio:
        studio.get("healthz?token=secret")
        studio.get("a%0Ab%22")
        studio.get("", headers={"x-forwarded-for": "192.0.2.7"})
    lines = [json.loads(line) for line in studio.errors.read_text().splitlines()]
    requests = [line for line in lines if line["logger"] == "hyperstem.access"]
    assert [(line["method"], line["path"], line["status"]) for line in requests] == [
        ("GET", "/healthz", 200),
        ("GET", "/a%0Ab%22", 404),
        ("GET", "/", 200),
    ]
    assert requests[0]["client"] == "127.0.0.1" and requests[2]["client"] == "192.0.2.7"
    assert requests[0]["level"] == "info" and requests[0]["ms"] > 0 and requests[0]["bytes"] == 15
    assert "secret" not in studio.errors.read_text()
    assert time.strptime(requests[0]["time"][:19], "%Y-%m-%dT%H:%M:%S")


def test_levels(tmp_path):
    with Command(tmp_path, "--log-level", "info") as studio:
        studio.get("healthz")
    text = studio.errors.read_text()
    assert "INFO hyperstem.access: 127.0.0.1 GET /healthz 200, " in text
    with Command(tmp_path) as studio:
        studio.get("healthz")
    assert studio.errors.read_text() == ""


def test_an_error_is_one_object(capsys):
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        log.set_up("info", "json")
        try:
            raise ValueError("two\nlines")
        except ValueError:
            logging.getLogger("hyperstem.studio").exception("job %s", "ä")
        (line,) = capsys.readouterr().err.splitlines()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    record = json.loads(line)
    assert record["message"] == "job ä" and record["level"] == "error" and "two\nlines" in record["exception"]


# The token


def test_the_token_comes_from_the_environment(tmp_path):
    with Command(tmp_path, HYPERSTEM_TOKEN=TOKEN) as studio:
        assert studio.get("api/v1/jobs").status_code == 401
        assert studio.get("api/v1/jobs", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert TOKEN not in studio.line  # who gave it knows it, and output goes to logs
        arguments = Path(f"/proc/{studio.process.pid}/cmdline")
        if arguments.exists():
            assert TOKEN not in arguments.read_text()


def test_the_token_comes_from_a_file_first(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    with Command(tmp_path, "--token-file", file, HYPERSTEM_TOKEN="another") as studio:
        assert studio.get("api/v1/jobs", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert studio.get("api/v1/jobs", headers={"authorization": "Bearer another"}).status_code == 401


@pytest.mark.parametrize(
    "arguments", [("--host", "0.0.0.0"), ("--public-url", "https://stems.example.org/stems/")], ids=["host", "public"]
)
def test_a_token_is_made_and_printed_where_one_is_needed(tmp_path, arguments):
    with Command(tmp_path, *arguments) as studio:
        token = studio.page.partition("?token=")[2]
        assert len(token) >= 32
        assert studio.page.startswith("https://stems.example.org/stems/?") == (arguments[0] == "--public-url")


@pytest.mark.parametrize(
    "arguments, status, words",
    [
        (("--token", "secret"), 2, "HYPERSTEM_TOKEN"),
        (("--token=secret",), 2, "HYPERSTEM_TOKEN"),
        (("--token-file", "no-such-file"), 2, "no-such-file"),
        (("--token-file", os.devnull), 2, "empty"),
        (("--public-url", "stems.example.org"), 2, "public URL"),
        (("--log-format", "xml"), 2, "json"),
    ],
)
def test_wrong_usage(tmp_path, arguments, status, words):
    done = subprocess.run(
        command("--folder", tmp_path / "s", *arguments), capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == status and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "secret" not in done.stderr


def test_a_token_file_that_is_no_text(tmp_path):
    file = tmp_path / "token"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not text"):
        tokens.read_token(file)


def test_the_environment_s_token_is_not_handed_on(monkeypatch):
    monkeypatch.setenv(tokens.VARIABLE, TOKEN)
    assert tokens.read_token(None) == TOKEN and tokens.VARIABLE not in os.environ
    monkeypatch.setenv(tokens.VARIABLE, " ")
    assert tokens.read_token(None) is None
    assert tokens.new_token() != tokens.new_token()


def test_a_browser_is_opened_without_the_token_among_its_arguments(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(server.webbrowser, "open", opened.append)
    url = f"http://nas:8017/?token={TOKEN}"
    with server._opened(url, tmp_path, True):
        time.sleep(1.2)
        (page,) = tmp_path.iterdir()
        assert opened == [page.as_uri()] and url in page.read_text()
        assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert not page.exists()
    with server._opened("http://127.0.0.1:8017/", tmp_path, True):
        time.sleep(1.2)
    assert opened[1:] == ["http://127.0.0.1:8017/"]
