"""The page in a real browser: the first look, removing, levels, one clock, downloads, phones."""

import itertools
import zipfile

import numpy as np
import pytest
import soundfile

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from web_browser import LOW_CONTRAST, done, done_page, open_page, upload
from web_studio import Studio, write_song

pytestmark = pytest.mark.slow


def test_the_demo_in_one_click(browser, folder):
    with Studio(folder / "demo") as studio:
        page = open_page(browser, studio.url)
        colors = page.evaluate(
            "[...document.querySelectorAll('.empty-art path')].map((one) => getComputedStyle(one).stroke)"
        )
        assert len(set(colors)) == 4  # a picture of four stems
        page.click("#demo")
        done(page)
        assert "Demo" in page.inner_text("#song-title") and page.is_hidden("#empty")
        assert page.evaluate("studio.mixer.job.duration_s") == pytest.approx(30, abs=0.1)
        assert page.complaints == []
        page.context.close()


def test_a_removed_song_comes_back(browser, folder):
    song = write_song(folder / "gone.wav", 3.0)
    with Studio(folder / "undo", undo_s=4.0) as studio:
        job = studio.separate(song)
        page = open_page(browser, studio.url)
        done(page)
        page.click("[data-stem=drums] .mute")
        page.click("#remove-song")
        toast = page.locator(".toast", has_text="gone.wav was removed")
        toast.wait_for()
        page.wait_for_selector("#empty", state="visible")
        assert studio.client.get(f"/api/jobs/{job['id']}").status_code == 404
        toast.get_by_role("button", name="Undo").click()
        done(page)
        assert page.inner_text("#song-title") == "gone.wav"
        assert page.get_attribute("[data-stem=drums] .mute", "aria-pressed") == "true"
        page.click(".song-remove")
        toast.wait_for()
        page.keyboard.press("Control+z")
        done(page)
        page.click(".song-remove")
        toast.wait_for()
        toast.wait_for(state="detached", timeout=10_000)
        page.wait_for_timeout(1000)
        assert not (folder / "undo" / "jobs" / job["id"]).exists()
        page.context.close()


def heights(page):
    """How far each lane's wave reaches, as a share of its lane's height."""
    return page.evaluate("""() => studio.mixer.board.lanes.map((lane) => {
      const root = lane.find('.wave').firstElementChild.shadowRoot;
      let [top, tall] = [1e9, 1];
      for (const canvas of root.querySelectorAll('.canvases canvas')) {
        if (!canvas.width) continue;
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        const first = data.findIndex((value, i) => i % 4 === 3 && value > 0);
        if (first >= 0) { top = Math.min(top, Math.floor(first / 4 / canvas.width)); tall = canvas.height; }
      }
      return 1 - 2 * top / tall;
    })""")


def test_lanes_fill_their_height_or_show_true_levels(page, studio):
    done_page(page, studio)
    page.wait_for_timeout(500)
    assert min(heights(page)) > 0.85  # a tenth of the song is seen as well as all of it
    assert page.inner_text("[data-stem=vocals] .scale").startswith("+")
    page.keyboard.press("t")
    assert page.get_attribute("#true-levels", "aria-pressed") == "true"
    page.wait_for_timeout(500)
    original, drums, *_, vocals = heights(page)
    assert drums == pytest.approx(original * 0.4, abs=0.06) and vocals == pytest.approx(original * 0.1, abs=0.06)
    page.click("#taller")
    page.click("#taller")
    page.wait_for_timeout(500)
    assert heights(page)[-1] == pytest.approx(original * 0.4, abs=0.08)
    page.keyboard.press(",")
    page.wait_for_timeout(500)
    assert heights(page)[-1] == pytest.approx(original * 0.2, abs=0.06)


VIEW = """() => {
  const { board, player } = studio.mixer;
  const scale = board.pixelsPerSecond;
  return { place: player.position / player.rate * scale, seconds: board.seconds * scale, left: board.left,
    width: board.width, scrolls: board.lanes.map((lane) => lane.scroll), zooms: board.lanes.map((lane) => lane.drawnAt),
    zoom: board.zoom };
}"""


def test_ruler_lanes_and_playhead_are_of_one_clock(page, studio):
    """Also under load, and when a lane scrolls by itself as it is drawn anew."""
    done_page(page, studio)
    page.evaluate("studio.mixer.zoom(8)")
    page.evaluate("studio.mixer.seek(0)")
    page.keyboard.press("Space")
    for number in range(30):
        page.evaluate(
            """number => {
          const { board } = studio.mixer;
          const end = performance.now() + 120;
          while (performance.now() < end); // a busy computer
          const lane = board.lanes[number % board.lanes.length];
          if (number % 3 === 0) lane.surfer.setScroll(number * 37);
          if (number % 7 === 0) { lane.key = ''; board.refresh(); }
        }""",
            number,
        )
        page.wait_for_timeout(60)
    page.evaluate("new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))")
    view = page.evaluate(VIEW)
    assert view["left"] <= view["seconds"] <= view["left"] + view["width"], view
    assert view["left"] - 60 <= view["place"] <= view["left"] + view["width"] + 60, view
    assert all(abs(scroll - view["left"]) < 1.5 for scroll in view["scrolls"]), view
    assert set(view["zooms"]) == {view["zoom"]}


def test_a_hand_moves_all_lanes(page, studio):
    done_page(page, studio)
    page.evaluate("studio.mixer.zoom(8)")
    page.evaluate("studio.mixer.seek(0)")
    page.wait_for_timeout(300)
    box = page.locator("[data-stem=bass] .lane-wave").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 30)
    page.mouse.wheel(400, 0)
    page.wait_for_function("() => studio.mixer.board.left > 300")
    page.wait_for_timeout(300)
    view = page.evaluate(VIEW)
    assert all(abs(scroll - view["left"]) < 1.5 for scroll in view["scrolls"]), view


def test_no_frame_around_the_mixer_but_real_focus_is_seen(page, studio):
    done_page(page, studio)
    page.mouse.click(700, 880)
    page.evaluate("document.querySelector('#main').focus()")
    page.keyboard.press("ArrowRight")
    style = "getComputedStyle(document.activeElement)"
    assert page.evaluate("document.activeElement.id") == "main"
    assert page.evaluate(f"{style}.outlineStyle") == "none"
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.id") != "play":
        page.keyboard.press("Tab")
    assert page.evaluate(f"{style}.outlineStyle") == "solid"
    assert page.evaluate(f"parseFloat({style}.outlineWidth)") >= 2


def download(page, selector):
    with page.expect_download(timeout=60_000) as got:
        page.click(selector)
    return got.value


@pytest.mark.parametrize(
    ("choice", "ending", "subtype"),
    [
        ("wav pcm24", "wav", "PCM_24"),
        ("wav float", "wav", "FLOAT"),
        ("flac ", "flac", "PCM_16"),
        ("ogg ", "ogg", "VORBIS"),
    ],
)
def test_downloads_in_other_formats(page, studio, choice, ending, subtype):
    done_page(page, studio)
    page.select_option("#download-format", choice)
    stem = download(page, "[data-stem=bass] .get")
    assert stem.suggested_filename == f"My Söng - bass.{ending}"
    assert soundfile.info(stem.path()).subtype == subtype
    with zipfile.ZipFile(download(page, "#download-zip").path()) as archive:
        assert {name.rpartition(".")[2] for name in archive.namelist()} - {"json"} == {ending}
    mix = download(page, "#download-mix")
    assert mix.suggested_filename == f"My Söng - mix.{ending}"
    assert soundfile.info(mix.path()).frames == page.evaluate("studio.mixer.job.frames")


@pytest.mark.parametrize("choice", ["mp3 ", "m4a ", "opus ", "stem.mp4 "])
def test_downloads_in_formats_for_players(page, studio, choice):
    done_page(page, studio)
    page.select_option("#download-format", choice)
    together = choice.startswith("stem")
    assert page.get_attribute("#download-mix", "aria-disabled") == str(together).lower()
    got = download(page, "#download-zip" if together else "#download-karaoke")
    assert got.suggested_filename == ("My Söng - stems.stem.mp4" if together else f"My Söng - karaoke.{choice.strip()}")
    assert got.path().stat().st_size > 10_000


def test_any_minus_one_and_the_loop_alone(page, studio):
    done_page(page, studio)
    page.select_option("#download-format", "wav pcm16")
    labels = page.locator("#download-without a").all_inner_texts()
    assert [label.split()[1] for label in labels] == ["vocals", "other", "bass", "drums"]
    full, _ = soundfile.read(download(page, "[data-without=drums]").path())
    song, _ = soundfile.read(studio.song)
    assert np.abs(full - song * 0.6).max() < 0.001
    assert page.is_disabled("#download-loop")
    page.evaluate("studio.mixer.setLoop({ start: 2, end: 3.5 })")
    page.check("#download-loop")
    loop, rate_hz = soundfile.read(download(page, "#download-mix").path())
    assert len(loop) == round(1.5 * rate_hz)
    assert np.abs(loop - song[2 * rate_hz :][: len(loop)]).max() < 0.001
    page.keyboard.press("l")  # off, but still there to be had


def test_progress_while_a_mix_is_made_and_cancel(browser, folder):
    song = write_song(folder / "made.wav", 60.0)
    with Studio(folder / "made") as studio:
        page = open_page(browser, studio.url)
        upload(page, song)
        done(page)
        page.select_option("#download-format", "flac ")
        page.evaluate("""() => {
          window.seen = [];
          const text = document.getElementById('making-text');
          new MutationObserver(() => seen.push(text.textContent)).observe(text, { childList: true });
        }""")
        assert download(page, "#download-mix").suggested_filename == "made - mix.flac"
        assert page.evaluate("seen[0]").startswith("Making the mix … 0 %")
        page.wait_for_selector("#making", state="hidden")
        page.route("**/mixes/*", lambda route: route.continue_() if route.request.method == "DELETE" else None)
        page.click("#download-karaoke")
        page.click("#making-cancel")
        page.wait_for_selector("#making", state="hidden")
        page.context.close()


def test_time_left_does_not_jump(page):
    words = page.evaluate("""async () => {
      const { Remaining } = await import('/static/js/remaining.js');
      let now = 0;
      const remaining = new Remaining(() => now);
      const said = [];
      for (; now < 100; now += 0.5) { // estimates that jump by half, and one phase that is slower than thought
        const truth = 100 - now + (now > 40 ? 0 : 20);
        const eta_s = truth * (1 + 0.5 * Math.sin(now * 7));
        said.push(remaining.text({ state: 'running', eta_s }));
      }
      return said;
    }""")
    assert words[0] == "" and words[10] != ""

    def seconds(text):
        parts = text.split()
        return int(parts[1]) * 60 + int(parts[3]) if "min" in text else int(parts[1])

    shown = [seconds(text) for text in words if text]
    changes = [b - a for a, b in itertools.pairwise(shown) if a != b]
    assert len(changes) < 30 and sum(change > 0 for change in changes) <= 3, changes
    assert max(map(abs, changes)) <= 30, changes


@pytest.mark.parametrize(
    ("width", "height", "most"), [(390, 844, 0.12), (844, 390, 0.2), (320, 568, 0.16), (667, 375, 0.2)]
)
def test_a_phone_sees_the_player(browser, studio, width, height, most):
    context = browser.new_context(viewport={"width": width, "height": height}, is_mobile=True, has_touch=True)
    page = context.new_page()
    page.goto(studio.url)
    page.wait_for_selector("html[data-ready]")
    done_page(page, studio)
    page.wait_for_timeout(300)
    box = page.locator(".transport").bounding_box()
    if width > height:
        page.evaluate("scrollTo(0, 0)")
        assert page.locator("#play").bounding_box()["y"] + 40 < height
        assert page.locator("#lanes").bounding_box()["y"] < height  # and the first lane's top
    assert box["height"] < most * height, box
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(LOW_CONTRAST) == []
    page.tap("#practice summary")
    assert page.is_visible("#tempo")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
