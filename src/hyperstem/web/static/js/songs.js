// The list of songs: uploads, and the jobs on the server.

import * as api from "./api.js";
import { isBusy, percent, phase } from "./format.js";
import { Emitter } from "./page.js";
import { Remaining } from "./remaining.js";

const MAX_UPLOADS = 2; // at the same time
const RETRY_MS = 3000;
const NARROW = "(max-width: 1000px)"; // the list is then above the mixer

/** Emits "open" (id or null), "remove" (id) and "say" (message). */
export class Songs extends Emitter {
  constructor(list) {
    super();
    this.list = list;
    this.items = new Map(); // id -> element; uploads have ids of their own
    this.remaining = new Map(); // id -> Remaining
    this.waiting = [];
    this.sending = 0;
    this.count = 0;
    this.current = null;
    addEventListener("beforeunload", (event) => { if (this.sending || this.waiting.length) event.preventDefault(); });
  }

  // Uploads

  add(files, quality, limit) {
    for (const file of files) {
      const upload = { id: `upload-${++this.count}`, file, quality, request: null };
      this.#item(upload.id, file.name, () => this.#drop(upload), null);
      if (limit && file.size > limit) this.#failed(upload, "this file is larger than the studio accepts");
      else {
        this.waiting.push(upload);
        this.#show(upload.id, { text: "Waiting to be sent", progress: 0, busy: true });
      }
    }
    this.#send();
  }

  #drop(upload) {
    this.waiting = this.waiting.filter((other) => other !== upload);
    upload.request?.abort();
    this.removeItem(upload.id);
  }

  async #send() {
    while (this.sending < MAX_UPLOADS && this.waiting.length) {
      this.sending++;
      this.#sendOne(this.waiting.shift()).finally(() => {
        this.sending--;
        this.#send();
      });
    }
  }

  async #sendOne(upload) {
    upload.request = api.upload(upload.file, upload.quality, (ratio) => {
      this.#show(upload.id, { text: ratio < 1 ? `Sending, ${percent(ratio)}` : "Sent", progress: ratio, busy: true });
    });
    try {
      const job = await upload.request.promise;
      const wasCurrent = this.current === upload.id || this.current === null;
      this.removeItem(upload.id);
      this.update(job);
      if (wasCurrent) this.open(job.id);
    } catch (error) {
      if (error.status === -1) return;
      if (error.status === 429) {
        this.#show(upload.id, { text: "The queue is full; trying again soon", progress: 0, busy: true });
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
        if (this.items.has(upload.id)) this.waiting.push(upload);
      } else {
        this.#failed(upload, error.message);
      }
    }
  }

  #failed(upload, message) {
    this.#show(upload.id, { text: `Not accepted: ${message}`, progress: 0, busy: false, failed: true });
    this.emit("say", `${upload.file.name}: ${message}`);
  }

  // Jobs

  update(job) {
    const busy = isBusy(job);
    if (!this.items.has(job.id)) this.#item(job.id, job.name, () => this.#removeJob(job.id), () => this.open(job.id));
    if (!this.remaining.has(job.id)) this.remaining.set(job.id, new Remaining());
    const left = job.state === "running" ? this.remaining.get(job.id).text(job) : "";
    this.#show(job.id, { text: left ? `${phase(job)} · ${left}` : phase(job), progress: job.progress, busy, failed: job.state === "failed" });
    this.items.get(job.id).querySelector(".song-remove").setAttribute("aria-label", `${busy ? "Cancel" : "Remove"} ${job.name}`);
  }

  open(id) {
    this.current = id;
    for (const [other, item] of this.items) {
      item.classList.toggle("current", other === id);
      item.querySelector(".song-open").setAttribute("aria-current", String(other === id));
    }
    this.emit("open", id);
  }

  async #removeJob(id) {
    if (!this.items.get(id).classList.contains("busy")) {
      this.emit("remove", id);
      return;
    }
    await api.post(`api/jobs/${id}/cancel`).catch((error) => this.emit("say", error.message));
  }

  // Elements

  #item(id, name, remove, open) {
    const item = document.getElementById("song-template").content.firstElementChild.cloneNode(true);
    item.dataset.id = id;
    item.querySelector(".song-name").textContent = name;
    item.querySelector(".song-open").title = name;
    item.querySelector(".song-open").disabled = !open;
    item.querySelector("progress").setAttribute("aria-label", `Progress of ${name}`);
    const button = item.querySelector(".song-remove");
    button.setAttribute("aria-label", `Remove ${name}`);
    button.addEventListener("click", remove);
    if (open) item.querySelector(".song-open").addEventListener("click", () => {
      open();
      if (matchMedia(NARROW).matches) document.getElementById("song").scrollIntoView({ block: "start" });
    });
    this.items.set(id, item);
    this.list.prepend(item);
    this.#showCount();
  }

  #show(id, { text, progress, busy, failed = false }) {
    const item = this.items.get(id);
    if (!item) return;
    const state = item.querySelector(".song-state");
    if (state.textContent !== text) state.textContent = state.title = text;
    item.querySelector("progress").value = progress;
    item.classList.toggle("busy", busy);
    item.classList.toggle("failed", failed);
  }

  /** Removes a song from the list; "open" (null) follows if it was open. */
  removeItem(id) {
    this.items.get(id)?.remove();
    this.items.delete(id);
    this.remaining.delete(id);
    this.#showCount();
    if (this.current === id) {
      this.current = null;
      this.emit("open", null);
    }
  }

  #showCount() { document.getElementById("no-songs").hidden = this.items.size > 0; }
}
