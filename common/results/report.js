"use strict";
(() => {
  const PAGE = 25;
  const KEPT_CHUNKS = 8;
  const BIT = { selected: 1, accepted: 2, cut: 4, unscored: 8, rejected: 16 };
  const $ = (id) => document.getElementById(id);
  const parts = (name) => [...document.querySelectorAll(`script[data-of="${name}"]`)];

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  async function unpack(node) {
    const bytes = Uint8Array.from(atob(node.textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).text();
  }

  const number = (value) => value.toLocaleString("en-US");
  const scoreText = (value) => (value === null ? "none" : String(+value.toFixed(2)));
  const snippet = (text) => text.slice(0, 400).replace(/\s+/g, " ").trim() || "(empty)";

  // the candidates

  let columns, order, entryOf, matched = null, searching = 0, rendering = 0;
  const chunks = new Map();

  function loadChunk(place) {
    if (!chunks.has(place)) {
      chunks.set(place, unpack(parts("chunk")[place]).then(JSON.parse));
      if (chunks.size > KEPT_CHUNKS) chunks.delete(chunks.keys().next().value);
    }
    return chunks.get(place);
  }

  function lastAtMost(sorted, value) {
    let low = 0, high = sorted.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (sorted[middle] <= value) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  async function entryAt(place) {
    const chunk = lastAtMost(columns.begins, place);
    return (await loadChunk(chunk))[place - columns.begins[chunk]];
  }

  function arrange() {
    const { scores, lengths, flags } = columns;
    const from = $("from").value === "" ? -Infinity : +$("from").value;
    const to = $("to").value === "" ? Infinity : +$("to").value;
    const ranged = from !== -Infinity || to !== Infinity;
    const bit = BIT[$("show").value] || 0;
    order = [];
    for (let at = 0; at < scores.length; at++) {
      if (bit && !(flags[at] & bit)) continue;
      if (ranged && (scores[at] === null || scores[at] < from || scores[at] > to)) continue;
      if (matched && !matched[at]) continue;
      order.push(at);
    }
    const sign = { best: -1, worst: 1, long: -1, short: 1 }[$("order").value];
    const column = /best|worst/.test($("order").value) ? scores : lengths;
    if (sign) {
      order.sort((a, b) => {
        if (column[a] === null || column[b] === null) return (column[a] === null) - (column[b] === null) || a - b;
        return sign * (column[a] - column[b]) || a - b;
      });
    }
    return showPage(1);
  }

  async function search() {
    const mine = ++searching;
    const wanted = $("search").value.trim().toLowerCase();
    if (!wanted) {
      matched = null;
      return arrange();
    }
    const found = new Uint8Array(columns.scores.length);
    const count = parts("chunk").length;
    for (let place = 0; place < count; place++) {
      const entries = await loadChunk(place);
      if (mine !== searching) return;
      entries.forEach((entry, offset) => {
        const inQuestion = holds([entry.id, entry.reference, ...entry.turns.map((turn) => turn[1])], wanted);
        const first = columns.first[columns.begins[place] + offset];
        entry.answers.forEach((answer, index) => {
          found[first + index] = inQuestion || holds([answer.text, answer.judge_reply, answer.unscored], wanted) ? 1 : 0;
        });
      });
      if (count > 4) $("count").textContent = `searching ${Math.round((100 * (place + 1)) / count)} %`;
    }
    matched = found;
    return arrange();
  }

  const holds = (texts, wanted) => texts.some((text) => text && text.toLowerCase().includes(wanted));

  async function showPage(wanted) {
    const mine = ++rendering;
    const pages = Math.max(1, Math.ceil(order.length / PAGE));
    const page = Math.min(Math.max(1, Math.floor(wanted) || 1), pages);
    const shown = order.slice((page - 1) * PAGE, page * PAGE);
    const grouped = $("order").value === "entry";
    const list = document.createDocumentFragment();
    let before = -1;
    for (const at of shown) {
      const entry = await entryAt(entryOf[at]);
      if (mine !== rendering) return;
      if (grouped && entryOf[at] !== before) list.append(heading(entryOf[at], entry));
      before = entryOf[at];
      list.append(row(at, entry, grouped));
    }
    if (!shown.length) list.append(make("p", "empty", "No candidate fits these filters."));
    $("rows").replaceChildren(list);
    $("count").textContent = `${number(order.length)} of ${number(columns.scores.length)} candidates`;
    $("page").value = page;
    $("page").max = pages;
    $("pages").textContent = number(pages);
    $("first").disabled = $("back").disabled = page === 1;
    $("last").disabled = $("next").disabled = page === pages;
    $("rows").dataset.page = page;
  }

  const question = (entry) => entry.turns[entry.turns.length - 1][1];

  function words(text) {
    const node = make("span", "words", snippet(text));
    node.dir = "auto";
    return node;
  }

  function heading(place, entry) {
    const node = make("div", "heading");
    node.append(make("span", "number", number(place + 1)), words(question(entry)));
    if (entry.stopped) node.append(make("span", "tag", entry.stopped.replace(/_/g, " ")));
    return node;
  }

  function statusOf(flags) {
    return flags & BIT.selected ? "selected" : flags & BIT.accepted ? "accepted" : "";
  }

  function tags(flags) {
    const names = [statusOf(flags), flags & BIT.rejected ? "rejected" : "", flags & BIT.cut ? "cut" : ""];
    return names.filter(Boolean).map((name) => make("span", `tag ${name}`, name));
  }

  function row(at, entry, grouped) {
    const answer = entry.answers[at - columns.first[entryOf[at]]];
    const flags = columns.flags[at];
    const node = make("div", `row ${flags & BIT.unscored ? "unscored" : ""}`);
    const button = make("button");
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    const score = make("span", "score", scoreText(columns.scores[at]));
    if (answer.spread !== undefined) score.append(make("small", "", `±${answer.spread.toFixed(2)}`));
    const middle = make("span");
    if (!grouped) middle.append(make("span", "of", `${number(entryOf[at] + 1)} · ${snippet(question(entry))}`));
    middle.append(words(answer.text));
    const facts = make("span", "facts");
    facts.append(...tags(flags), make("span", "", `${number(columns.lengths[at])} chars`));
    button.append(score, middle, facts);
    button.addEventListener("click", () => {
      const open = node.querySelector(".more");
      if (open) open.remove();
      else node.append(detail(at, entry));
      button.setAttribute("aria-expanded", String(!open));
    });
    node.append(button);
    return node;
  }

  function block(label, text, className) {
    const node = make("div");
    const body = make("div", `text ${className || ""}`, text);
    body.dir = "auto";
    body.tabIndex = 0;
    node.append(make("h3", "", label), body);
    return node;
  }

  function folded(label, text) {
    const node = make("details");
    const body = make("div", "text", text);
    body.dir = "auto";
    node.append(make("summary", "", label), body);
    return node;
  }

  function detail(at, entry) {
    const node = make("div", "more");
    const answer = entry.answers[at - columns.first[entryOf[at]]];
    entry.turns.forEach(([role, text], place) => {
      node.append(block(place === entry.turns.length - 1 ? "Question" : `History: ${role}`, text));
    });
    if (entry.images.length) node.append(images(entry));
    if (entry.reference !== null) {
      const label = entry.kept.length ? "Reference, chosen over a candidate" : "Reference";
      node.append(block(label, entry.reference));
    }
    const made = [`Answer ${at - columns.first[entryOf[at]] + 1}`, `score ${scoreText(columns.scores[at])}`];
    if (answer.tokens) made.push(`${number(answer.tokens)} tokens in its request`);
    if (answer.finish_reason) made.push(`finish_reason ${answer.finish_reason}`);
    node.append(block(made.join(" · "), answer.text, `answer ${statusOf(columns.flags[at])}`));
    if (answer.reasoning) node.append(folded("Reasoning", answer.reasoning));
    node.append(...judged(answer));
    if (entry.answers.length > 1) node.append(others(at, entry, node));
    node.append(make("p", "id", `entry ${entry.id}${entry.stopped ? ` · stopped by ${entry.stopped}` : ""}`));
    return node;
  }

  function images(entry) {
    const node = make("div");
    node.append(make("h3", "", entry.images.length > 1 ? "Images" : "Image"));
    for (const [name, url] of entry.images) {
      if (url.startsWith("data:image/")) {
        const image = make("img");
        image.alt = name;
        image.src = url;
        node.append(image);
      } else {
        node.append(make("code", "", name));
      }
    }
    return node;
  }

  function judged(answer) {
    const found = [];
    const by = answer.scorer ? ` (${answer.scorer})` : "";
    if (answer.unscored) found.push(block(`Unscored${by}`, answer.unscored));
    if (answer.judge_reply) found.push(block(`Scorer's reply${by}`, answer.judge_reply));
    else if (answer.scorer) found.push(block("Scored by", answer.scorer));
    if (answer.probabilities) found.push(chances(answer.probabilities));
    for (const [place, [score, reply]] of (answer.samples || []).entries()) {
      found.push(folded(`Sample ${place + 1}: score ${scoreText(score)}`, reply));
    }
    return found;
  }

  function chances(pairs) {
    const node = make("div");
    const grid = make("div", "chances");
    for (const [name, chance] of pairs) {
      const bar = make("span");
      const fill = make("i");
      fill.style.width = `${Math.min(100, Math.max(0, 100 * chance))}%`;
      bar.append(fill);
      grid.append(make("b", "", name), bar, make("span", "", `${(100 * chance).toFixed(1)} %`));
    }
    node.append(make("h3", "", "Probability of each score"), grid);
    return node;
  }

  function others(at, entry, node) {
    const first = columns.first[entryOf[at]];
    const list = make("div", "others");
    entry.answers.forEach((_, index) => {
      const button = make("button", statusOf(columns.flags[first + index]), scoreText(columns.scores[first + index]));
      button.type = "button";
      button.setAttribute("aria-label", `answer ${index + 1}`);
      button.setAttribute("aria-current", String(first + index === at));
      button.addEventListener("click", () => node.replaceWith(detail(first + index, entry)));
      list.append(button);
    });
    const all = make("div");
    all.append(make("h3", "", "Scores of all answers to this question, in the order sampled"), list);
    return all;
  }

  function listen() {
    let typing;
    $("search").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(search, 200);
    });
    for (const id of ["from", "to"]) $(id).addEventListener("input", arrange);
    for (const id of ["show", "order"]) $(id).addEventListener("change", arrange);
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    $("page").addEventListener("change", () => turn(+$("page").value));
    $("first").addEventListener("click", () => turn(1));
    $("back").addEventListener("click", () => turn(+$("rows").dataset.page - 1));
    $("next").addEventListener("click", () => turn(+$("rows").dataset.page + 1));
    $("last").addEventListener("click", () => turn(Infinity));
  }

  async function turn(page) {
    await showPage(page === Infinity ? Math.ceil(order.length / PAGE) : page);
    if ($("rows").getBoundingClientRect().top < 0) $("candidates").scrollIntoView();
  }

  async function startTable() {
    columns = JSON.parse(await unpack(parts("columns")[0]));
    entryOf = new Uint32Array(columns.scores.length);
    columns.first.forEach((first, place) => entryOf.fill(place, first));
    listen();
    await arrange();
  }

  // the charts

  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const names = ["selected", "accepted", "other"];

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

  function drawScores(data) {
    const { at, width, counts } = data.scores;
    if (!at.length) return nothing("chart-scores");
    const labels = ["selected", "accepted, not selected", "not accepted"];
    const traces = counts.map((count, status) => ({
      type: "bar", x: at, y: count, width: width * 0.82, marker: { color: color(names[status]), line: { width: 0 } },
      hovertemplate: `score %{x:.4~g}: %{y:,} ${labels[status]}<extra></extra>`,
    }));
    const accept = data.accept;
    const mark = accept === null ? {} : {
      shapes: [{ type: "line", x0: accept - width / 2, x1: accept - width / 2, yref: "paper", y0: 0, y1: 1,
        line: { color: color("soft"), width: 1, dash: "dot" } }],
      annotations: [{ x: accept - width / 2, yref: "paper", y: 1, text: "accepted from here →", showarrow: false,
        xanchor: accept > (data.range[0] + data.range[1]) / 2 ? "right" : "left", yanchor: "top", xshift: -4,
        font: { size: 12 } }],
    };
    const ends = [Math.min(data.range[0], at[0]) - width / 2, Math.max(data.range[1], at[at.length - 1]) + width / 2];
    return draw("chart-scores", traces, axis("score", { range: ends, showgrid: false }), axis("answers"),
      { barmode: "stack", bargap: 0.1, ...mark });
  }

  function curve(id, data, values, scale, unit, y) {
    const k = data.curves.k;
    const band = (end, fill) => ({
      x: k, y: values.map((value) => value[end] * scale), mode: "lines", line: { width: 0, color: color("selected") },
      hoverinfo: "skip", ...fill,
    });
    const dots = {
      x: k, y: values.map((value) => value[0] * scale), mode: k.length > 24 ? "lines" : "lines+markers",
      line: { color: color("selected"), width: 2.5 }, marker: { size: 7, color: color("selected") },
      customdata: values.map((value) => [value[1] * scale, value[2] * scale]),
      hovertemplate: `k = %{x}: %{y:.3~g}${unit}<br>95 % interval %{customdata[0]:.3~g} to %{customdata[1]:.3~g}<extra></extra>`,
    };
    const most = k[k.length - 1];
    const ticks = most <= 16 ? { dtick: 1 } : {};
    const x = axis("samples per question", { range: [0.7, most + (most - 0.7) * 0.03], showgrid: false, ...ticks });
    const label = (at) => ({
      x: k[at], y: dots.y[at], text: `${+dots.y[at].toFixed(unit ? 0 : 2)}${unit}`, showarrow: false, yshift: at ? 14 : -15,
      xanchor: at ? "right" : "left", xshift: at ? 8 : 4, font: { size: 13, color: color("ink") },
    });
    const annotations = k.length > 1 ? [label(0), label(k.length - 1)] : [label(0)];
    return draw(id, [band(1), band(2, { fill: "tonexty", fillcolor: rgba(color("selected"), 0.16) }), dots], x, y, { annotations });
  }

  function rgba(hex, alpha) {
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    return `rgba(${r},${g},${b},${alpha})`;
  }

  function drawCurves(data) {
    if (!data.curves) return [nothing("chart-pass"), nothing("chart-best")];
    const [low, high] = data.range;
    const reach = (high - low) * 0.04;
    return [
      curve("chart-pass", data, data.curves.pass, 100, " %", axis("% of questions", { range: [0, 112], tickvals: [0, 20, 40, 60, 80, 100] })),
      curve("chart-best", data, data.curves.best, 1, "", axis("best score", { range: [low - reach, high + 3 * reach] })),
    ];
  }

  const TICKS = [1, 2, 5].flatMap((digit) => [0, 1, 2, 3, 4, 5, 6].map((power) => digit * 10 ** power)).sort((a, b) => a - b);

  function drawLength(data) {
    if (!data.dots.length) return nothing("chart-length");
    const width = data.scores.width;
    const jitter = (place) => (((place * 0.618034) % 1) - 0.5) * 0.55 * Math.min(width, (data.range[1] - data.range[0]) / 8);
    const traces = [2, 1, 0].map((status) => {
      const own = data.dots.map((dot, place) => [...dot, place]).filter((dot) => dot[2] === status);
      return {
        type: "scatter", mode: "markers", x: own.map((dot) => dot[0]), y: own.map((dot) => dot[1] + jitter(dot[3])),
        customdata: own.map((dot) => dot[1]), marker: { size: 5, color: color(names[status]), opacity: 0.6 },
        hovertemplate: `score %{customdata:.4~g}, %{x:,} characters<extra></extra>`,
      };
    });
    traces.push({
      x: data.trend.map((point) => point[0]), y: data.trend.map((point) => point[1]), mode: "lines",
      line: { color: color("ink"), width: 2.5, shape: "spline", smoothing: 0.6 },
      hovertemplate: "about %{x:,.0f} characters: mean score %{y:.2f}<extra></extra>",
    });
    const lengths = data.dots.map((dot) => dot[0]);
    const ends = [Math.min(...lengths) * 0.9, Math.max(...lengths) * 1.1];
    let ticks = TICKS.filter((tick) => tick >= ends[0] && tick <= ends[1]);
    if (ticks.length > 7) ticks = ticks.filter((tick) => /^10*$/.test(String(tick)));
    const x = axis("characters", { type: "log", range: ends.map(Math.log10), tickvals: ticks, ticktext: ticks.map(number),
      showgrid: false });
    const y = axis("score");
    return draw("chart-length", traces, x, y, { hovermode: "closest" });
  }

  function drawRatio(data) {
    if (!data.ratios.length) return nothing("chart-ratio");
    const widest = Math.max(1, ...data.ratios.map(([ratio]) => Math.abs(Math.log2(ratio)))) + 0.2;
    const steps = [-3, -2, -1, 0, 1, 2, 3];
    const bars = {
      type: "bar", x: data.ratios.map(([ratio]) => Math.log2(ratio)), y: data.ratios.map(([, count]) => count), width: 0.2,
      customdata: data.ratios.map(([ratio]) => ratio), marker: { color: color("selected"), line: { width: 0 } },
      hovertemplate: "about %{customdata:.2f} times as long: %{y:,}<extra></extra>",
    };
    const middle = { type: "line", x0: 0, x1: 0, yref: "paper", y0: 0, y1: 1, line: { color: color("soft"), width: 1, dash: "dot" } };
    const title = data.dpo ? "length of the chosen / of the rejected" : "length of the selected / of the others";
    const x = axis(title, { tickvals: steps, ticktext: ["⅛", "¼", "½", "same", "2×", "4×", "8×"], range: [-widest, widest],
      showgrid: false });
    return draw("chart-ratio", [bars], x, axis(data.dpo ? "pairs" : "answers"), { shapes: [middle] });
  }

  async function startCharts() {
    const data = JSON.parse(await unpack(parts("charts")[0]));
    const library = make("script");
    library.textContent = await unpack(parts("library")[0]);
    document.head.append(library);
    parts("library")[0].remove();
    const all = () => Promise.all([drawScores(data), ...drawCurves(data), drawLength(data), drawRatio(data)]);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", all);
    await all();
  }

  async function start() {
    if (!("DecompressionStream" in window)) {
      $("fallback").hidden = false;
      return;
    }
    await startTable();
    await startCharts();
    document.documentElement.dataset.ready = "yes";
  }

  start();
})();
