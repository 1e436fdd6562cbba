// The open song: its state, the transport and the board.

import * as api from "./api.js";
import { Board } from "./board.js";
import { Downloads } from "./downloads.js";
import { channels, clock, isBusy, percent, phase } from "./format.js";
import { recall, remember } from "./memory.js";
import { $, Emitter, setPressed, setText } from "./page.js";
import { Player } from "./player.js";
import { Practice } from "./practice.js";
import { Remaining } from "./remaining.js";
import { ORIGINAL, Sound } from "./sound.js";

const LOOP_S = 8;
const FRAME_MS = 30;
const SAVE_MS = 400;

/** Emits "say" (message) and "remove" (job). */
export class Mixer extends Emitter {
  constructor() {
    super();
    this.board = new Board($("board"));
    this.practice = new Practice(this.board);
    this.downloads = new Downloads((text) => this.emit("say", text));
    this.remaining = new Remaining();
    this.player = null;
    this.job = null;
    this.#buttons();
    this.board.on("seek", (seconds) => this.seek(seconds));
    this.board.on("change", (change) => this.setLane(change));
    this.board.on("loop", (loop) => this.setLoop(loop));
    this.board.on("error", (text) => this.emit("say", text));
    this.board.on("rebuilt", () => {
      for (const lane of this.board.lanes) this.downloads.adopt(lane);
      this.#showMix();
    });
    this.board.on("view", () => this.#saveSoon());
    this.practice.on("change", () => this.#saveSoon());
    this.quiet = matchMedia("(prefers-reduced-motion: reduce)");
    const tick = () => { this.#tick(); requestAnimationFrame(tick); };
    tick();
  }

  // Display

  /** Shows `job`, or the start page if it is null. */
  open(job) {
    if (this.job?.id === job?.id) return;
    this.#closePlayer();
    this.board.clear();
    this.board.showLoop(null, false);
    this.job = null;
    $("song").hidden = !job;
    $("empty").hidden = Boolean(job);
    $("player-note").textContent = "";
    if (job) this.update(job);
    else document.title = "hyperstem studio";
  }

  /** Shows the job's new state. */
  update(job) {
    const restarted = this.job && (this.job.takes[ORIGINAL] ?? 0) > (job.takes[ORIGINAL] ?? 0);
    if (restarted) this.#closePlayer();
    this.job = job;
    this.#showHead();
    const playable = Boolean(job.rate_hz && job.frames && job.takes[ORIGINAL]);
    $("mixer").hidden = !playable;
    if (!playable) return;
    if (!this.player) this.#openPlayer();
    this.player.sound.update(job);
    this.board.show(job);
    if (this.view) this.board.restore(this.view);
    this.view = null;
    this.practice.update(job);
    this.#showMix();
    this.#showState();
    $("seek").max = job.duration_s;
  }

  #openPlayer() {
    const saved = recall(this.job.id);
    const player = this.player = new Player(new Sound(this.job));
    player.mix.set({ level: $("master").value / 100 });
    this.#restore(saved);
    for (const name of ["state", "seek"]) player.on(name, () => this.#showState());
    player.mix.on("change", () => { this.#showMix(); this.#saveSoon(); });
    player.on("loop", () => { this.#showLoop(); this.#saveSoon(); });
    for (const source of [player, player.sound]) source.on("error", (text) => this.emit("say", text));
    this.practice.open(player, saved);
    this.#showLoop();
  }

  /** Restores the saved mix, loop and view. */
  #restore(saved) {
    if (!saved) return;
    const { lanes, loop, looping, view } = saved;
    for (const [stem, lane] of Object.entries(lanes ?? {})) Object.assign(this.player.mix.lane(stem), lane);
    if (loop) Object.assign(this.player, { loop, looping });
    this.view = view?.zoom ? view : null;
  }

  #closePlayer() {
    if (!this.player) return;
    this.#save();
    this.practice.close();
    this.player.close();
    this.player = null;
  }

  #saveSoon() {
    clearTimeout(this.saveTimer);
    this.saveTimer = setTimeout(() => this.#save(), SAVE_MS);
  }

  #save() {
    clearTimeout(this.saveTimer);
    const { player, board, job } = this;
    if (!player) return;
    const view = { zoom: board.zoom, second: board.left / board.pixelsPerSecond };
    remember(job.id, { lanes: Object.fromEntries(player.mix.lanes), loop: player.loop, looping: player.looping, view, ...this.practice.state });
  }

  #showHead() {
    const job = this.job;
    const busy = isBusy(job);
    $("song-title").textContent = job.name;
    document.title = `${busy ? `${percent(job.progress)} · ` : ""}${job.name} · hyperstem studio`;
    const facts = [];
    if (job.duration_s) facts.push(clock(job.duration_s));
    if (job.rate_hz) facts.push(`${job.rate_hz / 1000} kHz`, channels(job.channels));
    if (job.state === "done") facts.push(`${job.final} quality`);
    if (job.gain < 1) facts.push(`turned down by ${(-20 * Math.log10(job.gain)).toFixed(1)} dB to avoid clipping`);
    $("song-meta").textContent = facts.join(" · ");
    $("song-warning").hidden = job.warnings.length === 0;
    $("song-warning").textContent = job.warnings.length ? `Note: ${job.warnings.join("; ")}.` : "";
    $("status").hidden = !busy;
    $("status-text").textContent = phase(job);
    $("status-eta").textContent = job.state === "running" ? [percent(job.progress), this.remaining.text(job)].filter(Boolean).join(" · ") : "";
    $("status-bar").value = job.progress;
    $("song-error").hidden = job.state !== "failed";
    if (job.state === "failed") $("song-error").textContent = `This song could not be separated: ${job.error}`;
    $("cancel-song").hidden = !busy;
    $("remove-song").hidden = busy;
    $("restart-song").hidden = !(job.restartable && (job.state === "failed" || job.state === "cancelled"));
    $("upgrade-song").hidden = !(job.restartable && job.state === "done" && job.final !== "full");
    this.downloads.show(this.job, this.player, this.board.lanes);
  }

  #showMix() {
    if (!this.player) return;
    const { mix } = this.player;
    for (const lane of this.board.lanes) if (!lane.isOriginal) lane.showMix(mix.lane(lane.stem), mix.gain(lane.stem));
    this.downloads.show(this.job, this.player, this.board.lanes);
  }

  #showState() {
    const { player } = this;
    if (!player) return;
    $("play").classList.toggle("playing", player.playing);
    $("play").classList.toggle("waiting", player.waiting);
    $("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
    setPressed($("listen-mix"), !player.mix.original);
    setPressed($("listen-original"), player.mix.original);
    this.#showTime();
  }

  #note() {
    const { player, job } = this;
    if (player.countsIn) return "Counting in …";
    if (player.waiting) return "Waiting for this part of the song …";
    if (player.mix.original) return "You hear the original.";
    if (player.usesFallback) return "You hear the original until the stems of this part are ready.";
    if (job.state === "running" && player.playing && job.takes.preview) return "Preview quality; better stems replace it when they are ready.";
    return "";
  }

  #showTime() {
    const { player, job } = this;
    const seconds = player.position / job.rate_hz;
    setText($("clock"), `${clock(seconds, true)} / ${clock(job.duration_s)}`);
    if (document.activeElement !== $("seek") || player.playing) $("seek").value = seconds;
    $("seek").setAttribute("aria-valuetext", `${clock(seconds)} of ${clock(job.duration_s)}`);
    this.board.setTime(seconds, player.playing);
    this.practice.showTime(seconds);
    setText($("player-note"), this.#note());
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

  // Commands

  toggle() { this.player?.toggle(); }
  seek(seconds) { this.player?.seek(seconds * this.job.rate_hz); }
  seekBy(seconds) { if (this.player) this.player.seek(this.player.position + seconds * this.job.rate_hz); }
  listenToOriginal(on = !this.player?.mix.original) { this.player?.setOriginal(on); }
  setLane({ stem, ...change }) { this.player?.mix.setLane(stem, change); }

  /** Toggles "mute" or "solo" of lane `number` (from 1). */
  flip(number, what) {
    const stem = this.job?.stems[number - 1];
    if (stem && this.player) this.setLane({ stem, [what]: !this.player.mix.lane(stem)[what] });
  }

  /** Loops {start, end} in seconds; null ends the loop. */
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
    setPressed($("loop"), player.looping);
    this.downloads.show(this.job, player, this.board.lanes);
    this.board.showLoop(player.loop && { start: player.loop.start / rate, end: player.loop.end / rate }, player.looping);
  }

  zoom(factor) { if (this.player) this.board.setZoom(factor, this.player.position / this.job.rate_hz); }

  setSpectrogram(on = !this.board.asSpectrogram) {
    setPressed($("show-wave"), !on);
    setPressed($("show-spectrogram"), on);
    this.board.setSpectrogram(on);
  }

  setTrueLevels(on = !this.board.trueLevels) {
    setPressed($("true-levels"), on);
    this.board.setTrueLevels(on);
  }

  changeHeight(by) { this.board.changeHeight(by); }

  #buttons() {
    addEventListener("pagehide", () => this.#save());
    const act = (id, action) => $(id).addEventListener("click", action);
    const post = (id, what) => act(id, () => api.post(`api/jobs/${this.job.id}/${what}`).catch((error) => this.emit("say", error.message)));
    act("play", () => this.toggle());
    act("listen-mix", () => this.listenToOriginal(false));
    act("listen-original", () => this.listenToOriginal(true));
    act("loop", () => this.toggleLoop());
    act("show-wave", () => this.setSpectrogram(false));
    act("show-spectrogram", () => this.setSpectrogram(true));
    act("reset-mix", () => this.player?.mix.reset());
    act("zoom-in", () => this.zoom(2));
    act("zoom-out", () => this.zoom(0.5));
    act("zoom-fit", () => this.zoom(0));
    post("cancel-song", "cancel");
    act("remove-song", () => this.emit("remove", this.job));
    act("true-levels", () => this.setTrueLevels());
    act("taller", () => this.changeHeight(1));
    act("lower", () => this.changeHeight(-1));
    post("restart-song", "restart");
    post("upgrade-song", "restart?quality=full");
    $("seek").addEventListener("input", () => this.seek(Number($("seek").value)));
    $("master").addEventListener("input", () => this.player?.mix.set({ level: $("master").value / 100 }));
  }
}
