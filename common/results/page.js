"use strict";
// What the pages share: packed data, drawing of texts, the state in the address, charts.

const $ = (id) => document.getElementById(id);
const parts = (name) => [...document.querySelectorAll(`script[data-of="${name}"]`)];
const number = (value) => value.toLocaleString("en-US");
const scoreText = (value) => (value === null ? "none" : String(+value.toFixed(2)));
const snippet = (text) => text.slice(0, 400).replace(/\s+/g, " ").trim() || "(empty)";

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function makeButton(text, className, whenClicked) {
  const button = make("button", className, text);
  button.type = "button";
  button.addEventListener("click", whenClicked);
  return button;
}

async function unpack(node) {
  const bytes = Uint8Array.from(atob(node.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).text();
}

function words(text) {
  const node = make("span", "words", snippet(text));
  node.dir = "auto";
  return node;
}

// The state in the address: #show=cut&order=best

const state = new URLSearchParams(location.hash.slice(1));

function keep(name, value) {
  if (value === null || value === undefined || value === "") state.delete(name);
  else state.set(name, value);
  const text = state.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

// Libraries, which run by their hashes: KaTeX if the report had it, then Plotly

async function runLibrary(node) {
  const library = make("script");
  library.textContent = await unpack(node);
  document.head.append(library);
  node.remove();
}

// Texts: the report made HTML of their Markdown, in which no element and no address runs anything. KaTeX draws LaTeX.

let isRaw = false;
const CLOSING = { "$$": "$$", "$": "$", "\\[": "\\]", "\\(": "\\)" };

async function startTexts() {
  for (const node of parts("library").slice(0, -1)) await runLibrary(node);
}

function fill(body) {
  const isPlain = isRaw || !body.html;
  body.classList.toggle("drawn", !isPlain);
  if (isPlain) {
    body.textContent = body.source;
    return;
  }
  body.innerHTML = body.html;
  body.querySelectorAll("a").forEach(drawLink);
  body.querySelectorAll(".latex").forEach(drawLatex);
}

function drawLink(link) {
  if (/^(https?|mailto):/i.test(link.getAttribute("href") || "")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  } else {
    link.replaceWith(...link.childNodes);
  }
}

function drawLatex(node) {
  if (!window.katex) return;
  const source = node.textContent;
  const opening = Object.keys(CLOSING).find((one) => source.startsWith(one)) || "";
  const text = opening ? source.slice(opening.length, -opening.length) : source;
  try {
    node.innerHTML = katex.renderToString(text, {
      output: "mathml", displayMode: node.classList.contains("display"), throwOnError: true, strict: "ignore", trust: false,
      maxExpand: 200, maxSize: 20,
    });
  } catch (error) {
    node.replaceWith(make("code", "latex", source));
  }
}

function textBody(text, className, html) {
  const body = make("div", `text ${className || ""}`);
  body.dir = "auto";
  body.tabIndex = 0;
  body.source = text;
  body.html = html;
  fill(body);
  return body;
}

function block(label, text, className, html) {
  const node = make("div", "block");
  node.append(make("h3", "", label), textBody(text, className, html));
  return node;
}

function folded(label, text, html) {
  const node = make("details");
  node.append(make("summary", "", label), textBody(text, "", html));
  return node;
}

const htmlOf = (shown, name) => (shown.html || {})[name];

function listenToRaw() {
  isRaw = state.has("raw");
  $("raw").checked = isRaw;
  $("raw").addEventListener("change", () => {
    isRaw = $("raw").checked;
    keep("raw", isRaw ? "1" : "");
    for (const body of document.querySelectorAll(".text")) fill(body);
  });
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch (error) {
    const area = make("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = before; }, 1200);
}

function download(name, pieces) {
  const link = make("a");
  link.href = URL.createObjectURL(new Blob(pieces, { type: "application/x-ndjson" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// What the scorer said of an answer

function judged(answer) {
  const found = [];
  const by = answer.scorer ? ` (${answer.scorer})` : "";
  if (answer.unscored) found.push(block(`Unscored${by}`, answer.unscored));
  if (answer.judge_reply) found.push(block(`Scorer's reply${by}`, answer.judge_reply, "", htmlOf(answer, "judge_reply")));
  else if (answer.scorer) found.push(block("Scored by", answer.scorer));
  if (answer.probabilities) found.push(chances(answer.probabilities));
  for (const [place, [score, reply, html]] of (answer.samples || []).entries()) {
    found.push(folded(`Sample ${place + 1}: score ${scoreText(score)}`, reply, html));
  }
  return found;
}

function chances(pairs) {
  const node = make("div");
  const grid = make("div", "chances");
  for (const [name, chance] of pairs) {
    const bar = make("span");
    const fillOfBar = make("i");
    fillOfBar.style.width = `${Math.min(100, Math.max(0, 100 * chance))}%`;
    bar.append(fillOfBar);
    grid.append(make("b", "", name), bar, make("span", "", `${(100 * chance).toFixed(1)} %`));
  }
  node.append(make("h3", "", "Probability of each score"), grid);
  return node;
}

// The charts

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function axis(title, more) {
  return {
    title: { text: title, font: { size: 12 }, standoff: 8 }, gridcolor: color("line"), zeroline: false, separatethousands: true,
    linecolor: color("line"), tickfont: { size: 12 }, fixedrange: true, automargin: true, tickangle: 0, ...more,
  };
}

function draw(id, traces, x, y, more) {
  const layout = {
    font: { family: getComputedStyle(document.body).fontFamily, color: color("soft") },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, dragmode: false,
    margin: { l: 44, r: 14, t: 14, b: 40 }, xaxis: x, yaxis: y,
    hoverlabel: { bgcolor: color("surface"), bordercolor: color("line"), font: { color: color("ink"), size: 13 } },
    ...more,
  };
  return Plotly.react($(id), traces, layout, { displayModeBar: false, responsive: true });
}

function nothing(id) {
  $(id).textContent = "";
  $(id).hidden = true;
}

async function startCharts(drawAll) {
  const data = JSON.parse(await unpack(parts("charts")[0]));
  await runLibrary(parts("library")[0]);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(data));
  await drawAll(data);
}

async function startPage(...steps) {
  if (!("DecompressionStream" in window)) {
    $("fallback").hidden = false;
    return;
  }
  for (const step of steps) await step();
  document.documentElement.dataset.ready = "yes";
}
