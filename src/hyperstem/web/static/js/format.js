// Numbers and states as text.

/** 75.4 -> "1:15", with tenths "1:15.4". */
export function clock(seconds, tenths = false) {
  const value = Math.max(0, tenths ? Math.floor(seconds * 10) / 10 : Math.floor(seconds));
  const minutes = Math.floor(value / 60) % 60;
  const hours = Math.floor(value / 3600);
  const rest = (value % 60).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** 75 -> "about 1 min 15 s left". */
export function timeLeft(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `about ${whole} s left`;
  const minutes = Math.floor(whole / 60);
  return minutes < 60 ? `about ${minutes} min ${whole % 60} s left` : `about ${Math.floor(minutes / 60)} h ${minutes % 60} min left`;
}

export function percent(ratio) {
  return `${Math.floor(ratio * 100)} %`;
}

export function bytes(count) {
  return count >= 2 ** 30 ? `${+(count / 2 ** 30).toFixed(1)} GB` : `${Math.round(count / 2 ** 20)} MB`;
}

export function isBusy(job) { return job.state === "queued" || job.state === "running"; }

/** A job's phase as text. */
export function phase(job) {
  switch (job.phase) {
    case "waiting": return job.position ? (job.position === 1 ? "Next in the queue" : `Number ${job.position} in the queue`) : "Waiting";
    case "decoding": return "Reading the song";
    case "preview": return "Separating a preview";
    case "separating": return `Separating in ${job.quality} quality`;
    case "finishing": return "Writing the stems";
    case "done": return "Done";
    case "failed": return job.error || "Failed";
    case "cancelled": return "Cancelled";
    default: return job.phase;
  }
}

export function channels(count) {
  return count === 1 ? "mono" : count === 2 ? "stereo" : `${count} channels`;
}
