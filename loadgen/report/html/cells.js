// All cells: the head, the plots over them, and their table.

const validCells = data.cells.filter((cell) => !cell.invalid);
const front = new Set(data.fronts.flat());
const numberOf = (cell) => data.cells.indexOf(cell);

const replicasName = ({ kind, replicas }) =>
  words(kind, known(replicas) ? plural(replicas, "replica") : "unknown replicas");
const coresName = ({ cpusPerReplica, gpus }) =>
  words(known(cpusPerReplica) ? `${plural(cpusPerReplica, "core")} each` : "unknown cores", gpus ? "on GPUs" : "");
const lineName = (cell) => `${replicasName(cell)}, ${coresName(cell)}`;

// The head -------------------------------------------------------------------------------------------------

function head() {
  const models = unique(data.cells.map((cell) => cell.model)).join(", ");
  const machines = unique(
    data.environments.map((row) => row.cores > 0 && `${row.cpu_model}, ${plural(row.cores, "core")}`),
  );
  const days = unique(data.runs.map((run) => run.startedAt.slice(0, 10))).sort();
  const period = days.length > 1 ? `${days[0]} to ${days[days.length - 1]}` : days[0];
  document.title = `${models} · loadgen report`;
  document.getElementById("summary").append(
    h("p", { class: "eyebrow" }, "loadgen report"),
    h("h1", {}, models || "Nothing was measured"),
    h("p", { class: "quiet" }, [...machines, period].filter(Boolean).join(" · ")),
    ...(data.cells.length ? [h("dl", { class: "figures" }, figures())] : []),
    ...data.unreadable.map((line) => h("p", { class: "quiet" }, `Left out: ${line}`)),
  );
}

function figures() {
  const figure = (name, value, unit, below) =>
    h(
      "div",
      {},
      h("dt", {}, name),
      h("dd", { class: "value" }, value, h("small", {}, ` ${unit}`)),
      h("dd", { class: "quiet" }, below),
    );
  const most = (cells, value) => cells.reduce((best, cell) => (value(cell) > value(best) ? cell : best));
  const fastest = validCells.length > 0 && most(validCells, (cell) => middle(cell.throughput));
  const timed = validCells.filter((cell) => cell.p99);
  const quickest = timed.length > 0 && most(timed, (cell) => -middle(cell.p99));
  const valid = data.runs.filter((run) => !run.invalid);
  const saturated = valid.filter((run) => run.verdict.saturated === "yes").length;
  const invalid = data.runs.length - valid.length;
  const others = [invalid && `${invalid} invalid`, data.missing.length && `${data.missing.length} failed`];
  const runs = [plural(data.runs.length, "run"), ...others].filter(Boolean).join(", ");
  return [
    fastest && figure("highest throughput", number(middle(fastest.throughput)), "requests/s", fastest.name),
    quickest && figure("lowest p99", number(middle(quickest.p99)), "ms", quickest.name),
    figure("saturated", `${saturated} of ${valid.length}`, "valid runs", "replicas always busy with full batches"),
    figure("measured", String(data.cells.length), "cells", runs),
  ];
}

// Plots ----------------------------------------------------------------------------------------------------

function overview() {
  const saturating = validCells.filter((cell) => !cell.offered && known(cell.batch));
  const timed = validCells.filter((cell) => cell.p99);
  const waiting = saturating.filter((cell) => cell.p99);
  const shown = notable();
  const cards = [
    saturating.length > 1 &&
      batchCard(
        "Throughput over batch size",
        "A line for each number of replicas and cores; bars reach from the least to the most of repeated runs.",
        saturating,
        "throughput",
        THROUGHPUT,
      ),
    waiting.length > 1 &&
      batchCard(
        "p99 over batch size",
        "Of saturating runs, whose latency is the queue's: window ÷ throughput.",
        waiting,
        "p99",
        P99,
      ),
    timed.length > 1 && tradeOffCard(timed),
    data.scaling.length > 0 && scalingCard(),
  ].filter(Boolean);
  if (shown.length > 1) {
    const text = `Of at most ${COLOURS} cells: first the Pareto front, then the fastest of each number of replicas and cores.`;
    cards.push(spectrumCard("Latency spectrum", text, shown, cards.length % 2 ? "" : "wide"));
  }
  if (!cards.length) return;
  document.getElementById("overview").append(h("h2", {}, "All cells"), h("div", { class: "grid" }, cards));
}

const THROUGHPUT = { unit: "requests/s", axis: (values) => valueAxis("throughput (requests/s)", values) };
const P99 = { unit: "ms", axis: (values) => valueAxis("p99 latency (ms)", values) };

/** One line for each replica count and core count; points by batch size. */
function batchCard(title, text, cells, metric, { unit, axis }) {
  const colours = unique(cells.map(replicasName));
  const dashes = unique(cells.map(coresName));
  const make = () => {
    const traces = unique(cells.map(lineName)).map((name) => {
      const own = cells.filter((cell) => lineName(cell) === name).sort((a, b) => a.batch - b.batch);
      const [x, y] = [own.map((cell) => cell.batch), own.map((cell) => middle(cell[metric]))];
      const index = colours.indexOf(replicasName(own[0]));
      return line(name, x, y, index, dashes.indexOf(coresName(own[0])), {
        text: own.map((cell) => escaped(cell.name)),
        customdata: own.map(numberOf),
        error_y: bars(own.map((cell) => cell[metric]), colour(index)),
        hovertemplate: `<b>%{text}</b><br>%{y:,.4~r} ${unit}<extra></extra>`,
      });
    });
    const sizes = sizeAxis("largest batch (requests)", cells.map((cell) => cell.batch));
    return { traces, layout: layout(sizes, axis(traces.flatMap((trace) => trace.y))) };
  };
  return card(title, text, make, { legend: legend(colours, dashes), onClick: chooseCell });
}

/** From the least to the most, where there is more than one. */
function bars(spreads, color) {
  if (spreads.every(([, low, high]) => low === high)) return undefined;
  const [array, arrayminus] = [spreads.map(([mid, , high]) => high - mid), spreads.map(([mid, low]) => mid - low)];
  return { type: "data", symmetric: false, array, arrayminus, color, thickness: 1.2, width: 4 };
}

/** Every cell as a point; those that no other beats in both are marked and joined. */
function tradeOffCard(cells) {
  const points = (numbers, more) => ({
    type: "scatter",
    x: numbers.map((index) => middle(data.cells[index].throughput)),
    y: numbers.map((index) => middle(data.cells[index].p99)),
    text: numbers.map((index) => escaped(data.cells[index].name)),
    customdata: numbers,
    hovertemplate: "<b>%{text}</b><br>%{x:,.4~r} requests/s<br>p99 %{y:,.4~r} ms<extra></extra>",
    ...more,
  });
  const named = (numbers) => numbers.length <= 8 && numbers.every((index) => data.cells[index].name.length <= 18);
  const make = () => {
    const others = cells.map(numberOf).filter((index) => !front.has(index));
    const hollow = { size: 8, color: "rgba(0,0,0,0)", line: { width: 1.5, color: css("--quiet") } };
    const fronts = data.fronts.filter((numbers) => numbers.length);
    const traces = [
      points(others, { mode: "markers", marker: hollow }),
      ...fronts.map((numbers, index) =>
        points(numbers, {
          mode: named(numbers) ? "lines+markers+text" : "lines+markers",
          line: { shape: "vh", color: colour(index), width: 1.5, dash: "dot" },
          marker: { size: 10, color: colour(index) },
          textposition: "bottom right",
          textfont: faint(11),
          cliponaxis: false,
        }),
      ),
    ];
    const [x, y] = ["throughput", "p99"].map((metric) => cells.map((cell) => middle(cell[metric])));
    const most = Math.max(...x) * 1.25; // names are to the right of their points
    const range = logarithmic(x) ? [Math.log10(Math.min(...x) / 1.25), Math.log10(most)] : [0, most];
    return { traces, layout: layout({ ...THROUGHPUT.axis(x), range }, P99.axis(y)) };
  };
  const text = "Right and down is better. On the marked Pareto front, no other cell is better in both.";
  return card("Throughput against p99", text, make, { onClick: chooseCell });
}

function scalingCard() {
  const first = (row) => data.cells[row.cells[0]];
  const batchName = (row) => words(first(row).kind, `batch ${number(first(row).batch)}`);
  const colours = unique(data.scaling.map(batchName));
  const dashes = unique(data.scaling.map((row) => coresName(first(row))));
  const make = () => {
    const traces = data.scaling.map((row) => {
      const cells = row.cells.map((index) => data.cells[index]);
      const replicas = cells.map((cell) => cell.replicas);
      const dash = dashes.indexOf(coresName(first(row)));
      return line(batchName(row), replicas, row.efficiency, colours.indexOf(batchName(row)), dash, {
        text: cells.map((cell) => escaped(cell.name)),
        customdata: row.cells,
        hovertemplate: "<b>%{text}</b><br>%{y:.1%} of linear<extra></extra>",
      });
    });
    const linear = { type: "line", xref: "paper", x0: 0, x1: 1, y0: 1, y1: 1 };
    const shapes = [{ ...linear, line: { color: css("--quiet"), width: 1, dash: "dot" } }];
    const x = axis("replicas", { tickmode: "array", tickvals: unique(traces.flatMap((trace) => trace.x)) });
    const y = axis("efficiency (share of linear)", { rangemode: "tozero", tickformat: ".0%" });
    return { traces, layout: layout(x, y, { shapes }) };
  };
  const text = "Throughput per replica, as a share of that of the fewest replicas; the dotted line is linear.";
  return card("Scaling over replicas", text, make, { legend: legend(colours, dashes), onClick: chooseCell });
}

/** As many cells as there are colours, those first whose spectrum is most worth a look. */
function notable() {
  const fastest = new Map();
  for (const cell of validCells) {
    const other = fastest.get(lineName(cell));
    if (!other || middle(other.throughput) < middle(cell.throughput)) fastest.set(lineName(cell), cell);
  }
  const marked = [...front].map((index) => data.cells[index]);
  const cells = unique([...marked, ...fastest.values(), ...validCells]);
  return cells.filter((cell) => cell.spectrum).slice(0, COLOURS);
}

// The table ------------------------------------------------------------------------------------------------

const halfWidth = (spread) => (spread && spread[0] ? (spread[2] - spread[1]) / 2 / spread[0] : null);

/** A latency, marked where it has no interval. */
const uncertain = (metric) => (ms, cell) => (cell.uncertain.includes(metric) ? `~${number(ms)}` : number(ms));

/** Title, value to sort by, how it is shown, and why; words are to the left. */
const COLUMNS = [
  { title: "cell", value: numberOf },
  { title: "replicas", value: (cell) => cell.replicas, show: number },
  { title: "cores", value: (cell) => cell.cores, show: number },
  { title: "GPUs", value: (cell) => cell.gpus, show: number, wanted: (cell) => cell.gpus },
  { title: "batch", value: (cell) => cell.batch, show: number },
  { title: "offered /s", value: (cell) => middle(cell.offered), show: number, wanted: (cell) => cell.offered },
  { title: "requests/s", value: (cell) => middle(cell.throughput), show: number },
  {
    title: "±",
    value: (cell) => halfWidth(cell.throughput),
    show: (share) => percent(share, 1),
    wanted: (cell) => cell.repeats > 1,
  },
  { title: "p50 ms", value: (cell) => middle(cell.p50), show: uncertain("p50") },
  { title: "p99 ms", value: (cell) => middle(cell.p99), show: uncertain("p99") },
  {
    title: "p99 ±",
    value: (cell) => halfWidth(cell.p99),
    show: (share) => percent(share, 1),
    wanted: (cell) => cell.repeats > 1,
  },
  { title: "busy", value: (cell) => middle(cell.busy), show: (share) => percent(share) },
  {
    title: "saturated",
    value: (cell) => (cell.invalid ? "invalid" : cell.saturated),
    text: true,
    why: (cell) => cell.invalid,
  },
  { title: "limit", value: (cell) => cell.limit, text: true },
].filter(({ wanted }) => !wanted || data.cells.some(wanted));

function cellsTable() {
  const rows = data.cells.map((cell, index) => ({ cell, row: cellRow(cell, index) }));
  const missing = data.missing.map(({ cell, reason }) => {
    const text = h("td", { class: "text", colspan: COLUMNS.length - 1 }, `not measured: ${reason}`);
    return h("tr", { class: "missing" }, h("td", {}, cell), text);
  });
  const body = h("tbody", {}, rows.map(({ row }) => row), missing);
  const heads = COLUMNS.map(({ title, value, text }) => {
    const head = h("th", { scope: "col", class: text ? "text" : null });
    head.append(h("button", { type: "button", onclick: () => sort(heads, head, rows, value, body) }, title));
    return head;
  });
  const scroll = { class: "scroll", role: "region", "aria-label": "Cells", tabindex: 0 };
  document
    .getElementById("cells")
    .append(
      h("h2", {}, "Cells"),
      h("div", scroll, h("table", {}, h("thead", {}, h("tr", {}, heads)), body)),
      h("p", { class: "quiet" }, remarks().join(" ")),
    );
}

function cellRow(cell, index) {
  const mark = { class: "front", title: "on the Pareto front", "aria-label": "on the Pareto front" };
  const name = h("button", { type: "button", onclick: () => chooseCell(index) }, cell.name);
  const others = COLUMNS.slice(1).map(({ value, show, text, why }) =>
    h("td", { class: text ? "text" : null, title: why && why(cell) }, show ? show(value(cell), cell) : value(cell)),
  );
  return h("tr", { "data-cell": index }, h("td", {}, name, front.has(index) && h("span", mark, "◆")), others);
}

/** Rising, or falling where it was rising already; what was not measured stays at the end. */
function sort(heads, head, rows, value, body) {
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  heads.forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
  const rank = (cell) => value(cell) ?? -Infinity;
  rows.sort((a, b) => (rank(a.cell) < rank(b.cell) ? -sign : rank(a.cell) > rank(b.cell) ? sign : 0));
  body.prepend(...rows.map(({ row }) => row));
}

function remarks() {
  const repeated = data.cells.some((cell) => cell.repeats > 1);
  return [
    repeated && "Medians of repeated runs; ± is half of what lies between the least and the most.",
    front.size && "◆ is on the Pareto front.",
    ...data.cells.map((cell) => cell.leftOut && `${cell.leftOut}.`),
    ...data.remarks.map((text) => `${text}.`),
    data.cells.some((cell) => cell.uncertain.length) && "~ too few independent answers for an interval.",
  ].filter(Boolean);
}
