// Requests to the studio's server. Every error response becomes an ApiError with its message.

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const POLL_MS = 2000;

let onTokenNeeded = () => {};
export function whenTokenNeeded(handler) { onTokenNeeded = handler; }

async function errorOf(response) {
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
  if (!response.ok) throw await errorOf(response);
  return response;
}

export async function getJson(path) { return (await ask(path)).json(); }
export async function getBytes(path, signal) { return (await ask(path, { signal })).arrayBuffer(); }

export async function post(path, body) {
  const options = body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  return (await ask(path, { method: "POST", ...options })).json();
}

export async function remove(path) { await ask(path, { method: "DELETE" }); }

/** Uploads a song; `onProgress` gets 0 to 1. Returns {promise, abort}. */
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
    request.onerror = () => reject(new ApiError(0, "the upload was interrupted; the file may be too large, or the studio stopped"));
    request.onabort = () => reject(new ApiError(-1, "cancelled"));
    request.send(form);
  });
  return { promise, abort: () => request.abort() };
}

/**
 * Follows all jobs; reconnects by itself. `handlers`: known(ids), job(job), removed(id), online(boolean).
 *
 * A page in the background polls instead: a browser opens at most six connections to a host, and the event streams of
 * six pages would use all of them.
 */
export function follow(handlers) {
  let stop = () => {};
  const start = () => {
    stop();
    stop = document.hidden ? poll(handlers) : listen(handlers);
  };
  document.addEventListener("visibilitychange", start);
  start();
}

function poll(handlers) {
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
  }, POLL_MS);
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
