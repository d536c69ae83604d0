(() => {
  const PAGE = 25;
  const QUESTIONS = 10;
  const KEPT_CHUNKS = 8;
  const BIT = { selected: 1, accepted: 2, cut: 4, unscored: 8, rejected: 16 };
  const names = ["selected", "accepted", "other"];

  // the candidates

  let columns, order, entryOf, matched = null, searching = 0, rendering = 0, only = null, pinned = null;
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

  const firstOf = (place) => columns.first[place];
  const endOf = (place) => (place + 1 < columns.first.length ? columns.first[place + 1] : columns.scores.length);
  const indexOf = (at) => at - firstOf(entryOf[at]);

  // The name of a candidate in a link: the end of its entry's id, and its number from 1.

  const nameOf = (at) => `${columns.ids[entryOf[at]]}.${indexOf(at) + 1}`;

  function candidateNamed(name) {
    const [id, place] = name.split(".");
    const entry = columns.ids.indexOf(id);
    const at = entry === -1 ? -1 : firstOf(entry) + (+place || 0) - 1;
    return entry !== -1 && at >= firstOf(entry) && at < endOf(entry) ? at : -1;
  }

  function arrange(page) {
    const { scores, lengths, flags } = columns;
    const from = $("from").value === "" ? -Infinity : +$("from").value;
    const to = $("to").value === "" ? Infinity : +$("to").value;
    const ranged = from !== -Infinity || to !== Infinity;
    const bit = BIT[$("show").value] || 0;
    order = [];
    for (let at = only === null ? 0 : firstOf(only), end = only === null ? scores.length : endOf(only); at < end; at++) {
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
    return showPage(page || 1);
  }

  async function search(page) {
    const mine = ++searching;
    const wanted = $("search").value.trim().toLowerCase();
    if (!wanted) {
      matched = null;
      return arrange(page);
    }
    const found = new Uint8Array(columns.scores.length);
    const count = parts("chunk").length;
    for (let place = 0; place < count; place++) {
      const entries = await loadChunk(place);
      if (mine !== searching) return;
      entries.forEach((entry, offset) => {
        const inQuestion = holds([entry.id, entry.reference, ...entry.turns.map((turn) => turn[1])], wanted);
        const first = firstOf(columns.begins[place] + offset);
        entry.answers.forEach((answer, index) => {
          found[first + index] = inQuestion || holds([answer.text, answer.judge_reply, answer.unscored], wanted) ? 1 : 0;
        });
      });
      if (count > 4) $("count").textContent = `searching ${Math.round((100 * (place + 1)) / count)} %`;
    }
    matched = found;
    return arrange(page);
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
    $("save").disabled = !order.length;
    $("rows").dataset.page = page;
    $("only").hidden = only === null;
    if (only !== null) $("only").firstChild.textContent = `only question ${number(only + 1)}`;
    keepFilters(page);
  }

  // The filters in the address

  function keepFilters(page) {
    for (const name of ["search", "from", "to"]) keep(name, $(name).value.trim());
    keep("show", $("show").value === "all" ? "" : $("show").value);
    keep("order", $("order").value === "entry" ? "" : $("order").value);
    keep("question", only === null ? "" : columns.ids[only]);
    keep("page", page === 1 ? "" : page);
  }

  function readFilters() {
    for (const name of ["search", "from", "to"]) $(name).value = state.get(name) || "";
    for (const [name, first] of [["show", "all"], ["order", "entry"]]) {
      $(name).value = state.get(name) || first;
      if ($(name).value === "") $(name).value = first;
    }
    const place = columns.ids.indexOf(state.get("question"));
    only = place === -1 ? null : place;
  }

  // What the address names: filters, an open candidate, two side by side.

  async function readAddress() {
    readFilters();
    const at = candidateNamed(state.get("at") || ""), pair = (state.get("pair") || "").split(",").map(candidateNamed);
    await search(+state.get("page") || 1);
    if (at !== -1) await reveal(at);
    if (pair.length === 2 && !pair.includes(-1)) await showPair(...pair);
  }

  async function reveal(at) {
    if (!order.includes(at)) {
      only = matched = null;
      for (const name of ["search", "from", "to"]) $(name).value = "";
      $("show").value = "all";
      await arrange();
    }
    await showPage(Math.floor(order.indexOf(at) / PAGE) + 1);
    const node = document.querySelector(`.row[data-at="${at}"]`);
    if (!node.querySelector(".more")) node.firstChild.click();
    node.firstChild.focus({ preventScroll: true });
    node.scrollIntoView({ block: "start" });
  }

  const question = (entry) => entry.turns[entry.turns.length - 1][1];

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
    const found = [statusOf(flags), flags & BIT.rejected ? "rejected" : "", flags & BIT.cut ? "cut" : ""];
    return found.filter(Boolean).map((name) => make("span", `tag ${name}`, name));
  }

  function row(at, entry, grouped) {
    const answer = entry.answers[indexOf(at)];
    const flags = columns.flags[at];
    const node = make("div", `row ${flags & BIT.unscored ? "unscored" : ""}`);
    node.dataset.at = at;
    const button = makeButton("", "", () => toggle(node, at, entry));
    button.setAttribute("aria-expanded", "false");
    const score = make("span", "score", scoreText(columns.scores[at]));
    if (answer.spread !== undefined) score.append(make("small", "", `±${answer.spread.toFixed(2)}`));
    const middle = make("span");
    if (!grouped) middle.append(make("span", "of", `${number(entryOf[at] + 1)} · ${snippet(question(entry))}`));
    middle.append(words(answer.text));
    const facts = make("span", "facts");
    if (answer.read) facts.append(make("span", "read", `read as ${snippet(answer.read).slice(0, 40)}`));
    facts.append(...tags(flags), make("span", "", `${number(columns.lengths[at])} chars`));
    button.append(score, middle, facts);
    node.append(button);
    return node;
  }

  function toggle(node, at, entry) {
    const open = node.querySelector(".more");
    if (open) open.remove();
    else node.append(detail(at, entry));
    node.firstChild.setAttribute("aria-expanded", String(!open));
    keep("at", open ? "" : nameOf(at));
  }

  function detail(at, entry) {
    const node = make("div", "more");
    node.append(...asked(entry), answerOf(at, entry));
    if (entry.answers.length > 1) node.append(others(at, entry, node));
    node.append(make("p", "id", `entry ${entry.id}${entry.stopped ? ` · stopped by ${entry.stopped}` : ""}`));
    return node;
  }

  function asked(entry) {
    const nodes = entry.turns.map(([role, text, html], place) => {
      return block(place === entry.turns.length - 1 ? "Question" : `History: ${role}`, text, "", html);
    });
    if (entry.images.length) nodes.push(images(entry));
    if (entry.reference !== null) {
      const label = entry.kept.length ? "Reference, chosen over a candidate" : "Reference";
      nodes.push(block(label + (entry.read ? ` · read as ${entry.read}` : ""), entry.reference, "", htmlOf(entry, "reference")));
    }
    return nodes;
  }

  function answerOf(at, entry) {
    const answer = entry.answers[indexOf(at)];
    const made = [`Answer ${indexOf(at) + 1}`, `score ${scoreText(columns.scores[at])}`];
    if (answer.read) made.push(`read as ${answer.read}`);
    if (answer.tokens) made.push(`${number(answer.tokens)} tokens in its request`);
    if (answer.finish_reason) made.push(`finish_reason ${answer.finish_reason}`);
    const node = make("div", "answers");
    node.append(block(made.join(" · "), answer.text, `answer ${statusOf(columns.flags[at])}`, htmlOf(answer, "text")), actions(at, answer));
    if (answer.reasoning) node.append(folded("Reasoning", answer.reasoning, htmlOf(answer, "reasoning")));
    node.append(...judged(answer));
    return node;
  }

  function actions(at, answer) {
    const node = make("p", "actions");
    const link = make("a", "", "Link");
    link.href = `#at=${nameOf(at)}`;
    link.title = "copies a link to this candidate";
    link.addEventListener("click", (event) => {
      event.preventDefault();
      copy(link.href, link);
    });
    node.append(
      makeButton("Copy", "", (event) => copy(answer.text, event.currentTarget)),
      makeButton(pinned === at ? "Choose another" : "Side by side", "", () => pin(at)), link);
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

  function others(at, entry, node) {
    const first = firstOf(entryOf[at]);
    const list = make("div", "others");
    entry.answers.forEach((_, index) => {
      const button = makeButton(scoreText(columns.scores[first + index]), statusOf(columns.flags[first + index]), () => {
        node.replaceWith(detail(first + index, entry));
        keep("at", nameOf(first + index));
      });
      button.setAttribute("aria-label", `answer ${index + 1}`);
      button.setAttribute("aria-current", String(first + index === at));
      list.append(button);
    });
    const all = make("div");
    all.append(make("h3", "", "Scores of all answers to this question, in the order sampled"), list);
    return all;
  }

  // Two side by side

  function pin(at) {
    if (pinned !== null && pinned !== at) {
      const first = pinned;
      pinned = null;
      $("pinned").hidden = true;
      return showPair(first, at);
    }
    pinned = pinned === at ? null : at;
    $("pinned").hidden = pinned === null;
    if (pinned !== null) {
      $("pinned").firstChild.textContent =
        `Answer ${indexOf(at) + 1} of question ${number(entryOf[at] + 1)} is chosen. Choose another: its button "Side by side", or the key c. `;
    }
  }

  async function showPair(...pair) {
    const entries = [];
    for (const at of pair) entries.push(await entryAt(entryOf[at]));
    const isOne = entryOf[pair[0]] === entryOf[pair[1]];
    const panes = pair.map((at, place) => {
      const pane = make("section", "pane");
      const title = make("h2", "", `Question ${number(entryOf[at] + 1)}, answer ${indexOf(at) + 1} `);
      title.append(...tags(columns.flags[at]));
      pane.append(title, ...(isOne ? [] : asked(entries[place])), answerOf(at, entries[place]));
      return pane;
    });
    $("pair-question").replaceChildren(...(isOne ? asked(entries[0]) : []));
    $("panes").replaceChildren(...panes);
    keep("pair", pair.map(nameOf).join(","));
    if (!$("pair").open) $("pair").showModal();
    $("pair").scrollTop = 0;
  }

  // Saving the filtered candidates

  async function save() {
    const pieces = [];
    const wanted = [...order].sort((a, b) => a - b);
    for (const at of wanted) {
      const entry = await entryAt(entryOf[at]);
      pieces.push(`${JSON.stringify(saved(at, entry))}\n`);
    }
    download(`${document.querySelector("h1").textContent.replace(/\.jsonl$/, "")}_filtered.jsonl`, pieces);
  }

  function saved(at, entry) {
    const flags = columns.flags[at];
    const { text, html, ...more } = entry.answers[indexOf(at)];
    if (more.samples) more.samples = more.samples.map((sample) => sample.slice(0, 2));
    return {
      original_question: question(entry), reference: entry.reference, answer: text,
      score: columns.scores[at], accepted: Boolean(flags & BIT.accepted), selected: Boolean(flags & BIT.selected),
      ...more, index: indexOf(at), entry_id: entry.id,
    };
  }

  // The questions, hardest first

  let asking = [], askedPage = 1, drawing = 0;
  const rateOf = (place) => (columns.judged[place] ? columns.passed[place] / columns.judged[place] : 0);

  function meanOf(place) {
    const scores = columns.scores.slice(firstOf(place), endOf(place)).filter((score) => score !== null);
    return scores.length ? scores.reduce((sum, score) => sum + score, 0) / scores.length : null;
  }

  function arrangeQuestions() {
    const means = columns.first.map((_, place) => meanOf(place));
    const fits = {
      all: () => true, none: (place) => !columns.passed[place], some: (place) => columns.passed[place] > 0 && rateOf(place) < 1,
      every: (place) => columns.judged[place] > 0 && rateOf(place) === 1,
    }[$("which").value];
    asking = columns.first.map((_, place) => place).filter(fits);
    const sign = { hardest: 1, easiest: -1 }[$("difficulty").value];
    const mean = (place) => (means[place] === null ? -Infinity : means[place]);
    if (sign) asking.sort((a, b) => sign * (rateOf(a) - rateOf(b) || (mean(a) < mean(b) ? -1 : mean(a) > mean(b) ? 1 : 0)) || a - b);
    keep("which", $("which").value === "all" ? "" : $("which").value);
    keep("difficulty", $("difficulty").value === "hardest" ? "" : $("difficulty").value);
    return showQuestions(1, means);
  }

  async function showQuestions(page) {
    const mine = ++drawing;
    const pages = Math.max(1, Math.ceil(asking.length / QUESTIONS));
    askedPage = Math.min(Math.max(1, page), pages);
    const list = document.createDocumentFragment();
    for (const place of asking.slice((askedPage - 1) * QUESTIONS, askedPage * QUESTIONS)) {
      const entry = await entryAt(place);
      if (mine !== drawing) return;
      list.append(questionRow(place, entry));
    }
    if (!asking.length) list.append(make("p", "empty", "No question fits."));
    $("asked").replaceChildren(list);
    $("asked-count").textContent = `${number(asking.length)} of ${number(columns.first.length)} questions`;
    $("asked-page").textContent = `Page ${number(askedPage)} of ${number(pages)}`;
    $("asked-back").disabled = askedPage === 1;
    $("asked-next").disabled = askedPage === pages;
  }

  function questionRow(place, entry) {
    const button = makeButton("", "question", () => {
      only = place;
      arrange();
      $("candidates").scrollIntoView();
    });
    const bar = make("span", "rate");
    const filled = make("i");
    filled.style.width = `${100 * rateOf(place)}%`;
    bar.append(filled);
    const mean = meanOf(place);
    const text = make("span");
    text.append(make("span", "number", `${number(place + 1)} `), words(question(entry)));
    button.append(make("b", "", `${columns.passed[place]} of ${columns.judged[place]}`), bar, text,
      make("span", "mean", mean === null ? "no score" : `mean score ${scoreText(mean)}`));
    return button;
  }

  function listen() {
    let typing;
    $("search").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(search, 200);
    });
    for (const id of ["from", "to"]) $(id).addEventListener("input", () => arrange());
    for (const id of ["show", "order"]) $(id).addEventListener("change", () => arrange());
    for (const id of ["which", "difficulty"]) $(id).addEventListener("change", arrangeQuestions);
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    $("page").addEventListener("change", () => turn(+$("page").value));
    $("first").addEventListener("click", () => turn(1));
    $("back").addEventListener("click", () => turn(+$("rows").dataset.page - 1));
    $("next").addEventListener("click", () => turn(+$("rows").dataset.page + 1));
    $("last").addEventListener("click", () => turn(Infinity));
    $("save").addEventListener("click", save);
    $("only").lastChild.addEventListener("click", () => {
      only = null;
      arrange();
    });
    $("asked-back").addEventListener("click", () => showQuestions(askedPage - 1));
    $("asked-next").addEventListener("click", () => showQuestions(askedPage + 1));
    $("pair").addEventListener("close", () => keep("pair", ""));
    $("pair-close").addEventListener("click", () => $("pair").close());
    $("unpin").addEventListener("click", () => pin(pinned));
    document.addEventListener("keydown", press);
    addEventListener("hashchange", () => {
      for (const name of [...state.keys()]) state.delete(name);
      new URLSearchParams(location.hash.slice(1)).forEach((value, name) => state.set(name, value));
      readAddress();
    });
  }

  // The keys

  const KEYS = {
    j: () => step(1),
    k: () => step(-1),
    o: (row) => row && row.firstChild.click(),
    c: (row) => row && pin(+row.dataset.at),
    y: (row) => row && row.querySelector(".actions button") && row.querySelector(".actions button").click(),
    r: () => $("raw").click(),
    "/": () => $("search").focus(),
  };

  function press(event) {
    const isTyping = event.target.closest("input, select, textarea") && event.target.type !== "checkbox";
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey || $("pair").open || !KEYS[event.key]) return;
    event.preventDefault();
    KEYS[event.key](document.activeElement.closest(".row"));
  }

  async function step(by) {
    const rows = [...document.querySelectorAll("#rows .row")];
    const at = rows.indexOf(document.activeElement.closest(".row"));
    let next = at === -1 ? 0 : at + by;
    if (next < 0 || next >= rows.length) {
      const page = +$("rows").dataset.page + by;
      if (page < 1 || page > Math.ceil(order.length / PAGE)) return;
      await showPage(page);
      next = by > 0 ? 0 : PAGE - 1;
    }
    const row = document.querySelectorAll("#rows .row")[next];
    if (!row) return;
    row.firstChild.focus({ preventScroll: true });
    row.scrollIntoView({ block: "nearest" });
  }

  async function turn(page) {
    await showPage(page === Infinity ? Math.ceil(order.length / PAGE) : page);
    if ($("rows").getBoundingClientRect().top < 0) $("candidates").scrollIntoView();
  }

  async function startTable() {
    columns = JSON.parse(await unpack(parts("columns")[0]));
    entryOf = new Uint32Array(columns.scores.length);
    columns.first.forEach((first, place) => entryOf.fill(place, first));
    listenToRaw();
    listen();
    for (const [name, first] of [["which", "all"], ["difficulty", "hardest"]]) {
      $(name).value = state.get(name) || first;
      if ($(name).value === "") $(name).value = first;
    }
    if (columns.scores.some((score) => score !== null)) await arrangeQuestions();
    else $("questions").hidden = true;
    await readAddress();
  }

  // the charts

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
    const dots = {
      x: k, y: values.map((value) => value[0] * scale), mode: "markers", marker: { size: 8, color: color("selected") },
      error_y: {
        type: "data", symmetric: false, array: values.map((value) => (value[2] - value[0]) * scale),
        arrayminus: values.map((value) => (value[0] - value[1]) * scale), color: color("accepted"), thickness: 3, width: 0,
      },
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
    return draw(id, [dots], x, y, { annotations });
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
    for (const [from, to, mean, answers] of data.trend) {
      traces.push({
        x: [from, to], y: [mean, mean], mode: "lines", line: { color: color("ink"), width: 2.5 }, customdata: [answers, answers],
        hovertemplate: `${number(Math.ceil(from))} to ${number(Math.floor(to))} characters: mean score %{y:.2f} of %{customdata:,} answers<extra></extra>`,
      });
    }
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

  const drawAll = (data) => Promise.all([drawScores(data), ...drawCurves(data), drawLength(data), drawRatio(data)]);

  startPage(startTexts, startTable, () => startCharts(drawAll));
})();
