// One run at a time: what belongs to it is drawn when it is chosen, and let go when the next one is.

const order = data.cells.flatMap((cell, index) => cell.runs.map((run) => ({ cell: index, run })));
let chosen = -1;

/** Show the first run of a cell, and go there. */
function chooseCell(index) {
  choose(order.findIndex(({ cell }) => cell === index));
  const section = document.getElementById("run");
  section.scrollIntoView();
  section.focus({ preventScroll: true });
}

function choose(position) {
  if (!order[position] || position === chosen) return;
  chosen = position;
  const { cell, run } = order[position];
  const section = document.getElementById("run");
  for (const row of document.querySelectorAll("#cells tr[data-cell]")) {
    row.classList.toggle("chosen", Number(row.dataset.cell) === cell);
  }
  history.replaceState(null, "", `#run-${position + 1}`);
  forget(section);
  section.querySelector(".content").replaceWith(runContent(data.runs[run]));
  section.querySelector("select").value = String(position);
  section.querySelector(".before").disabled = position === 0;
  section.querySelector(".after").disabled = position === order.length - 1;
}

function runSection() {
  const name = ({ cell, run }) => [data.cells[cell].name, data.runs[run].title].filter(Boolean).join(", ");
  const options = order.map((item, position) => h("option", { value: position }, name(item)));
  const step = (kind, label, by, arrow) =>
    h("button", { type: "button", class: kind, "aria-label": label, onclick: () => choose(chosen + by) }, arrow);
  document.getElementById("run").append(
    h(
      "div",
      { class: "picker" },
      h("h2", {}, "Run"),
      h("select", { "aria-label": "Run", onchange: (event) => choose(Number(event.target.value)) }, options),
      step("before", "Run before", -1, "←"),
      step("after", "Next run", 1, "→"),
    ),
    h("div", { class: "content" }),
  );
  const runAt = (position) => data.runs[order[position].run];
  const throughput = (position) => (runAt(position).invalid ? -1 : runAt(position).throughput);
  const fastest = order.reduce((best, _, position) => (throughput(position) > throughput(best) ? position : best), 0);
  const wanted = () => Number((location.hash.match(/^#run-(\d+)$/) || [])[1]) - 1;
  choose(order[wanted()] ? wanted() : fastest);
  addEventListener("hashchange", () => choose(wanted()));
}

function runContent(run) {
  const curves = (name, title, text, unit, format) =>
    run.curves[name] && curvesCard(title, text, run.curves[name], unit, format);
  const of = { queue: "of the queue of a saturated run, ", window: "of a full window, ", rate: "" }[run.latencyOf];
  const thirds = [
    curves("throughput", "Throughput", "by logging interval", "requests/s", ","),
    curves("p99", "p99 latency", `${of}by logging interval`, "ms", ","),
    curves("fill", "Batch fill", "mean batch ÷ largest batch", "share", ".0%"),
    curves("queue", "Queue length", "queries waiting in the frontend", "queries", ","),
    curves("cpu", "CPU", "of each process; 100% is one core", "share of a core", ".0%"),
    curves("gpu", "GPU", "utilisation", "share", ".0%"),
    run.spectrum &&
      spectrumCard("Latency spectrum", `${of}of the measured part`, [{ name: "this run", spectrum: run.spectrum }], "third"),
  ].filter(Boolean);
  // What comes after them fills the row that they leave open.
  const open = ["", "two-thirds", "third"][thirds.length % 3];
  const rest = run.stages.length
    ? [stagesCard(run, open), placementCard(run, open ? "wide" : "")]
    : [placementCard(run, open || "wide")];
  if (run.workers) rest.push(workersCard(run.workers));
  if (run.certificate.length) rest.push(certificateCard(run));
  return h("div", { class: "content" }, verdict(run), h("div", { class: "grid" }, thirds, rest), environment(run));
}

/** What latencies are of: those of a queue are no users' at a lower rate. */
const LATENCY = {
  queue: "latency of the queue of a saturated run",
  window: "latency of a full window of requests",
  rate: "latency",
};

function verdict(run) {
  const ended = Object.entries(run.counts).filter(([name, count]) => count && name !== "sent");
  const counts = ended.map(([name, count]) => `${grouped(count)} ${name.replace("_", " ")}`).join(", ");
  const latency = Object.entries(run.latency).map(
    ([name, ms]) => `${name} ${run.uncertain.includes(name) ? "~" : ""}${number(ms)}`,
  );
  const load = run.arrivals ?? `window ${grouped(run.window)}`;
  const quiet = (text) => h("p", { class: "quiet" }, text);
  return h(
    "div",
    { class: `verdict ${run.error || run.invalid ? "failed" : run.verdict.saturated}` },
    run.error && h("p", {}, h("b", {}, "Did not end as asked: "), run.error),
    run.invalid && h("p", {}, h("b", {}, "Invalid: "), run.invalid),
    h("p", {}, h("b", {}, "Saturated: "), run.verdict.text),
    quiet(`${number(run.throughput)} requests/s over ${number(run.seconds)} s${run.steady}`),
    quiet(`${LATENCY[run.latencyOf]}, ms: ${latency.join(" · ")}`),
    quiet(`${grouped(run.counts.sent)} sent: ${counts || "none answered"} · ${load}`),
    run.ownPart && quiet(`client's own part of the latency: ${run.ownPart}`),
    run.notes.length > 0 && h("ul", {}, run.notes.map((note) => h("li", {}, note))),
  );
}

function curvesCard(title, text, { at, lines }, unit, format) {
  const names = Object.keys(lines);
  const shown = format === "," ? `%{y:,.4~r} ${unit}` : `%{y:.1%}${unit === "share" ? "" : " of a core"}`;
  const make = () => {
    const traces = names.map((name, index) =>
      line(name, at, lines[name], index, index, {
        mode: at.length > 40 ? "lines" : "lines+markers",
        hovertemplate: `<b>${escaped(name)}</b><br>at %{x} s: ${shown}<extra></extra>`,
      }),
    );
    const y = axis(unit, { rangemode: "tozero", tickformat: format, nticks: 5 });
    return { traces, layout: layout(axis("time (s)", { rangemode: "tozero" }), y) };
  };
  return card(title, text, make, { kind: "third", legend: legend(names) });
}

function plainCard(kind, title, text, ...content) {
  return h("figure", { class: `card top ${kind}` }, h("figcaption", {}, h("h3", {}, title), h("p", {}, text)), content);
}

const swatch = (index) => h("span", { class: "swatch", style: `background:${paint(index)}` });

function stagesCard(run, kind) {
  const total = run.budget.reduce((sum, stage) => sum + stage.mean_ms, 0);
  const shares = run.budget.map((stage) => stage.mean_ms / total);
  const texts = run.budget.map(({ name, mean_ms }, i) => `${name} ${number(mean_ms)} ms (${percent(shares[i], 1)})`);
  const parts = shares.map((share, index) =>
    h("span", { style: `flex-grow:${share};background:${paint(index)}`, title: texts[index] }),
  );
  const rows = run.stages.map((stage) => {
    const cells = [stage.mean_ms, stage.p50_ms, stage.p99_ms].map((ms) => h("td", {}, number(ms)));
    return h("tr", {}, h("td", {}, stage.name), cells);
  });
  return plainCard(
    kind,
    "Where the time went",
    run.timed ? `Stages of timed requests${run.whole}.` : `A mean request; RPC and compute are means over batches${run.whole}.`,
    parts.length > 0 && h("div", { class: "budget", role: "img", "aria-label": texts.join(", ") }, parts),
    parts.length > 0 && h("ul", { class: "legend" }, texts.map((text, index) => h("li", {}, swatch(index), text))),
    table(["stage", "mean ms", "p50 ms", "p99 ms"], rows),
  );
}

/** The checks that a run must pass before it shows anything. */
function certificateCard(run) {
  const rows = run.certificate.map(({ name, verdict, measured, limit, remedy }) => {
    const texts = [verdict, measured, limit, remedy ?? "–"].map((text) => h("td", {}, text));
    return h("tr", { class: verdict }, h("td", {}, name), texts);
  });
  const heads = ["check", "verdict", "measured", "limit", "remedy"];
  const text = "The checks that a run must pass before it shows anything.";
  return plainCard("wide certificate", "Certificate", text, table(heads, rows));
}

/** What the workers on other machines did. */
function workersCard({ cluster, skewMs, errorMs, rows }) {
  const lines = rows.map((row) => {
    const place = `${row.node} (${row.address})`;
    const figures = [row.throughput, row.p50, row.p99].map(number);
    const ends = [row.lateMs, row.clockErrorMs].map(number);
    const texts = [place, row.clients.join(", "), grouped(row.sent), ...figures, percent(row.cpu), ...ends];
    const faults = row.faults.join("; ") || "–";
    return h("tr", {}, h("td", {}, row.name), [...texts, faults].map((text) => h("td", {}, text)));
  });
  const heads = ["worker", "node", "clients", "sent", "requests/s", "p50 ms", "p99 ms", "CPU"];
  const skew = known(skewMs) ? `They began within ${number(skewMs)} ms (± ${number(errorMs)} ms).` : "Not all began.";
  const titles = [...heads, "late ms", "clock ± ms", "faults"];
  return plainCard("wide workers", "Workers", `Client processes on ${cluster}. ${skew}`, table(titles, lines));
}

/** Cores as tiles: tinted by process, filled by the share of time that they were busy. */
function placementCard(run, kind) {
  const nodes = unique(run.placement.map((row) => row.node));
  const usable = data.environments[run.environment].usable_cores; // of the client's node, which is the first
  const maps = nodes.map((node, index) => [
    nodes.length > 1 && h("p", {}, node),
    coreMap(run, run.placement.filter((row) => row.node === node), index === 0 ? usable : null),
  ]);
  const used = run.processes;
  const watched = Object.keys(used).length > 0;
  const rows = run.placement.map((row, index) => {
    const shared = row.shared ? "yes" : row.shares_physical ? "physical core" : "–";
    const cells = [ranges(row.cores) || "–", known(row.gpu) ? String(row.gpu) : "–", shared];
    const own = used[row.role];
    if (watched) cells.push(own ? percent(own.cpu) : "–", own ? bytes(own.bytes) : "–");
    return h("tr", {}, h("td", {}, swatch(index), ` ${row.role}`), cells.map((text) => h("td", {}, text)));
  });
  const titles = ["process", "cores", "GPU", "shared", ...(watched ? ["CPU", "memory"] : [])];
  const text = "Cores by process; the fill is the share of time that each was busy.";
  return plainCard(kind, "Placement", text, maps, table(titles, rows));
}

/** Only the client's node is watched, and its usable cores are known; null for another one. */
function coreMap(run, rows, usable) {
  const taken = unique(rows.flatMap((row) => row.cores));
  const shares = usable === null ? {} : run.coreShares;
  const free = (usable ?? []).filter((core) => !taken.includes(core));
  const cores = [...taken, ...(free.length > FEW ? [] : free)].sort((a, b) => a - b);
  const gpus = unique(rows.map((row) => row.gpu).filter(known)).sort((a, b) => a - b);
  const onCore = (core) => rows.filter((row) => row.cores.includes(core));
  const onGpu = (gpu) => rows.filter((row) => row.gpu === gpu);
  return [
    h(
      "div",
      { class: "cores" },
      cores.map((core) => tile(run, String(core), onCore(core), shares[core])),
      gpus.map((gpu) => tile(run, `GPU ${gpu}`, onGpu(gpu))),
    ),
    free.length > FEW && h("p", { class: "quiet" }, `Not used: cores ${ranges(free)}`),
  ];
}

function tile(run, label, owners, share) {
  const roles = owners.map((row) => row.role);
  const title = `${label}: ${roles.join(", ") || "not used"}${known(share) ? `, busy ${percent(share)}` : ""}`;
  const short = (role) => role.replace(/^replica-/, "r").replace(/^frontends?$/, "fe");
  const stops = owners.map((row, index) => {
    const [from, to] = [index, index + 1].map((edge) => `${(100 * edge) / owners.length}%`);
    return `${paint(run.placement.indexOf(row))} ${from} ${to}`;
  });
  const background = `background:linear-gradient(90deg, ${stops.join(", ")})`;
  return h(
    "div",
    { class: owners.length ? "core" : "core free", title },
    owners.length > 0 && h("span", { class: "tint", style: background }),
    owners.length > 0 && known(share) && h("span", { class: "fill", style: `height:${100 * share}%;${background}` }),
    h("span", { class: "top" }, h("b", {}, label), known(share) && h("span", {}, percent(share))),
    roles.map(short).join(" "),
  );
}

function environment(run) {
  const row = data.environments[run.environment];
  const pairs = {
    model: `${run.model.name}, ${run.model.framework}, weights ${run.model.weights}${run.model.xla ? ", XLA" : ""}`,
    inputs: run.inputs,
    started: run.startedAt,
    ended: run.ended,
    file: run.file,
    machine: row.cores && `${row.cpu_model}, ${plural(row.cores, "core")}, ${bytes(row.memory_bytes)}`,
    "usable cores": ranges(row.usable_cores),
    system: row.platform,
    python: row.python,
    packages: Object.entries(row.packages).map((pair) => pair.join(" ")).join(", "),
    variables: Object.entries(row.variables).map((pair) => pair.join("=")).join(", "),
    commit: row.git_commit,
  };
  const rows = Object.entries(pairs).filter(([, text]) => text);
  return h(
    "details",
    {},
    h("summary", {}, "Environment"),
    h("dl", { class: "pairs" }, rows.map(([name, text]) => [h("dt", {}, name), h("dd", {}, text)])),
    h("pre", {}, run.command.join(" ")),
  );
}

head();
pair();
searches();
comparisons();
if (ownCells.length) overview();
if (ownCells.length || data.missing.length) cellsTable();
if (order.length) runSection();
