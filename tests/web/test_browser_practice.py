"""Practising in a real browser: speed, pitch, click, count-in, chords, and what a song keeps."""

import itertools

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from web_browser import done, loudness, open_page, upload, wait_until_loud
from web_music import RATE_HZ, chords, drums
from web_studio import Studio

pytestmark = pytest.mark.slow
BPM = 100.0
HEARD_HZ = """() => {
  const { context, analyser } = studio.mixer.player;
  analyser.fftSize = 16384;
  const levels = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(levels);
  return levels.indexOf(Math.max(...levels)) * context.sampleRate / analyser.fftSize;
}"""


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    folder = tmp_path_factory.mktemp("practice")
    treble, bass = chords(["C", "Am", "F", "G"] * 3, 4 * 60 / BPM)
    wave = treble + bass + drums(BPM, len(bass) / RATE_HZ)[: len(bass)]
    soundfile.write(folder / "song.wav", wave, RATE_HZ)
    time_s = np.arange(RATE_HZ * 60) / RATE_HZ
    soundfile.write(folder / "tone.wav", 0.3 * np.sin(2 * np.pi * 440 * time_s), RATE_HZ)
    with Studio(folder / "studio") as studio:
        studio.song = studio.separate(folder / "song.wav")["id"]
        studio.tone = studio.separate(folder / "tone.wav")["id"]
        yield studio


def open_song(page, job_id):
    page.evaluate("id => studio.songs.open(id)", job_id)
    page.wait_for_function("id => studio.mixer.job?.id === id && studio.mixer.player", arg=job_id)
    done(page)


def known(page):
    page.wait_for_selector("#facts:not([hidden])")


def speed(page):
    """Seconds of song in a second of sound."""
    return page.evaluate("""async () => {
      const { player } = studio.mixer;
      const now = () => [player.position / player.rate, player.context.currentTime];
      const before = now();
      await new Promise((resolve) => setTimeout(resolve, 1200));
      const after = now();
      return (after[0] - before[0]) / (after[1] - before[1]);
    }""")


def test_slower_and_higher_while_it_plays(page, studio):
    open_song(page, studio.tone)
    page.keyboard.press("Space")
    wait_until_loud(page)
    page.wait_for_function(f"() => Math.abs(({HEARD_HZ})() - 440) < 6")
    for _ in range(5):
        page.keyboard.press("<")
    assert page.inner_text("#tempo-value") == "75 %"
    page.wait_for_function("() => studio.mixer.player.deck.constructor.name === 'StretchDeck'")
    page.wait_for_timeout(800)
    assert speed(page) == pytest.approx(0.75, abs=0.02)
    page.wait_for_function(f"() => Math.abs(({HEARD_HZ})() - 440) < 6")  # slower, no lower
    page.keyboard.press("Shift+ArrowUp")
    page.keyboard.press("Shift+ArrowUp")
    assert page.inner_text("#pitch-value") == "+2"
    assert page.get_attribute("#pitch", "aria-valuetext") == "+2 semitones"
    page.wait_for_function(f"() => Math.abs(({HEARD_HZ})() - 440 * 2 ** (2 / 12)) < 6")
    assert loudness(page) > 0.05
    page.locator("#tempo").fill("125")
    page.wait_for_timeout(800)
    assert speed(page) == pytest.approx(1.25, abs=0.03)
    page.click("#pace-reset")
    page.wait_for_function("() => studio.mixer.player.deck.constructor.name === 'StraightDeck'")
    page.wait_for_function(f"() => Math.abs(({HEARD_HZ})() - 440) < 6")
    assert speed(page) == pytest.approx(1, abs=0.02)


def test_lanes_loop_and_original_at_another_speed(page, studio):
    open_song(page, studio.tone)
    page.evaluate("studio.mixer.practice.setTempo(0.8)")
    page.evaluate("studio.mixer.setLoop({ start: 5, end: 6 })")
    page.evaluate("studio.mixer.seek(5)")
    page.keyboard.press("Space")
    wait_until_loud(page)
    for number in (1, 2, 3, 4):
        page.keyboard.press(str(number))
    wait_until_loud(page, False)
    page.keyboard.press("a")
    wait_until_loud(page)
    page.keyboard.press("a")
    wait_until_loud(page, False)
    page.click("#reset-mix")
    wait_until_loud(page)
    places = []
    for _ in range(30):
        page.wait_for_timeout(100)
        places.append(page.evaluate("studio.mixer.player.position / studio.mixer.player.rate"))
    assert all(4.9 <= place <= 6.01 for place in places), places
    assert sum(b < a for a, b in itertools.pairwise(places)) >= 2
    page.keyboard.press("l")
    page.evaluate("studio.mixer.seek(59.3)")  # it comes to its end, and plays again from the start
    page.wait_for_function("() => !studio.mixer.player.playing")
    assert page.evaluate("studio.mixer.player.position === studio.mixer.job.frames")
    page.keyboard.press("Space")
    wait_until_loud(page)
    assert page.evaluate("studio.mixer.player.position / studio.mixer.player.rate") < 5


def test_chunks_join_in_the_stretcher(page):
    """At the song's own speed the stretcher gives a lane as it is, over the borders of chunks, muted ones left out."""
    worst = page.evaluate("""async () => {
      const { Graph } = await import('/static/js/graph.js');
      const { StretchDeck } = await import('/static/js/decks.js');
      const rate = 44100, count = 30000;
      const context = new OfflineAudioContext(2, rate * 3, rate);
      const graph = new Graph(context, 2);
      const deck = await StretchDeck.load(graph, ['a', 'b'], rate);
      const lanes = (stem) => ({ gain: stem === 'a' ? 1 : 0, pan: 0 });
      graph.apply({ out: 1, mix: 1, original: 0, fallback: 1, click: 0, lanes }, true);
      const wave = (frame) => 0.4 * Math.sin(2 * Math.PI * 441 * frame / rate);
      deck.begin();
      for (let start = 0; start < 4 * count; start += count) {
        const plane = Float32Array.from({ length: count }, (_, i) => wave(start + i));
        const noise = Float32Array.from({ length: count }, () => Math.random() - 0.5);
        const stems = new Map([['a', [plane, plane]], ['b', [noise, noise]]]);
        deck.add({ stems, original: [noise, noise] }, 0, count);
      }
      await deck.node.latency(); // what was sent has been taken in
      const out = (await context.startRendering()).getChannelData(0);
      const from = Math.round(deck.map[0].output * rate);
      const error = (border, shift) => { // the stretcher lets a tone's phase drift a little
        let worst = 0;
        for (let i = border - 1500; i < border + 1500; i++) {
          worst = Math.max(worst, Math.abs(out[from + shift + i] - wave(i)));
        }
        return worst;
      };
      const shifts = Array.from({ length: 100 }, (_, i) => i - 50); // a period
      return [1, 2, 3].map((number) => Math.min(...shifts.map((shift) => error(number * count, shift))));
    }""")
    assert max(worst) < 0.08, worst


def test_what_is_known_of_the_song(page, studio):
    open_song(page, studio.song)
    known(page)
    assert page.inner_text("#fact-tempo") == "100 BPM" and page.inner_text("#fact-key") == "C major"
    page.evaluate("studio.mixer.seek(3.6)")
    page.wait_for_function("() => document.querySelector('#fact-chord').textContent === 'Am'")
    page.locator("#tempo").fill("80")
    page.locator("#pitch").fill("1")
    assert page.inner_text("#fact-tempo") == "80 BPM" and page.inner_text("#fact-key") == "C♯ major"
    assert page.inner_text("#fact-chord") == "B♭m"
    page.click("#beats-double")
    assert page.inner_text("#fact-tempo") == "160 BPM"
    page.click("#beats-half")
    page.click("#beats-half")
    assert page.inner_text("#fact-tempo") == "40 BPM"
    gaps = page.evaluate(
        "studio.mixer.practice.beats.times.slice(1).map((t, i) => t - studio.mixer.practice.beats.times[i])"
    )
    assert np.median(gaps) == pytest.approx(1.2, abs=0.02)
    page.evaluate("studio.mixer.seek(2.4)")
    page.click("#bar-here")
    assert page.evaluate("""() => { const { beats } = studio.mixer.practice;
      return beats.times.filter((_, i) => beats.isDownbeat(i)).some((time) => Math.abs(time - 2.4) < 0.1); }""")


@pytest.mark.parametrize("tempo", [1, 0.8])
def test_clicks_fall_on_the_beats(page, studio, tempo):
    open_song(page, studio.song)
    known(page)
    page.evaluate("tempo => studio.mixer.practice.setTempo(tempo)", tempo)
    page.click("#click")
    page.evaluate("""() => {
      window.clicks = [];
      const { player } = studio.mixer;
      player.play();
      const { play } = player.metronome;
      player.metronome.play = function (time, first) { clicks.push([time, first]); play.call(this, time, first); };
    }""")
    page.wait_for_function("() => clicks.length > 6", timeout=30_000)
    errors = page.evaluate("""() => {
      const { player, practice } = studio.mixer;
      return clicks.slice(-5).map(([time, first]) => {
        const segment = player.scheduled[0];
        const since = (time - player.deck.audioTime(segment.time)) * player.pace.tempo;
        const songTime = segment.frame / player.rate + since;
        const nearest = practice.beats.after(songTime - 0.1);
        const wrong = practice.beats.isDownbeat(nearest) === first ? 0 : 1;
        return Math.abs(practice.beats.times[nearest] - songTime) + wrong;
      });
    }""")
    assert max(errors) < 0.002, errors
    page.keyboard.press("Space")
    page.evaluate("[1, 2, 3, 4].forEach((number) => studio.mixer.flip(number, 'mute'))")
    page.keyboard.press("Space")
    wait_until_loud(page)  # the click alone
    page.keyboard.press("c")
    wait_until_loud(page, False)
    page.wait_for_timeout(700)
    assert loudness(page) < 1e-4


@pytest.mark.parametrize("tempo", [1, 0.8])
def test_a_bar_is_counted_in(page, studio, tempo):
    open_song(page, studio.song)
    known(page)
    page.evaluate("tempo => studio.mixer.practice.setTempo(tempo)", tempo)
    page.click("#count-in")
    page.evaluate("studio.mixer.seek(4.8)")
    page.keyboard.press("Space")
    page.wait_for_function("() => studio.mixer.player.countsIn")
    page.wait_for_function("() => document.querySelector('#player-note').textContent.startsWith('Counting')")
    assert page.evaluate("Math.round(studio.mixer.player.position / studio.mixer.player.rate * 10)") == 48
    clicks = page.evaluate("studio.mixer.player.metronome.playing.map((one) => one.time)")
    starts = page.evaluate("studio.mixer.player.startsAt")
    assert len(clicks) == 4
    assert np.diff([*clicks, starts]) == pytest.approx([0.6 / tempo] * 4, abs=0.08)
    page.wait_for_function("() => studio.mixer.player.position / studio.mixer.player.rate > 5")


def test_a_song_keeps_its_mix_loop_view_and_pace(browser, studio):
    page = open_page(browser, studio.url)
    open_song(page, studio.song)
    page.locator("[data-stem=vocals] .volume").fill("40")
    page.locator("[data-stem=bass] .pan").fill("-50")
    page.click("[data-stem=drums] .mute")
    page.evaluate("studio.mixer.setLoop({ start: 2, end: 4 })")
    page.evaluate("studio.mixer.zoom(4)")
    page.evaluate("studio.mixer.practice.setTempo(0.7)")
    page.evaluate("studio.mixer.practice.setSemitones(-3)")
    wanted = page.evaluate("[studio.mixer.board.pixelsPerSecond, studio.mixer.board.left]")
    open_song(page, studio.tone)
    assert page.input_value("[data-stem=vocals] .volume") == "100" and page.input_value("#tempo") == "100"
    assert page.evaluate("studio.mixer.player.loop") is None
    for _ in range(2):  # another song and back, then a reload
        open_song(page, studio.song)
        known(page)
        assert page.input_value("[data-stem=vocals] .volume") == "40"
        assert page.input_value("[data-stem=bass] .pan") == "-50"
        assert page.get_attribute("[data-stem=drums] .mute", "aria-pressed") == "true"
        assert page.evaluate("studio.mixer.player.loop.start / studio.mixer.player.rate") == 2
        assert page.input_value("#tempo") == "70" and page.input_value("#pitch") == "-3"
        assert page.evaluate("[studio.mixer.board.pixelsPerSecond, studio.mixer.board.left]") == pytest.approx(
            wanted, abs=2
        )
        page.reload()
        page.wait_for_selector("html[data-ready]")
    assert page.complaints == []
    page.context.close()


def test_without_a_secure_page_speed_says_why(page, studio):
    open_song(page, studio.tone)
    page.evaluate("Object.defineProperty(BaseAudioContext.prototype, 'audioWorklet', { get: () => undefined })")
    page.keyboard.press("Space")
    wait_until_loud(page)
    page.locator("#tempo").fill("80")
    page.wait_for_selector(".toast:has-text('secure page')")
    assert page.input_value("#tempo") == "100" and page.evaluate("studio.mixer.player.playing")
    assert loudness(page) > 0.01


def test_a_file_of_another_page_is_not_mistaken_for_memory(page, studio):
    page.evaluate("id => localStorage.setItem(`song:${id}`, '{broken')", studio.tone)
    open_song(page, studio.tone)
    assert page.input_value("[data-stem=vocals] .volume") == "100"
    upload(page)  # nothing chosen: nothing happens
