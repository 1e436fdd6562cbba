// One lane of the mixer: its controls, its waveform (wavesurfer.js) and its spectrogram.

import WaveSurfer from "../vendor/wavesurfer/wavesurfer.esm.js";
import Regions from "../vendor/wavesurfer/regions.esm.js";
import { getBytes } from "./api.js";
import { ORIGINAL } from "./sound.js";
import { Spectrogram } from "./spectrogram.js";

const FINEST = 64; // frames per point
const COARSEST = FINEST << 12;
const MOST_POINTS = 1 << 20;
const OWN_HEIGHT = 0.95;
const MOST_GAIN = 16; // 24 dB: what is quieter stays small
const nonce = document.querySelector('meta[name="csp-nonce"]').content;

/** The outline's step for a zoom: two points a pixel or a little more, a power of two times 64; coarser for long songs. */
export function stepFor(framesPerPixel, frames) {
  let step = FINEST;
  while ((step * 4 <= framesPerPixel || frames / step > MOST_POINTS) && step < COARSEST) step *= 2;
  return step;
}

export class Lane extends EventTarget {
  constructor(list, stem, number) {
    super();
    this.stem = stem;
    this.root = document.getElementById("lane-template").content.firstElementChild.cloneNode(true);
    this.root.dataset.stem = stem;
    list.append(this.root);
    this.find = (selector) => this.root.querySelector(selector);
    this.find("h3").textContent = stem;
    this.spectrogram = new Spectrogram(this.find(".spectrogram"), stem);
    this.key = "";
    this.points = null;
    this.height = 1;
    this.trueLevels = false;
    this.asked = this.shown = 0; // how many outlines, and which of them came last
    this.#controls(number);
    this.#wave();
  }

  get isOriginal() { return this.stem === ORIGINAL; }

  #emit(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  #controls(number) {
    const [mute, solo, get, volume, pan] = [".mute", ".solo", ".get", ".volume", ".pan"].map(this.find);
    if (this.isOriginal) {
      for (const element of [mute, solo, get, this.find(".meter"), ...this.root.querySelectorAll(".fader")]) element.remove();
      this.root.classList.add("original");
      return;
    }
    mute.setAttribute("aria-label", `Mute ${this.stem}`);
    solo.setAttribute("aria-label", `Solo ${this.stem}`);
    mute.title = `Mute ${this.stem} (${number})`;
    solo.title = `Solo ${this.stem} (Shift+${number})`;
    mute.setAttribute("aria-keyshortcuts", String(number));
    solo.setAttribute("aria-keyshortcuts", `Shift+${number}`);
    get.setAttribute("aria-label", `Download ${this.stem}`);
    get.title = `Download ${this.stem}`;
    volume.setAttribute("aria-label", `Volume of ${this.stem}`);
    pan.setAttribute("aria-label", `Pan of ${this.stem}`);
    mute.addEventListener("click", () => this.#emit("change", { mute: mute.getAttribute("aria-pressed") !== "true" }));
    solo.addEventListener("click", () => this.#emit("change", { solo: solo.getAttribute("aria-pressed") !== "true" }));
    volume.addEventListener("input", () => this.#emit("change", { volume: volume.value / 100 }));
    pan.addEventListener("input", () => this.#emit("change", { pan: pan.value / 100 }));
    volume.addEventListener("dblclick", () => this.#emit("change", { volume: 1 }));
    pan.addEventListener("dblclick", () => this.#emit("change", { pan: 0 }));
  }

  /** Shows the lane's place in the mix. */
  showMix({ volume, pan, mute, solo }, heard) {
    if (this.isOriginal) return;
    const percent = Math.round(volume * 100);
    const side = Math.round(Math.abs(pan) * 100);
    this.find(".mute").setAttribute("aria-pressed", String(mute));
    this.find(".solo").setAttribute("aria-pressed", String(solo));
    this.find(".volume").value = percent;
    this.find(".volume").setAttribute("aria-valuetext", `${percent} percent`);
    this.find(".pan").value = Math.round(pan * 100);
    this.find(".pan").setAttribute("aria-valuetext", side === 0 ? "middle" : `${side} percent ${pan < 0 ? "left" : "right"}`);
    this.setSilent(heard === 0);
  }

  setSilent(silent) { this.root.classList.toggle("silent", silent); }

  setDownload(address) {
    const link = this.find(".get");
    if (!link) return;
    link.setAttribute("aria-disabled", String(!address));
    if (address) link.href = address; else link.removeAttribute("href");
  }

  setLevel(level) { if (!this.isOriginal) this.find(".meter i").style.transform = `scaleX(${level.toFixed(3)})`; }

  // The waveform

  #wave() {
    this.regions = Regions.create();
    this.surfer = WaveSurfer.create({
      container: this.find(".wave"), height: "auto", cspNonce: nonce, cursorWidth: 2, autoScroll: false, autoCenter: false,
      dragToSeek: false, hideScrollbar: true, peaks: [new Float32Array(2), new Float32Array(2)], duration: 1,
      plugins: [this.regions],
    });
    this.surfer.on("interaction", (time) => this.#emit("seek", time));
    this.surfer.on("scroll", (start, end, left) => this.#emit("scroll", { start, end, left }));
    this.regions.on("region-created", (region) => { if (region.id !== "loop") this.#emit("loop", region); });
    this.regions.on("region-updated", (region) => this.#emit("loop", region));
    this.color();
  }

  /** Reads the colours of the theme. */
  color() {
    const styles = getComputedStyle(this.root);
    const color = styles.getPropertyValue("--lane").trim();
    const faint = `color-mix(in srgb, ${color} 45%, ${styles.getPropertyValue("--surface").trim()})`;
    this.regionColor = `color-mix(in srgb, ${styles.getPropertyValue("--accent").trim()} 20%, transparent)`;
    this.surfer.setOptions({ waveColor: resolve(faint), progressColor: resolve(color), cursorColor: this.asSpectrogram ? "#fff" : styles.getPropertyValue("--text").trim() });
    this.spectrogram.setColor(color);
  }

  setSpectrogram(on) {
    this.asSpectrogram = on;
    this.root.classList.toggle("as-spectrogram", on);
    this.find(".spectrogram").hidden = !on;
    this.color();
  }

  /** Shows the outline of a take at `pixelsPerSecond` (0: all of it); asks the server for points it has not. */
  async show(job, take, pixelsPerSecond) {
    const width = Math.max(50, this.surfer.getWidth() || 50);
    const rate = pixelsPerSecond || width / job.duration_s;
    const step = stepFor(job.rate_hz / rate, job.frames);
    const ready = job.takes[take] ?? 0;
    const key = [job.id, job.final, take, step, ready].join(" ");
    const turn = ++this.asked;
    if (pixelsPerSecond !== this.drawnAt) this.#zoom(pixelsPerSecond); // at once, with the points there are
    const points = key === this.key ? this.points : await this.#fetch(job, take, step);
    if (turn < this.shown) return; // one that was asked for later is there already
    this.shown = turn;
    if (points === this.points) return;
    this.points = points;
    this.key = key;
    this.#draw(job.duration_s);
  }

  async #fetch(job, take, step) {
    const buffer = await getBytes(`api/jobs/${job.id}/peaks/${encodeURIComponent(this.stem)}?take=${take}&step=${step}`);
    return this.#points(new Int8Array(buffer), Math.ceil(job.frames / step));
  }

  #points(values, total) {
    const [high, low] = [new Float32Array(total), new Float32Array(total)];
    for (let i = 0; i < Math.min(total, values.length / 2); i++) {
      low[i] = Math.max(0, -values[2 * i]) / 127;
      high[i] = Math.max(0, values[2 * i + 1]) / 127;
    }
    return [high, low];
  }

  #zoom(pixelsPerSecond) {
    this.drawnAt = pixelsPerSecond;
    if (this.points) this.surfer.zoom(pixelsPerSecond);
  }

  #draw(duration) {
    this.#showHeight();
    this.surfer.setOptions({ minPxPerSec: this.drawnAt });
    this.surfer.load("", this.points, duration).catch(() => { /* a newer outline has taken its place */ });
  }

  /** Waves `height` times as tall as the lane, or, with true levels, as full scale. */
  setHeight(height, trueLevels) {
    Object.assign(this, { height, trueLevels });
    this.#showHeight();
  }

  #showHeight() {
    const peak = this.points ? this.points.reduce((most, side) => side.reduce((a, b) => Math.max(a, b), most), 0) : 0;
    const own = this.trueLevels || !peak ? 1 : Math.min(MOST_GAIN, OWN_HEIGHT / peak);
    const scale = own * this.height;
    if (scale === this.scale) return;
    this.scale = scale;
    this.surfer.setOptions({ barHeight: scale });
    const decibels = Math.round(20 * Math.log10(scale));
    this.find(".scale").textContent = decibels ? `${decibels > 0 ? "+" : "−"}${Math.abs(decibels)} dB` : "";
  }

  setTime(seconds) { this.surfer.setTime(seconds); }
  get scroll() { return this.surfer.getScroll(); }
  set scroll(pixels) { if (Math.round(this.surfer.getScroll()) !== Math.round(pixels)) this.surfer.setScroll(Math.round(pixels)); }

  /** Lets a drag over the waveform make a loop. */
  enableLoops() { this.regions.enableDragSelection({ color: this.regionColor }, 6); }

  /** Shows the loop, {start, end} in seconds, or none. */
  showLoop(loop, on) {
    for (const region of this.regions.getRegions()) if (region.id !== "loop" || !loop) region.remove();
    if (!loop) return;
    const color = on ? this.regionColor : "transparent";
    const region = this.regions.getRegions()[0];
    if (!region) this.regions.addRegion({ id: "loop", ...loop, color, minLength: 0.05 });
    else if (region.start !== loop.start || region.end !== loop.end || region.color !== color) region.setOptions({ ...loop, color });
  }

  destroy() {
    this.surfer.destroy();
    this.root.remove();
  }
}

/** A CSS colour as a canvas understands it. */
function resolve(color) {
  const context = document.createElement("canvas").getContext("2d");
  context.fillStyle = color;
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return `rgb(${red}, ${green}, ${blue})`;
}
