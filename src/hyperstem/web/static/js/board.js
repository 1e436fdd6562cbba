// All lanes of a song side by side: one zoom, one scroll, one playhead, one loop.
//
// What is in view is the board's alone (`zoom`, `left`, `seconds`); lanes and ruler are drawn after it, all in one go.

import { Lane } from "./lane.js";
import { Ruler } from "./ruler.js";
import { ORIGINAL } from "./sound.js";

const MOST_ZOOM = 600; // pixels per second
const FOLLOW_REST_MS = 3000;
const MIN_LOOP_S = 0.05;
const HAND_MS = 250;
const HEIGHTS = [0.5, 1, 2, 4, 8];

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
    this.ruler = new Ruler(root.querySelector("#ruler"));
    this.lanes = [];
    this.zoom = 0; // pixels per second, 0: the whole song
    this.left = 0; // pixels of the song before what is in view
    this.seconds = 0; // where the playhead is
    this.height = 1;
    this.trueLevels = false;
    this.asSpectrogram = false;
    this.job = null;
    this.loop = null;
    this.looping = false;
    this.scrolledByHand = 0; // when, and the last sign of a hand
    this.handAt = -Infinity;
    for (const sign of ["wheel", "touchmove", "pointerdown", "keydown"]) {
      this.list.addEventListener(sign, () => { this.handAt = performance.now(); }, { passive: true });
    }
    this.observer = new ResizeObserver(() => this.#later());
    this.observer.observe(this.list);
    document.addEventListener("themechange", () => this.#recolor());
  }

  /** Shows a job; lanes are made anew only when the stems change. */
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
    this.#align();
    const results = await Promise.allSettled(wanted);
    if (this.job !== job) return;
    const bad = results.find((result) => result.status === "rejected" && result.reason.status !== 404);
    if (bad) this.#emit("error", bad.reason.message);
    this.showLoop(this.loop, this.looping);
    if (!this.loopsEnabled?.has(this.lanes[0])) {
      for (const lane of this.lanes) lane.enableLoops();
      this.loopsEnabled = new WeakSet(this.lanes);
    }
    this.#align();
    this.#drawSpectrograms();
  }

  #later() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), 120);
  }

  #recolor() {
    for (const lane of this.lanes) lane.color();
    this.#align();
    this.#drawSpectrograms();
    this.showLoop(this.loop, this.looping);
  }

  // What is in view

  get width() { return this.lanes[0]?.find(".lane-wave").clientWidth || 1; }
  get pixelsPerSecond() { return Math.max(this.zoom, this.width / (this.job?.duration_s || 1)); }

  #clamped(left) {
    if (!this.zoom || !this.job?.duration_s) return 0;
    return Math.min(Math.max(0, left), Math.max(0, this.job.duration_s * this.pixelsPerSecond - this.width));
  }

  /** Draws ruler, lanes and playhead for the one place that is in view. */
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
    const offset = Math.min(Math.max(second * before - this.left, 0), this.width);
    const after = factor === 0 ? 0 : Math.min(Math.max(before * factor, fit), Math.max(MOST_ZOOM, fit));
    this.zoom = after <= fit * 1.001 ? 0 : after;
    this.left = second * this.pixelsPerSecond - offset;
    this.refresh();
    this.#emit("view");
  }

  /** Shows the song from `second` on at `zoom` pixels a second. */
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

  /** A lane has scrolled: by a hand, and all follow it, or by itself, and it goes back. */
  #scrolled(lane, left) {
    if (Math.round(left) === Math.round(this.left)) return;
    const now = performance.now();
    if (now - this.handAt < HAND_MS) {
      this.handAt = now; // a flung lane goes on for a while
      this.scrolledByHand = Date.now();
      this.left = left;
      this.#emit("view");
    }
    this.#align();
    clearTimeout(this.spectrogramTimer);
    this.spectrogramTimer = setTimeout(() => this.#drawSpectrograms(), 80);
  }

  /** Moves the playhead, and the view with it while playing. */
  setTime(seconds, playing) {
    this.seconds = seconds;
    const x = seconds * this.pixelsPerSecond - this.left;
    const follows = playing && this.zoom && Date.now() - this.scrolledByHand >= FOLLOW_REST_MS;
    if (follows && (x > this.width * 0.92 || x < 0)) {
      this.left = seconds * this.pixelsPerSecond - this.width * 0.08;
      this.#drawSpectrograms();
    }
    this.#align();
  }

  /** Chords and beats over the lanes, chords some semitones up. */
  setMusic({ chords, beats, semitones }) {
    Object.assign(this.ruler, { chords, beats, semitones });
    this.#align();
  }

  // How tall the waves are

  setTrueLevels(on) {
    this.trueLevels = on;
    for (const lane of this.lanes) lane.setHeight(this.height, on);
  }

  /** Taller (1) or lower (-1) waves. */
  changeHeight(by) {
    const place = HEIGHTS.indexOf(this.height) + by;
    this.height = HEIGHTS[Math.min(Math.max(place, 0), HEIGHTS.length - 1)];
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
