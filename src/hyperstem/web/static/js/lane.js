// One lane of the mixer: controls, waveform (wavesurfer.js) and spectrogram.

import WaveSurfer from "../vendor/wavesurfer/wavesurfer.esm.js";
import Regions from "../vendor/wavesurfer/regions.esm.js";
import { getBytes } from "./api.js";
import { Emitter, rgb, setLink, setPressed } from "./page.js";
import { ORIGINAL } from "./sound.js";
import { Spectrogram } from "./spectrogram.js";

const MIN_STEP = 64; // frames per point
const MAX_STEP = MIN_STEP << 12;
const MAX_POINTS = 1 << 20;
const FILLED_HEIGHT = 0.95;
const MAX_GAIN = 16; // 24 dB
const nonce = document.querySelector('meta[name="csp-nonce"]').content;

/** Frames per point for a zoom: about two points per pixel, a power of two times 64; more for long songs. */
export function stepFor(framesPerPixel, frames) {
  let step = MIN_STEP;
  while ((step * 4 <= framesPerPixel || frames / step > MAX_POINTS) && step < MAX_STEP) step *= 2;
  return step;
}

/** Emits "seek" (seconds), "change" (of the lane's mix), "loop" ({start, end}) and "scroll" (pixels). */
export class Lane extends Emitter {
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
    this.requested = this.shown = 0; // numbers of the last requested and the last shown peaks
    this.#controls(number);
    this.#wave();
  }

  get isOriginal() { return this.stem === ORIGINAL; }

  #controls(number) {
    const [mute, solo, get, volume, pan] = [".mute", ".solo", ".get", ".volume", ".pan"].map(this.find);
    if (this.isOriginal) {
      for (const element of [mute, solo, get, this.find(".meter"), ...this.root.querySelectorAll(".fader")]) element.remove();
      this.root.classList.add("original");
      return;
    }
    const toggle = (button, name, label, key) => {
      Object.assign(button, { ariaLabel: `${label} ${this.stem}`, title: `${label} ${this.stem} (${key})` });
      button.setAttribute("aria-keyshortcuts", key);
      button.addEventListener("click", () => this.emit("change", { [name]: button.ariaPressed !== "true" }));
    };
    toggle(mute, "mute", "Mute", `${number}`);
    toggle(solo, "solo", "Solo", `Shift+${number}`);
    Object.assign(get, { ariaLabel: `Download ${this.stem}`, title: `Download ${this.stem}` });
    const fader = (input, name, label, neutral) => {
      input.ariaLabel = `${label} of ${this.stem}`;
      input.addEventListener("input", () => this.emit("change", { [name]: input.value / 100 }));
      input.addEventListener("dblclick", () => this.emit("change", { [name]: neutral }));
    };
    fader(volume, "volume", "Volume", 1);
    fader(pan, "pan", "Pan", 0);
  }

  /** Shows the lane's settings in the mix, and its gain with mute and solo applied. */
  showMix({ volume, pan, mute, solo }, gain) {
    if (this.isOriginal) return;
    const percent = Math.round(volume * 100);
    const side = Math.round(Math.abs(pan) * 100);
    setPressed(this.find(".mute"), mute);
    setPressed(this.find(".solo"), solo);
    this.find(".volume").value = percent;
    this.find(".volume").setAttribute("aria-valuetext", `${percent} percent`);
    this.find(".pan").value = Math.round(pan * 100);
    this.find(".pan").setAttribute("aria-valuetext", side === 0 ? "middle" : `${side} percent ${pan < 0 ? "left" : "right"}`);
    this.root.classList.toggle("silent", gain === 0);
  }

  setDownload(address) { if (!this.isOriginal) setLink(this.find(".get"), address); }

  setLevel(level) { if (!this.isOriginal) this.find(".meter i").style.transform = `scaleX(${level.toFixed(3)})`; }

  // The waveform

  #wave() {
    this.regions = Regions.create();
    this.surfer = WaveSurfer.create({
      container: this.find(".wave"), height: "auto", cspNonce: nonce, cursorWidth: 2, autoScroll: false, autoCenter: false,
      dragToSeek: false, hideScrollbar: true, peaks: [new Float32Array(2), new Float32Array(2)], duration: 1,
      plugins: [this.regions],
    });
    this.surfer.on("interaction", (time) => this.emit("seek", time));
    this.surfer.on("scroll", (start, end, left) => this.emit("scroll", left));
    this.regions.on("region-created", (region) => { if (region.id !== "loop") this.emit("loop", region); });
    this.regions.on("region-updated", (region) => this.emit("loop", region));
    this.color();
  }

  /** Applies the theme's colours. */
  color() {
    const styles = getComputedStyle(this.root);
    const [lane, surface, accent, text] = ["lane", "surface", "accent", "text"].map((name) => styles.getPropertyValue(`--${name}`).trim());
    const plain = (color) => `rgb(${rgb(color).join()})`; // for wavesurfer's canvas
    this.regionColor = `color-mix(in srgb, ${accent} 20%, transparent)`;
    this.surfer.setOptions({
      waveColor: plain(`color-mix(in srgb, ${lane} 45%, ${surface})`), progressColor: plain(lane), cursorColor: this.asSpectrogram ? "#fff" : text,
    });
    this.spectrogram.setColor(lane);
  }

  setSpectrogram(on) {
    this.asSpectrogram = on;
    this.root.classList.toggle("as-spectrogram", on);
    this.find(".spectrogram").hidden = !on;
    this.color();
  }

  /** Shows the peaks of a take at `pixelsPerSecond` (0: the whole song), and fetches them if needed. */
  async show(job, take, pixelsPerSecond) {
    const width = Math.max(50, this.surfer.getWidth() || 50);
    const rate = pixelsPerSecond || width / job.duration_s;
    const step = stepFor(job.rate_hz / rate, job.frames);
    const ready = job.takes[take] ?? 0;
    const key = [job.id, job.final, take, step, ready].join(" ");
    const request = ++this.requested;
    if (pixelsPerSecond !== this.drawnAt) this.#zoom(pixelsPerSecond); // at once, with the peaks loaded so far
    const points = key === this.key ? this.points : await this.#fetch(job, take, step);
    if (request < this.shown) return; // peaks that were requested later are shown already
    this.shown = request;
    if (points === this.points) return;
    this.points = points;
    this.key = key;
    this.#draw(job.duration_s);
  }

  async #fetch(job, take, step) {
    const buffer = await getBytes(`api/jobs/${job.id}/peaks/${encodeURIComponent(this.stem)}?take=${take}&step=${step}`);
    const [values, total] = [new Int8Array(buffer), Math.ceil(job.frames / step)];
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
    this.surfer.load("", this.points, duration).catch(() => { /* newer peaks were loaded meanwhile */ });
  }

  /** Scales the waveform to `height` lanes, or with true levels, full scale to `height` lanes. */
  setHeight(height, trueLevels) {
    Object.assign(this, { height, trueLevels });
    this.#showHeight();
  }

  #showHeight() {
    const peak = this.points ? this.points.reduce((most, side) => side.reduce((a, b) => Math.max(a, b), most), 0) : 0;
    const fill = this.trueLevels || !peak ? 1 : Math.min(MAX_GAIN, FILLED_HEIGHT / peak);
    const scale = fill * this.height;
    if (scale === this.scale) return;
    this.scale = scale;
    this.surfer.setOptions({ barHeight: scale });
    const decibels = Math.round(20 * Math.log10(scale));
    this.find(".scale").textContent = decibels ? `${decibels > 0 ? "+" : "−"}${Math.abs(decibels)} dB` : "";
  }

  setTime(seconds) { this.surfer.setTime(seconds); }
  get scroll() { return this.surfer.getScroll(); }
  set scroll(pixels) { if (Math.round(this.surfer.getScroll()) !== Math.round(pixels)) this.surfer.setScroll(Math.round(pixels)); }

  /** Makes a drag over the waveform create a loop. */
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
