"""The studio in a real browser: upload, wait, play, mix, download."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")

from web_browser import (
    LOW_CONTRAST,
    done,
    done_page,
    loudness,
    open_page,
    upload,
    wait_until_loud,
)
from web_studio import Studio, write_song


def test_a_song_from_upload_to_download(page, studio, folder):
    assert page.is_visible("#empty") and "Drop a song" in page.inner_text("#empty")
    upload(page, studio.song)
    done(page)
    job = page.evaluate("studio.mixer.job")
    assert page.inner_text("#song-title") == "My Söng.wav"
    assert page.locator(".lane").count() == 5

    page.keyboard.press("Space")  # play
    wait_until_loud(page)
    before = page.evaluate("studio.mixer.player.position")
    assert page.get_attribute("#play", "aria-label") == "Pause"
    page.wait_for_function(f"() => studio.mixer.player.position > {before} + 10000")
    assert page.evaluate("[...studio.mixer.player.nodes.keys()]") == job["stems"]

    for number in (1, 2, 3, 4):  # mute all, by keyboard
        page.keyboard.press(str(number))
    wait_until_loud(page, False)
    assert page.get_attribute("[data-stem=bass] .mute", "aria-pressed") == "true"
    assert page.get_attribute("#download-mix", "aria-disabled") == "true"  # there is nothing to hear
    page.click("[data-stem=bass] .mute")
    wait_until_loud(page)
    page.click("#reset-mix")
    full = max(loudness(page) for _ in range(20))
    page.click("[data-stem=vocals] .solo")  # a tenth of the song
    page.wait_for_timeout(300)
    solo = max(loudness(page) for _ in range(20))
    assert 0 < solo < full * 0.3
    assert page.locator(".lane.silent").count() == 3
    page.keyboard.press("a")  # the original, whatever the mixer says
    page.wait_for_timeout(300)
    assert max(loudness(page) for _ in range(20)) > solo * 3
    page.keyboard.press("a")
    page.keyboard.press("Space")
    wait_until_loud(page, False)

    page.locator("[data-stem=vocals] .volume").fill("50")
    page.locator("[data-stem=vocals] .pan").fill("-100")
    with page.expect_download() as download:
        page.click("#download-mix")
    assert download.value.suggested_filename == "My Söng - mix.wav"
    mix, _ = soundfile.read(download.value.path(), dtype="int16")
    with page.expect_download() as download:
        page.click("[data-stem=vocals] .get")
    assert download.value.suggested_filename == "My Söng - vocals.wav"
    saved = Path(download.value.path()).read_bytes()
    assert saved == studio.client.get(f"/api/jobs/{job['id']}/stems/vocals.wav").content
    vocals, _ = soundfile.read(download.value.path(), dtype="int16")
    assert np.abs(mix[:, 0] - vocals.astype(int).sum(axis=1) * 0.5).max() <= 1 and not mix[:, 1].any()
    with page.expect_download() as download:
        page.click("#download-zip")
    assert download.value.suggested_filename == "My Söng - stems.zip"


@pytest.mark.slow
def test_seek_loop_zoom_and_spectrogram(page, studio):
    done_page(page, studio)
    rate = page.evaluate("studio.mixer.job.rate_hz")
    wave = page.locator("[data-stem=drums] .lane-wave").bounding_box()
    page.mouse.click(wave["x"] + wave["width"] / 2, wave["y"] + 40)
    assert abs(page.evaluate("studio.mixer.player.position") / rate - 10) < 0.2
    page.keyboard.press("ArrowRight")
    assert abs(page.evaluate("studio.mixer.player.position") / rate - 15) < 0.2
    page.keyboard.press("Home")
    assert page.evaluate("studio.mixer.player.position") == 0

    page.mouse.move(wave["x"] + wave["width"] * 0.25, wave["y"] + 40)  # drag from 5 s to 6 s
    page.mouse.down()
    for share in (0.26, 0.28, 0.30):
        page.mouse.move(wave["x"] + wave["width"] * share, wave["y"] + 40)
    page.mouse.up()
    loop = page.evaluate("studio.mixer.player.loop")
    assert abs(loop["start"] / rate - 5) < 0.2 and abs(loop["end"] / rate - 6) < 0.2
    assert page.get_attribute("#loop", "aria-pressed") == "true"
    page.evaluate("studio.mixer.player.seek(studio.mixer.player.loop.start)")
    page.keyboard.press("Space")
    positions = []
    for _ in range(25):
        page.wait_for_timeout(100)
        positions.append(page.evaluate("studio.mixer.player.position"))
    assert all(loop["start"] - 2 <= position <= loop["end"] for position in positions), positions
    assert sum(b < a for a, b in itertools.pairwise(positions)) >= 2  # it went round
    page.keyboard.press("l")
    page.wait_for_function(f"() => studio.mixer.player.position > {loop['end']}")
    page.keyboard.press("Space")

    page.keyboard.press("+")
    page.keyboard.press("+")
    page.wait_for_function("() => studio.mixer.board.pixelsPerSecond > 3.9 * studio.mixer.board.width / 20")
    page.wait_for_function("() => new Set(studio.mixer.board.lanes.map((lane) => Math.round(lane.scroll))).size === 1")
    assert page.evaluate("studio.mixer.board.lanes[1].points[0].length") > 1000  # finer peaks were loaded
    page.keyboard.press("g")
    lit = """() => { const canvas = document.querySelector('[data-stem=drums] .spectrogram');
      const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
      return data.some((value, i) => i % 4 < 3 && value > 90); }"""
    page.wait_for_function(lit)
    page.keyboard.press("0")
    page.wait_for_function("() => studio.mixer.board.zoom === 0")


def test_an_outline_that_comes_late_does_not_replace_a_newer_one(page, studio):
    done_page(page, studio)
    page.evaluate("""async () => {
      const { board } = studio.mixer, { fetch } = window;
      const late = new Promise((resolve) => setTimeout(resolve, 800));
      window.fetch = (...request) => fetch(...request).then((answer) => late.then(() => answer));
      board.zoom = 200;
      const first = board.refresh();
      window.fetch = fetch;
      board.zoom = 600;
      await board.refresh();
      await first;
    }""")
    assert set(page.evaluate("studio.mixer.board.lanes.map((lane) => lane.drawnAt)")) == {600}


def test_a_loop_too_short_to_be_heard_is_none(page, studio):
    done_page(page, studio)
    for place, key in (("End", "["), ("Home", "]")):
        page.keyboard.press(place)
        page.keyboard.press(key)
        assert page.evaluate("studio.mixer.player.loop") is None, key
        assert page.get_attribute("#loop", "aria-pressed") == "false"


def test_chunks_and_loops_join_to_the_sample(page):
    """Renders the player on an offline context: what comes out is the song, sample by sample, over chunks and loops."""
    differences = page.evaluate("""async () => {
      const { Player } = await import('/static/js/player.js');
      const { CHUNK } = await import('/static/js/sound.js');
      const rate = 48000, frames = CHUNK * 2 + 5000;
      const value = (frame, lane) => ((frame * 7919 + lane * 31) % 2001 - 1000) / 8000;
      class Sound extends EventTarget {
        job = { rate_hz: rate, channels: 2, frames, takes: { original: frames }, stems: ['a', 'b'], gain: 1 };
        made = new Map();
        get(index) {
          if (!this.made.has(index)) this.made.set(index, this.make(index));
          return this.made.get(index);
        }
        make(index) {
          const start = index * CHUNK, count = Math.min(CHUNK, frames - start);
          const plane = (lane) => Float32Array.from({ length: count }, (_, i) => value(start + i, lane));
          const planes = (lane) => [plane(lane), plane(lane + 1)];
          return { stems: new Map([['a', planes(1)], ['b', planes(5)]]), original: planes(9), take: 'full' };
        }
        close() {}
      }
      const results = [];
      for (const loop of [null, { start: CHUNK - 1234, end: CHUNK + 777 }]) {
        let context;
        const player = new Player(new Sound(), () => (context = new OfflineAudioContext(2, rate * 3, rate)));
        player.mix.level = 1;
        player.loop = loop;
        player.looping = Boolean(loop);
        player.cursor = CHUNK - 3000;
        player.play().catch(() => {});
        const out = await context.startRendering();
        clearInterval(player.timer);
        const first = Math.ceil(0.04 * rate);
        let worst = 0, frame = CHUNK - 3000;
        for (let i = first; i < rate * 2.9; i++) {
          for (const side of [0, 1]) {
            const wanted = value(frame, 1 + side) + value(frame, 5 + side);
            worst = Math.max(worst, Math.abs(out.getChannelData(side)[i] - wanted));
          }
          if (++frame === (loop ? loop.end : frames)) { if (loop) frame = loop.start; else break; }
        }
        results.push(worst);
      }
      return results;
    }""")
    assert len(differences) == 2 and max(differences) < 1e-5, differences


@pytest.mark.slow
def test_heard_while_the_rest_is_separated(browser, folder):
    song = write_song(folder / "slow.wav", 40.0)
    with Studio(folder / "slow", environment={"HYPERSTEM_TEST_DELAY_S": "0.5"}) as studio:
        page = open_page(browser, studio.url)
        upload(page, song)
        page.wait_for_function("() => studio.mixer.job?.takes.preview > 300000")
        page.keyboard.press("Space")
        wait_until_loud(page)
        assert page.evaluate("studio.mixer.job.state") == "running"
        assert page.evaluate("studio.mixer.player.scheduled.every((segment) => segment.stems)")
        page.wait_for_function(
            "() => studio.mixer.job.takes.full > 140000 "
            "&& /left/.test(document.getElementById('status-eta').textContent)"
        )
        assert page.get_attribute("#download-zip", "aria-disabled") == "true"
        page.wait_for_function(
            "() => { const { sound } = studio.mixer.player; sound.get(0); return sound.chunks.get(0).take === 'full'; }"
        )
        page.dblclick("#cancel-song")  # in a hurry: that must not remove it
        page.wait_for_function("() => studio.mixer.job?.state === 'cancelled'")
        page.click("#restart-song")
        page.wait_for_function("() => ['queued', 'running'].includes(studio.mixer.job.state)")
        page.click(".song-remove")
        page.wait_for_function("() => studio.mixer.job.state === 'cancelled'")
        page.click(".song-remove")
        page.wait_for_selector("#empty", state="visible")
        assert page.complaints == []
        page.context.close()


@pytest.mark.slow
def test_songs_that_went_while_the_studio_was_away_go_from_the_page(browser, folder):
    song = write_song(folder / "short.wav", 1.0)
    with Studio(folder / "before") as studio:
        studio.separate(song)
        port = int(studio.url.rpartition(":")[2])
        page = open_page(browser, studio.url)
        page.wait_for_selector("#song-title", state="visible")
    page.evaluate("studio.mixer.player.sound.chunks.clear()")
    page.keyboard.press("Space")  # asks for the song every second
    page.wait_for_selector(".toast:has-text('still running')")
    page.wait_for_timeout(2500)
    assert page.locator(".toast:has-text('still running')").count() == 1
    with Studio(folder / "after", port=port) as studio:
        studio.upload(song, name="new.wav")
        page.wait_for_function("() => document.querySelector('#song-title').textContent === 'new.wav'")
        assert page.locator(".song-item").count() == 1
        page.context.close()


LOOK = """hidden => {
  Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


@pytest.mark.slow
def test_pages_in_the_background_leave_connections_to_others(browser, folder):
    song = write_song(folder / "background.wav", 1.0)
    with Studio(folder / "background") as studio:
        pages = [open_page(browser, studio.url)]
        studio.separate(song)
        for _ in range(7):  # one more than a browser's connections to a host
            pages[-1].evaluate(LOOK, True)
            pages.append(pages[0].context.new_page())
            pages[-1].goto(studio.url)
            pages[-1].wait_for_function("() => globalThis.studio?.jobs.size === 1")
        studio.separate(song)
        for page in (pages[0], pages[-1]):  # both learn of the new one
            page.wait_for_function("() => studio.jobs.size === 2")
        pages[0].evaluate(LOOK, False)
        studio.separate(song)
        pages[0].wait_for_function("() => studio.jobs.size === 3")
        assert pages[0].complaints == []
        pages[0].context.close()


def test_errors_in_words(page, studio, folder):
    words = folder / "words.mp3"
    words.write_text("not music at all\n" * 100)
    noise = folder / "noise.mp3"
    noise.write_bytes(np.random.default_rng(0).bytes(30_000))
    big = folder / "big.wav"
    with big.open("wb") as file:
        file.truncate(9 << 20)
    upload(page, words, big, noise)
    page.wait_for_function("() => document.querySelectorAll('.song-item.failed').length === 3")
    texts = " | ".join(page.locator(".song-item.failed .song-state").all_inner_texts())
    assert "text, not sound" in texts and "larger than the studio accepts" in texts, texts
    page.locator(".song-item", has_text="noise.mp3").locator(".song-open").click()
    page.wait_for_selector("#song-error", state="visible")
    assert "could not be separated" in page.inner_text("#song-error")
    refused = "Failed to load resource: the server responded with a status of 41"  # as the browser notes by itself
    page.complaints[:] = [text for text in page.complaints if not text.startswith((f"{refused}3", f"{refused}5"))]


def test_dropping_a_song_with_a_wicked_name(page, studio):
    name = """12" mix %41 <img src=x onerror='alert(1)'>.wav"""
    page.evaluate(
        """async ([name, bytes]) => {
      const files = new DataTransfer();
      files.items.add(new File([new Uint8Array(bytes)], name));
      for (const kind of ['dragenter', 'dragover', 'drop']) {
        document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: files, bubbles: true, cancelable: true }));
        if (kind === 'dragover' && document.getElementById('drop-veil').hidden) throw new Error('no veil');
      }
    }""",
        [name, list(studio.song.read_bytes()[:60_000])],
    )
    item = page.locator(".song-item", has_text=name)
    item.wait_for()
    assert item.locator(".song-name").inner_text() == name
    assert page.is_hidden("#drop-veil")
    assert page.locator("img[src=x]").count() == 0
    page.wait_for_function("() => [...studio.jobs.values()].every((job) => ['done', 'failed'].includes(job.state))")


def test_keyboard_alone(page, studio):
    done_page(page, studio)
    focused = "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
    seen = []
    for _ in range(60):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(focused))
    for wanted in (
        "file-input",
        "quality",
        "play",
        "seek",
        "listen-original",
        "loop",
        "master",
        "show-spectrogram",
        "zoom-in",
        "toggle mute",
        "toggle solo",
        "volume",
        "pan",
        "download-zip",
        "download-karaoke",
        "download-mix",
    ):
        assert wanted in seen, (wanted, seen)
    page.focus("[data-stem=drums] .mute")
    page.keyboard.press("Space")  # the button's own, not the player's
    assert page.get_attribute("[data-stem=drums] .mute", "aria-pressed") == "true"
    assert page.evaluate("studio.mixer.player.playing") is False
    page.focus("[data-stem=drums] .volume")
    page.keyboard.press("ArrowLeft")
    assert page.input_value("[data-stem=drums] .volume") == "99"
    assert page.get_attribute("[data-stem=drums] .volume", "aria-valuetext") == "99 percent"
    page.keyboard.press("?")
    assert page.is_visible("#keys")
    page.keyboard.press("Escape")
    unnamed = page.evaluate("""() => [...document.querySelectorAll('button, input, select, a')].filter((element) => {
      const label = element.getAttribute('aria-label') || element.textContent.trim()
        || element.labels?.[0]?.textContent.trim();
      return !label && element.offsetParent; }).map((element) => element.outerHTML)""")
    assert unnamed == []


@pytest.mark.parametrize(
    "options",
    [
        {"viewport": {"width": 320, "height": 568}, "is_mobile": True, "has_touch": True},
        {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True},
        {"color_scheme": "dark", "reduced_motion": "reduce"},
    ],
)
def test_phone_and_dark(browser, studio, options):
    context = browser.new_context(**options)
    page = context.new_page()
    page.goto(studio.url)
    page.wait_for_selector("html[data-ready]")
    done_page(page, studio)
    # Nothing to scroll sideways. A phone's innerWidth would not tell: it grows with what does not fit.
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert page.evaluate(LOW_CONTRAST) == []
    page.goto(f"{studio.url}/docs")
    page.click(".operation summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
    assert page.evaluate(LOW_CONTRAST) == []
    context.close()


def test_api_page_and_token_dialog(browser, folder):
    with Studio(folder / "closed", token="open-sesame-open-sesame") as studio:
        page = open_page(browser, studio.url)
        page.wait_for_selector("#token-dialog", state="visible")
        page.fill("#token-input", "wrong")
        page.keyboard.press("Enter")
        page.wait_for_selector("#token-error", state="visible")
        page.fill("#token-input", "open-sesame-open-sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector("#token-dialog", state="hidden")
        page.goto(f"{studio.url}/docs")
        page.wait_for_selector(".operation")
        assert "/api/v1/jobs/{job_id}/stems/{stem}.wav" in page.inner_text("#api")
        page.click("summary:has-text('/api/v1/jobs/{job_id}/events')")
        assert "curl -N" in page.inner_text("details[open]")
        assert not [text for text in page.complaints if "401" not in text]
        page.context.close()


def some_model(folder):
    """The shipped model, or, in a checkout without one, a tiny untrained one."""
    from hyperstem.models import store

    if "default" in store.names():
        return "default"
    torch = pytest.importorskip("torch")
    from hyperstem.config import ModelConfig
    from hyperstem.network import MetaTasNet

    torch.manual_seed(0)
    sizes = {"latent_dim": 16, "mels": 8, "bottleneck_dim": 16, "hidden_dim": 16, "blocks": 1, "stacks": 1}
    config = ModelConfig(kernels=(80, 160), hop=80, audio_channels=2, segment_s=2.0, **sizes)
    store.save(folder / "tiny.safetensors", MetaTasNet(config))
    return str(folder / "tiny.safetensors")


@pytest.mark.slow
def test_same_bytes_as_the_command_line(browser, folder):
    """Uploads a song to the real command's studio, and separates it with the real command."""
    model = some_model(folder)
    song = write_song(folder / "both.wav", 5.0, rate_hz=44100)
    command = [
        sys.executable,
        "-m",
        "hyperstem",
        "separate",
        str(song),
        "-o",
        str(folder / "out"),
        "--model",
        str(model),
        "--quiet",
    ]
    subprocess.run(command, check=True, timeout=120)
    command = [
        sys.executable,
        "-m",
        "hyperstem",
        "studio",
        "--port",
        "0",
        "--no-browser",
        "--model",
        str(model),
        "--folder",
        str(folder / "real"),
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "BROWSER": "false"}
    ) as process:
        try:
            url = process.stdout.readline().split()[2]
            page = open_page(browser, url)
            upload(page, song)
            page.wait_for_function("() => ['done', 'failed'].includes(studio.mixer.job?.state)", timeout=90_000)
            done(page)
            for stem in page.evaluate("studio.mixer.job.stems"):
                with page.expect_download() as download:
                    page.click(f"[data-stem={stem}] .get")
                assert (
                    Path(download.value.path()).read_bytes() == (folder / "out" / "both" / f"{stem}.wav").read_bytes()
                ), stem
            assert page.complaints == []
            page.context.close()
        finally:
            process.send_signal(2)
        assert process.wait(20) == 0
