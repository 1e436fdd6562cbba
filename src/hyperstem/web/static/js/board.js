// All lanes of a song, with a common zoom, scroll position, playhead and loop.
//
// The board alone holds the view (`zoom`, `left`, `seconds`); lanes and ruler are drawn from it together.

import { Lane } from "./lane.js";
import { clamp, Emitter } from "./page.js";
import { Ruler } from "./ruler.js";
import { ORIGINAL } from "./sound.js";

const MAX_ZOOM = 600; // pixels per second
const FOLLOW_PAUSE_MS = 3000;
const MIN_LOOP_S = 0.05;
const USER_SCROLL_MS = 250;
const HEIGHTS = [0.5, 1, 2, 4, 8];

/** The take to draw: the final one, or the one with most frames. */
export function shownTake(job) {
  if (job.final) return job.final;
  return [job.quality, "preview"].sort((a, b) => (job.takes[b] ?? 0) - (job.takes[a] ?? 0)).find((take) => job.takes[take]) ?? null;
}

/** Emits "seek" (seconds), "loop" ({start, end} in seconds or null), "change" ({stem, ...}), "view", "rebuilt" and "error". */
export class Board extends Emitter {
  constructor(root) {
    super();
    this.root = root;
    this.list = root.querySelector("#lanes");
    this.ruler = new Ruler(root.querySelector("#ruler"));
    this.lanes = [];
    this.zoom = 0; // pixels per second, 0: the whole song
    this.left = 0; // pixels of the song left of the view
    this.seconds = 0; // position of the playhead
    this.height = 1;
    this.trueLevels = false;
    this.asSpectrogram = false;
    this.job = null;
    this.loop = null;
    this.looping = false;
    this.scrolledAt = 0; // when the user scrolled
    this.inputAt = -Infinity; // when the user last touched the lanes
    for (const input of ["wheel", "touchmove", "pointerdown", "keydown"]) {
      this.list.addEventListener(input, () => { this.inputAt = performance.now(); }, { passive: true });
    }
    this.observer = new ResizeObserver(() => this.#refreshSoon());
    this.observer.observe(this.list);
    document.addEventListener("themechange", () => this.#recolor());
  }

  /** Shows a job; lanes are rebuilt only when the stems change. */
  show(job) {
    const stems = [ORIGINAL, ...job.stems];
    const changed = this.job?.id !== job.id || stems.join() !== this.lanes.map((lane) => lane.stem).join();
    if (this.job?.id !== job.id) this.zoom = this.left = 0;
    this.job = job;
    if (changed) this.#rebuild(stems);
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
      lane.setHeight(this.height, this.trueLevels);
      lane.on("seek", (seconds) => this.emit("seek", seconds));
      lane.on("change", (change) => this.emit("change", { stem: lane.stem, ...change }));
      lane.on("loop", ({ start, end }) => this.emit("loop", end - start >= MIN_LOOP_S ? { start, end } : null));
      lane.on("scroll", (left) => this.#scrolled(left));
      lane.find(".lane-wave").addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    }
    this.emit("rebuilt");
  }

  /** Draws changes: more of a take, another zoom. */
  async refresh() {
    const job = this.job;
    if (!job?.duration_s || !job.frames) return;
    const stemsTake = shownTake(job);
    const wanted = this.lanes.map((lane) => {
      const take = lane.isOriginal ? ORIGINAL : stemsTake;
      return take && job.takes[take] ? lane.show(job, take, this.zoom) : null;
    });
    this.#align();
    const results = await Promise.allSettled(wanted);
    if (this.job !== job) return;
    const failed = results.find((result) => result.status === "rejected" && result.reason.status !== 404);
    if (failed) this.emit("error", failed.reason.message);
    this.showLoop(this.loop, this.looping);
    if (!this.loopsEnabled?.has(this.lanes[0])) {
      for (const lane of this.lanes) lane.enableLoops();
      this.loopsEnabled = new WeakSet(this.lanes);
    }
    this.#align();
    this.#drawSpectrograms();
  }

  #refreshSoon() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), 120);
  }

  #recolor() {
    for (const lane of this.lanes) lane.color();
    this.#align();
    this.#drawSpectrograms();
    this.showLoop(this.loop, this.looping);
  }

  // The view

  get width() { return this.lanes[0]?.find(".lane-wave").clientWidth || 1; }
  get pixelsPerSecond() { return Math.max(this.zoom, this.width / (this.job?.duration_s || 1)); }

  #clamped(left) {
    if (!this.zoom || !this.job?.duration_s) return 0;
    return clamp(left, 0, Math.max(0, this.job.duration_s * this.pixelsPerSecond - this.width));
  }

  /** Draws ruler, lanes and playhead for the current view. */
  #align() {
    this.left = this.#clamped(this.left);
    for (const lane of this.lanes) {
      lane.scroll = this.left;
      lane.setTime(this.seconds);
    }
    this.ruler.draw({ left: this.left, scale: this.pixelsPerSecond, duration: this.job?.duration_s, seconds: this.seconds });
  }

  /** Zooms by `factor` around `second`; 0 shows the whole song. */
  setZoom(factor, second) {
    if (!this.job?.duration_s) return;
    const fit = this.width / this.job.duration_s;
    const before = this.pixelsPerSecond;
    const offset = clamp(second * before - this.left, 0, this.width);
    const after = factor === 0 ? 0 : clamp(before * factor, fit, Math.max(MAX_ZOOM, fit));
    this.zoom = after <= fit * 1.001 ? 0 : after;
    this.left = second * this.pixelsPerSecond - offset;
    this.refresh();
    this.emit("view");
  }

  /** Shows the song from `second` on at `zoom` pixels per second. */
  restore({ zoom, second }) {
    this.zoom = zoom;
    this.left = second * this.pixelsPerSecond;
    this.refresh();
  }

  #wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const x = event.clientX - event.currentTarget.getBoundingClientRect().left;
    this.setZoom(event.deltaY < 0 ? 1.25 : 0.8, (this.left + x) / this.pixelsPerSecond);
  }

  /** Handles a lane's scrolling: by the user, all lanes follow; by wavesurfer, it is undone. */
  #scrolled(left) {
    if (Math.round(left) === Math.round(this.left)) return;
    const now = performance.now();
    if (now - this.inputAt < USER_SCROLL_MS) {
      this.inputAt = now; // kinetic scrolling continues for a while
      this.scrolledAt = Date.now();
      this.left = left;
      this.emit("view");
    }
    this.#align();
    clearTimeout(this.spectrogramTimer);
    this.spectrogramTimer = setTimeout(() => this.#drawSpectrograms(), 80);
  }

  /** Moves the playhead, and the view during playback. */
  setTime(seconds, playing) {
    this.seconds = seconds;
    const x = seconds * this.pixelsPerSecond - this.left;
    const follows = playing && this.zoom && Date.now() - this.scrolledAt >= FOLLOW_PAUSE_MS;
    if (follows && (x > this.width * 0.92 || x < 0)) {
      this.left = seconds * this.pixelsPerSecond - this.width * 0.08;
      this.#drawSpectrograms();
    }
    this.#align();
  }

  /** Sets the chords, transposed by `semitones`, and the beats of the ruler. */
  setMusic({ chords, beats, semitones }) {
    Object.assign(this.ruler, { chords, beats, semitones });
    this.#align();
  }

  // Waveform height

  setTrueLevels(on) {
    this.trueLevels = on;
    for (const lane of this.lanes) lane.setHeight(this.height, on);
  }

  /** Taller (1) or lower (-1) waveforms. */
  changeHeight(by) {
    this.height = HEIGHTS[clamp(HEIGHTS.indexOf(this.height) + by, 0, HEIGHTS.length - 1)];
    for (const lane of this.lanes) lane.setHeight(this.height, this.trueLevels);
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
    await Promise.all(drawn).catch((error) => this.emit("error", error.message));
  }

  showLoop(loop, looping) {
    this.loop = loop;
    this.looping = looping;
    for (const lane of this.lanes) lane.showLoop(loop, looping);
  }
}
