// The API reference, rendered from the OpenAPI document.

const page = document.getElementById("api");

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Text whose `...` becomes code. */
function prose(name, text, className) {
  const made = element(name, undefined, className);
  (text ?? "").split("`").forEach((part, i) => made.append(i % 2 ? element("code", part) : part));
  return made;
}

function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map((one) => typeOf(one)).join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(", ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${typeOf(schema.items)}`;
  return schema.format ?? schema.type ?? "";
}

function table(titles, rows) {
  const made = element("table");
  const head = made.createTHead().insertRow();
  for (const title of titles) head.append(element("th", title));
  const body = made.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const cell of row) line.insertCell().append(cell instanceof Node ? cell : String(cell ?? ""));
  }
  return made;
}

function example(method, path, operation) {
  const filled = location.origin + path.replace("{job_id}", "JOB").replace(/\{(stem|lane)\}/, "vocals");
  const query = (operation.parameters ?? []).filter((one) => one.in === "query" && one.required)
    .map((one) => `${one.name}=${one.schema.examples?.[0] ?? one.examples?.[0] ?? { take: "full", start: 0, frames: 44100 }[one.name] ?? one.name.toUpperCase()}`);
  const address = filled + (query.length ? `?${query.join("&")}` : "");
  const parts = ["curl"];
  if (method !== "get") parts.push("-X", method.toUpperCase());
  if (operation.requestBody?.content["multipart/form-data"]) parts.splice(1, 2, "-F", "file=@song.mp3");
  else if (operation.requestBody) parts.push("-H 'content-type: application/json'", `-d '{"token": "TOKEN"}'`);
  if (path.endsWith("events")) parts.push("-N");
  if (/\.(wav|zip)$/.test(path)) parts.push("-OJ");
  parts.push(`'${address}'`);
  return parts.join(" ");
}

/** A section that opens on a click. */
function box(kind, name, description, parts, className = "") {
  const [details, summary, body] = [element("details", undefined, "operation"), element("summary"), element("div", undefined, "body")];
  summary.append(element("span", kind, `method ${className}`), element("code", name), prose("span", description, "hint"));
  body.append(...parts);
  details.append(summary, body);
  return details;
}

function describe(method, path, operation) {
  const fields = operation.requestBody?.content["multipart/form-data"]?.schema;
  const inputs = (operation.parameters ?? []).map((one) => [element("code", one.name), one.in, typeOf(one.schema), one.description ?? ""]);
  for (const [name, schema] of Object.entries(fields?.properties ?? {})) inputs.push([element("code", name), "form", typeOf(schema), schema.description ?? ""]);
  const responses = Object.entries(operation.responses).map(([status, response]) => {
    const [kind, content] = Object.entries(response.content ?? {})[0] ?? ["", {}];
    const type = typeOf(content.schema);
    return [status, prose("span", response.description === "Successful Response" ? "" : response.description), kind === "application/json" ? type : kind];
  });
  const parts = [table(["status", "", "response"], responses), element("pre", example(method, path, operation))];
  if (inputs.length) parts.unshift(table(["name", "in", "type", ""], inputs));
  return box(method.toUpperCase(), path, operation.description, parts, method);
}

function describeModel(name, schema) {
  const fields = Object.entries(schema.properties ?? {}).map(([field, one]) => [element("code", field), typeOf(one), one.description ?? ""]);
  return box("model", name, schema.description, [table(["field", "type", ""], fields)]);
}

async function show() {
  const response = await fetch("api/openapi.json");
  const openapi = await response.json();
  if (!response.ok) throw new Error(openapi.error);
  page.replaceChildren(element("h2", "Job API"), prose("p", openapi.info.description, "intro"));
  const groups = new Map();
  for (const [path, methods] of Object.entries(openapi.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(describe(method, path, operation));
    }
  }
  for (const [tag, operations] of groups) page.append(element("h3", tag), ...operations);
  page.append(element("h3", "models"), ...Object.entries(openapi.components.schemas).map(([name, schema]) => describeModel(name, schema)));
}

show().catch((error) => page.replaceChildren(element("p", error.message, "alert")));
