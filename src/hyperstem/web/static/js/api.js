// The studio's server: JSON, sound, events. Every refusal becomes an Error with words.

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const ASK_MS = 2000;

let onTokenNeeded = () => {};
export function whenTokenNeeded(handler) { onTokenNeeded = handler; }

async function refusal(response) {
  if (response.status === 401) onTokenNeeded();
  try {
    return new ApiError(response.status, (await response.json()).error);
  } catch {
    return new ApiError(response.status, `the studio answered with status ${response.status}`);
  }
}

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "the studio does not answer; is it still running?");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function getJson(path) { return (await ask(path)).json(); }
export async function getBytes(path, signal) { return (await ask(path, { signal })).arrayBuffer(); }

export async function post(path, body) {
  const options = { method: "POST" };
  if (body !== undefined) {
    options.headers = { "content-type": "application/json" };
    options.body = JSON.stringify(body);
  }
  const response = await ask(path, options);
  return response.status === 204 ? null : response.json();
}

export async function remove(path) {
  const response = await ask(path, { method: "DELETE" });
  return response.status === 204 ? null : response.json();
}

/** Sends a song; `onProgress` gets 0 to 1. Returns {promise, abort}. */
export function upload(file, quality, onProgress) {
  const request = new XMLHttpRequest();
  const promise = new Promise((resolve, reject) => {
    const form = new FormData();
    form.append("quality", quality);
    form.append("file", file, file.name);
    request.open("POST", "api/jobs");
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () => {
      if (request.status === 201) { resolve(request.response); return; }
      if (request.status === 401) onTokenNeeded();
      reject(new ApiError(request.status, request.response?.error || `the studio answered with status ${request.status}`));
    };
    request.onerror = () => reject(new ApiError(0, "the upload was broken off; the file may be too large, or the studio stopped"));
    request.onabort = () => reject(new ApiError(-1, "cancelled"));
    request.send(form);
  });
  return { promise, abort: () => request.abort() };
}

/**
 * Follows all jobs; reconnects by itself. `handlers`: known(ids), job(job), removed(id), online(boolean).
 *
 * A page in the background asks now and then instead: a browser makes six connections to a host at most, and six pages
 * that each held one for their events would leave none to a seventh.
 */
export function follow(handlers) {
  let stop = () => {};
  const start = () => {
    stop();
    stop = document.hidden ? askAgain(handlers) : listen(handlers);
  };
  document.addEventListener("visibilitychange", start);
  start();
}

function askAgain(handlers) {
  const timer = setInterval(async () => {
    try {
      const jobs = await getJson("api/jobs");
      if (!document.hidden) return;
      handlers.online(true);
      handlers.known(jobs.map((job) => job.id));
      jobs.forEach(handlers.job);
    } catch {
      handlers.online(false);
    }
  }, ASK_MS);
  return () => clearInterval(timer);
}

function listen(handlers) {
  const events = new EventSource("api/events");
  let again = 0;
  let stop = () => { clearTimeout(again); events.close(); };
  events.addEventListener("open", () => handlers.online(true));
  events.addEventListener("error", () => {
    handlers.online(false);
    if (events.readyState === EventSource.CLOSED) again = setTimeout(() => { stop = listen(handlers); }, 2000);
  });
  events.addEventListener("known", (event) => handlers.known(JSON.parse(event.data)));
  events.addEventListener("job", (event) => handlers.job(JSON.parse(event.data)));
  events.addEventListener("removed", (event) => handlers.removed(JSON.parse(event.data)));
  return () => stop();
}
