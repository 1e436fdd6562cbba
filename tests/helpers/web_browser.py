"""A real browser for the tests of the page, and what they look at."""

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
LOUDNESS = """() => {
  const samples = new Float32Array(2048);
  studio.mixer.player.analyser.getFloatTimeDomainData(samples);
  return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length);
}"""

LOW_CONTRAST = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [red, green, blue] = parts(color).slice(0, 3).map((value) => value / 255)
      .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = (element) => {
    for (let one = element; one; one = one.parentElement) {
      const color = getComputedStyle(one).backgroundColor;
      if (parts(color)[3] !== 0) return color;
    }
    return 'rgb(255, 255, 255)';
  };
  const ratio = (element) => {
    const [high, low] = [light(getComputedStyle(element).color), light(ground(element))].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
  };
  return [...document.querySelectorAll('h2, h3, p, label, button, a, .song-state, .clock')]
    .filter((one) => one.offsetParent && one.textContent.trim() && ratio(one) < 4.5)
    .map((one) => one.outerHTML.slice(0, 80));
}"""


def open_page(browser, url, **options):
    """A page that notes what the browser complains about: errors of scripts, breaches of the content policy."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True, **options)
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    # Of a take that has just been replaced the browser notes that it is gone (404); the page then asks for the new one.
    page.on(
        "console",
        lambda message: (
            page.complaints.append(message.text) if message.type == "error" and "404" not in message.text else None
        ),
    )
    page.goto(url)
    page.wait_for_selector("html[data-ready]")
    return page


def upload(page, *paths):
    page.set_input_files("#file-input", [str(path) for path in paths])


def done(page):
    page.wait_for_function("() => studio.mixer.job?.state === 'done'")
    page.wait_for_selector("[data-stem=vocals] .volume")


def loudness(page):
    return page.evaluate(LOUDNESS)


def wait_until_loud(page, loud=True):
    page.wait_for_function(f"() => (({LOUDNESS})() > 0.003) === {'true' if loud else 'false'}")


def done_page(page, studio):
    """Opens a song that is done, separating one if there is none."""
    jobs = [job for job in studio.client.get("/api/jobs").json() if job["state"] == "done"]
    job_id = jobs[-1]["id"] if jobs else studio.separate(studio.song)["id"]
    page.evaluate("id => studio.songs.open(id)", job_id)
    done(page)
