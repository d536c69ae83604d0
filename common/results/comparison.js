(() => {
  const PAGE = 10;
  const NAMES = ["A", "B"];
  let found = {}, page = 1;

  const question = (item) => item.turns[item.turns.length - 1][1];
  const rate = ([passed, judged]) => `${passed} of ${judged}`;

  function row(item, kind, place) {
    const node = make("div", "row");
    const button = makeButton("", "", () => toggle(node, item, kind, place));
    button.setAttribute("aria-expanded", "false");
    const figures = item.sides.map((side, at) => (kind === "answers" ? scoreText(side ? side.score : null) : rate(item.rates[at])));
    const middle = make("span");
    if (kind === "answers") middle.append(make("span", "of", snippet(question(item))), words(item.sides[0] ? item.sides[0].text : ""));
    else middle.append(words(question(item)));
    const facts = make("span", "facts");
    facts.append(make("span", "", `A ${figures[0]} · B ${figures[1]}`));
    button.append(make("span", "score", item.size.toFixed(2)), middle, facts);
    node.append(button);
    return node;
  }

  function toggle(node, item, kind, place) {
    const open = node.querySelector(".more");
    if (open) open.remove();
    else node.append(detail(item, kind));
    node.firstChild.setAttribute("aria-expanded", String(!open));
    keep("at", open ? "" : place + 1);
  }

  function detail(item, kind) {
    const node = make("div", "more");
    item.turns.forEach(([role, text, html], place) => {
      node.append(block(place === item.turns.length - 1 ? "Question" : `History: ${role}`, text, "", html));
    });
    if (item.reference !== null) node.append(block("Reference", item.reference, "", htmlOf(item, "reference")));
    if (kind === "answers" && item.sides[0]) node.append(answerOf(item.sides[0], "Answer"));
    const sides = make("div", "sides");
    item.sides.forEach((side, at) => sides.append(pane(item, kind, side, at)));
    node.append(sides, make("p", "id", `entry ${item.id}`));
    return node;
  }

  function answerOf(side, label) {
    const node = make("div", "answers");
    const actions = make("p", "actions");
    actions.append(makeButton("Copy", "", (event) => copy(side.text, event.currentTarget)));
    node.append(block(label, side.text, `answer ${side.accepted ? "accepted" : ""}`, htmlOf(side, "text")), actions);
    return node;
  }

  function pane(item, kind, side, at) {
    const node = make("section", "pane");
    if (!side) {
      node.append(make("h2", "", `${NAMES[at]}: no scored answer`));
      return node;
    }
    const title = kind === "answers" ? `${NAMES[at]}: score ${scoreText(side.score)}` : `${NAMES[at]}: ${rate(item.rates[at])} accepted`;
    const heading = make("h2", "", `${title} `);
    if (side.accepted) heading.append(make("span", "tag accepted", "accepted"));
    node.append(heading);
    if (kind === "questions") node.append(answerOf(side, `Answer ${side.index + 1} · score ${scoreText(side.score)}`));
    const said = judged(side);
    node.append(...(said.length || kind === "questions" ? said : [make("p", "quiet", "The scorer gave no reason.")]));
    return node;
  }

  function show(wanted) {
    const kind = $("kind").value, items = found[kind];
    const pages = Math.max(1, Math.ceil(items.length / PAGE));
    page = Math.min(Math.max(1, wanted), pages);
    const from = (page - 1) * PAGE;
    const rows = items.slice(from, from + PAGE).map((item, place) => row(item, kind, from + place));
    $("rows").replaceChildren(...(rows.length ? rows : [make("p", "empty", "They do not disagree on any.")]));
    $("count").textContent = `${number(items.length)} disagreements, the largest first`;
    $("page").textContent = `Page ${page} of ${pages}`;
    $("back").disabled = page === 1;
    $("next").disabled = page === pages;
    keep("kind", kind === "answers" ? "" : kind);
    keep("page", page === 1 ? "" : page);
  }

  async function startTable() {
    for (const name of ["answers", "questions"]) found[name] = JSON.parse(await unpack(parts(name)[0]));
    listenToRaw();
    $("kind").value = state.get("kind") === "questions" || !found.answers.length ? "questions" : "answers";
    $("kind").addEventListener("change", () => show(1));
    $("back").addEventListener("click", () => show(page - 1));
    $("next").addEventListener("click", () => show(page + 1));
    $("filters").addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("keydown", press);
    const at = +state.get("at") - 1;
    show(at >= 0 ? Math.floor(at / PAGE) + 1 : +state.get("page") || 1);
    const node = $("rows").children[at - (page - 1) * PAGE];
    if (at >= 0 && node && node.classList.contains("row")) {
      node.firstChild.click();
      node.scrollIntoView();
    }
  }

  function press(event) {
    const isTyping = event.target.closest("input, select") && event.target.type !== "checkbox";
    if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
    const rows = [...document.querySelectorAll("#rows .row")];
    const at = rows.indexOf(document.activeElement.closest(".row"));
    if (event.key === "r") $("raw").click();
    if (event.key === "o" && at !== -1) rows[at].firstChild.click();
    const by = { j: 1, k: -1 }[event.key];
    if (!by) return;
    const next = rows[at === -1 ? 0 : at + by];
    if (next) next.firstChild.focus();
    else if (at !== -1) {
      show(page + by);
      const first = document.querySelector("#rows .row");
      if (first) first.firstChild.focus();
    }
  }

  function drawGrid(data) {
    const { labels, counts } = data.grid;
    if (!counts.length) return nothing("chart-grid");
    const most = Math.max(...counts.flat());
    const trace = {
      type: "heatmap", x: labels[0], y: labels[1], z: counts.map((line) => line.map((count) => count || null)),
      text: counts.map((line) => line.map((count) => (count ? number(count) : ""))),
      texttemplate: labels[0].length * labels[1].length <= 144 ? "%{text}" : "", textfont: { size: 11 },
      colorscale: [[0, color("sunk")], [1, color("selected")]], zmin: 0, zmax: most, showscale: false, xgap: 1, ygap: 1, zsmooth: false,
      hovertemplate: "A %{x}, B %{y}: %{z:,} answers<extra></extra>",
    };
    const category = { type: "category", showgrid: false };
    return draw("chart-grid", [trace], axis("score of A", category), axis("score of B", category));
  }

  startPage(startTexts, startTable, () => startCharts(drawGrid));
})();
