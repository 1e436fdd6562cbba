"""Makes docs/studio.png: the demo song, separated with the default model, in the studio's page.

Run from the repository's root: ``python docs/make_studio_png.py``. Needs the extras web and dev, and /usr/bin/chromium.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[1]
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
SIZE = {"width": 1360, "height": 985}


def main() -> int:
    """Starts a studio, separates the song, plays a little of it, and takes the picture."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "hyperstem", "studio", "--port", "0", "--no-browser", "--folder", folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as studio, sync_playwright() as driver:
            assert studio.stdout is not None
            try:
                address = studio.stdout.readline().split()[2]
                browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
                page = browser.new_page(viewport=SIZE)
                page.goto(address)
                page.wait_for_selector("html[data-ready]")
                page.set_input_files("#file-input", str(ROOT / "examples" / "demo.ogg"))
                page.wait_for_function("() => studio.mixer.job?.state === 'done'", timeout=600_000)
                page.wait_for_timeout(1500)
                page.evaluate("studio.mixer.seek(studio.mixer.job.duration_s * 0.4)")
                page.keyboard.press("Space")
                page.wait_for_timeout(2500)
                page.screenshot(path=ROOT / "docs" / "studio.png")
                browser.close()
            finally:
                studio.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
