// Puts the page together.

import * as api from "./api.js";
import { bytes } from "./format.js";
import { listen } from "./keyboard.js";
import { Mixer } from "./mixer.js";
import { Songs } from "./songs.js";

const $ = (id) => document.getElementById(id);
const TOAST_MS = 7000;

const jobs = new Map();
const songs = new Songs($("song-list"));
const mixer = new Mixer();
let limit = 0;

function say(text) {
  if ([...$("toasts").children].some((toast) => toast.textContent === text)) return; // it is still there to be read
  const toast = document.createElement("p");
  toast.className = "toast";
  toast.textContent = text;
  $("toasts").append(toast);
  setTimeout(() => toast.remove(), TOAST_MS);
}

// Songs in

function add(files) {
  if (files.length) songs.add(files, $("quality").value, limit);
}

$("file-input").addEventListener("change", (event) => {
  add([...event.target.files]);
  event.target.value = "";
});
let inside = 0;
const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragenter", (event) => { if (hasFiles(event)) { inside++; $("drop-veil").hidden = false; } });
addEventListener("dragleave", (event) => { if (hasFiles(event) && --inside <= 0) { inside = 0; $("drop-veil").hidden = true; } });
addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  inside = 0;
  $("drop-veil").hidden = true;
  add([...event.dataTransfer.files]);
});

// Songs chosen

songs.addEventListener("open", (event) => {
  mixer.open(jobs.get(event.detail) ?? null);
  if (event.detail === null) openSoon();
  history.replaceState(null, "", event.detail ? `#${event.detail}` : location.pathname);
});
songs.addEventListener("say", (event) => say(event.detail));
mixer.addEventListener("say", (event) => say(event.detail));

const wanted = location.hash.slice(1);
let opening = 0;

/** Opens the song in the address, or the newest, once those the studio has are known. */
function openSoon() {
  clearTimeout(opening);
  opening = setTimeout(() => {
    if (songs.current !== null || !jobs.size) return;
    const audible = (job) => Number(Boolean(job.takes.original));
    const newest = [...jobs.values()].sort((a, b) => audible(b) - audible(a) || b.created - a.created)[0];
    songs.open(jobs.has(wanted) ? wanted : newest.id);
  }, 100);
}

function forget(id) {
  jobs.delete(id);
  songs.removed(id);
}

let offline = false;
api.follow({
  known(ids) {
    for (const id of jobs.keys()) if (!ids.includes(id)) forget(id); // it went while nobody told
  },
  job(job) {
    const before = jobs.get(job.id)?.state;
    jobs.set(job.id, job);
    if (before && before !== job.state && job.id !== songs.current) {
      if (job.state === "done") say(`${job.name} is separated.`);
      if (job.state === "failed") say(`${job.name} could not be separated.`);
    }
    songs.update(job);
    if (songs.current === job.id) {
      if (mixer.job) mixer.update(job); else mixer.open(job);
    } else if (songs.current === null) {
      openSoon();
    }
  },
  removed: forget,
  online(now) {
    if (now && offline) say("The studio is back.");
    if (!now && !offline) {
      setTimeout(() => { if (offline && !$("token-dialog").open) say("The studio does not answer; trying again."); }, 1500);
    }
    offline = !now;
  },
});

// Token, limits, keys

api.whenTokenNeeded(() => { if (!$("token-dialog").open) $("token-dialog").showModal(); });
$("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const response = await fetch("api/session", {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ token: $("token-input").value }),
  });
  if (response.ok) { location.reload(); return; }
  $("token-error").textContent = (await response.json()).error;
  $("token-error").hidden = false;
});
$("token-dialog").addEventListener("cancel", (event) => event.preventDefault());

api.getJson("api/studio").then((studio) => {
  limit = studio.max_upload_bytes;
  $("limits").textContent = `Songs of up to ${bytes(limit)} and ${Math.round(studio.max_length_s / 60)} minutes.`;
}).catch(() => { /* the events say that the studio does not answer */ });

$("keys-button").addEventListener("click", () => $("keys").showModal());
listen(mixer);

window.studio = { mixer, songs, jobs }; // for a look inside from the console
document.documentElement.dataset.ready = "true";
