"use strict";
// Draws the report from the JSON beside it: cells at once, what belongs to a run when that run is chosen.

const data = JSON.parse(document.getElementById("data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const STROKES = { solid: "", dash: "6 4", dot: "2 3", dashdot: "6 3 2 3", longdash: "10 4", longdashdot: "10 3 2 3" };
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x"];
const COLOURS = 8;
const FEW = 8; // cores that nobody uses are drawn only when there are so few of them

// Elements and numbers -------------------------------------------------------------------------------------

/** An element; children are elements or text, and nothing is ever read as HTML. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

function number(value) {
  if (value === null || value === undefined) return "–";
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(value < 1 ? 3 : 4)));
}

const percent = (share, digits = 0) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)} %`);
const middle = (spread) => (spread ? spread[0] : null);
const unique = (values) => [...new Set(values)];
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
/** The first colours are made for both schemes; further ones are spread over the circle. */
const colour = (index) => (index < COLOURS ? css(`--c${index}`) : `hsl(${(index * 137.5) % 360} 55% ${dark.matches ? 68 : 42}%)`);

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10));
  return `${number(count / 1024 ** power)} ${units[power]}`;
}

function ranges(values) {
  const parts = [];
  for (const value of [...values].sort((a, b) => a - b)) {
    const last = parts[parts.length - 1];
    if (last && value === last[1] + 1) last[1] = value;
    else parts.push([value, value]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(", ");
}

// Plots ----------------------------------------------------------------------------------------------------

const plots = new Map(); // element → function that makes its traces and layout in the present colours

function axis(title, more = {}) {
  return {
    title: { text: title, font: { size: 12, color: css("--quiet") }, standoff: 8 },
    gridcolor: css("--grid"), linecolor: css("--line"), zeroline: false, tickfont: { size: 11, color: css("--quiet") },
    automargin: true, ...more,
  };
}

function layout(x, y, more = {}) {
  return {
    xaxis: x, yaxis: y, showlegend: false, hovermode: "closest", dragmode: false,
    margin: { l: 8, r: 12, t: 10, b: 8 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: css("--sans"), size: 12, color: css("--ink") },
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { family: css("--sans"), size: 12, color: css("--ink") }, align: "left" },
    ...more,
  };
}

function draw(element) {
  const { traces, layout } = plots.get(element)();
  return Plotly.react(element, traces, layout, { responsive: true, displayModeBar: false, doubleClick: "reset" });
}

dark.addEventListener("change", () => [...plots.keys()].forEach(draw));

/** A card with a plot in it; `make` is called again when the colour scheme changes. */
function card(title, text, make, { kind = "", legend = null, onClick = null } = {}) {
  const plot = h("div", { class: "plot", role: "img", "aria-label": `${title}. ${text}` });
  const figure = h("figure", { class: `card ${kind}` }, h("figcaption", {}, h("h3", {}, title), text && h("p", {}, text)), legend, plot);
  plots.set(plot, make);
  // Plotly measures the element, so it has to be in the page.
  queueMicrotask(() => {
    draw(plot);
    if (onClick) plot.on("plotly_click", (event) => onClick(event.points[0]));
  });
  return figure;
}

function forget(section) {
  for (const plot of section.querySelectorAll(".plot")) {
    plots.delete(plot);
    Plotly.purge(plot);
  }
}

function key(stroke, dash, symbol) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("width", 24);
  svg.setAttribute("height", 10);
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(svg.namespaceURI, "line");
  for (const [name, value] of Object.entries({ x1: 1, x2: 23, y1: 5, y2: 5, "stroke-width": 2.2, "stroke-dasharray": STROKES[dash] })) {
    line.setAttribute(name, value);
  }
  line.style.stroke = stroke;
  svg.append(line);
  return svg;
}

const varColour = (index) => (index < COLOURS ? `var(--c${index})` : colour(index));

/** Lines are told apart by colour and dash; a legend explains each once instead of every combination. */
function legend(colours, dashes = []) {
  const items = [
    ...colours.map((name, index) => h("li", {}, key(varColour(index), "solid"), name)),
    ...(dashes.length > 1 ? dashes.map((name, index) => h("li", {}, key("var(--quiet)", DASHES[index % DASHES.length]), name)) : []),
  ];
  return items.length > 1 || dashes.length > 1 ? h("ul", { class: "legend" }, items) : null;
}

const stretch = (values) => Math.max(...values) / Math.min(...values.filter((value) => value > 0));
const logarithmic = (values) => values.length > 1 && values.every((value) => value > 0) && stretch(values) > 30;

/** A batch size doubles from one to the next, so that its axis does. */
function sizeAxis(title, sizes) {
  const values = unique(sizes).sort((a, b) => a - b);
  return axis(title, { type: "log", tickmode: "array", tickvals: values, ticktext: values.map(String), range: [Math.log10(values[0]) - 0.08, Math.log10(values[values.length - 1]) + 0.08] });
}

/** From zero, or logarithmic where most would lie flat on zero. */
function valueAxis(title, values) {
  return logarithmic(values)
    ? axis(title, { type: "log", dtick: stretch(values) > 300 ? 1 : "D2", tickformat: ",~r" })
    : axis(title, { rangemode: "tozero", tickformat: "," });
}

// All cells ------------------------------------------------------------------------------------------------

const replicasName = (cell) => [cell.kind, cell.replicas === null ? "unknown replicas" : plural(cell.replicas, "replica")].filter(Boolean).join(" ");
const coresName = (cell) =>
  [cell.cpusPerReplica === null ? "unknown cores" : `${plural(cell.cpusPerReplica, "core")} each`, cell.gpus ? "on GPUs" : ""].filter(Boolean).join(" ");

/** One line for each replica count and core count; points by batch size. */
function batchCard(title, text, cells, metric, yAxis) {
  const colours = unique(cells.map(replicasName));
  const dashes = unique(cells.map(coresName));
  const make = () => {
    const lines = new Map();
    for (const cell of cells) {
      const name = `${replicasName(cell)}, ${coresName(cell)}`;
      if (!lines.has(name)) lines.set(name, []);
      if (cell[metric]) lines.get(name).push(cell);
    }
    const traces = [...lines].filter(([, own]) => own.length).map(([name, own]) => {
      own.sort((a, b) => a.batch - b.batch);
      const index = colours.indexOf(replicasName(own[0]));
      const dash = dashes.indexOf(coresName(own[0]));
      const spread = own.some((cell) => cell[metric][1] !== cell[metric][2]);
      return {
        type: "scatter", mode: "lines+markers", name,
        x: own.map((cell) => cell.batch), y: own.map((cell) => cell[metric][0]), customdata: own.map((cell) => data.cells.indexOf(cell)),
        text: own.map((cell) => cell.name),
        line: { color: colour(index), width: lines.size > COLOURS ? 1.5 : 2, dash: DASHES[dash % DASHES.length] },
        marker: { size: lines.size > COLOURS ? 5 : 7, symbol: SYMBOLS[dash % SYMBOLS.length], color: colour(index) },
        error_y: spread ? { type: "data", symmetric: false, array: own.map((cell) => cell[metric][2] - cell[metric][0]), arrayminus: own.map((cell) => cell[metric][0] - cell[metric][1]), thickness: 1.2, width: 4, color: colour(index) } : undefined,
        hovertemplate: `<b>%{text}</b><br>%{y:,.4~r} ${yAxis.unit}<extra></extra>`,
      };
    });
    const values = traces.flatMap((trace) => trace.y);
    return { traces, layout: layout(sizeAxis("largest batch (requests)", cells.map((cell) => cell.batch)), yAxis.make(values)) };
  };
  return card(title, text, make, { legend: legend(colours, dashes), onClick: (point) => chooseCell(point.customdata) });
}

const THROUGHPUT = { unit: "requests/s", make: (values) => valueAxis("throughput (requests/s)", values) };
const P99 = { unit: "ms", make: (values) => valueAxis("p99 latency (ms)", values) };

/** Every cell as a point; those that no other beats in both are marked and joined. */
function tradeOffCard(cells) {
  const front = new Set(data.fronts.flat());
  const make = () => {
    const point = (index) => data.cells[index];
    const scatter = (indices, more) => ({
      type: "scatter", mode: "markers", x: indices.map((index) => middle(point(index).throughput)), y: indices.map((index) => middle(point(index).p99)),
      text: indices.map((index) => point(index).name), customdata: indices,
      hovertemplate: "<b>%{text}</b><br>%{x:,.4~r} requests/s<br>p99 %{y:,.4~r} ms<extra></extra>", ...more,
    });
    const others = cells.map((cell) => data.cells.indexOf(cell)).filter((index) => !front.has(index));
    const fronts = data.fronts.filter((indices) => indices.length);
    const traces = [
      scatter(others, { marker: { size: 8, color: "rgba(0,0,0,0)", line: { width: 1.5, color: css("--quiet") } } }),
      ...fronts.map((indices, number) =>
        scatter(indices, {
          mode: indices.length <= 8 ? "lines+markers+text" : "lines+markers", line: { shape: "vh", color: colour(number), width: 1.5, dash: "dot" }, marker: { size: 10, color: colour(number) },
          textposition: "bottom right", textfont: { size: 11, color: css("--quiet") }, cliponaxis: false,
        })),
    ];
    const [x, y] = ["throughput", "p99"].map((metric) => cells.map((cell) => middle(cell[metric])));
    const most = Math.max(...x) * 1.25; // names are to the right of points
    const range = logarithmic(x) ? [Math.log10(Math.min(...x) / 1.25), Math.log10(most)] : [0, most];
    return { traces, layout: layout({ ...THROUGHPUT.make(x), range }, P99.make(y)) };
  };
  return card("Throughput against p99", "Right and down is better. On the marked Pareto front, no other cell is better in both.", make, { onClick: (point) => chooseCell(point.customdata) });
}

function scalingCard() {
  const batchName = (row) => [data.cells[row.cells[0]].kind, `batch ${number(data.cells[row.cells[0]].batch)}`].filter(Boolean).join(" ");
  const cores = (row) => coresName(data.cells[row.cells[0]]);
  const colours = unique(data.scaling.map(batchName));
  const dashes = unique(data.scaling.map(cores));
  const make = () => {
    const counts = data.scaling.flatMap((row) => row.cells.map((index) => data.cells[index].replicas));
    const traces = data.scaling.map((row) => {
      const index = colours.indexOf(batchName(row));
      const dash = dashes.indexOf(cores(row));
      return {
        type: "scatter", mode: "lines+markers", x: row.cells.map((cell) => data.cells[cell].replicas), y: row.efficiency, customdata: row.cells,
        text: row.cells.map((cell) => data.cells[cell].name), line: { color: colour(index), width: 2, dash: DASHES[dash % DASHES.length] },
        marker: { size: 7, color: colour(index), symbol: SYMBOLS[dash % SYMBOLS.length] }, hovertemplate: "<b>%{text}</b><br>%{y:.1%} of linear<extra></extra>",
      };
    });
    const ideal = { type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1, line: { color: css("--quiet"), width: 1, dash: "dot" } };
    const x = axis("replicas", { tickmode: "array", tickvals: unique(counts) });
    return { traces, layout: layout(x, axis("efficiency (share of linear)", { rangemode: "tozero", tickformat: ".0%" }), { shapes: [ideal] }) };
  };
  return card("Scaling over replicas", "Throughput per replica, as a share of that of the fewest replicas; the dotted line is linear.", make, { legend: legend(colours, dashes), onClick: (point) => chooseCell(point.customdata) });
}

/** Latency by percentile on a scale that gives each further nine the same room. */
function spectrumCard(title, text, lines, kind) {
  const names = lines.map((line) => line.name);
  const make = () => {
    const traces = lines.map((line, index) => ({
      type: "scatter", mode: "lines", name: line.name, x: line.spectrum.oneIn, y: line.spectrum.ms, line: { color: colour(index), width: 2 },
      customdata: line.spectrum.oneIn.map((oneIn) => `${number(100 - 100 / oneIn)} %`), hovertemplate: `<b>${escaped(line.name)}</b><br>%{customdata}: %{y:,.4~r} ms<extra></extra>`,
    }));
    const most = Math.max(...lines.flatMap((line) => line.spectrum.oneIn));
    const ticks = [[1, "0"], [2, "50"], [10, "90"], [100, "99"], [1e3, "99.9"], [1e4, "99.99"], [1e5, "99.999"], [1e6, "99.9999"], [1e7, "99.99999"]].filter(([oneIn]) => oneIn <= most);
    const x = axis("percentile (%), spaced by 1/(1 − q)", { type: "log", tickmode: "array", tickvals: ticks.map(([oneIn]) => oneIn), ticktext: ticks.map(([, name]) => name), tickangle: 0 });
    return { traces, layout: layout(x, valueAxis("latency (ms)", lines.flatMap((line) => line.spectrum.ms))) };
  };
  return card(title, text, make, { kind, legend: legend(names) });
}

const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

/** The cells whose spectrum is worth a look, as many as there are colours. */
function notable() {
  const fastest = new Map();
  for (const cell of data.cells) {
    const line = `${replicasName(cell)}, ${coresName(cell)}`;
    if (!fastest.has(line) || middle(fastest.get(line).throughput) < middle(cell.throughput)) fastest.set(line, cell);
  }
  const cells = unique([...data.fronts.flat().map((index) => data.cells[index]), ...fastest.values()]);
  return cells.filter((cell) => cell.spectrum).slice(0, COLOURS);
}

function overview() {
  const saturating = data.cells.filter((cell) => cell.offered === null && cell.batch !== null);
  const known = data.cells.filter((cell) => cell.p99);
  const shown = notable();
  document.getElementById("overview").append(
    h("h2", {}, "All cells"),
    h("div", { class: "grid" },
      saturating.length && batchCard("Throughput over batch size", "One line for each number of replicas and cores; bars reach from the least to the most of repeated runs.", saturating, "throughput", THROUGHPUT),
      saturating.some((cell) => cell.p99) && batchCard("p99 over batch size", "Of saturating runs, whose latency is the queue's: window ÷ throughput.", saturating, "p99", P99),
      known.length && tradeOffCard(known),
      data.scaling.length && scalingCard(),
      shown.length && spectrumCard("Latency spectrum", "Of cells on the Pareto front, and of the highest throughput of each number of replicas and cores; repeats taken together.", shown, data.scaling.length ? "wide" : ""),
    ),
  );
}

// The head and the table -----------------------------------------------------------------------------------

function head() {
  const models = unique(data.cells.map((cell) => cell.model));
  const machines = unique(data.environments.map((row) => `${row.cpu_model}, ${plural(row.cores, "core")}`));
  const days = unique(data.runs.map((run) => run.startedAt.slice(0, 10))).sort();
  const fastest = data.cells.reduce((best, cell) => (best && middle(best.throughput) >= middle(cell.throughput) ? best : cell), null);
  const quickest = data.cells.filter((cell) => cell.p99).reduce((best, cell) => (best && middle(best.p99) <= middle(cell.p99) ? best : cell), null);
  const figure = (name, value, unit, below) => h("div", {}, h("dt", {}, name), h("dd", { class: "value" }, value, h("small", {}, unit && ` ${unit}`)), h("dd", { class: "quiet" }, below));
  const saturated = data.runs.filter((run) => run.verdict.saturated === "yes").length;
  const period = days.length > 1 ? `${days[0]} to ${days[days.length - 1]}` : days[0];
  document.title = `${models.join(", ")} · loadgen report`;
  document.getElementById("summary").append(
    h("p", { class: "eyebrow" }, "loadgen report"),
    h("h1", {}, models.join(", ") || "Nothing was measured"),
    h("p", { class: "quiet" }, [...machines, period].filter(Boolean).join(" · ")),
    data.cells.length && h("dl", { class: "figures" },
      figure("highest throughput", number(middle(fastest.throughput)), "requests/s", fastest.name),
      quickest && figure("lowest p99", number(middle(quickest.p99)), "ms", quickest.name),
      figure("saturated", `${saturated} of ${data.runs.length}`, plural(data.runs.length, "run").replace(/^\d+ /, ""), "replicas busy 95 % or more"),
      figure("measured", String(data.cells.length), plural(data.cells.length, "cell").replace(/^\d+ /, ""), plural(data.runs.length, "run") + (data.missing.length ? `, ${data.missing.length} failed` : "")),
    ) || "",
    ...data.unreadable.map((line) => h("p", { class: "quiet" }, `Left out: ${line}`)),
  );
}

const COLUMNS = [
  ["cell", (cell) => data.cells.indexOf(cell), null],
  ["replicas", (cell) => cell.replicas, number],
  ["cores", (cell) => cell.cores, number],
  ["GPUs", (cell) => cell.gpus, number],
  ["batch", (cell) => cell.batch, number],
  ["offered /s", (cell) => middle(cell.offered), number],
  ["requests/s", (cell) => middle(cell.throughput), number],
  ["±", (cell) => (middle(cell.throughput) ? (cell.throughput[2] - cell.throughput[1]) / 2 / middle(cell.throughput) : null), (value) => percent(value, 1)],
  ["p50 ms", (cell) => middle(cell.p50), number],
  ["p99 ms", (cell) => middle(cell.p99), number],
  ["busy", (cell) => middle(cell.busy), (value) => percent(value)],
  ["saturated", (cell) => cell.saturated, String],
  ["limit", (cell) => cell.limit, String],
];

function cellsTable() {
  const repeated = data.cells.some((cell) => cell.repeats > 1);
  const columns = COLUMNS.filter(([name, value]) => (name === "±" ? repeated : name === "GPUs" ? data.cells.some(value) : name === "offered /s" ? data.cells.some((cell) => value(cell) !== null) : true));
  const front = new Set(data.fronts.flat());
  const body = h("tbody");
  const rows = data.cells.map((cell, index) => {
    const name = h("td", {}, h("button", { type: "button", onclick: () => chooseCell(index) }, cell.name),
      front.has(index) && h("span", { class: "front", title: "on the Pareto front", "aria-label": "on the Pareto front" }, "◆"));
    return { cell, row: h("tr", { "data-cell": index }, name, columns.slice(1).map(([title, value, show]) => h("td", { class: title === "saturated" || title === "limit" ? "text" : null }, show(value(cell))))) };
  });
  const missing = data.missing.map((row) => h("tr", { class: "missing" }, h("td", {}, row.cell), h("td", { class: "text", colspan: columns.length - 1 }, `not measured: ${row.reason}`)));
  const heads = columns.map(([title, value]) => {
    const head = h("th", { scope: "col", class: title === "saturated" || title === "limit" ? "text" : null });
    head.append(h("button", { type: "button", onclick: () => sort(head, value) }, title));
    return head;
  });
  function sort(head, value) {
    const falling = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    const rank = (cell) => value(cell) ?? -Infinity;
    rows.sort((a, b) => (rank(a.cell) < rank(b.cell) ? -1 : rank(a.cell) > rank(b.cell) ? 1 : 0) * (falling ? -1 : 1));
    body.append(...rows.map(({ row }) => row), ...missing);
  }
  body.append(...rows.map(({ row }) => row), ...missing);
  const drifts = data.cells.filter((cell) => cell.drift !== null).map((cell) => `${cell.name} measured again: ${cell.drift >= 0 ? "+" : "−"}${percent(Math.abs(cell.drift), 1)} throughput`);
  document.getElementById("cells").append(
    h("h2", {}, "Cells"),
    h("div", { class: "scroll", role: "region", "aria-label": "Cells", tabindex: 0 }, h("table", {}, h("thead", {}, h("tr", {}, heads)), body)),
    h("p", { class: "quiet" }, [repeated ? "Medians of repeated runs; ± is half of what lies between the least and the most." : "", front.size ? "◆ is on the Pareto front." : "", ...drifts.map((text) => `${text}.`)].filter(Boolean).join(" ")),
  );
}

// One run --------------------------------------------------------------------------------------------------

const order = data.cells.flatMap((cell, index) => cell.runs.map((run) => ({ cell: index, run })));
const runName = ({ cell, run }) => [data.cells[cell].name, data.runs[run].title].filter(Boolean).join(", ");

function chooseCell(index) {
  choose(order.findIndex((item) => item.cell === index));
  document.getElementById("run").scrollIntoView();
  document.getElementById("run").focus({ preventScroll: true });
}

let chosen = -1;

function choose(position) {
  if (position < 0 || position >= order.length || position === chosen) return;
  chosen = position;
  const section = document.getElementById("run");
  const run = data.runs[order[position].run];
  for (const row of document.querySelectorAll("#cells tr[data-cell]")) row.classList.toggle("chosen", Number(row.dataset.cell) === order[position].cell);
  history.replaceState(null, "", `#run-${position + 1}`);
  section.querySelector(".content").replaceWith((forget(section), runContent(run)));
  section.querySelector("select").value = String(position);
  section.querySelector(".before").disabled = position === 0;
  section.querySelector(".after").disabled = position === order.length - 1;
}

function runSection() {
  const options = order.map((item, position) => h("option", { value: position }, runName(item)));
  document.getElementById("run").append(
    h("div", { class: "picker" },
      h("h2", {}, "Run"),
      h("select", { "aria-label": "Run", onchange: (event) => choose(Number(event.target.value)) }, options),
      h("button", { type: "button", class: "before", "aria-label": "Run before", onclick: () => choose(chosen - 1) }, "←"),
      h("button", { type: "button", class: "after", "aria-label": "Next run", onclick: () => choose(chosen + 1) }, "→")),
    h("div", { class: "content" }),
  );
  const fastest = order.reduce((best, item, position) => (data.runs[item.run].throughput > data.runs[order[best].run].throughput ? position : best), 0);
  const wanted = () => Number((location.hash.match(/^#run-(\d+)$/) || [])[1]) - 1;
  choose(order[wanted()] ? wanted() : fastest);
  addEventListener("hashchange", () => choose(wanted()));
}

function runContent(run) {
  const line = (name, title, text, yTitle, format) => run.curves[name] && linesCard(title, text, run.curves[name], yTitle, format);
  const thirds = [
      line("throughput", "Throughput", "by logging interval", "requests/s", ","),
      line("p99", "p99 latency", "by logging interval", "ms", ","),
      line("fill", "Batch fill", "mean batch ÷ largest batch", "share", ".0%"),
      line("queue", "Queue length", "queries waiting in the frontend", "queries", ","),
      line("cpu", "CPU", "of each process; 100 % is one core", "share of a core", ".0%"),
      line("gpu", "GPU", "utilisation", "share", ".0%"),
      run.spectrum && spectrumCard("Latency spectrum", "of all answers of the measured part", [{ name: "this run", spectrum: run.spectrum }], "third"),
  ].filter(Boolean);
  // What comes after them fills the row that they leave open.
  const open = ["", "two-thirds", "third"][thirds.length % 3];
  const rest = run.stages.length ? [stagesCard(run, open), placementCard(run, open ? "wide" : "")] : [placementCard(run, open || "wide")];
  return h("div", { class: "content" }, verdict(run), h("div", { class: "grid" }, thirds, rest), environment(run));
}

function verdict(run) {
  const tone = run.error ? "failed" : run.verdict.saturated;
  const counts = Object.entries(run.counts).filter(([name, count]) => count && name !== "sent").map(([name, count]) => `${count.toLocaleString("en-US")} ${name.replace("_", " ")}`);
  const latency = Object.entries(run.latency).map(([name, value]) => `${name} ${number(value)}`).join(" · ");
  return h("div", { class: `verdict ${tone}` },
    run.error && h("p", {}, h("b", {}, "Did not end as asked: "), run.error),
    h("p", {}, h("b", {}, "Saturated: "), run.verdict.text),
    h("p", { class: "quiet" }, `${number(run.throughput)} requests/s over ${number(run.seconds)} s · latency ms: ${latency}`),
    h("p", { class: "quiet" }, `${run.counts.sent.toLocaleString("en-US")} sent: ${counts.join(", ") || "none answered"} · ${run.arrivals ?? `window ${run.window.toLocaleString("en-US")}`}`),
    run.notes.length > 0 && h("ul", {}, run.notes.map((note) => h("li", {}, note))));
}

function linesCard(title, text, curves, yTitle, format) {
  const names = Object.keys(curves.lines);
  const make = () => {
    const traces = names.map((name, index) => ({
      type: "scatter", mode: curves.at.length > 40 ? "lines" : "lines+markers", name, x: curves.at, y: curves.lines[name],
      line: { color: colour(index), width: 2 }, marker: { size: 5, color: colour(index) }, hovertemplate: `<b>${escaped(name)}</b><br>%{x} s: %{y:${format === "," ? ",.4~r" : ".1%"}}<extra></extra>`,
    }));
    return { traces, layout: layout(axis("time (s)", { rangemode: "tozero" }), axis(yTitle, { rangemode: "tozero", tickformat: format, nticks: 5 })) };
  };
  return card(title, text, make, { kind: "third", legend: legend(names) });
}

function stagesCard(run, kind) {
  const total = run.budget.reduce((sum, stage) => sum + stage.mean_ms, 0);
  const share = (stage) => percent(stage.mean_ms / total, 1);
  const bar = run.budget.length > 0 && h("div", { class: "budget", role: "img", "aria-label": run.budget.map((stage) => `${stage.name} ${share(stage)}`).join(", ") },
    run.budget.map((stage, index) => h("span", { style: `flex-grow:${stage.mean_ms / total};background:${varColour(index)}`, title: `${stage.name} ${share(stage)}` })));
  const key = run.budget.length > 0 && h("ul", { class: "legend" }, run.budget.map((stage, index) => h("li", {}, h("span", { class: "swatch", style: `background:${varColour(index)}` }), `${stage.name} ${number(stage.mean_ms)} ms (${share(stage)})`)));
  const rows = run.stages.map((stage) => h("tr", {}, h("td", {}, stage.name), [stage.mean_ms, stage.p50_ms, stage.p99_ms].map((value) => h("td", {}, number(value)))));
  return h("figure", { class: `card top ${kind}` },
    h("figcaption", {}, h("h3", {}, "Where the time went"), h("p", {}, "A mean request; RPC and compute are means over batches.")), bar, key,
    h("div", { class: "inner" }, h("table", {}, h("thead", {}, h("tr", {}, ["stage", "mean ms", "p50 ms", "p99 ms"].map((title) => h("th", { scope: "col" }, title)))), h("tbody", {}, rows))));
}

/** Cores as squares: tinted by who runs there, filled as far as they were busy. */
function placementCard(run, kind) {
  const roles = run.placement.map((row) => row.role);
  const nodes = unique(run.placement.map((row) => row.node));
  const short = (role) => role.replace(/^replica-/, "r").replace(/frontends?$/, "fe");
  const square = (label, owners, share) => {
    const colours = owners.map((row) => varColour(roles.indexOf(row.role)));
    const paint = colours.length > 1 ? `linear-gradient(90deg, ${colours.map((c, i) => `${c} ${(100 * i) / colours.length}% ${(100 * (i + 1)) / colours.length}%`).join(", ")})` : colours[0];
    const names = owners.map((row) => row.role).join(", ") || "not used";
    const busy = share === undefined ? "" : `, busy ${percent(share)}`;
    return h("div", { class: `core ${owners.length ? "" : "free"}`, title: `${label}: ${names}${busy}` },
      owners.length > 0 && h("span", { class: "tint", style: `background:${paint}` }),
      owners.length > 0 && share !== undefined && h("span", { class: "fill", style: `height:${100 * share}%;background:${paint}` }),
      h("span", { class: "top" }, h("b", {}, label), share !== undefined && h("span", {}, percent(share))), owners.map((row) => short(row.role)).join(" "));
  };
  const maps = nodes.map((node, number) => {
    const rows = run.placement.filter((row) => row.node === node);
    const usable = number === 0 ? data.environments[run.environment].usable_cores : [];
    const taken = unique(rows.flatMap((row) => row.cores));
    const free = usable.filter((core) => !taken.includes(core));
    const cores = [...taken, ...(free.length > FEW ? [] : free)].sort((a, b) => a - b);
    const gpus = unique(rows.map((row) => row.gpu).filter((gpu) => gpu !== null)).sort((a, b) => a - b);
    return [nodes.length > 1 && h("p", {}, node), h("div", { class: "cores" },
      cores.map((core) => square(String(core), rows.filter((row) => row.cores.includes(core)), run.coreShares[core])),
      gpus.map((gpu) => square(`GPU ${gpu}`, rows.filter((row) => row.gpu === gpu)))),
      free.length > FEW && h("p", { class: "quiet" }, `Not used: cores ${ranges(free)}`)];
  });
  const used = run.processes;
  const titles = ["process", "cores", "GPU", "shared", ...(Object.keys(used).length ? ["CPU", "memory"] : [])];
  const table = h("table", {}, h("thead", {}, h("tr", {}, titles.map((title) => h("th", { scope: "col" }, title)))), h("tbody", {}, run.placement.map((row) => h("tr", {},
    h("td", {}, h("span", { class: "swatch", style: `background:${varColour(roles.indexOf(row.role))}` }), ` ${row.role}`),
    h("td", {}, ranges(row.cores) || "–"), h("td", {}, row.gpu === null ? "–" : String(row.gpu)), h("td", {}, row.shared ? "yes" : "–"),
    titles.length > 4 && [h("td", {}, percent(used[row.role] && used[row.role].cpu)), h("td", {}, used[row.role] ? bytes(used[row.role].bytes) : "–")]))));
  return h("figure", { class: `card top ${kind}` }, h("figcaption", {}, h("h3", {}, "Placement"), h("p", {}, "Cores, by who runs there; the fill is how busy each was.")), maps, h("div", { class: "inner" }, table));
}

function environment(run) {
  const row = data.environments[run.environment];
  const pairs = {
    model: `${run.model.name}, ${run.model.framework}, weights ${run.model.weights}`, inputs: run.inputs, started: run.startedAt, ended: run.ended, file: run.file,
    machine: `${row.cpu_model}, ${plural(row.cores, "core")}, ${bytes(row.memory_bytes)}`, "usable cores": ranges(row.usable_cores), system: row.platform, python: row.python,
    packages: Object.entries(row.packages).map((pair) => pair.join(" ")).join(", "), variables: Object.entries(row.variables).map((pair) => pair.join("=")).join(", "), commit: row.git_commit,
  };
  return h("details", {}, h("summary", {}, "Environment"),
    h("dl", { class: "pairs" }, Object.entries(pairs).filter(([, text]) => text).map(([name, text]) => [h("dt", {}, name), h("dd", {}, text)])),
    h("pre", {}, run.command.join(" ")));
}

head();
if (data.cells.length) overview();
if (data.cells.length || data.missing.length) cellsTable();
if (order.length) runSection();
