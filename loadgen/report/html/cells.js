// All cells: the head, the plots over them, and their table.

const ownCells = data.cells.filter((cell) => cell.own); // without probes and rounds, which have tables of their own
const validCells = ownCells.filter((cell) => !cell.invalid);
const atRate = (cell) => cell.latencyOf === "rate";
const front = new Set(data.fronts.flatMap((row) => row.cells));
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
  const [first, ...others] = data.answers;
  document.getElementById("summary").append(
    h("p", { class: "eyebrow" }, ["loadgen report", models].filter(Boolean).join(" · ")),
    h("h1", {}, first ? sentence(first) : models || "Nothing was measured"),
    ...(first ? [answer(first)] : []),
    ...others.map((other) => h("section", { class: "answer" }, h("h2", {}, sentence(other)), answer(other))),
    h("p", { class: "quiet" }, [...machines, period].filter(Boolean).join(" · ")),
    ...(ownCells.length ? [h("dl", { class: "figures" }, figures())] : []),
    ...data.unreadable.map((line) => h("p", { class: "quiet" }, `Left out: ${line}`)),
  );
}

const sentence = ({ known, text }) =>
  known ? `Deploy ${text}` : text.startsWith("not known") ? `What to deploy is ${text}` : `Deploy: ${text}`;

/** What speaks for it, and the command that finds out what is not known. */
function answer({ facts, command }) {
  return h(
    "div",
    {},
    facts.length > 0 && h("dl", { class: "pairs" }, facts.map(([name, text]) => [h("dt", {}, name), h("dd", {}, text)])),
    command && h("p", { class: "quiet" }, "This command finds out:"),
    command && h("pre", {}, command),
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
  const most = (cells, value) =>
    cells.length > 0 && cells.reduce((best, cell) => (value(cell) > value(best) ? cell : best));
  const fastest = most(validCells, (cell) => middle(cell.throughput));
  const thriftiest = most(validCells.filter((cell) => cell.cores && !cell.gpus), perCore);
  const quickest = most(validCells.filter((cell) => atRate(cell) && cell.p99), (cell) => -middle(cell.p99));
  const valid = data.runs.filter((run) => !run.invalid);
  const saturated = valid.filter((run) => run.verdict.saturated === "yes").length;
  const invalid = data.runs.length - valid.length;
  const others = [invalid && `${invalid} invalid`, data.missing.length && `${data.missing.length} failed`];
  const runs = [plural(data.runs.length, "run"), ...others].filter(Boolean).join(", ");
  const mark = quickest && quickest.uncertain.includes("p99") ? "~" : "";
  return [
    fastest && figure("highest throughput", number(middle(fastest.throughput)), "requests/s", fastest.name),
    thriftiest && figure("highest throughput per core", number(perCore(thriftiest)), "requests/s", thriftiest.name),
    quickest && figure("lowest p99 at a rate", `${mark}${number(middle(quickest.p99))}`, "ms", quickest.name),
    figure("saturated", `${saturated} of ${valid.length}`, "valid runs", "replicas always busy with full batches"),
    figure("measured", String(data.cells.length), data.cells.length === 1 ? "cell" : "cells", runs),
  ];
}

// Plots ----------------------------------------------------------------------------------------------------

const perCore = (cell) => middle(cell.throughput) / cell.cores;

function overview() {
  const saturating = validCells.filter((cell) => !cell.offered && known(cell.batch));
  const batches = unique(saturating.map((cell) => cell.batch)).length;
  const onCores = validCells.filter((cell) => !cell.offered && cell.cores && !cell.gpus);
  const onGpus = validCells.filter((cell) => !cell.offered && cell.gpus);
  const rates = validCells.filter((cell) => cell.offered && cell.p99);
  const shown = notable();
  const cards = [
    batches > 1 &&
      batchCard(
        "Throughput over batch size",
        "A line for each number of replicas and cores; bars reach from the least to the most of repeated runs.",
        saturating,
        (cell) => cell.throughput,
        THROUGHPUT,
      ),
    batches > 1 &&
      onCores.length > 1 &&
      batchCard(
        "Throughput per core",
        "Of the replicas' cores, over batch size: higher is cheaper.",
        onCores.filter((cell) => known(cell.batch)),
        (cell) => cell.throughput.map((value) => value / cell.cores),
        PER_CORE,
      ),
    unique(onCores.map((cell) => cell.cores)).length > 1 && costCard("cores", "Throughput against cores", onCores),
    unique(onGpus.map((cell) => cell.gpus)).length > 1 && costCard("gpus", "Throughput against GPUs", onGpus),
    rates.length > 1 && rateCard(rates),
    data.scaling.length > 0 && scalingCard(),
  ].filter(Boolean);
  if (shown.length > 1 && !data.pair) {
    const text = `Of at most ${COLOURS} cells: first those that no other beats, then the fastest of each number of replicas and cores.`;
    cards.push(spectrumCard("Latency spectrum", text, shown, cards.length % 2 ? "" : "wide"));
  }
  if (!cards.length) return;
  document.getElementById("overview").append(h("h2", {}, "All cells"), h("div", { class: "grid" }, cards));
}

const THROUGHPUT = { unit: "requests/s", axis: (values) => valueAxis("throughput (requests/s)", values) };
const PER_CORE = { unit: "requests/s per core", axis: (values) => valueAxis("throughput per core (requests/s)", values) };
const P99 = { unit: "ms", axis: (values) => valueAxis("p99 latency (ms)", values) };

/** One line for each replica count and core count; points by batch size; `spread` is of a cell. */
function batchCard(title, text, cells, spread, { unit, axis }) {
  const colours = unique(cells.map(replicasName));
  const dashes = unique(cells.map(coresName));
  const make = () => {
    const traces = unique(cells.map(lineName)).map((name) => {
      const own = cells.filter((cell) => lineName(cell) === name).sort((a, b) => a.batch - b.batch);
      const [x, y] = [own.map((cell) => cell.batch), own.map((cell) => middle(spread(cell)))];
      const index = colours.indexOf(replicasName(own[0]));
      return line(name, x, y, index, dashes.indexOf(coresName(own[0])), {
        text: own.map((cell) => escaped(cell.name)),
        customdata: own.map(numberOf),
        error_y: bars(own.map(spread), colour(index)),
        hovertemplate: `<b>%{text}</b><br>batch %{x}: %{y:,.4~r} ${unit}<extra></extra>`,
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

/** Throughput by what it costs; those that no other beats in both are marked and joined. */
function costCard(cost, title, cells) {
  const unit = cost === "gpus" ? "GPUs" : "cores";
  const points = (numbers, more) => ({
    type: "scatter",
    x: numbers.map((index) => data.cells[index][cost]),
    y: numbers.map((index) => middle(data.cells[index].throughput)),
    text: numbers.map((index) => escaped(data.cells[index].name)),
    customdata: numbers,
    hovertemplate: `<b>%{text}</b><br>%{x} ${unit}: %{y:,.4~r} requests/s<extra></extra>`,
    ...more,
  });
  const fronts = data.fronts.filter((row) => row.cost === cost).map((row) => row.cells);
  const models = fronts.map(([index]) => data.cells[index].model);
  const named = (numbers) => numbers.length <= 8 && numbers.every((index) => data.cells[index].name.length <= 18);
  const make = () => {
    const others = cells.map(numberOf).filter((index) => !fronts.flat().includes(index));
    const hollow = { size: 8, color: "rgba(0,0,0,0)", line: { width: 1.5, color: css("--quiet") } };
    const traces = [
      points(others, { mode: "markers", marker: hollow }),
      ...fronts.map((numbers, index) =>
        points(numbers, {
          mode: named(numbers) ? "lines+markers+text" : "lines+markers",
          line: { shape: "hv", color: colour(index), width: 1.5, dash: DASHES[index % DASHES.length] },
          marker: { size: 10, color: colour(index), symbol: SYMBOLS[index % SYMBOLS.length] },
          textposition: "top left",
          textfont: faint(11),
          cliponaxis: false,
        }),
      ),
    ];
    const used = unique(cells.map((cell) => cell[cost])).sort((a, b) => a - b);
    const ticks = used.length > 6 ? {} : { tickmode: "array", tickvals: used };
    const x = axis(`${unit} of the replicas`, { range: [0, used[used.length - 1] * 1.08], ...ticks });
    return { traces, layout: layout(x, THROUGHPUT.axis(cells.map((cell) => middle(cell.throughput)))) };
  };
  const text = `Left and up is better. No other cell has both more throughput and fewer ${unit} than the joined ones.`;
  return card(title, text, make, { legend: legend(models), onClick: chooseCell });
}

/** Open loops: what users wait at each rate. Those that were not carried are hollow: their latency is a queue's. */
function rateCard(cells) {
  const nameOf = (cell) => words(lineName(cell), known(cell.batch) ? `batch ${cell.batch}` : "");
  const names = unique(cells.map(nameOf));
  const make = () => {
    const traces = names.map((name, index) => {
      const own = cells.filter((cell) => nameOf(cell) === name).sort((a, b) => middle(a.offered) - middle(b.offered));
      const [x, y] = [own.map((cell) => middle(cell.offered)), own.map((cell) => middle(cell.p99))];
      const symbol = SYMBOLS[index % SYMBOLS.length];
      return line(name, x, y, index, index, {
        text: own.map((cell) => escaped(cell.name)),
        customdata: own.map(numberOf),
        marker: { size: 8, color: colour(index), symbol: own.map((cell) => (atRate(cell) ? symbol : `${symbol}-open`)) },
        error_y: bars(own.map((cell) => cell.p99), colour(index)),
        hovertemplate: own.map(
          (cell) => `<b>%{text}</b><br>%{x:,.4~r} requests/s<br>${atRate(cell) ? "" : "queue's "}p99 %{y:,.4~r} ms<extra></extra>`,
        ),
      });
    });
    const [x, y] = ["offered", "p99"].map((metric) => cells.map((cell) => middle(cell[metric])));
    return { traces, layout: layout(valueAxis("offered rate (requests/s)", x), P99.axis(y)) };
  };
  const text = "Of open loops. Hollow: the rate was not carried, so that the p99 is that of a growing queue.";
  return card("p99 against rate", text, make, { legend: legend(names), onClick: chooseCell });
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

/** A name, with what its latencies are of where that is not users at a rate. */
const labelled = (name, latencyOf) => (latencyOf === "rate" ? name : `${name} (${latencyOf})`);

/** As many cells as there are colours, those first whose spectrum is most worth a look: users' at a rate. */
function notable() {
  const fastest = new Map();
  for (const cell of validCells) {
    const other = fastest.get(lineName(cell));
    if (!other || middle(other.throughput) < middle(cell.throughput)) fastest.set(lineName(cell), cell);
  }
  const marked = [...front].map((index) => data.cells[index]);
  const cells = unique([...marked.filter(atRate), ...marked, ...fastest.values(), ...validCells]);
  const named = (cell) => ({ name: labelled(cell.name, cell.latencyOf), spectrum: cell.spectrum });
  return cells.filter((cell) => cell.spectrum).slice(0, COLOURS).map(named);
}

// The table ------------------------------------------------------------------------------------------------

const halfWidth = (spread) => (spread && spread[0] ? (spread[2] - spread[1]) / 2 / spread[0] : null);

/** A latency, marked where it has no interval, and where it is not that of users at a rate. */
const MARKS = { queue: "q", window: "w", rate: "" };
const uncertain = (metric) => (ms, cell) =>
  known(ms) ? `${cell.uncertain.includes(metric) ? "~" : ""}${number(ms)}${MARKS[cell.latencyOf]}` : "–";

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
].filter(({ wanted }) => !wanted || ownCells.some(wanted));

function cellsTable() {
  const rows = ownCells.map((cell) => ({ cell, row: cellRow(cell, numberOf(cell)) }));
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
      h("ul", { class: "quiet remarks" }, remarks().map((text) => h("li", {}, text))),
    );
}

function cellRow(cell, index) {
  const mark = { class: "front", title: "no other cell beats it", "aria-label": "no other cell beats it" };
  const name = h("button", { type: "button", onclick: () => chooseCell(index) }, cell.name);
  const others = COLUMNS.slice(1).map(({ title, value, show, text, why }) =>
    h(
      "td",
      { class: text ? "text" : null, title: why && why(cell), "data-title": title },
      show ? show(value(cell), cell) : value(cell),
    ),
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
  const repeated = ownCells.some((cell) => cell.repeats > 1);
  const kinds = unique(ownCells.map((cell) => cell.latencyOf));
  return [
    repeated && "Medians of repeated runs; ± is half of what lies between the least and the most.",
    front.size && "◆ no other cell has both more throughput and fewer cores, or in open loops a lower p99.",
    ...ownCells.map((cell) => cell.leftOut && `${cell.leftOut}.`),
    ...data.remarks.map((text) => `${text}.`),
    ownCells.some((cell) => cell.uncertain.length) && "~ too few independent answers for an interval.",
    ...data.marks.filter((_, index) => kinds.includes(["queue", "window"][index])).map(([, text]) => `${text}.`),
  ].filter(Boolean);
}

// Searches and comparisons ---------------------------------------------------------------------------------

const OUTCOMES = { pass: "circle", fail: "x", unstable: "triangle-up", undecided: "diamond-open", invalid: "circle-open" };

/** Each search for capacity: its objective, its rate with interval, and all of its probes. */
function searches() {
  if (!data.searches.length) return;
  const parts = data.searches.map((search) => [
    h("h3", {}, `${search.model} with ${search.objective}`),
    h("p", {}, search.answer),
    h("p", { class: "quiet" }, search.directory),
    h("div", { class: "grid" }, probesCard(search), probesTable(search)),
  ]);
  document.getElementById("searches").append(h("h2", {}, "Searches for capacity"), ...parts.flat());
}

function probesCard({ probes, interval }) {
  const make = () => {
    const outcomes = unique(probes.map((probe) => probe.outcome));
    const traces = outcomes.map((outcome, index) => {
      const numbers = probes.map((_, at) => at).filter((at) => probes[at].outcome === outcome);
      return {
        type: "scatter",
        mode: "markers",
        name: outcome,
        x: numbers.map((at) => at + 1),
        y: numbers.map((at) => probes[at].rate),
        text: numbers.map((at) => escaped(`${probes[at].step}: ${outcome}`)),
        customdata: numbers.map((at) => probes[at].cell),
        marker: { size: 10, symbol: OUTCOMES[outcome] || "square-open", color: colour(index), line: { width: 2, color: colour(index) } },
        hovertemplate: "<b>%{text}</b><br>probe %{x}: %{y:,.4~r} requests/s<extra></extra>",
      };
    });
    const band = { type: "rect", xref: "paper", x0: 0, x1: 1, layer: "below", line: { width: 0 } };
    const shapes = interval ? [{ ...band, y0: interval[0], y1: interval[1], fillcolor: css("--band") }] : [];
    const x = axis("probe", { rangemode: "tozero", tickformat: "d" });
    const y = valueAxis("rate (requests/s)", probes.map((probe) => probe.rate));
    return { traces, layout: layout(x, y, { shapes, showlegend: true, legend: { orientation: "h", y: 1.12, font: faint(11) } }) };
  };
  const text = interval
    ? "The rate of each probe; the band is the interval of the capacity."
    : "The rate of each probe; they confirm no interval.";
  const chosen = (cell) => known(cell) && chooseCell(cell);
  return card("Probes", text, make, { kind: "wide", onClick: chosen });
}

function probesTable({ probes }) {
  const rows = probes.map((probe) => {
    const rate = known(probe.cell)
      ? h("button", { type: "button", onclick: () => chooseCell(probe.cell) }, number(probe.rate))
      : number(probe.rate);
    const texts = [probe.step, rate, number(probe.seconds), probe.outcome, probe.text];
    return h("tr", {}, texts.map((text) => h("td", {}, text)));
  });
  const titles = ["probe", "requests/s", "s", "outcome", "found"];
  const text = "Long probes (confirm, above) decide; short ones (bracket, narrow) say where to look.";
  return plainCard("wide certificate", "What each probe found", text, table(titles, rows));
}

/** What rounds of two configurations show, with the latencies of both. */
function comparisons() {
  const line = ({ name, latencyOf, spectrum }) => ({ name: labelled(name, latencyOf), spectrum });
  const parts = data.comparisons.flatMap(({ directory, outcome, rows, leftOut, spectra }) => [
    h("p", {}, h("b", {}, outcome)),
    h("p", { class: "quiet" }, directory),
    h(
      "div",
      { class: "grid" },
      plainCard("wide certificate", "A and B", "Medians of the rounds, and the ratio of B to A.", textTable(rows)),
      spectra.length > 0 && spectrumCard("Latency spectrum", "Of all rounds of A and of B.", spectra.map(line), "wide"),
    ),
    ...leftOut.map((line) => h("p", { class: "quiet" }, `Left out: ${line}`)),
  ]);
  if (parts.length) document.getElementById("searches").append(h("h2", {}, "Comparisons"), ...parts);
}

/** Two results side by side: their figures, what they differ by, and both spectra in one plot. */
function pair() {
  if (!data.pair) return;
  const { figures, differences, summary, names } = data.pair;
  const name = (run, index) => labelled(`${"AB"[index]}: ${run.file}`, run.latencyOf);
  const runs = data.runs.map((run, index) => ({ name: name(run, index), spectrum: run.spectrum }));
  const spectra = runs.filter((run) => run.spectrum);
  const differing = differences.length
    ? textTable([["", "A", "B"], ...differences])
    : h("p", {}, "They differ by nothing that is known.");
  document.getElementById("overview").append(
    h("h2", {}, "Two results side by side"),
    h("p", {}, `${summary}.`),
    h("p", { class: "quiet" }, `A ${names[0]}, B ${names[1]}`),
    h(
      "div",
      { class: "grid" },
      spectra.length > 0 && spectrumCard("Latency spectrum of both", "Latency by percentile.", spectra, "wide"),
      plainCard("", "Figures", "With 95% intervals where they are known.", textTable(figures)),
      plainCard("certificate", "Differences", "In configuration, load, machine and software.", differing),
    ),
  );
}
