// Puts the page together.

import * as api from "./api.js";
import { bytes } from "./format.js";
import { listen } from "./keyboard.js";
import { Mixer } from "./mixer.js";
import { Songs } from "./songs.js";

const $ = (id) => document.getElementById(id);
const TOAST_MS = 7000;
const DEMO = "static/demo.opus";

const jobs = new Map();
const songs = new Songs($("song-list"));
const mixer = new Mixer();
let limit = 0;

/** Says something for a while; `action` {label, act} adds a button to it. Gives what takes it away. */
function say(text, ms = TOAST_MS, action = null) {
  if ([...$("toasts").children].some((toast) => toast.firstChild.textContent === text)) return () => {}; // it is still there to be read
  const toast = document.createElement("p");
  toast.className = "toast";
  toast.append(Object.assign(document.createElement("span"), { textContent: text }));
  if (action) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: action.label });
    button.addEventListener("click", () => { toast.remove(); action.act(); });
    toast.append(button);
  }
  $("toasts").append(toast);
  setTimeout(() => toast.remove(), ms);
  return () => toast.remove();
}

// Songs in

function add(files) {
  if (files.length) songs.add(files, $("quality").value, limit);
}

$("file-input").addEventListener("change", (event) => {
  add([...event.target.files]);
  event.target.value = "";
});
$("demo").addEventListener("click", async () => {
  $("demo").disabled = true;
  try {
    const response = await fetch(DEMO);
    if (!response.ok) throw new Error();
    add([new File([await response.blob()], "Demo – Half a Minute.opus", { type: "audio/ogg" })]);
  } catch {
    say("The demo could not be loaded; is the studio still running?");
  }
  $("demo").disabled = false;
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

// Songs removed

let undoSeconds = 0;

/** Removes a song that has ended; for a while it can be brought back. */
async function remove(job) {
  const path = `api/jobs/${job.id}`;
  try {
    await api.remove(path);
  } catch (error) {
    say(error.message);
    return;
  }
  forget(job.id);
  const restore = async () => {
    try {
      const back = await api.post(`${path}/restore`);
      jobs.set(back.id, back);
      songs.update(back);
      songs.open(back.id);
    } catch (error) {
      say(error.status === 404 ? `${job.name} is gone for good.` : error.message);
    }
  };
  say(`${job.name} was removed.`, undoSeconds * 1000, undoSeconds ? { label: "Undo", act: restore } : null);
}

addEventListener("keydown", (event) => {
  const undo = [...document.querySelectorAll(".toast button")].at(-1);
  if (!undo || !(event.ctrlKey || event.metaKey) || event.key !== "z" || event.target.closest?.("input:not([type=range])")) return;
  event.preventDefault();
  undo.click();
});
mixer.addEventListener("remove", (event) => remove(event.detail));
songs.addEventListener("remove", (event) => { if (jobs.has(event.detail)) remove(jobs.get(event.detail)); });

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
  undoSeconds = studio.undo_s;
  $("limits").textContent = `Songs of up to ${bytes(limit)} and ${Math.round(studio.max_length_s / 60)} minutes.`;
}).catch(() => { /* the events say that the studio does not answer */ });

$("keys-button").addEventListener("click", () => $("keys").showModal());
listen(mixer);

window.studio = { mixer, songs, jobs }; // for a look inside from the console
document.documentElement.dataset.ready = "true";
