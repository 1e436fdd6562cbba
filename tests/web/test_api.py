"""The job API on a running studio with a stand-in separator."""

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor

import av
import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from web_studio import RATE_HZ, Studio, song, write_song


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def studio(folder):
    limits = {"max_upload_bytes": 3 << 20, "max_length_s": 30.0, "running": 2, "undo_s": 0.5}
    with Studio(folder / "studio", **limits) as studio:
        yield studio


@pytest.fixture(scope="module")
def wav(folder):
    return write_song(folder / "Söng & co.wav", 3.0)


@pytest.fixture(scope="module")
def done(studio, wav):
    job = studio.separate(wav)
    assert job["state"] == "done", job
    return job


def get(studio, path, **options):
    return studio.client.get(path, **options)


def refused(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert isinstance(answer.json()["error"], str) and len(answer.json()["error"]) > 5
    return answer.json()["error"]


def test_a_song_becomes_stems(studio, done, wav):
    assert done["progress"] == 1 and done["error"] is None and done["final"] == "full"
    assert done["stems"] == ["drums", "bass", "other", "vocals"]
    assert done["name"] == wav.name and done["frames"] == 3 * RATE_HZ and done["rate_hz"] == RATE_HZ
    original, _ = soundfile.read(wav, dtype="int16")
    total = np.zeros(original.shape, int)
    for stem in done["stems"]:
        answer = get(studio, f"/api/jobs/{done['id']}/stems/{stem}.wav")
        assert answer.status_code == 200 and answer.headers["content-type"] == "audio/wav"
        wave, rate = soundfile.read(io.BytesIO(answer.content), dtype="int16")
        assert rate == RATE_HZ
        total += wave
    assert np.abs(total - original).max() <= 1


def test_downloads_are_named_after_the_song(studio, done):
    answer = get(studio, f"/api/jobs/{done['id']}/stems/vocals.wav")
    assert "filename*=UTF-8''S%C3%B6ng%20%26%20co%20-%20vocals.wav" in answer.headers["content-disposition"]
    part = get(studio, f"/api/jobs/{done['id']}/stems/vocals.wav", headers={"range": "bytes=100-199"})
    assert part.status_code == 206 and part.content == answer.content[100:200]


def test_zip_karaoke_and_mix(studio, done):
    base = f"/api/jobs/{done['id']}"
    stems = {stem: get(studio, f"{base}/stems/{stem}.wav").content for stem in done["stems"]}
    with zipfile.ZipFile(io.BytesIO(get(studio, f"{base}/stems.zip").content)) as archive:
        assert archive.testzip() is None
        inside = {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert json.loads(inside.pop("manifest.json"))["source"]["name"] == done["name"]
    assert inside == {f"{stem}.wav": content for stem, content in stems.items()}
    waves = {stem: soundfile.read(io.BytesIO(content), dtype="int16")[0].astype(int) for stem, content in stems.items()}
    karaoke, _ = soundfile.read(io.BytesIO(get(studio, f"{base}/karaoke.wav").content), dtype="int16")
    assert np.array_equal(karaoke, waves["drums"] + waves["bass"] + waves["other"])
    answer = get(studio, f"{base}/mix.wav", params={"lane": ["drums:0.5:0", "bass:1:-1"]})
    mix, _ = soundfile.read(io.BytesIO(answer.content), dtype="int16")
    expected = waves["drums"] * 0.5
    expected[:, 0] += waves["bass"].sum(axis=1)
    assert np.abs(mix - expected).max() <= 1


def test_mixes_that_make_no_sense(studio, done):
    base = f"/api/jobs/{done['id']}/mix.wav"
    refused(get(studio, base), 422)
    for lane in ("drums", "drums:x:0", "drums:3:0", "drums:1:2", "drums:nan:0"):
        refused(get(studio, base, params={"lane": lane}), 422)
    assert "piano" in refused(get(studio, base, params={"lane": "piano:1:0"}), 404)


def test_what_the_page_draws_and_plays(studio, done, wav):
    base = f"/api/jobs/{done['id']}"
    original, _ = soundfile.read(wav, dtype="int16")
    answer = get(studio, f"{base}/audio/original", params={"take": "original", "start": 1000, "frames": 500})
    assert np.array_equal(np.frombuffer(answer.content, "<i2").reshape(-1, 2), original[1000:1500])
    drums, _ = soundfile.read(io.BytesIO(get(studio, f"{base}/stems/drums.wav").content), dtype="int16")
    answer = get(studio, f"{base}/audio/drums", params={"take": "full", "start": 3 * RATE_HZ - 10, "frames": 500})
    assert np.array_equal(np.frombuffer(answer.content, "<i2").reshape(-1, 2), drums[-10:])
    peaks = np.frombuffer(get(studio, f"{base}/peaks/drums", params={"take": "full", "step": 1024}).content, np.int8)
    assert len(peaks) == 2 * -(-len(drums) // 1024)
    assert abs(peaks.max() - np.ceil(int(drums.max()) * 127 / 32768)) <= 1
    answer = get(
        studio,
        f"{base}/spectrogram/drums",
        params={"take": "full", "start": 0, "frames": len(drums), "columns": 50, "rows": 32},
    )
    levels = np.frombuffer(answer.content, np.uint8).reshape(32, 50)
    assert levels.max() > 100 and levels.std() > 10
    for path in (
        "audio/piano?take=full&start=0&frames=5",
        "peaks/drums?take=preview",
        "spectrogram/original?take=full&start=0&frames=9",
    ):
        refused(get(studio, f"{base}/{path}"), 404)
    refused(get(studio, f"{base}/audio/drums?take=full&start=-1&frames=5"), 422)
    refused(get(studio, f"{base}/peaks/drums?take=full&step=65"), 422)


def test_events_end_with_the_job(studio, wav):
    job = studio.upload(wav).json()
    seen = []
    with studio.client.stream("GET", f"/api/jobs/{job['id']}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        seen = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]
    progress = [one["progress"] for one in seen]
    assert len(seen) >= 2 and progress == sorted(progress)
    assert seen[-1]["state"] == "done" and seen[-1]["progress"] == 1


@pytest.mark.parametrize("name, title", [("../..", "song"), ("a:b|c?.wav", "a_b_c_"), ("...", "song")])
def test_no_name_leads_out_of_the_archive(studio, wav, name, title):
    job_id = studio.upload(wav, name=name).json()["id"]
    assert studio.wait(job_id)["state"] == "done"
    answer = get(studio, f"/api/jobs/{job_id}/stems.zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {entry.split("/")[0] for entry in archive.namelist()} == {title}
        assert all(entry.count("/") == 1 for entry in archive.namelist())


def test_preview_only_and_then_full(studio, wav):
    job = studio.separate(wav, quality="preview")
    assert job["final"] == "preview" and job["restartable"]
    again = studio.client.post(f"/api/jobs/{job['id']}/restart", params={"quality": "full"})
    assert again.status_code == 200
    job = studio.wait(job["id"])
    assert job["final"] == "full", job


def test_removing(studio, wav, folder):
    job = studio.separate(wav)
    path = folder / "studio" / "jobs" / job["id"]
    answer = studio.client.post(f"/api/jobs/{job['id']}/cancel")  # too late
    assert answer.status_code == 200 and answer.json()["state"] == "done"
    assert path.exists()
    assert studio.client.delete(f"/api/jobs/{job['id']}").status_code == 204
    studio.until(lambda: not path.exists())
    refused(get(studio, f"/api/jobs/{job['id']}"), 404)
    refused(studio.client.delete(f"/api/jobs/{job['id']}"), 404)


def test_unknown_things(studio, done):
    refused(get(studio, "/api/jobs/0123456789abcdef"), 404)
    refused(get(studio, "/api/jobs/..%2f..%2fetc"), 404)
    refused(get(studio, "/api/jobs/nonsense"), 422)
    assert "piano" in refused(get(studio, f"/api/jobs/{done['id']}/stems/piano.wav"), 404)
    refused(get(studio, f"/api/jobs/{done['id']}/stems/..%2f..%2fsource.wav"), 404)
    refused(get(studio, "/static/..%2fapp.py"), 404)
    refused(get(studio, "/nothing"), 404)
    refused(studio.client.put("/api/jobs"), 405)


# Uploads


def test_uploads_that_are_refused(studio, folder):
    big = folder / "big.wav"
    with big.open("wb") as file:
        file.write(b"RIFF")
        file.truncate(4 << 20)
    assert "larger" in refused(studio.upload(big), 413)
    with big.open("r+b") as file:
        file.truncate((3 << 20) + 1)
    assert "larger" in refused(studio.upload(big), 413)  # one byte more than the limit

    def chunks():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF'
        for _ in range(80):
            yield bytes(1 << 16)

    headers = {"content-type": "multipart/form-data; boundary=b"}
    refused(studio.client.post("/api/jobs", content=chunks(), headers=headers), 413)  # no length said beforehand
    refused(studio.client.post("/api/jobs", json={"file": "x"}), 415)
    refused(studio.client.post("/api/jobs", content=b"RIFF", headers={"content-type": "audio/wav"}), 415)
    refused(studio.client.post("/api/jobs", files={"other": ("a.wav", b"RIFF")}), 422)
    refused(studio.client.post("/api/jobs", files=[("file", ("a.wav", b"RIFF")), ("file", ("b.wav", b"RIFF"))]), 422)
    refused(studio.client.post("/api/jobs", data={"file": "x"}, files={"y": b""}), 422)
    refused(studio.client.post("/api/jobs", content=b"--b\r\nnonsense", headers=headers), 400)
    refused(studio.client.post("/api/jobs", content=b"", headers={"content-type": "multipart/form-data"}), 400)
    refused(studio.client.post("/api/jobs", files={"file": ("a.wav", b"RIFF")}, data={"quality": "best"}), 422)
    refused(studio.client.post("/api/jobs", files={"file": ("a.wav", b"RIFF")}, data={"x": "y" * 5000}), 413)
    refused(studio.client.post("/api/session", json={"token": "x" * 70_000}), 413)
    refused(studio.client.post("/api/session", content=iter([b"{}"])), 411)
    refused(studio.client.post("/api/jobs", files={"file": ("a.mp3", b"")}), 415)
    refused(studio.client.post("/api/jobs", files={"file": ("a.mp3", b"These are words, not music.\n" * 50)}), 415)


def bad_files(folder):
    """Every kind of bad input, each with a name."""
    wav = io.BytesIO()
    soundfile.write(wav, song(1.0), RATE_HZ, format="WAV")
    whole = wav.getvalue()
    yield "noise.mp3", np.random.default_rng(0).bytes(40_000)
    yield "zeros.flac", bytes(10_000)
    yield "header.wav", whole[:40]
    yield "no samples.wav", whole[:40] + bytes(4)
    flac = io.BytesIO()
    soundfile.write(flac, song(1.0), RATE_HZ, format="FLAC")
    yield "broken.flac", flac.getvalue()[:2000]
    yield "liar.wav", whole[:4] + b"\xff\xff\xff\x7f" + whole[8:22] + b"\xff\xff" + whole[24:]
    values = song(0.5)
    values[50] = np.nan
    nan = io.BytesIO()
    soundfile.write(nan, values, RATE_HZ, format="WAV", subtype="FLOAT")
    yield "nan.wav", nan.getvalue()
    picture = folder / "silent.mp4"
    with av.open(str(picture), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        container.mux(stream.encode(None))
    yield "no sound.mp4", picture.read_bytes()
    long = io.BytesIO()
    soundfile.write(long, np.zeros(31 * 8000, np.int16), 8000, format="WAV")
    yield "too long.wav", long.getvalue()


def test_bad_files_fail_in_words_and_the_studio_lives(studio, folder, wav):
    jobs = {}
    for name, content in bad_files(folder):
        answer = studio.client.post("/api/jobs", files={"file": (name, content)})
        if answer.status_code == 201:
            jobs[name] = answer.json()["id"]
        else:
            refused(answer, 415)
    assert len(jobs) >= 7
    ended = {name: studio.wait(job_id) for name, job_id in jobs.items()}
    for name, job in ended.items():
        assert job["state"] == "failed", (name, job)
        assert 10 < len(job["error"]) < 400 and "Traceback" not in job["error"], (name, job["error"])
        assert str(folder) not in job["error"], (name, job["error"])
    assert "minutes" in ended["too long.wav"]["error"]
    assert studio.separate(wav)["state"] == "done"


def test_any_common_container_and_shape(studio, folder):
    for rate, channels in ((8000, 1), (48000, 2), (44100, 6)):
        path = write_song(folder / f"{rate}-{channels}.flac", 0.7, rate_hz=rate, channels=channels)
        job = studio.separate(path)
        assert (job["state"], job["rate_hz"], job["channels"]) == ("done", rate, channels), job
        assert job["frames"] == int(0.7 * rate)
        wave, _ = soundfile.read(io.BytesIO(get(studio, f"/api/jobs/{job['id']}/stems/bass.wav").content))
        assert wave.reshape(-1, channels).shape == (job["frames"], channels)
        assert get(studio, f"/api/jobs/{job['id']}/karaoke.wav").status_code == 200
    mp3 = folder / "a.mp3"
    soundfile.write(mp3, song(1.0), RATE_HZ)
    assert studio.separate(mp3)["state"] == "done"
    tiny = folder / "one.wav"
    soundfile.write(tiny, np.array([0.5]), 8000)
    job = studio.separate(tiny)
    assert job["state"] == "done" and job["frames"] == 1
    refused_or_silent = get(studio, f"/api/jobs/{job['id']}/spectrogram/bass?take=full&start=0&frames=1")
    assert refused_or_silent.status_code == 200


# Safety


def test_other_sites_and_host_names_are_refused(studio, done):
    own = studio.url
    path = f"/api/jobs/{done['id']}"
    refused(get(studio, path, headers={"host": "evil.example"}), 403)
    refused(get(studio, "/", headers={"host": "evil.example:80"}), 403)
    refused(get(studio, path, headers={"origin": "http://evil.example"}), 403)
    refused(get(studio, path, headers={"origin": "null"}), 403)
    refused(get(studio, path, headers={"sec-fetch-site": "cross-site"}), 403)
    refused(studio.client.delete(path, headers={"origin": "http://localhost:1"}), 403)
    refused(
        studio.client.post("/api/jobs", files={"file": ("a.wav", b"RIFF")}, headers={"origin": "http://evil.example"}),
        403,
    )
    refused(
        studio.client.post("/api/jobs", files={"file": ("a.wav", b"RIFF")}, headers={"sec-fetch-site": "same-site"}),
        403,
    )
    assert get(studio, path, headers={"origin": own, "sec-fetch-site": "same-origin"}).status_code == 200
    assert (
        get(studio, "/", headers={"sec-fetch-site": "cross-site"}).status_code == 200
    )  # a link from elsewhere opens it


def test_every_answer_carries_the_safety_headers(studio, done):
    for path in (
        "/",
        "/docs",
        "/static/js/main.js",
        f"/api/jobs/{done['id']}",
        "/nothing",
        f"/api/jobs/{done['id']}/stems.zip",
    ):
        headers = get(studio, path).headers
        assert "script-src 'self' 'wasm-unsafe-eval';" in headers["content-security-policy"], path
        assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer" and "server" not in headers
    page = get(studio, "/").text
    nonce = get(studio, "/").headers["content-security-policy"].split("nonce-")[1].split("'")[0]
    assert "{{nonce}}" not in page and nonce not in page  # a new one every time
    assert "<script>" not in page and "style=" not in page and "http://" not in page and "https://" not in page


def test_a_token_guards_the_api(folder, wav):
    token = "a secret/with+odd&signs"
    with Studio(folder / "closed", token=token.replace(" ", "_")) as studio:
        token = token.replace(" ", "_")
        refused(get(studio, "/api/jobs"), 401)
        refused(studio.upload(wav), 401)
        refused(get(studio, "/api/jobs", headers={"authorization": "Bearer wrong"}), 401)
        refused(get(studio, "/api/openapi.json"), 401)
        assert get(studio, "/api/jobs", headers={"authorization": f"Bearer {token}"}).json() == []
        assert get(studio, "/").status_code == 200 and get(studio, "/static/css/base.css").status_code == 200
        refused(studio.client.post("/api/session", json={"token": "wrong"}), 401)
        assert "set-cookie" not in get(studio, "/?token=wrong").headers
        assert get(studio, "/?token=wrong").elapsed.total_seconds() >= 0.5  # as everywhere: guessing takes time
        assert studio.page.startswith(f"{studio.url}/?token=")
        answer = studio.client.get(studio.page)
        assert answer.status_code == 303 and answer.headers["location"] == "/"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        assert get(studio, "/api/jobs").status_code == 200  # the client keeps the cookie
        studio.client.cookies.clear()
        ours = cookie.partition(";")[0]  # beside those of other programs on this computer, whatever they hold
        for cookies in (ours, f'theirs={{"a": 1}}; {ours}', f"thé; {ours}; b=c d".encode()):
            assert get(studio, "/api/jobs", headers={"cookie": cookies}).status_code == 200
        assert studio.client.post("/api/session", json={"token": token}).status_code == 204
        assert get(studio, "/api/jobs").status_code == 200


@pytest.mark.slow
def test_fifty_uploads_at_once(folder):
    path = write_song(folder / "short.wav", 0.2)
    with Studio(folder / "fifty", waiting=40, running=2, environment={"HYPERSTEM_TEST_DELAY_S": "1"}) as studio:
        with ThreadPoolExecutor(50) as pool:
            answers = list(pool.map(lambda i: studio.upload(path, name=f"song {i}.wav"), range(60)))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {201, 429}, statuses
        assert 40 <= statuses.count(201) < 60, statuses
        for answer in answers:
            if answer.status_code == 429:
                assert "waiting" in refused(answer, 429) and answer.headers["retry-after"]
        jobs = get(studio, "/api/jobs").json()
        assert len(jobs) == statuses.count(201) == len({job["id"] for job in jobs})
        assert {job["state"] for job in jobs} <= {"queued", "running", "done"}
        assert sum(job["state"] == "running" for job in jobs) <= 2
        positions = sorted(job["position"] for job in jobs if job["position"])
        assert positions == list(range(1, len(positions) + 1))
        for job in jobs[4:]:
            studio.client.delete(f"/api/jobs/{job['id']}")
        assert all(studio.wait(job["id"])["state"] == "done" for job in jobs[:4])


def test_a_loud_song_is_turned_down_once_and_its_outline_with_it(studio, folder):
    """A float song above full scale: all stems get one gain, and the page draws what is in the files."""
    path = folder / "loud.wav"
    soundfile.write(path, song(2.0) * 12, RATE_HZ, subtype="FLOAT")
    job = studio.separate(path)
    assert job["state"] == "done" and 0.1 < job["gain"] < 0.9, job
    wave, _ = soundfile.read(io.BytesIO(get(studio, f"/api/jobs/{job['id']}/stems/vocals.wav").content), dtype="int16")
    points = np.frombuffer(get(studio, f"/api/jobs/{job['id']}/peaks/vocals?take=full&step=64").content, np.int8)
    loudest = int(wave.max()) * 127 / 32768
    assert 5 < loudest < 50 and 0 <= points.max() - loudest <= 1
