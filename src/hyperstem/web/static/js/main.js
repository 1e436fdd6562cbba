// Connects the parts of the page.

import * as api from "./api.js";
import { bytes } from "./format.js";
import { listen } from "./keyboard.js";
import { Mixer } from "./mixer.js";
import { $, create } from "./page.js";
import { Songs } from "./songs.js";

const TOAST_MS = 7000;
const DEMO = "static/demo.opus";

const jobs = new Map();
const songs = new Songs($("song-list"));
const mixer = new Mixer();
let limit = 0;

/** Shows a message for a while; `action` {label, act} adds a button to it. */
function say(text, ms = TOAST_MS, action = null) {
  if ([...$("toasts").children].some((toast) => toast.firstChild.textContent === text)) return; // it is still shown
  const toast = create("p", { className: "toast" }, create("span", {}, text));
  if (action) {
    const button = create("button", { type: "button" }, action.label);
    button.addEventListener("click", () => { toast.remove(); action.act(); });
    toast.append(button);
  }
  $("toasts").append(toast);
  setTimeout(() => toast.remove(), ms);
}

// Adding songs

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
let dragDepth = 0;
const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragenter", (event) => { if (hasFiles(event)) { dragDepth++; $("drop-veil").hidden = false; } });
addEventListener("dragleave", (event) => { if (hasFiles(event) && --dragDepth <= 0) { dragDepth = 0; $("drop-veil").hidden = true; } });
addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  dragDepth = 0;
  $("drop-veil").hidden = true;
  add([...event.dataTransfer.files]);
});

// Opening songs

songs.on("open", (id) => {
  mixer.open(jobs.get(id) ?? null);
  if (id === null) openSoon();
  history.replaceState(null, "", id ? `#${id}` : location.pathname);
});
songs.on("say", (text) => say(text));
mixer.on("say", (text) => say(text));

// Removing songs

let undoSeconds = 0;

/** Removes an ended song; for a while this can be undone. */
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
      say(error.status === 404 ? `${job.name} has been deleted.` : error.message);
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
mixer.on("remove", remove);
songs.on("remove", (id) => { if (jobs.has(id)) remove(jobs.get(id)); });

const wanted = location.hash.slice(1);
let opening = 0;

/** Opens the song in the address, or the newest one, when the list has loaded. */
function openSoon() {
  clearTimeout(opening);
  opening = setTimeout(() => {
    if (songs.current !== null || !jobs.size) return;
    const playable = (job) => Number(Boolean(job.takes.original));
    const newest = [...jobs.values()].sort((a, b) => playable(b) - playable(a) || b.created - a.created)[0];
    songs.open(jobs.has(wanted) ? wanted : newest.id);
  }, 100);
}

function forget(id) {
  jobs.delete(id);
  songs.removeItem(id);
}

let offline = false;
api.follow({
  known(ids) {
    for (const id of jobs.keys()) if (!ids.includes(id)) forget(id); // removed while this page was not connected
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
}).catch(() => { /* the event stream reports that the studio does not answer */ });

$("keys-button").addEventListener("click", () => $("keys").showModal());
listen(mixer);

window.studio = { mixer, songs, jobs }; // for the console and the tests
document.documentElement.dataset.ready = "true";
