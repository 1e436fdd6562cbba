// The chosen song: its state, the transport, the board, the downloads.

import * as api from "./api.js";
import { Board } from "./board.js";
import { channels, clock, percent, phase, timeLeft } from "./format.js";
import { Player } from "./player.js";
import { ORIGINAL, Sound } from "./sound.js";

const $ = (id) => document.getElementById(id);
const LOOP_S = 8;
const FRAME_MS = 30;

export class Mixer extends EventTarget {
  constructor() {
    super();
    this.board = new Board($("board"));
    this.player = null;
    this.job = null;
    this.#buttons();
    this.board.addEventListener("seek", (event) => this.seek(event.detail));
    this.board.addEventListener("change", (event) => this.setLane(event.detail));
    this.board.addEventListener("loop", (event) => this.setLoop(event.detail));
    this.board.addEventListener("error", (event) => this.#say(event.detail));
    this.board.addEventListener("rebuilt", () => this.#showMix());
    this.quiet = matchMedia("(prefers-reduced-motion: reduce)");
    const tick = () => { this.#tick(); requestAnimationFrame(tick); };
    tick();
  }

  #say(text) { this.dispatchEvent(new CustomEvent("say", { detail: text })); }

  // What is shown

  /** Shows `job`, or nothing when it is null. */
  open(job) {
    if (this.job?.id === job?.id) return;
    this.player?.close();
    this.player = null;
    this.board.clear();
    this.board.showLoop(null, false);
    this.job = null;
    $("song").hidden = !job;
    $("empty").hidden = Boolean(job);
    $("player-note").textContent = "";
    if (job) this.update(job);
    else document.title = "hyperstem studio";
  }

  /** Takes in the job's newest state. */
  update(job) {
    const anew = this.job && (this.job.takes[ORIGINAL] ?? 0) > (job.takes[ORIGINAL] ?? 0); // it was restarted
    if (anew) {
      this.player?.close();
      this.player = null;
    }
    this.job = job;
    this.#showHead();
    const audible = Boolean(job.rate_hz && job.frames && job.takes[ORIGINAL]);
    $("mixer").hidden = !audible;
    if (!audible) return;
    if (!this.player) this.#openPlayer();
    this.player.sound.update(job);
    this.board.show(job);
    this.#showMix();
    this.#showState();
    $("seek").max = job.duration_s;
  }

  #openPlayer() {
    this.player = new Player(new Sound(this.job));
    for (const name of ["state", "seek"]) this.player.addEventListener(name, () => this.#showState());
    this.player.addEventListener("mix", () => this.#showMix());
    this.player.addEventListener("loop", () => this.#showLoop());
    this.player.sound.addEventListener("error", (event) => this.#say(event.detail));
    this.player.setLevel($("master").value / 100);
    this.#showLoop();
  }

  #showHead() {
    const job = this.job;
    const busy = job.state === "queued" || job.state === "running";
    $("song-title").textContent = job.name;
    document.title = `${busy ? `${percent(job.progress)} · ` : ""}${job.name} · hyperstem studio`;
    const facts = [];
    if (job.duration_s) facts.push(clock(job.duration_s));
    if (job.rate_hz) facts.push(`${job.rate_hz / 1000} kHz`, channels(job.channels));
    if (job.state === "done") facts.push(`${job.final} quality`);
    if (job.gain < 1) facts.push(`turned down by ${(-20 * Math.log10(job.gain)).toFixed(1)} dB to keep peaks whole`);
    $("song-meta").textContent = facts.join(" · ");
    $("song-warning").hidden = job.warnings.length === 0;
    $("song-warning").textContent = job.warnings.length ? `Note: ${job.warnings.join("; ")}.` : "";
    $("status").hidden = !busy;
    $("status-text").textContent = phase(job);
    $("status-eta").textContent = job.state === "running" ? [percent(job.progress), timeLeft(job.eta_s)].filter(Boolean).join(" · ") : "";
    $("status-bar").value = job.progress;
    $("song-error").hidden = job.state !== "failed";
    if (job.state === "failed") $("song-error").textContent = `This song could not be separated: ${job.error}`;
    $("cancel-song").hidden = !busy;
    $("remove-song").hidden = busy;
    $("restart-song").hidden = !(job.restartable && (job.state === "failed" || job.state === "cancelled"));
    $("upgrade-song").hidden = !(job.restartable && job.state === "done" && job.final !== "full");
    this.#showDownloads();
  }

  #showDownloads() {
    const { job } = this;
    const done = job.state === "done";
    const base = `api/jobs/${job.id}`;
    const set = (id, address) => {
      $(id).setAttribute("aria-disabled", String(!address));
      if (address) $(id).href = address; else $(id).removeAttribute("href");
    };
    set("download-zip", done && `${base}/stems.zip`);
    $("download-karaoke").hidden = done && !job.stems.includes("vocals");
    set("download-karaoke", done && `${base}/karaoke.wav`);
    set("download-mix", done && this.mixAddress());
    $("downloads-hint").textContent = done ? "" : "The files are there when the song is done.";
  }

  /** The address of the mix as it is set now, or null when every lane is silent. */
  mixAddress() {
    if (!this.player) return null;
    const query = new URLSearchParams();
    for (const stem of this.job.stems) {
      const volume = this.player.heard(stem);
      if (volume > 0) query.append("lane", `${stem}:${volume.toFixed(2)}:${this.player.lane(stem).pan.toFixed(2)}`);
    }
    return query.size ? `api/jobs/${this.job.id}/mix.wav?${query}` : null;
  }

  #showMix() {
    if (!this.player) return;
    for (const lane of this.board.lanes) if (!lane.isOriginal) lane.showMix(this.player.lane(lane.stem), this.player.heard(lane.stem));
    this.#showDownloads();
  }

  #showState() {
    const { player } = this;
    if (!player) return;
    $("play").classList.toggle("playing", player.playing);
    $("play").classList.toggle("waiting", player.waiting);
    $("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
    $("listen-mix").setAttribute("aria-pressed", String(!player.compare));
    $("listen-original").setAttribute("aria-pressed", String(player.compare));
    this.#showTime();
  }

  #note() {
    const { player, job } = this;
    if (player.waiting) return "Waiting for this part of the song …";
    if (player.standsIn && !player.compare) return "You hear the original until the stems of this part are there.";
    if (player.compare) return "You hear the original.";
    if (job.state === "running" && player.playing && job.takes.preview) return "Preview quality; better stems take its place as they are ready.";
    return "";
  }

  #showTime() {
    const { player, job } = this;
    const seconds = player.position / job.rate_hz;
    const text = `${clock(seconds, true)} / ${clock(job.duration_s)}`;
    if ($("clock").textContent !== text) $("clock").textContent = text;
    if (document.activeElement !== $("seek") || player.playing) $("seek").value = seconds;
    $("seek").setAttribute("aria-valuetext", `${clock(seconds)} of ${clock(job.duration_s)}`);
    this.board.setTime(seconds, player.playing);
    const note = this.#note();
    if ($("player-note").textContent !== note) $("player-note").textContent = note;
  }

  #tick() {
    const { player } = this;
    if (!player?.playing) {
      if (this.metersMove) for (const lane of this.board.lanes) lane.setLevel(0);
      this.metersMove = false;
      return;
    }
    const now = performance.now();
    if (now - (this.drawn ?? 0) < FRAME_MS) return;
    this.drawn = now;
    this.#showTime();
    if (this.quiet.matches) return;
    this.metersMove = true;
    const samples = this.samples ??= new Float32Array(1024);
    for (const lane of this.board.lanes) {
      const meter = lane.isOriginal ? null : player.nodes.get(lane.stem)?.meter;
      if (!meter) continue;
      meter.getFloatTimeDomainData(samples);
      let peak = 0;
      for (const sample of samples) peak = Math.max(peak, Math.abs(sample));
      lane.setLevel(Math.min(1, Math.max(0, 1 + Math.log10(peak + 1e-6) / 2.5)));
    }
  }

  // What can be done

  toggle() { this.player?.toggle(); }
  seek(seconds) { this.player?.seek(seconds * this.job.rate_hz); }
  seekBy(seconds) { if (this.player) this.player.seek(this.player.position + seconds * this.job.rate_hz); }
  compare(original = !this.player?.compare) { this.player?.setCompare(original); }
  setLane({ stem, ...change }) { this.player?.setLane(stem, change); }

  /** Mutes or solos lane `number` (from 1), or undoes it. */
  flip(number, what) {
    const stem = this.job?.stems[number - 1];
    if (stem && this.player) this.setLane({ stem, [what]: !this.player.lane(stem)[what] });
  }

  /** Loops {start, end} in seconds; null ends it. */
  setLoop(loop) {
    if (!this.player) return;
    const rate = this.job.rate_hz;
    this.player.setLoop(loop && { start: Math.max(0, Math.round(loop.start * rate)), end: Math.min(this.job.frames, Math.round(loop.end * rate)) });
  }

  setLoopEdge(edge) {
    if (!this.player) return;
    const here = this.player.position;
    const before = this.player.loop ?? { start: 0, end: this.job.frames };
    const loop = { ...before, [edge]: here };
    if (loop.end <= loop.start) loop[edge === "start" ? "end" : "start"] = edge === "start" ? this.job.frames : 0;
    this.player.setLoop(loop);
  }

  toggleLoop() {
    const { player } = this;
    if (!player) return;
    if (player.loop) { player.setLoop(player.loop, !player.looping); return; }
    const start = Math.min(player.position, Math.max(0, this.job.frames - this.job.rate_hz));
    player.setLoop({ start, end: Math.min(this.job.frames, start + LOOP_S * this.job.rate_hz) });
  }

  #showLoop() {
    const { player } = this;
    const rate = this.job.rate_hz;
    $("loop").setAttribute("aria-pressed", String(player.looping));
    this.board.showLoop(player.loop && { start: player.loop.start / rate, end: player.loop.end / rate }, player.looping);
  }

  zoom(factor) {
    if (!this.player) return;
    this.board.setZoom(factor, this.player.position / this.job.rate_hz);
  }

  setSpectrogram(on = !this.board.asSpectrogram) {
    $("show-wave").setAttribute("aria-pressed", String(!on));
    $("show-spectrogram").setAttribute("aria-pressed", String(on));
    this.board.setSpectrogram(on);
  }

  #buttons() {
    const act = (id, action) => $(id).addEventListener("click", action);
    const ask = (request) => async () => {
      try { await request(`api/jobs/${this.job.id}`); } catch (error) { this.#say(error.message); }
    };
    act("play", () => this.toggle());
    act("listen-mix", () => this.compare(false));
    act("listen-original", () => this.compare(true));
    act("loop", () => this.toggleLoop());
    act("show-wave", () => this.setSpectrogram(false));
    act("show-spectrogram", () => this.setSpectrogram(true));
    act("reset-mix", () => this.player?.resetLanes());
    act("zoom-in", () => this.zoom(2));
    act("zoom-out", () => this.zoom(0.5));
    act("zoom-fit", () => this.zoom(0));
    act("cancel-song", ask((path) => api.post(`${path}/cancel`)));
    act("remove-song", ask(api.remove));
    act("restart-song", ask((path) => api.post(`${path}/restart`)));
    act("upgrade-song", ask((path) => api.post(`${path}/restart?quality=full`)));
    $("seek").addEventListener("input", () => this.seek(Number($("seek").value)));
    $("master").addEventListener("input", () => this.player?.setLevel($("master").value / 100));
  }
}
