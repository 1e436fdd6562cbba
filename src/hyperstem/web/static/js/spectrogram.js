// Spectrograms of a lane: the server computes the levels, the page colours them.

import { getBytes } from "./api.js";
import { clamp, rgb } from "./page.js";

const ROWS = 88;

/** 256 colours from near-black over the lane's colour to near-white. */
function palette(color) {
  const middle = [...rgb(color)];
  const stops = [[16, 18, 22], middle.map((value) => value * 0.45), middle, [255, 250, 240]];
  const colors = new Uint8Array(256 * 3);
  for (let level = 0; level < 256; level++) {
    const place = Math.max(0, (level - 40) / 215) * 3;
    const at = Math.min(2, Math.floor(place));
    for (let part = 0; part < 3; part++) {
      colors[level * 3 + part] = stops[at][part] + (stops[at + 1][part] - stops[at][part]) * (place - at);
    }
  }
  return colors;
}

export class Spectrogram {
  constructor(canvas, lane) {
    this.canvas = canvas;
    this.lane = lane;
    this.request = null;
  }

  setColor(color) { this.colors = palette(color); }

  /** Draws frames `start` to `start + frames` of a take across the canvas. */
  async draw(job, take, start, frames) {
    this.request?.abort();
    this.request = new AbortController();
    const columns = clamp(Math.round(this.canvas.clientWidth), 16, 2048);
    const query = new URLSearchParams({ take, start: Math.round(start), frames: Math.max(1, Math.round(frames)), columns, rows: ROWS });
    try {
      const buffer = await getBytes(`api/jobs/${job.id}/spectrogram/${encodeURIComponent(this.lane)}?${query}`, this.request.signal);
      this.#paint(new Uint8Array(buffer), columns);
    } catch (error) {
      if (error.name !== "AbortError" && error.status !== 404) throw error;
    }
  }

  #paint(levels, columns) {
    const image = new ImageData(columns, ROWS);
    for (let i = 0; i < levels.length; i++) {
      image.data.set(this.colors.subarray(levels[i] * 3, levels[i] * 3 + 3), i * 4);
      image.data[i * 4 + 3] = 255;
    }
    this.canvas.width = columns;
    this.canvas.height = ROWS;
    this.canvas.getContext("2d").putImageData(image, 0, 0);
  }
}
