// What can be downloaded of a song; most of it is made first, with its progress shown.

import * as api from "./api.js";
import { percent } from "./format.js";

const $ = (id) => document.getElementById(id);
const ASK_MS = 300;
const FORMATS = [
  ["wav", "pcm16", "WAV, 16 bit"], ["wav", "pcm24", "WAV, 24 bit"], ["wav", "float", "WAV, float"], ["flac", null, "FLAC"],
  ["mp3", null, "MP3"], ["m4a", null, "M4A (AAC)"], ["ogg", null, "Ogg Vorbis"], ["opus", null, "Opus"],
  ["stem.mp4", null, "Stems in one file (stem.mp4)"],
];
const REMEMBERED = "download-format";

/** The same order as one request, for a link that works without this page's help. */
function address(job, { format, subtype, stem, without, lanes, start_s, end_s }) {
  const query = new URLSearchParams();
  if (subtype) query.set("subtype", subtype);
  if (end_s !== undefined) { query.set("start_s", start_s); query.set("end_s", end_s); }
  for (const lane of lanes ?? []) query.append("lane", `${lane.stem}:${lane.volume.toFixed(2)}:${lane.pan.toFixed(2)}`);
  const name = encodeURIComponent;
  const what = format === "stem.mp4" ? "song.stem.mp4" : stem ? `stems/${name(stem)}.${format}`
    : without ? `without/${name(without)}.${format}` : lanes ? `mix.${format}` : "stems.zip";
  if (what === "stems.zip") query.set("format", format);
  return `api/jobs/${job.id}/${what}${query.size ? `?${query}` : ""}`;
}

export class Downloads {
  /** `say(words)` tells what went wrong. */
  constructor(say) {
    this.say = say;
    this.job = this.player = this.making = null;
    this.stems = "";
    for (const [format, subtype, label] of FORMATS) $("download-format").append(new Option(label, `${format} ${subtype ?? ""}`));
    try { $("download-format").value = localStorage.getItem(REMEMBERED) ?? "wav pcm16"; } catch { /* a private window */ }
    if (!$("download-format").value) $("download-format").selectedIndex = 0;
    $("download-format").addEventListener("change", () => {
      try { localStorage.setItem(REMEMBERED, $("download-format").value); } catch { /* a private window */ }
      this.show(this.job, this.player, this.lanes);
    });
    $("download-loop").addEventListener("change", () => this.show(this.job, this.player, this.lanes));
    $("making-cancel").addEventListener("click", () => this.#cancel());
    this.#listen($("download-zip"), "all stems", () => this.#order({}));
    this.#listen($("download-mix"), "the mix", () => this.#order({ lanes: this.#mix() }));
  }

  /** Shows what there is of `job` as `player` has it set; `lanes` have a link each. */
  show(job, player, lanes) {
    Object.assign(this, { job, player, lanes });
    if (!job || !player) return;
    this.#buttons();
    const done = job.state === "done";
    $("download-loop").disabled = !player.loop;
    $("download-loop").checked &&= Boolean(player.loop);
    const together = this.#format().format === "stem.mp4";
    const set = (link, order) => {
      link.setAttribute("aria-disabled", String(!order));
      if (order) link.href = address(job, order); else link.removeAttribute("href");
    };
    set($("download-zip"), done && this.#order({}));
    $("download-zip").firstChild.textContent = together ? "Song and stems " : "All stems ";
    $("download-zip").querySelector("small").textContent = together ? "in one file" : "zip";
    const mix = this.#mix();
    set($("download-mix"), done && !together && mix.length ? this.#order({ lanes: mix }) : null);
    for (const link of $("download-without").children) set(link, done && !together ? this.#order({ without: link.dataset.without }) : null);
    for (const lane of lanes) lane.setDownload(done && !together ? address(job, this.#order({ stem: lane.stem })) : null);
    $("downloads-hint").textContent = done ? this.#hint(together) : "The files are there when the song is done.";
  }

  #hint(together) {
    if (together) return "stem.mp4 holds the song and all its stems; a stem or mix alone needs another format.";
    const { tempo, semitones } = this.player.pace;
    return tempo === 1 && semitones === 0 ? "" : "Downloads have the song's own speed and pitch.";
  }

  #buttons() {
    const stems = this.job.stems.join("\n");
    if (stems === this.stems) return;
    this.stems = stems;
    $("download-without").replaceChildren(...(this.job.stems.length > 1 ? this.job.stems : []).toReversed().map((stem) => {
      const link = Object.assign(document.createElement("a"), { className: "button", download: "", textContent: `Without ${stem} ` });
      link.dataset.without = stem;
      if (stem === "vocals") link.id = "download-karaoke";
      if (stem === "vocals") link.append(Object.assign(document.createElement("small"), { textContent: "karaoke" }));
      this.#listen(link, `the song without ${stem}`, () => this.#order({ without: stem }));
      return link;
    }));
  }

  /** Lets a lane's own link take the format and the loop. */
  adopt(lane) {
    const link = lane.find(".get");
    if (link) this.#listen(link, lane.stem, () => this.#order({ stem: lane.stem }));
  }

  #format() {
    const [format, subtype] = $("download-format").value.split(" ");
    return subtype ? { format, subtype } : { format };
  }

  #order(what) {
    const stretch = {};
    if ($("download-loop").checked && this.player.loop) {
      stretch.start_s = this.player.loop.start / this.job.rate_hz;
      stretch.end_s = this.player.loop.end / this.job.rate_hz;
    }
    return { ...this.#format(), ...what, ...stretch };
  }

  #mix() {
    const { job, player } = this;
    return job.stems.map((stem) => ({ stem, volume: player.heard(stem), pan: player.lane(stem).pan })).filter((lane) => lane.volume > 0);
  }

  /** A click orders, waits and fetches; what lies there already is fetched at once, as is a click with a key held. */
  #listen(link, what, order) {
    link.addEventListener("click", (event) => {
      if (!link.href || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const wanted = order();
      const there = wanted.format === "wav" && wanted.subtype === "pcm16" && wanted.end_s === undefined && !wanted.lanes && !wanted.without;
      if (there) return;
      event.preventDefault();
      this.#make(wanted, what);
    });
  }

  async #make(order, what) {
    if (this.making) { this.say("One download is being made already."); return; }
    const path = `api/jobs/${this.job.id}/mixes`;
    const making = this.making = { path, id: null, cancelled: false };
    this.#progress(`Making ${what}`, 0);
    try {
      let mix = await api.post(path, order);
      making.id = mix.id;
      const { name, url } = mix;
      while (mix.state === "waiting" || mix.state === "making") {
        if (making.cancelled) return;
        this.#progress(mix.state === "waiting" ? `Waiting to make ${what}` : `Making ${what}`, mix.progress);
        await new Promise((resolve) => setTimeout(resolve, ASK_MS));
        mix = await api.getJson(`${path}/${making.id}`);
      }
      if (mix.state === "failed") throw new Error(mix.error);
      Object.assign(document.createElement("a"), { href: url, download: name }).click();
    } catch (error) {
      if (!making.cancelled) this.say(`This download could not be made: ${error.message}`);
    } finally {
      if (this.making === making) this.#finished();
    }
  }

  #progress(text, ratio) {
    $("making").hidden = false;
    $("making-text").textContent = `${text} … ${percent(ratio)}`;
    $("making-bar").value = ratio;
  }

  #finished() {
    this.making = null;
    $("making").hidden = true;
  }

  #cancel() {
    const { making } = this;
    if (!making) return;
    making.cancelled = true;
    if (making.id) api.remove(`${making.path}/${making.id}`).catch(() => { /* it is done, or gone */ });
    this.#finished();
  }
}
