// All lanes of a song side by side: one zoom, one scroll, one playhead, one loop.

import { clock } from "./format.js";
import { Lane } from "./lane.js";
import { ORIGINAL } from "./sound.js";

const MOST_ZOOM = 600; // pixels per second
const FOLLOW_REST_MS = 3000;
const MIN_LOOP_S = 0.05;

/** The take whose outline shows best what there is of the stems. */
export function shownTake(job) {
  if (job.final) return job.final;
  return [job.quality, "preview"].sort((a, b) => (job.takes[b] ?? 0) - (job.takes[a] ?? 0)).find((take) => job.takes[take]) ?? null;
}

/** Dispatches "seek" (seconds), "loop" ({start, end} in seconds or null), "change" ({stem, ...}). */
export class Board extends EventTarget {
  constructor(root) {
    super();
    this.root = root;
    this.list = root.querySelector("#lanes");
    this.ruler = root.querySelector("#ruler");
    this.lanes = [];
    this.zoom = 0; // pixels per second, 0: the whole song
    this.asSpectrogram = false;
    this.job = null;
    this.loop = null;
    this.looping = false;
    this.scrolledByHand = 0;
    this.observer = new ResizeObserver(() => this.#later());
    this.observer.observe(this.list);
    document.addEventListener("themechange", () => this.#recolor());
  }

  /** Shows a job; lanes are made anew only when the stems change. */
  show(job) {
    const stems = [ORIGINAL, ...job.stems];
    const changed = this.job?.id !== job.id || stems.join() !== this.lanes.map((lane) => lane.stem).join();
    if (this.job?.id !== job.id) this.zoom = 0;
    this.job = job;
    if (changed) this.#rebuild(stems);
    for (const lane of this.lanes) lane.setDownload(job.state === "done" ? `api/jobs/${job.id}/stems/${encodeURIComponent(lane.stem)}.wav` : null);
    this.refresh();
  }

  clear() {
    for (const lane of this.lanes) lane.destroy();
    this.lanes = [];
    this.job = null;
  }

  #rebuild(stems) {
    for (const lane of this.lanes) lane.destroy();
    this.lanes = stems.map((stem, number) => new Lane(this.list, stem, number));
    for (const lane of this.lanes) {
      lane.setSpectrogram(this.asSpectrogram);
      lane.addEventListener("seek", (event) => this.#emit("seek", event.detail));
      lane.addEventListener("change", (event) => this.#emit("change", { stem: lane.stem, ...event.detail }));
      lane.addEventListener("loop", (event) => this.#loopDrawn(event.detail));
      lane.addEventListener("scroll", (event) => this.#scrolled(lane, event.detail.left));
      lane.find(".lane-wave").addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    }
    this.#emit("rebuilt");
  }

  #emit(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  /** Draws what has changed: more of a take, another zoom. */
  async refresh() {
    const job = this.job;
    if (!job?.duration_s || !job.frames) return;
    const stemsTake = shownTake(job);
    const wanted = this.lanes.map((lane) => {
      const take = lane.isOriginal ? ORIGINAL : stemsTake;
      return take && job.takes[take] ? lane.show(job, take, this.zoom) : null;
    });
    const results = await Promise.allSettled(wanted);
    if (this.job !== job) return;
    const bad = results.find((result) => result.status === "rejected" && result.reason.status !== 404);
    if (bad) this.#emit("error", bad.reason.message);
    this.showLoop(this.loop, this.looping);
    if (!this.loopsEnabled?.has(this.lanes[0])) {
      for (const lane of this.lanes) lane.enableLoops();
      this.loopsEnabled = new WeakSet(this.lanes);
    }
    this.#drawRuler();
    this.#drawSpectrograms();
  }

  #later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), 120);
  }

  #recolor() {
    for (const lane of this.lanes) lane.color();
    this.#drawRuler();
    this.#drawSpectrograms();
    this.showLoop(this.loop, this.looping);
  }

  // Zoom and scroll

  get width() { return this.lanes[0]?.find(".lane-wave").clientWidth || 1; }
  get pixelsPerSecond() { return Math.max(this.zoom, this.width / (this.job?.duration_s || 1)); }
  get left() { return this.zoom ? this.lanes[0]?.scroll ?? 0 : 0; }

  /** Zooms by `factor` around `second`; 0 shows the whole song. */
  setZoom(factor, second) {
    this.zooming = (this.zooming ?? Promise.resolve()).then(() => this.#zoomOnce(factor, second));
    return this.zooming;
  }

  async #zoomOnce(factor, second) {
    if (!this.job?.duration_s) return;
    const fit = this.width / this.job.duration_s;
    const before = this.pixelsPerSecond;
    const offset = second * before - this.left;
    const after = factor === 0 ? 0 : Math.min(Math.max(before * factor, fit), Math.max(MOST_ZOOM, fit));
    this.zoom = after <= fit * 1.001 ? 0 : after;
    this.moving = true; // wavesurfer scrolls by itself when it zooms
    await this.refresh();
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    this.followedTo = second * this.pixelsPerSecond - Math.min(Math.max(offset, 0), this.width);
    this.#scrollTo(this.followedTo);
    this.#drawRuler();
    this.#drawSpectrograms();
  }

  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const x = event.clientX - event.currentTarget.getBoundingClientRect().left;
    this.setZoom(event.deltaY < 0 ? 1.25 : 0.8, (this.left + x) / this.pixelsPerSecond);
  }

  #scrollTo(pixels) {
    this.moving = true;
    for (const lane of this.lanes) lane.scroll = pixels;
    requestAnimationFrame(() => { this.moving = false; });
  }

  #scrolled(lane, left) {
    if (this.moving || !this.zoom) return;
    if (Math.abs(left - (this.followedTo ?? -9)) > 2) this.scrolledByHand = Date.now();
    this.moving = true;
    for (const other of this.lanes) if (other !== lane) other.scroll = left;
    this.moving = false;
    this.#drawRuler();
    clearTimeout(this.spectrogramTimer);
    this.spectrogramTimer = setTimeout(() => this.#drawSpectrograms(), 80);
  }

  /** Moves the playhead, and the view with it while playing. */
  setTime(seconds, playing) {
    for (const lane of this.lanes) lane.setTime(seconds);
    this.#drawRuler(seconds);
    if (!playing || !this.zoom || Date.now() - this.scrolledByHand < FOLLOW_REST_MS) return;
    const x = seconds * this.pixelsPerSecond - this.left;
    if (x > this.width * 0.92 || x < 0) {
      this.followedTo = Math.max(0, seconds * this.pixelsPerSecond - this.width * 0.08);
      this.#scrollTo(this.followedTo);
      this.#drawSpectrograms();
    }
  }

  // The ruler, with the playhead's mark

  #drawRuler(seconds = this.lastTime ?? 0) {
    this.lastTime = seconds;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.ruler.clientWidth, 22];
    if (!width || !this.job?.duration_s) return;
    const styles = getComputedStyle(this.root);
    if (this.ruler.width !== Math.round(width * ratio)) {
      this.ruler.width = Math.round(width * ratio);
      this.ruler.height = height * ratio;
    }
    const pen = this.ruler.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.font = "11px system-ui, sans-serif";
    const scale = this.pixelsPerSecond;
    const every = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find((step) => step * scale >= 64) ?? 1200;
    const first = Math.floor(this.left / scale / every);
    for (let tick = first; (tick * every) * scale - this.left < width; tick++) {
      const x = tick * every * scale - this.left;
      pen.fillStyle = styles.getPropertyValue("--line");
      pen.fillRect(x, 14, 1, 8);
      pen.fillStyle = styles.getPropertyValue("--muted");
      pen.fillText(clock(tick * every + 1e-6, every < 1), x + 4, 13);
    }
    pen.fillStyle = styles.getPropertyValue("--accent");
    const x = seconds * scale - this.left;
    pen.beginPath();
    pen.moveTo(x - 5, 13);
    pen.lineTo(x + 5, 13);
    pen.lineTo(x, 21);
    pen.fill();
  }

  // Spectrograms

  setSpectrogram(on) {
    this.asSpectrogram = on;
    for (const lane of this.lanes) lane.setSpectrogram(on);
    this.#drawSpectrograms();
  }

  async #drawSpectrograms() {
    const job = this.job;
    if (!this.asSpectrogram || !job?.frames) return;
    const start = (this.left / this.pixelsPerSecond) * job.rate_hz;
    const frames = (this.width / this.pixelsPerSecond) * job.rate_hz;
    const take = shownTake(job);
    const drawn = this.lanes.map((lane) => {
      const own = lane.isOriginal ? ORIGINAL : take;
      return own && job.takes[own] ? lane.spectrogram.draw(job, own, start, frames) : null;
    });
    const bad = (await Promise.allSettled(drawn)).find((result) => result.status === "rejected");
    if (bad) this.#emit("error", bad.reason.message);
  }

  // The loop

  #loopDrawn({ start, end }) {
    this.#emit("loop", end - start >= MIN_LOOP_S ? { start, end } : null);
  }

  showLoop(loop, looping) {
    this.loop = loop;
    this.looping = looping;
    for (const lane of this.lanes) lane.showLoop(loop, looping);
  }
}
