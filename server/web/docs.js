// Draws openapi.json. Text only ever becomes text nodes, never markup.
"use strict";

const byId = (id) => document.getElementById(id);

function element(name, attributes, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  e.append(...children.filter((c) => c !== undefined && c !== null));
  return e;
}

const refName = (ref) => ref.slice(ref.lastIndexOf("/") + 1);

function resolve(doc, node) {
  if (!node || !node.$ref) return node;
  return node.$ref.slice(2).split("/").reduce((at, key) => at[key], doc);
}

// A schema in a few words, with links to the named ones.
function typeOf(schema) {
  if (!schema) return "";
  if (schema.$ref) {
    const name = refName(schema.$ref);
    return element("a", { href: `#schema-${name}` }, name);
  }
  const span = element("span", {});
  const any = schema.oneOf || schema.anyOf || schema.allOf;
  if (schema.type === "array") span.append("array of ", typeOf(schema.items) || "anything");
  else if (any && !schema.type) any.forEach((s, i) => span.append(i ? " | " : "", typeOf(s)));
  else span.append([].concat(schema.type || "anything").join(" | "));
  if (schema.enum) span.append(": " + schema.enum.join(", "));
  if (schema.const !== undefined) span.append(`: ${schema.const}`);
  if (schema.default !== undefined) span.append(`, default ${schema.default}`);
  return span;
}

function table(heads, rows) {
  const head = element("tr", {}, ...heads.map((h) => element("th", { scope: "col" }, h)));
  const body = rows.map((cells) => element("tr", {}, ...cells.map((c) => element("td", {}, c ?? ""))));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
}

function parameterRows(doc, op) {
  return (op.parameters || []).map((p) => resolve(doc, p)).map((p) =>
    [element("code", {}, p.name), p.in, typeOf(p.schema), p.description]);
}

function bodyRows(body) {
  return Object.entries(body.content).map(([type, media]) =>
    [element("code", {}, type), typeOf(media.schema), media.schema.description]);
}

function responseRows(doc, op) {
  return Object.entries(op.responses).map(([status, r]) => {
    const response = resolve(doc, r);
    const what = element("span", {});
    Object.entries(response.content || {}).forEach(([type, media], i) =>
      what.append(i ? ", " : "", typeOf(media.schema), ` (${type})`));
    return [status, response.description, what];
  });
}

function route(doc, path, method, op) {
  const scope = op.security.length ? `needs scope ${op.security[0].bearer[0]}` : "open to all";
  const article = element("article", { id: op.operationId },
    element("h3", {}, element("span", { class: "method" }, method.toUpperCase()), " ",
      element("code", {}, path), " ", element("span", { class: "scope" }, scope)),
    element("p", {}, [op.summary, op.description].filter(Boolean).join(". ")));
  const parameters = parameterRows(doc, op);
  if (parameters.length) article.append(table(["Parameter", "In", "Type", ""], parameters));
  if (op.requestBody) article.append(table(["Body", "Type", ""], bodyRows(op.requestBody)));
  article.append(table(["Status", "Meaning", "Body"], responseRows(doc, op)));
  return article;
}

function schemaSection(name, schema) {
  const article = element("article", { id: `schema-${name}` }, element("h3", {}, name));
  if (schema.description) article.append(element("p", {}, schema.description));
  if (schema.properties) {
    const required = new Set(schema.required || []);
    article.append(table(["Member", "Type", ""], Object.entries(schema.properties).map(([key, s]) =>
      [element("code", {}, key + (required.has(key) ? " *" : "")), typeOf(s), s.description])));
  } else {
    article.append(element("p", {}, typeOf(schema)));
  }
  for (const example of schema.examples || [])
    article.append(element("pre", {}, JSON.stringify(example, null, 2)));
  return article;
}

function draw(doc) {
  byId("title").textContent = `${doc.info.title} API`;
  byId("summary").replaceChildren(`${doc.info.summary} ${doc.info.description} `,
    element("a", { href: "openapi.json" }, "openapi.json"));
  const operations = Object.entries(doc.paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, op]) => ({ path, method, op })));
  for (const tag of doc.tags) {
    const ours = operations.filter(({ op }) => op.tags[0] === tag.name);
    byId("contents").append(element("ul", { "aria-label": tag.name }, ...ours.map(({ path, method, op }) =>
      element("li", {}, element("a", { href: `#${op.operationId}` }, `${method.toUpperCase()} ${path}`)))));
    byId("routes").append(element("h2", {}, tag.name),
      ...ours.map(({ path, method, op }) => route(doc, path, method, op)));
  }
  for (const [code, text] of Object.entries(doc["x-problem-codes"]))
    byId("codes").append(element("dt", { id: code }, code), element("dd", {}, text));
  byId("schemas").append(...Object.entries(doc.components.schemas).map(([n, s]) => schemaSection(n, s)));
  if (location.hash) document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

fetch("openapi.json")
  .then((reply) => reply.json())
  .then(draw)
  .catch((error) => { byId("summary").textContent = `openapi.json cannot be shown: ${error.message}`; });
