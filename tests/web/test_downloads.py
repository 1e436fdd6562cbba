"""Downloads in every format: the bytes that the command line writes, stretches and mixes as they are heard."""

import asyncio
import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from hyperstem import audio
from hyperstem.audio import FORMATS
from hyperstem.separation import batch
from hyperstem.separation.output import OutputSettings
from hyperstem.web.api_downloads import TYPES
from hyperstem.web.sound.orders import LaneOrder, Order, Part
from pictures import png
from web_studio import HERE, RATE_HZ, Studio, song, studio_inside, write_song
from web_worker import SHARES, ShareSeparator

SECONDS = 3.0


@pytest.fixture(scope="module")
def wav(tmp_path_factory):
    """A song with tags and a cover, which every download keeps as the command line does."""
    path = tmp_path_factory.mktemp("songs") / "My song.flac"
    audio.write(path, song(SECONDS).T, RATE_HZ, tags=audio.Tags({"title": "Söng", "bpm": "128"}, png()))
    return path


@pytest.fixture(scope="module")
def studio(tmp_path_factory, wav):
    with Studio(tmp_path_factory.mktemp("downloads") / "s") as studio:
        studio.song = studio.separate(wav)
        studio.base = f"/api/v1/jobs/{studio.song['id']}"
        yield studio


def get(studio, address, status=200, **query):
    answer = studio.client.get(f"{studio.base}/{address}", params=query)
    assert answer.status_code == status, answer.text
    return answer


def by_command_line(wav, folder, format_, subtype="pcm16", groups=None):
    """What `hyperstem separate` writes with the same separator: file name to content."""
    separator = ShareSeparator("full")
    names = ["x"] if format_ == "stem.mp4" else [name for name, _ in groups] if groups else separator.stems
    task = batch.Task(wav, {name: folder / f"{name}.{format_}" for name in names}, folder / batch.MANIFEST)
    output = OutputSettings(audio.named_format(format_), subtype, groups=groups)
    result = batch.separate_file(separator, task, batch.BatchSettings(folder, output))
    assert result.output is not None, result.error
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def samples(content, **options):
    return soundfile.read(io.BytesIO(content), always_2d=True, **options)


@pytest.mark.parametrize(
    "format_, subtype",
    [("wav", "pcm16"), ("wav", "pcm24"), ("wav", "float"), ("flac", "pcm16"), ("flac", "pcm24")]
    + [(name, None) for name in ("mp3", "m4a", "ogg", "opus")],
)
def test_stems_are_those_of_the_command_line(studio, wav, tmp_path, format_, subtype):
    expected = by_command_line(wav, tmp_path, format_, subtype or "pcm16")
    query = {"subtype": subtype} if subtype else {}
    answer = get(studio, f"stems/vocals.{format_}", **query)
    assert answer.headers["content-type"] == TYPES[format_]
    assert f"vocals.{format_}" in answer.headers["content-disposition"]
    if format_ == "ogg":  # libsndfile draws the stream's number from the clock
        assert np.array_equal(samples(answer.content)[0], samples(expected["vocals.ogg"])[0])
        return
    assert answer.content == expected[f"vocals.{format_}"]
    zipped = get(studio, "stems.zip", format=format_, **query)
    with zipfile.ZipFile(io.BytesIO(zipped.content)) as archive:
        inside = {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert inside == expected


def test_the_file_of_all_stems_is_that_of_the_command_line(studio, wav, tmp_path):
    expected = by_command_line(wav, tmp_path, "stem.mp4")
    assert get(studio, "song.stem.mp4").content == expected["x.stem.mp4"]


@pytest.mark.parametrize("stem", SHARES)
@pytest.mark.parametrize("format_, subtype", [("wav", "pcm16"), ("flac", "pcm24"), ("mp3", None)])
def test_a_song_without_any_one_stem(studio, wav, tmp_path, stem, format_, subtype):
    rest = tuple(name for name in SHARES if name != stem)
    groups = ((f"no_{stem}", rest),)  # as `hyperstem separate --without`
    expected = by_command_line(wav, tmp_path, format_, subtype or "pcm16", groups)[f"no_{stem}.{format_}"]
    answer = get(studio, f"without/{stem}.{format_}", **({"subtype": subtype} if subtype else {}))
    assert answer.content == expected
    name = "karaoke" if stem == "vocals" else f"without {stem}"
    assert f"My song - {name}.{format_}" in answer.headers["content-disposition"]


def test_the_loop_alone(studio, tmp_path):
    start, end = round(0.5 * RATE_HZ), round(1.25 * RATE_HZ)
    whole, _ = samples(get(studio, "stems/bass.wav").content, dtype="int16")
    for format_, subtype in (("wav", "pcm16"), ("flac", "pcm24"), ("wav", "float")):
        answer = get(studio, f"stems/bass.{format_}", subtype=subtype, start_s=0.5, end_s=1.25)
        loop, rate = samples(answer.content)
        assert rate == RATE_HZ and "(loop)" in answer.headers["content-disposition"]
        assert np.abs(loop - whole[start:end] / 32768).max() < 1e-7, (format_, subtype)
        path = tmp_path / f"loop.{format_}"
        path.write_bytes(answer.content)
        assert audio.read_tags(path).texts["title"] == "Söng (bass)" and audio.read_tags(path).cover == png()
    with zipfile.ZipFile(io.BytesIO(get(studio, "stems.zip", start_s=2.0).content)) as archive:
        lengths = {len(samples(archive.read(name))[0]) for name in archive.namelist()}
        assert len(archive.namelist()) == 4 and lengths == {RATE_HZ}
    mixed, _ = samples(get(studio, "mix.wav", lane=["bass:1:0"], start_s=0.5, end_s=1.25).content, dtype="int16")
    assert np.array_equal(mixed, whole[start:end])
    short = audio.probe(_saved(get(studio, "song.stem.mp4", start_s=1.0, end_s=2.0).content))
    assert abs(short.duration_s - 1.0) < 0.1


def _saved(content):
    import tempfile

    path = Path(tempfile.mkdtemp()) / "a.stem.mp4"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("format_", ["wav", "flac", "mp3", "m4a", "ogg", "opus"])
def test_a_mix_in_every_format(studio, format_, tmp_path):
    lanes = ["drums:0.5:0", "bass:1:-1", "other:2:0.3"]
    answer = get(studio, f"mix.{format_}", lane=lanes)
    path = tmp_path / f"a.{format_}"
    path.write_bytes(answer.content)
    expected, _ = samples(get(studio, "mix.wav", lane=lanes).content)
    wave, rate = audio.read(path)
    if rate == RATE_HZ and audio.named_format(format_).lossless:
        assert np.abs(wave.T - expected).max() <= 1 / 32768
    assert abs(wave.shape[1] / rate - SECONDS) < 0.1 and 0.5 < wave.std() / expected.std() < 2


def test_float_keeps_peaks_that_others_are_turned_down_for(studio):
    lanes = [f"{stem}:2:0" for stem in SHARES] * 4
    loud, _ = samples(get(studio, "mix.wav", lane=lanes, subtype="float").content)
    fitted, _ = samples(get(studio, "mix.wav", lane=lanes, subtype="pcm24").content)
    assert np.abs(loud).max() > 2 and 0.999 < np.abs(fitted).max() < 1
    assert np.abs(fitted * np.abs(loud).max() / np.abs(fitted).max() - loud).max() < 1e-5


def test_orders_are_followed_and_shared(studio):
    order = {"format": "mp3", "stem": "drums"}
    answer = studio.client.post(f"{studio.base}/mixes", json=order)
    assert answer.status_code == 201, answer.text
    mix, seen = answer.json(), []
    assert answer.headers["location"] == f"{studio.base}/mixes/{mix['id']}"
    assert mix["name"] == "My song - drums.mp3" and mix["url"].startswith("api/v1/jobs/")
    while not seen or seen[-1]["state"] in ("waiting", "making"):
        seen.append(get(studio, f"mixes/{mix['id']}").json())
    assert seen[-1]["state"] == "done" and seen[-1]["progress"] == 1 and seen[-1]["error"] is None
    assert [one["progress"] for one in seen] == sorted(one["progress"] for one in seen)
    content = studio.client.get(f"/{mix['url']}").content
    assert content == get(studio, "stems/drums.mp3").content
    other = studio.client.post(f"{studio.base}/mixes", json={**order, "stem": "bass"}).json()
    assert other["state"] == "done" and other["id"] != mix["id"]  # made together
    assert studio.client.post(f"{studio.base}/mixes", json=order).json()["id"] == mix["id"]
    assert studio.client.delete(f"{studio.base}/mixes/{mix['id']}").status_code == 204
    get(studio, f"mixes/{mix['id']}", 404)


def test_orders_that_make_no_sense(studio):
    def refused(status, words, **order):
        answer = studio.client.post(f"{studio.base}/mixes", json=order)
        assert answer.status_code == status and words in answer.json()["error"], answer.text

    refused(422, "format", format="aiff")
    refused(422, "subtype", format="flac", subtype="float")
    refused(422, "subtype", format="mp3", subtype="pcm16")
    refused(422, "one of them", stem="drums", without="bass")
    refused(422, "stem.mp4", format="stem.mp4", stem="drums")
    refused(422, "end_s", start_s=1, end_s=1)
    refused(422, "start_s", start_s=3.5)
    refused(422, "start_s", start_s=-1)
    refused(422, "lanes", lanes=[])
    refused(422, "volume", lanes=[{"stem": "drums", "volume": 3}])
    refused(404, "piano", stem="piano")
    refused(404, "piano", without="piano")
    refused(404, "piano", lanes=[{"stem": "piano"}])
    get(studio, "mixes/0123456789abcdef", 404)
    get(studio, "mixes/nonsense", 422)
    get(studio, "stems/drums.exe", 422)
    get(studio, "without/piano.mp3", 404)


def test_a_format_that_cannot_hold_the_song_says_so(studio, tmp_path):
    path = write_song(tmp_path / "six.flac", 0.5, channels=6, rate_hz=44100)
    job = studio.separate(path)
    answer = studio.client.get(f"/api/v1/jobs/{job['id']}/stems/bass.mp3")
    assert answer.status_code == 409 and "channels" in answer.json()["error"]
    assert studio.client.get(f"/api/v1/jobs/{job['id']}/stems/bass.flac").status_code == 200


def test_a_rate_that_a_format_does_not_know_is_resampled(studio, tmp_path):
    job = studio.separate(write_song(tmp_path / "odd.wav", 0.5, rate_hz=50_000))
    for address in ("stems/bass.opus", "mix.mp3?lane=bass:1:0", "song.stem.mp4", "stems/bass.mp3?start_s=0.1"):
        assert studio.client.get(f"/api/v1/jobs/{job['id']}/{address}").status_code == 200, address


def test_a_failing_download_is_told_in_words_and_can_be_ordered_again(tmp_path, wav):
    async def run():
        mode = tmp_path / "mode"
        async with studio_inside(tmp_path / "s", undo_s=0.01) as (client, runner):
            job_id = (await client.post("/api/jobs", files={"file": wav.read_bytes()})).json()["id"]
            job = runner.jobs.get(job_id)
            while not job.ended or runner._running:
                await asyncio.sleep(0.02)
            worker = (sys.executable, str(HERE / "web_hostile.py"), str(mode))
            settings = runner.settings
            object.__setattr__(settings, "worker", worker)
            mode.write_text("crash")
            answer = await client.get(f"/api/jobs/{job_id}/stems/bass.mp3")
            assert answer.status_code == 409 and "unexpectedly" in answer.json()["error"]
            mode.write_text("sleep")
            order = await client.post(f"/api/jobs/{job_id}/mixes", json={"format": "mp3"})
            await asyncio.sleep(0.2)
            assert order.json()["state"] in ("waiting", "making")
            early = await client.get(f"/api/jobs/{job_id}/mixes/{order.json()['id']}/file")
            assert early.status_code == 409 and "still" in early.json()["error"]
            assert (await client.delete(f"/api/jobs/{job_id}")).status_code == 204  # does not wait for the download
            while runner.storage.path(job).exists():
                await asyncio.sleep(0.02)
            assert runner.downloads.waiting == 0

    asyncio.run(run())


@pytest.mark.slow
def test_downloads_keep_the_quota_and_few_stay(tmp_path):
    wav = write_song(tmp_path / "a.wav", 0.2)

    async def run():
        async with studio_inside(tmp_path / "s") as (client, runner):
            job_id = (await client.post("/api/jobs", files={"file": wav.read_bytes()})).json()["id"]
            job = runner.jobs.get(job_id)
            while not job.ended or runner._running:
                await asyncio.sleep(0.02)
            for number in range(10):
                answer = await client.get(
                    f"/api/jobs/{job_id}/mix.flac", params={"lane": "bass:1:0", "start_s": number / 100}
                )
                assert answer.status_code == 200
            mixes = runner.storage.path(job) / "mixes"
            assert len(list(mixes.iterdir())) == 8
            runner.storage.ledger.quota_bytes = runner.storage.ledger.total + 1000
            answer = await client.get(f"/api/jobs/{job_id}/stems/bass.m4a")
            assert answer.status_code == 409 and "quota" in answer.json()["error"]
            await client.post(f"/api/jobs/{job_id}/restart")
            while not job.ended:
                await asyncio.sleep(0.02)
            assert not mixes.exists()

    asyncio.run(run())


def test_every_format_has_a_type_and_the_same_order_the_same_key():
    assert TYPES.keys() == FORMATS.keys()
    part = Part("a", (LaneOrder("a"),))
    first, second = Order("wav", "pcm16", (part,)), Order("wav", "pcm16", (part,), start_s=1.0)
    assert first.key == Order("wav", "pcm16", (part,)).key != second.key and len(first.key) == 16
    assert second.frames(100, 10) == (10, 90) and first.frames(100, 10) == (0, 100)
    assert Order("wav", "pcm16", (part,), False, 5.0, 50.0).frames(100, 10) == (50, 50)
