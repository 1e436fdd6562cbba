// The audio of a song, fetched in chunks when needed, so that a long song needs little memory.

import { getBytes } from "./api.js";
import { Emitter } from "./page.js";

export const CHUNK = 1 << 17; // frames
const KEEP = 24; // chunks
export const ORIGINAL = "original";

/** The best take that is available up to frame `end`, or null. */
export function bestTake(job, end) {
  const reaches = (take) => take && (job.takes[take] ?? 0) >= Math.min(end, job.frames ?? Infinity);
  return [job.final, job.quality, "preview"].find(reaches) ?? null;
}

/** Identifies the rendering of a take: the files of a finished song may be scaled down, unlike its raw take. */
function version(job, take) {
  return take === job.final && job.gain < 1 ? `${take}, scaled` : take;
}

/** Interleaved 16-bit samples to one Float32Array per channel; mono becomes two channels, so that panning works the same. */
export function deinterleave(buffer, channels) {
  const samples = new Int16Array(buffer);
  const frames = Math.floor(samples.length / channels);
  const planes = Array.from({ length: channels }, () => new Float32Array(frames));
  for (let channel = 0; channel < channels; channel++) {
    const plane = planes[channel];
    for (let i = 0, j = channel; i < frames; i++, j += channels) plane[i] = samples[j] / 32768;
  }
  return channels === 1 ? [planes[0], planes[0]] : planes;
}

/** Chunks of all lanes of one job. Emits "chunk" (index) when one has loaded, "error" (message) when one cannot. */
export class Sound extends Emitter {
  constructor(job) {
    super();
    this.job = job;
    this.chunks = new Map(); // index -> {original, stems: Map | null, take, version, loading, failed}
    this.abort = new AbortController();
  }

  update(job) {
    if (job.frames !== this.job.frames) this.chunks.clear(); // the length was an estimate during decoding
    this.job = job;
  }

  /** Whether the original is available for all of chunk `index`. */
  #hasOriginal(index) {
    return (this.job.takes[ORIGINAL] ?? 0) >= Math.min((index + 1) * CHUNK, this.job.frames ?? Infinity);
  }

  /** Chunk `index` as far as it has loaded; loads what is missing, or a better take. */
  get(index) {
    if (index < 0 || index * CHUNK >= (this.job.frames ?? Infinity)) return null;
    const chunk = this.chunks.get(index) ?? { original: null, stems: null, take: null, loading: false, failed: 0 };
    this.chunks.delete(index); // the most recently used comes last
    this.chunks.set(index, chunk);
    this.#evict();
    const take = bestTake(this.job, (index + 1) * CHUNK);
    const wantsStems = take !== null && chunk.version !== version(this.job, take);
    const wantsOriginal = chunk.original === null && this.#hasOriginal(index);
    if ((wantsStems || wantsOriginal) && !chunk.loading && Date.now() > chunk.failed) this.#load(index, chunk, wantsStems ? take : null, wantsOriginal);
    return chunk;
  }

  async #load(index, chunk, take, original) {
    chunk.loading = true;
    try {
      const rendering = take && version(this.job, take);
      const parts = [];
      if (original) parts.push(this.#fetch(ORIGINAL, ORIGINAL, index).then((planes) => { chunk.original = planes; }));
      if (take) {
        const stems = this.job.stems;
        parts.push(Promise.all(stems.map((stem) => this.#fetch(take, stem, index))).then((planes) => {
          chunk.stems = new Map(stems.map((stem, i) => [stem, planes[i]]));
          chunk.take = take;
          chunk.version = rendering;
        }));
      }
      await Promise.all(parts);
    } catch (error) {
      if (error.name === "AbortError") return;
      chunk.failed = Date.now() + 1000; // the take may just have been replaced: retry with the new one
      if (error.status !== 404) this.emit("error", error.message);
    } finally {
      chunk.loading = false;
    }
    this.emit("chunk", index);
  }

  async #fetch(take, lane, index) {
    const path = `api/jobs/${this.job.id}/audio/${encodeURIComponent(lane)}?take=${take}&start=${index * CHUNK}&frames=${CHUNK}`;
    return deinterleave(await getBytes(path, this.abort.signal), this.job.channels);
  }

  #evict() {
    for (const index of this.chunks.keys()) {
      if (this.chunks.size <= KEEP) return;
      this.chunks.delete(index);
    }
  }

  close() {
    this.abort.abort();
    this.chunks.clear();
  }
}
