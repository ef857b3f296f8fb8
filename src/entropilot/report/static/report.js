"use strict";
// The report's only script. Text of models and logs reaches the page through textContent alone.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const MEASURES = ["entropy", "surprisal", "divergence", "instability"];
  const byId = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(byId(id).textContent);

  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const draw = (tag, attributes, text) => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const nats = (thousandths) => (thousandths === null ? "–" : (thousandths / 1000).toFixed(2));
  const percent = (thousandths) => (thousandths === null ? "–" : `${Math.round(thousandths / 10)}%`);
  const count = (n) => n.toLocaleString("en");
  const VERDICTS = { 1: "right", 0: "wrong", "-1": "unlabelled" };

  document.documentElement.classList.add("js");

  // --- the table of flagged traces -----------------------------------------------------------------
  const rows = read("flagged-data");
  const PAGE = window.matchMedia("(max-width: 640px)").matches ? 8 : 20;
  const table = { order: rows.id.map((_, i) => i), page: 0, key: "score", down: true };
  const body = byId("flagged-rows");
  const coded = (column, i) => column.values[column.at[i]];
  const plain = (key, i) => (Array.isArray(rows[key]) ? rows[key][i] : coded(rows[key], i));

  const before = (a, b) => {
    const left = plain(table.key, a);
    const right = plain(table.key, b);
    if (left === right) return a - b;
    if (left === null || left === "") return 1; // what is not known stands last, whatever the direction
    if (right === null || right === "") return -1;
    const sign = typeof left === "string" ? left.localeCompare(right, "en", { numeric: true }) : left - right;
    return table.down ? -sign : sign;
  };

  const select = () => {
    const wanted = byId("filter-text").value.toLowerCase();
    const verdict = byId("filter-verdict").value;
    const timing = byId("filter-timing").value;
    const found = [];
    for (let i = 0; i < rows.id.length; i++) {
      if (verdict && VERDICTS[rows.correct[i]] !== verdict) continue;
      if (timing && coded(rows.timing, i) !== timing) continue;
      if (wanted && ![rows.id[i], coded(rows.group, i), coded(rows.reason, i)].some((t) => t.toLowerCase().includes(wanted))) continue;
      found.push(i);
    }
    table.order = found.sort(before);
    table.page = 0;
    showRows();
  };

  const place = (position, token) => {
    const cell = make("td", "place");
    cell.dataset.label = "Peak at";
    if (position === null) return cell;
    const strip = draw("svg", { class: "strip", viewBox: "0 0 120 18", role: "img", "aria-label": `at ${percent(position)} of the trace` });
    const x = 4 + (112 * position) / 1000;
    strip.append(draw("path", { class: "track", d: "M4 9H116" }), draw("path", { class: "mark", d: `M${x.toFixed(1)} 3V15` }));
    cell.append(strip, make("span", "sub", token === null ? percent(position) : `token ${count(token)} · ${percent(position)}`));
    return cell;
  };
  const chance = (i) => {
    const cell = make("td", "chance");
    cell.dataset.label = "P(wrong)";
    if (rows.p_wrong[i] === null) return cell;
    const low = rows.p_wrong_low[i];
    const high = rows.p_wrong_high[i];
    const x = (share) => (4 + (112 * share) / 1000).toFixed(1);
    const strip = draw("svg", { class: "strip", viewBox: "0 0 120 18", "aria-hidden": "true" });
    strip.append(draw("path", { class: "track thin", d: "M4 9H116" }));
    if (low !== null && high !== null) strip.append(draw("path", { class: "whisker wide", d: `M${x(low)} 9H${x(high)}` }));
    strip.append(draw("circle", { class: "dot", cx: x(rows.p_wrong[i]), cy: 9, r: 4 }));
    const range = low === null || high === null ? "" : ` [${Math.round(low / 10)}, ${Math.round(high / 10)}]`;
    cell.append(strip, make("span", "sub", percent(rows.p_wrong[i]) + range));
    return cell;
  };
  const labelled = (label, className, text) => {
    const cell = make("td", className, text);
    cell.dataset.label = label;
    return cell;
  };
  const hasChance = rows.p_wrong.some((share) => share !== null);
  const rowOf = (i) => {
    const row = make("tr");
    const name = make("td", "name");
    const open = make("button", "open", rows.id[i]);
    open.type = "button";
    open.addEventListener("click", () => openRow(i));
    name.append(open);
    const verdict = make("td", "outcome");
    verdict.append(make("span", `verdict ${VERDICTS[rows.correct[i]]}`, VERDICTS[rows.correct[i]]));
    const step = rows.peak_step[i] === null ? "" : count(rows.peak_step[i]);
    row.append(
      name, labelled("Score", "n score", nats(rows.score[i])), ...(hasChance ? [chance(i)] : []), place(rows.peak_position[i], rows.peak_token[i]),
      labelled("Step", "n step", step), labelled("Time", "time", coded(rows.timing, i)), verdict, make("td", "why", coded(rows.reason, i)),
    );
    return row;
  };
  const showRows = () => {
    const pages = Math.max(1, Math.ceil(table.order.length / PAGE));
    const start = table.page * PAGE;
    body.replaceChildren(...table.order.slice(start, start + PAGE).map(rowOf));
    const last = Math.min(start + PAGE, table.order.length);
    byId("page-said").textContent = table.order.length
      ? `${count(start + 1)} to ${count(last)} of ${count(table.order.length)}${table.order.length < rows.id.length ? ` (of ${count(rows.id.length)} in all)` : ""}`
      : "No trace matches.";
    byId("page-first").disabled = byId("page-back").disabled = table.page === 0;
    byId("page-next").disabled = byId("page-last").disabled = table.page >= pages - 1;
  };
  const turn = (to) => {
    const pages = Math.max(1, Math.ceil(table.order.length / PAGE));
    table.page = Math.min(Math.max(to(pages), 0), pages - 1);
    showRows();
  };
  if (body) {
    byId("page-first").addEventListener("click", () => turn(() => 0));
    byId("page-back").addEventListener("click", () => turn(() => table.page - 1));
    byId("page-next").addEventListener("click", () => turn(() => table.page + 1));
    byId("page-last").addEventListener("click", () => turn((pages) => pages - 1));
    for (const id of ["filter-text", "filter-verdict", "filter-timing"]) byId(id).addEventListener("input", select);
    for (const button of document.querySelectorAll("th button[data-key]")) {
      button.addEventListener("click", () => {
        const key = button.dataset.key;
        table.down = key === table.key ? !table.down : typeof plain(key, 0) !== "string";
        table.key = key;
        for (const head of button.closest("tr").children) head.removeAttribute("aria-sort");
        button.closest("th").setAttribute("aria-sort", table.down ? "descending" : "ascending");
        select();
      });
    }
    select();
  }

  // --- one trace -----------------------------------------------------------------------------------
  const views = read("views-data");
  const state = { view: 0, measure: "entropy", chosen: null };

  const levelOf = (thousandths, measure) => {
    if (thousandths === null) return 0;
    const edges = views.levels[measure];
    let level = 0;
    while (level < edges.length && thousandths >= 1000 * edges[level]) level++;
    return level;
  };
  const placesOf = (trace) => {
    // position in the trace -> position among the tokens that the page holds
    const places = new Map();
    for (const [start, stop] of trace.ranges) for (let t = start; t < stop; t++) places.set(t, places.size);
    return places;
  };

  const curve = (trace) => {
    const width = Math.min(Math.max(byId("view-curve").clientWidth, 300), 1064);
    const [height, left, right, top, bottom] = [width < 600 ? 170 : 190, 34, 10, 22, 30];
    const points = [...trace.curve.instability, ...trace.curve.entropy];
    const most = Math.max(1, Math.ceil(Math.max(0, ...points.map((p) => p[1])) / 500) / 2);
    const x = (t) => left + ((width - left - right) * t) / Math.max(trace.n - 1, 1);
    const y = (v) => height - bottom - ((height - top - bottom) * v) / 1000 / most;
    const join = (list) => list.map(([t, v]) => `${x(t).toFixed(1)} ${y(v).toFixed(1)}`).join("L");
    const svg = draw("svg", { class: "figure", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-labelledby": "curve-title curve-desc" });
    svg.append(draw("title", { id: "curve-title" }, "Instability and entropy over the trace"));
    const peak = trace.curve.instability.reduce((best, p) => (best === null || p[1] > best[1] ? p : best), null);
    svg.append(draw("desc", { id: "curve-desc" }, peak ? `Instability peaks at ${nats(peak[1])} nats, at token ${peak[0]} of ${trace.n}.` : "No instability is known."));
    svg.append(draw("text", { class: "axis-title", x: 0, y: 11 }, "nats"));
    for (let v = 0; v <= most + 1e-9; v += most > 2 ? 1 : 0.5) {
      svg.append(draw("line", { class: v === 0 ? "grid base" : "grid", x1: left, x2: width - right, y1: y(1000 * v), y2: y(1000 * v) }));
      svg.append(draw("text", { class: "tick", x: left - 6, y: y(1000 * v) + 4, "text-anchor": "end" }, v.toFixed(1)));
    }
    const spacing = Math.max(1, [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((s) => trace.n / s <= width / 80) || 10000);
    for (let t = 0; t < trace.n; t += spacing) svg.append(draw("text", { class: "tick", x: x(t), y: height - bottom + 16, "text-anchor": "middle" }, count(t)));
    for (const t of trace.steps) if (t > 0) svg.append(draw("line", { class: "grid", x1: x(t - 0.5), x2: x(t - 0.5), y1: top, y2: y(0) }));
    const entropy = trace.curve.entropy;
    if (entropy.length) svg.append(draw("path", { class: "band", d: `M${x(entropy[0][0])} ${y(0)}L${join(entropy)}L${x(entropy[entropy.length - 1][0])} ${y(0)}Z` }));
    if (trace.curve.instability.length) svg.append(draw("path", { class: "line signal thin", d: `M${join(trace.curve.instability)}` }));
    if (peak) {
      const late = peak[0] > trace.n / 2;
      svg.append(draw("circle", { class: "dot chosen", cx: x(peak[0]), cy: y(peak[1]), r: 5 }));
      svg.append(draw("text", { class: "note strong halo", x: x(peak[0]) + (late ? -10 : 10), y: y(peak[1]) + 4, "text-anchor": late ? "end" : "start" }, `peak ${nats(peak[1])} at token ${count(peak[0])}`));
    }
    const cursor = draw("line", { class: "cut", x1: 0, x2: 0, y1: top, y2: y(0), visibility: "hidden" });
    svg.append(cursor);
    state.cursor = (t) => {
      cursor.setAttribute("visibility", "visible");
      for (const end of ["x1", "x2"]) cursor.setAttribute(end, x(t));
    };
    return svg;
  };

  const alternatives = (trace, at) => {
    const list = make("ul", "alts");
    const flat = trace.alternatives[at];
    if (!flat.length) list.append(make("li", "", "No alternatives in the log."));
    for (let j = 0; j < flat.length; j += 2) {
      const item = make("li", j / 2 === trace.taken[at] ? "taken" : "");
      const meter = make("span", "meter");
      const fill = make("i");
      fill.style.width = `${Math.min(100, flat[j + 1] / 100)}%`;
      meter.append(fill);
      const share = flat[j + 1] === 0 ? "< 0.01" : (flat[j + 1] / 100).toFixed(flat[j + 1] < 1000 ? 2 : 1);
      item.append(make("span", "piece", views.texts[flat[j]]), meter, make("span", "n", `${share}%`));
      list.append(item);
    }
    return list;
  };
  const detail = (trace, places, span) => {
    const [text, first, last] = span;
    const parts = [];
    for (let t = first; t <= last; t++) parts.push(t);
    const strongest = parts.reduce((a, b) => ((trace[state.measure][places.get(b)] ?? -1) > (trace[state.measure][places.get(a)] ?? -1) ? b : a));
    const at = places.get(strongest);
    let step = 0;
    while (step < trace.steps.length && trace.steps[step] <= strongest) step++;
    const nodes = [make("p", "where", `token ${count(strongest)} of ${count(trace.n)}${trace.steps.length ? ` · step ${step - 1}` : ""}${strongest === trace.peak ? " · the peak" : ""}`), make("p", "what", text)];
    if (parts.length > 1) {
      const names = parts.map((t) => views.texts[trace.alternatives[places.get(t)][2 * trace.taken[places.get(t)]]] ?? "?").join(" ");
      nodes.push(make("p", "where", `One character in ${parts.length} tokens: ${names}. Shown: the one with most ${state.measure}.`));
    }
    const measures = make("dl");
    for (const name of MEASURES) {
      const pair = make("div");
      pair.append(make("dt", "", name), make("dd", "", nats(trace[name][at])));
      measures.append(pair);
    }
    nodes.push(measures, alternatives(trace, at));
    byId("detail").replaceChildren(...nodes);
    state.cursor(strongest);
  };

  const colour = (trace, places) => {
    for (const { node, span } of state.tokens) {
      let level = 0;
      for (let t = span[1]; t <= span[2]; t++) level = Math.max(level, levelOf(trace[state.measure][places.get(t)], state.measure));
      node.className = `t h${level}${span[1] <= trace.peak && trace.peak <= span[2] && trace.peak !== null ? " peak" : ""}${state.starts.has(span[1]) && span[1] > 0 ? " step" : ""}`;
    }
    const ramp = byId("ramp");
    const edges = [0, ...views.levels[state.measure]];
    ramp.replaceChildren(...edges.map((edge, level) => make("span", `t h${level}`, level === edges.length - 1 ? `${edge}+` : String(edge))));
  };
  const choose = (k, focus) => {
    const { node, span } = state.tokens[k];
    if (state.chosen !== null) {
      state.tokens[state.chosen].node.tabIndex = -1;
      state.tokens[state.chosen].node.classList.remove("on");
    }
    node.tabIndex = 0;
    node.classList.add("on");
    state.chosen = k;
    if (focus) node.focus();
    detail(views.traces[state.view], state.places, span);
  };

  const showView = (to, focus) => {
    state.view = Math.min(Math.max(to, 0), views.traces.length - 1);
    const trace = views.traces[state.view];
    const places = (state.places = placesOf(trace));
    state.starts = new Set(trace.steps);
    state.chosen = null;
    byId("view-choice").value = String(state.view);
    byId("view-back").disabled = state.view === 0;
    byId("view-next").disabled = state.view === views.traces.length - 1;
    byId("view-notice").hidden = true;
    const facts = byId("view-facts");
    const verdict = make("span", `verdict ${VERDICTS[trace.correct]}`, VERDICTS[trace.correct]);
    const pairs = trace.facts.map(([label, text]) => {
      const pair = make("div");
      pair.append(make("dt", "", label), make("dd", "", text));
      return pair;
    });
    facts.replaceChildren(verdict, ...pairs);
    byId("view-curve").replaceChildren(curve(trace));

    const heat = byId("view-heat");
    state.tokens = [];
    const nodes = [];
    let next = 0;
    const gap = (from, to) => nodes.push(make("span", "gap", `\n… ${count(to - from)} tokens not shown …\n`));
    for (const span of trace.spans) {
      if (span[1] > next) gap(next, span[1]);
      const node = make("span", "t", span[0]);
      node.tabIndex = -1;
      node.setAttribute("role", "button");
      const k = state.tokens.push({ node, span }) - 1;
      node.dataset.k = String(k);
      nodes.push(node);
      next = Math.max(next, span[2] + 1);
    }
    if (next < trace.n) gap(next, trace.n);
    if (!trace.n) nodes.push(make("span", "gap", "This trace holds no tokens."));
    heat.replaceChildren(...nodes);
    colour(trace, places);
    const said = [];
    for (const [label, text] of [["Prompt", trace.prompt], ["Reference", trace.reference], ["Answer", trace.answer]]) {
      if (text) said.push(make("h4", "", label), make("pre", "", text));
    }
    byId("view-said").replaceChildren(...said);
    byId("view-more").hidden = !said.length;
    const peak = state.tokens.findIndex(({ span }) => span[1] <= trace.peak && trace.peak <= span[2]);
    if (state.tokens.length) choose(peak < 0 || trace.peak === null ? 0 : peak, false);
    else byId("detail").replaceChildren(make("p", "where", "Nothing to show."));
    if (focus) byId("traces").scrollIntoView();
  };
  const openRow = (i) => {
    if (rows.view[i] >= 0) return showView(rows.view[i], true);
    const notice = byId("view-notice");
    notice.textContent = `The tokens of ${rows.id[i]} are not in this file, which holds ${count(views.traces.length)} traces in full. ` +
      `Its score is ${nats(rows.score[i])} nats${rows.peak_token[i] === null ? "" : `, with the peak at token ${count(rows.peak_token[i])}`}.`;
    notice.hidden = false;
    byId("traces").scrollIntoView();
  };

  if (views.traces.length) {
    const choice = byId("view-choice");
    views.traces.forEach((trace, i) => {
      const option = make("option", "", `${i + 1}. ${trace.id}${trace.correct < 0 ? "" : ` – ${VERDICTS[trace.correct]}`}`);
      option.value = String(i);
      choice.append(option);
    });
    choice.addEventListener("change", () => showView(Number(choice.value), false));
    byId("view-back").addEventListener("click", () => showView(state.view - 1, false));
    byId("view-next").addEventListener("click", () => showView(state.view + 1, false));
    byId("view-measure").addEventListener("change", (event) => {
      state.measure = event.target.value;
      colour(views.traces[state.view], state.places);
      if (state.chosen !== null) choose(state.chosen, false);
    });
    const heat = byId("view-heat");
    const under = (event) => {
      const node = event.target.closest("[data-k]");
      if (node) choose(Number(node.dataset.k), event.type === "click");
    };
    heat.addEventListener("pointerover", under);
    heat.addEventListener("click", under);
    heat.addEventListener("focusin", (event) => {
      if (event.target.dataset.k !== undefined && Number(event.target.dataset.k) !== state.chosen) under(event);
    });
    heat.addEventListener("keydown", (event) => {
      const last = state.tokens.length - 1;
      const to = { ArrowRight: state.chosen + 1, ArrowDown: state.chosen + 10, ArrowLeft: state.chosen - 1, ArrowUp: state.chosen - 10, Home: 0, End: last }[event.key];
      if (to === undefined || state.chosen === null) return;
      event.preventDefault();
      choose(Math.min(Math.max(to, 0), last), true);
    });
    let width = 0;
    new ResizeObserver(([entry]) => {
      if (Math.abs(entry.contentRect.width - width) < 1) return;
      width = entry.contentRect.width;
      byId("view-curve").replaceChildren(curve(views.traces[state.view]));
      if (state.chosen !== null) choose(state.chosen, false);
    }).observe(byId("view-curve"));
    showView(0, false);
  }
})();
