// The API's page, made from its OpenAPI document.

const page = document.getElementById("api");

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** Text in which `...` stands for code. */
function prose(name, text, className) {
  const made = element(name, undefined, className);
  (text ?? "").split("`").forEach((part, i) => made.append(i % 2 ? element("code", part) : part));
  return made;
}

function typeOf(schema, definitions) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map((one) => typeOf(one, definitions)).join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(", ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `list of ${typeOf(schema.items, definitions)}`;
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

function describe(method, path, operation, definitions) {
  const box = element("details", undefined, "operation");
  const summary = element("summary");
  summary.append(element("span", method.toUpperCase(), `method ${method}`), element("code", path), prose("span", operation.description, "hint"));
  const body = element("div", undefined, "body");
  const fields = operation.requestBody?.content["multipart/form-data"]?.schema;
  const inputs = (operation.parameters ?? []).map((one) => [element("code", one.name), one.in, typeOf(one.schema, definitions), one.description ?? ""]);
  for (const [name, schema] of Object.entries(fields?.properties ?? {})) inputs.push([element("code", name), "form", typeOf(schema), schema.description ?? ""]);
  if (inputs.length) body.append(table(["name", "in", "type", ""], inputs));
  const answers = Object.entries(operation.responses).map(([status, answer]) => {
    const [kind, content] = Object.entries(answer.content ?? {})[0] ?? ["", {}];
    const type = typeOf(content.schema, definitions);
    return [status, prose("span", answer.description === "Successful Response" ? "" : answer.description), kind === "application/json" ? type : kind];
  });
  body.append(table(["status", "", "answer"], answers), element("pre", example(method, path, operation)));
  box.append(summary, body);
  return box;
}

function describeModel(name, schema, definitions) {
  const box = element("details", undefined, "operation");
  const summary = element("summary");
  summary.append(element("span", "model", "method"), element("code", name), element("span", schema.description ?? "", "hint"));
  const body = element("div", undefined, "body");
  body.append(table(["field", "type", ""], Object.entries(schema.properties ?? {}).map(([field, one]) =>
    [element("code", field), typeOf(one, definitions), one.description ?? ""])));
  box.append(summary, body);
  return box;
}

async function show() {
  const response = await fetch("api/openapi.json");
  const document_ = await response.json();
  if (!response.ok) throw new Error(document_.error);
  page.replaceChildren(element("h2", "Job API"), prose("p", document_.info.description, "intro"));
  const groups = new Map();
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const tag = operation.tags?.[0] ?? "other";
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(describe(method, path, operation, document_));
    }
  }
  for (const [tag, operations] of groups) page.append(element("h3", tag), ...operations);
  page.append(element("h3", "models"), ...Object.entries(document_.components.schemas).map(([name, schema]) => describeModel(name, schema, document_)));
}

show().catch((error) => page.replaceChildren(element("p", error.message, "alert")));
