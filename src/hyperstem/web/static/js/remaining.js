// The remaining time of a song as text that changes smoothly.

import { timeLeft } from "./format.js";

const SETTLE_S = 3; // first estimates are guesses
const PULL_S = 6; // how fast a new estimate takes over
const UP_S = 5; // the shown time increases only after this long
const STEPS = [[20, 5], [60, 10], [300, 15], [Infinity, 60]]; // [below this many seconds, step]

/** Rounded up to a step that grows with the time: 47 -> 50. */
export function rounded(seconds) {
  const [, step] = STEPS.find(([below]) => seconds < below);
  return Math.max(5, Math.ceil(seconds / step) * step);
}

export class Remaining {
  constructor(now = () => performance.now() / 1000) {
    this.now = now;
    this.start();
  }

  start() { this.begun = this.end = this.at = this.shown = this.more = null; }

  /** The job's remaining time as text; empty if unknown. */
  text(job) {
    if (job.eta_s === null || job.eta_s === undefined || job.state !== "running") {
      if (job.state !== "running") this.start();
      return this.shown === null ? "" : this.#text(this.now());
    }
    const now = this.now();
    const wanted = now + job.eta_s;
    this.begun ??= now;
    const pull = this.at === null ? 1 : 1 - Math.exp(-(now - this.at) / PULL_S);
    this.end = this.end === null || now - this.begun < SETTLE_S ? wanted : this.end + (wanted - this.end) * pull;
    this.at = now;
    return now - this.begun < SETTLE_S ? "" : this.#text(now);
  }

  #text(now) {
    const left = rounded(Math.max(0, this.end - now));
    if (this.shown === null || left <= this.shown) {
      this.shown = left;
      this.more = null;
    } else {
      this.more ??= now;
      if (now - this.more >= UP_S) {
        this.shown = left;
        this.more = null;
      }
    }
    return timeLeft(this.shown);
  }
}
