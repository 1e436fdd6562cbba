// The downloads of a song; most are rendered first, with a progress bar.

import * as api from "./api.js";
import { percent } from "./format.js";
import { $, create, setLink, storage } from "./page.js";

const POLL_MS = 300;
const FORMATS = [
  ["wav", "pcm16", "WAV, 16 bit"], ["wav", "pcm24", "WAV, 24 bit"], ["wav", "float", "WAV, float"], ["flac", null, "FLAC"],
  ["mp3", null, "MP3"], ["m4a", null, "M4A (AAC)"], ["ogg", null, "Ogg Vorbis"], ["opus", null, "Opus"],
  ["stem.mp4", null, "Stems in one file (stem.mp4)"],
];
const FORMAT_KEY = "download-format";

/** The address that gives the same download in one request, for links. */
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
  /** `say(text)` shows an error. */
  constructor(say) {
    this.say = say;
    this.job = this.player = this.current = null;
    this.stems = "";
    for (const [format, subtype, label] of FORMATS) $("download-format").append(new Option(label, `${format} ${subtype ?? ""}`));
    $("download-format").value = storage.get(FORMAT_KEY) ?? "wav pcm16";
    if (!$("download-format").value) $("download-format").selectedIndex = 0;
    $("download-format").addEventListener("change", () => {
      storage.set(FORMAT_KEY, $("download-format").value);
      this.#show();
    });
    $("download-loop").addEventListener("change", () => this.#show());
    $("making-cancel").addEventListener("click", () => this.#cancel());
    this.#listen($("download-zip"), "all stems", () => this.#order({}));
    this.#listen($("download-mix"), "the mix", () => this.#order({ lanes: this.#mix() }));
  }

  /** Shows the downloads of `job` with the mix and loop of `player`; each of `lanes` has a link. */
  show(job, player, lanes) {
    Object.assign(this, { job, player, lanes });
    this.#show();
  }

  #show() {
    const { job, player, lanes } = this;
    if (!job || !player) return;
    this.#createLinks();
    const done = job.state === "done";
    $("download-loop").disabled = !player.loop;
    $("download-loop").checked &&= Boolean(player.loop);
    const together = this.#format().format === "stem.mp4";
    const link = (what) => address(job, this.#order(what));
    setLink($("download-zip"), done && link({}));
    $("download-zip").firstChild.textContent = together ? "Song and stems " : "All stems ";
    $("download-zip").querySelector("small").textContent = together ? "in one file" : "zip";
    const separate = done && !together;
    const mix = this.#mix();
    setLink($("download-mix"), separate && mix.length > 0 && link({ lanes: mix }));
    for (const one of $("download-without").children) setLink(one, separate && link({ without: one.dataset.without }));
    for (const lane of lanes) lane.setDownload(separate && link({ stem: lane.stem }));
    $("downloads-hint").textContent = done ? this.#hint(together) : "Files are available when the song is done.";
  }

  #hint(together) {
    if (together) return "stem.mp4 holds the song and all its stems; a stem or mix alone needs another format.";
    const { tempo, semitones } = this.player.pace;
    return tempo === 1 && semitones === 0 ? "" : "Downloads have the song's own speed and pitch.";
  }

  #createLinks() {
    const stems = this.job.stems.join("\n");
    if (stems === this.stems) return;
    this.stems = stems;
    $("download-without").replaceChildren(...(this.job.stems.length > 1 ? this.job.stems : []).toReversed().map((stem) => {
      const link = create("a", { className: "button", download: "" }, `Without ${stem} `);
      link.dataset.without = stem;
      if (stem === "vocals") {
        link.id = "download-karaoke";
        link.append(create("small", {}, "karaoke"));
      }
      this.#listen(link, `the song without ${stem}`, () => this.#order({ without: stem }));
      return link;
    }));
  }

  /** Applies the chosen format and loop to a lane's link. */
  adopt(lane) {
    const link = lane.find(".get");
    if (link) this.#listen(link, lane.stem, () => this.#order({ stem: lane.stem }));
  }

  #format() {
    const [format, subtype] = $("download-format").value.split(" ");
    return subtype ? { format, subtype } : { format };
  }

  #order(what) {
    const section = {};
    if ($("download-loop").checked && this.player.loop) {
      section.start_s = this.player.loop.start / this.job.rate_hz;
      section.end_s = this.player.loop.end / this.job.rate_hz;
    }
    return { ...this.#format(), ...what, ...section };
  }

  #mix() {
    const { job, player } = this;
    const lanes = job.stems.map((stem) => ({ stem, volume: player.mix.gain(stem), pan: player.mix.lane(stem).pan }));
    return lanes.filter((lane) => lane.volume > 0);
  }

  /** On a click, orders a download, waits and fetches it; existing files, and clicks with a modifier key, use the link. */
  #listen(link, what, order) {
    link.addEventListener("click", (event) => {
      if (!link.href || event.ctrlKey || event.metaKey || event.shiftKey) return;
      const wanted = order();
      const plain = wanted.format === "wav" && wanted.subtype === "pcm16" && wanted.end_s === undefined;
      if (plain && !wanted.lanes && !wanted.without) return; // the file exists
      event.preventDefault();
      this.#render(wanted, what);
    });
  }

  async #render(order, what) {
    if (this.current) { this.say("Another download is being made."); return; }
    const path = `api/jobs/${this.job.id}/mixes`;
    const current = this.current = { path, id: null, cancelled: false };
    this.#progress(`Making ${what}`, 0);
    try {
      let mix = await api.post(path, order);
      current.id = mix.id;
      const { name, url } = mix;
      while (mix.state === "waiting" || mix.state === "making") {
        if (current.cancelled) return;
        this.#progress(mix.state === "waiting" ? `Waiting to make ${what}` : `Making ${what}`, mix.progress);
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
        mix = await api.getJson(`${path}/${current.id}`);
      }
      if (mix.state === "failed") throw new Error(mix.error);
      create("a", { href: url, download: name }).click();
    } catch (error) {
      if (!current.cancelled) this.say(`This download could not be made: ${error.message}`);
    } finally {
      if (this.current === current) this.#finished();
    }
  }

  #progress(text, ratio) {
    $("making").hidden = false;
    $("making-text").textContent = `${text} … ${percent(ratio)}`;
    $("making-bar").value = ratio;
  }

  #finished() {
    this.current = null;
    $("making").hidden = true;
  }

  #cancel() {
    const { current } = this;
    if (!current) return;
    current.cancelled = true;
    if (current.id) api.remove(`${current.path}/${current.id}`).catch(() => { /* it has ended or was deleted */ });
    this.#finished();
  }
}
