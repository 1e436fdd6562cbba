// The ruler above the lanes: chords, time, beats and the playhead.

import { clock } from "./format.js";
import { pretty, transposed } from "./music.js";

const TIME_PX = 22;
const CHORDS_PX = 22;
const MIN_BEAT_PX = 7;
const STEPS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600];

export class Ruler {
  constructor(canvas) {
    this.canvas = canvas;
    this.chords = [];
    this.beats = null;
    this.semitones = 0;
  }

  /** Draws the song from pixel `left` on, at `scale` pixels per second, with the playhead at `seconds`. */
  draw({ left, scale, duration, seconds }) {
    const ratio = window.devicePixelRatio || 1;
    const chordsPx = this.chords.length ? CHORDS_PX : 0;
    const height = TIME_PX + chordsPx;
    this.canvas.style.height = `${height}px`;
    const width = this.canvas.clientWidth;
    if (!width || !duration) return;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const styles = getComputedStyle(this.canvas);
    const color = (name) => styles.getPropertyValue(name);
    const view = { context, color, width, left, scale, seconds };
    if (chordsPx) this.#drawChords(view);
    context.translate(0, chordsPx);
    this.#drawBeats(view);
    this.#drawTime(view);
    this.#drawPlayhead(view);
  }

  #drawChords({ context, color, width, left, scale, seconds }) {
    context.font = "600 12px system-ui, sans-serif";
    for (const chord of this.chords) {
      const [start, end] = [chord.start_s * scale - left, chord.end_s * scale - left];
      if (end < 0 || start > width) continue;
      const now = chord.start_s <= seconds && seconds < chord.end_s;
      context.fillStyle = color(now ? "--accent" : "--sunken");
      context.fillRect(start + 0.5, 2, Math.max(1, end - start - 1), CHORDS_PX - 4);
      const name = pretty(transposed(chord.name, this.semitones));
      if (end - start < context.measureText(name).width + 6) continue;
      context.fillStyle = color(now ? "--on-accent" : "--text");
      context.fillText(name, Math.max(start, 0) + 4, CHORDS_PX - 7);
    }
  }

  #drawBeats({ context, color, width, left, scale }) {
    if (!this.beats) return;
    const { times } = this.beats;
    const dense = this.beats.period(left / scale) * scale < MIN_BEAT_PX;
    for (let number = this.beats.after(left / scale); number < times.length; number++) {
      const x = times[number] * scale - left;
      if (x > width) break;
      const bar = this.beats.isDownbeat(number);
      if (dense && (!bar || this.beats.period(0) * this.beats.bar * scale < MIN_BEAT_PX)) continue;
      context.fillStyle = color(bar ? "--muted" : "--line");
      context.fillRect(x, bar ? TIME_PX - 8 : TIME_PX - 5, 1, 8);
    }
  }

  #drawTime({ context, color, width, left, scale }) {
    context.font = "11px system-ui, sans-serif";
    const every = STEPS_S.find((step) => step * scale >= 64) ?? 1200;
    for (let tick = Math.floor(left / scale / every); tick * every * scale - left < width; tick++) {
      const x = tick * every * scale - left;
      if (!this.beats) {
        context.fillStyle = color("--line");
        context.fillRect(x, 14, 1, 8);
      }
      context.fillStyle = color("--muted");
      context.fillText(clock(tick * every + 1e-6, every < 1), x + 4, 12);
    }
  }

  #drawPlayhead({ context, color, left, scale, seconds }) {
    const x = seconds * scale - left;
    context.fillStyle = color("--accent");
    context.beginPath();
    context.moveTo(x - 5, 13);
    context.lineTo(x + 5, 13);
    context.lineTo(x, 21);
    context.fill();
  }
}
