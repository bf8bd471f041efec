// The page of a run under way: a stream of snapshots, each of which replaces the one before.

let now = data;
let state = "connecting"; // until the first event; then "live", "lost" or "ended"

const time = (seconds) => {
  if (seconds < 120) return `${Math.max(0, Math.round(seconds))} s`;
  const [minutes, rest] = [Math.floor(seconds / 60), String(Math.round(seconds) % 60).padStart(2, "0")];
  return minutes < 120 ? `${minutes} min ${rest} s` : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
};

const STATES = { connecting: "connecting", live: "live", lost: "connection lost; trying again", ended: "ended" };

// The head -------------------------------------------------------------------------------------------------

function head() {
  const { run, waits, tags, command } = now;
  document.title = words(run ? run.title : "loadgen", "·", STATES[state]);
  const marks = Object.entries(tags).map(([name, value]) => `${name}=${value}`);
  const parts = [
    h("p", { class: "eyebrow" }, `loadgen ${command} · ${STATES[state]}`),
    h("h1", {}, run ? run.title : "Waiting"),
    h("p", { class: "quiet" }, [run && run.load, ...marks].filter(Boolean).join(" · ")),
    waits && h("p", { role: "status" }, `Waiting for ${waits.what}, ${time(waits.seconds)}`),
    ...[runs(), course()].filter(Boolean).flat(),
    run && h("dl", { class: "figures" }, figures(run)),
    now.dropped > 0 && h("p", { class: "quiet" }, `${plural(now.dropped, "record")} dropped: this process is slow`),
  ];
  document.getElementById("summary").replaceChildren(...parts.filter(Boolean));
}

/** How far a measurement of several runs is. */
function runs() {
  const { progress } = now;
  if (!progress) return null;
  const { unit, done, total, left } = progress;
  const parts = [
    known(total) ? `${done} of ${total} ${unit}` : `${done} ${unit} done`,
    progress.now && `now ${progress.now}`,
    known(left) && `${progress.atMost ? "at most" : "about"} ${time(left)} left`,
  ];
  return [h("p", {}, parts.filter(Boolean).join(", ")), known(total) && bar(done, total, unit)].filter(Boolean);
}

/** How far a run is. */
function course() {
  const { run } = now;
  if (!run) return null;
  if (run.elapsed < 0) return [h("p", {}, `Warming up, ${time(-run.elapsed)} left`)];
  if (run.over || state === "ended") return [h("p", {}, "The run is over")];
  if (known(run.requests)) {
    const done = run.completed + run.lost;
    return [h("p", {}, `${grouped(done)} of ${grouped(run.requests)} requests`), bar(done, run.requests, "requests")];
  }
  if (!known(run.seconds)) return [h("p", {}, time(run.elapsed))];
  if (run.elapsed >= run.seconds) return [h("p", {}, `${time(run.seconds)} measured, the last answers are awaited`)];
  const text = `${time(run.elapsed)} of ${time(run.seconds)}, ${time(run.seconds - run.elapsed)} left`;
  return [h("p", {}, text), bar(run.elapsed, run.seconds, "time")];
}

const bar = (value, max, label) => h("progress", { value: Math.min(value, max), max, "aria-label": label });

function figures(run) {
  const figure = (name, value, unit, below) =>
    h(
      "div",
      {},
      h("dt", {}, name),
      h("dd", { class: "value" }, value, h("small", {}, ` ${unit}`)),
      h("dd", { class: "quiet" }, below),
    );
  const p99 = run.completed && !known(run.latency.p99) ? "among lost requests" : number(run.latency.p99);
  return [
    figure("throughput", number(run.throughput), "requests/s", "over the run"),
    figure("p99", p99, "ms", run.openLoop ? "over the run" : "over the run, with the queue"),
    figure("in flight", number(run.inFlight), "requests", "in the last interval"),
    figure("completed", grouped(run.completed), "requests", `${grouped(run.sent)} sent, ${grouped(run.lost)} lost`),
  ];
}

// Checks and machine ---------------------------------------------------------------------------------------

function checks() {
  const found = now.run ? now.run.checks : [];
  const items = found.map(({ reason, fails }) =>
    h("li", { class: fails ? "fails" : null }, `${fails ? "Fails" : "Near its limit"}: ${reason}`),
  );
  const none = now.run && now.run.points.seconds.length > 0 && h("p", {}, "None fails or is near its limit.");
  const shown = items.length ? h("ul", {}, items) : none;
  document.getElementById("checks").replaceChildren(...(shown ? [h("h2", {}, "Checks"), shown] : []));
}

function machine() {
  const { cores = [], queues = [] } = now.run || {};
  const rows = cores.map((row) =>
    h("tr", {}, h("td", {}, row.cores), h("td", { class: "text" }, row.roles || "others"), h("td", {}, percent(row.share))),
  );
  const waiting = queues.map(
    ({ name, fill, length }) => `${name}: batches ${percent(fill)} full, ${grouped(length)} queued`,
  );
  const heads = ["cores", "roles", "busy"].map((title, index) =>
    h("th", { scope: "col", class: index === 1 ? "text" : null }, title),
  );
  const shown = h("div", { class: "inner" }, h("table", {}, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows)));
  document
    .getElementById("machine")
    .replaceChildren(
      ...(rows.length ? [h("h2", {}, "Cores in the last second"), shown] : []),
      ...(waiting.length ? [h("p", { class: "quiet" }, waiting.join("; "))] : []),
    );
}

// Plots ----------------------------------------------------------------------------------------------------

/** A plot over the time of the run; each line is a member of the points. */
function timeCard(title, unit, lines, kind = "") {
  const make = () => {
    const points = now.run ? now.run.points : { seconds: [] };
    const traces = lines.map((name, index) =>
      line(name, points.seconds, points[name] || [], index, index, {
        hovertemplate: `%{x} s<br>${name} %{y:,.4~r} ${unit}<extra></extra>`,
      }),
    );
    const values = traces.flatMap((trace) => trace.y).filter(known);
    return { traces, layout: layout(axis("time (s)", { rangemode: "tozero" }), valueAxis(`${title.toLowerCase()} (${unit})`, values)) };
  };
  return card(title, "Of each interval.", make, { kind, legend: legend(lines) });
}

document
  .getElementById("plots")
  .append(
    h("h2", {}, "The course of the run"),
    h(
      "div",
      { class: "grid" },
      timeCard("Throughput", "requests/s", ["throughput"]),
      timeCard("Latency", "ms", ["p50", "p99"]),
      timeCard("In flight", "requests", ["inFlight"], "wide"),
    ),
  );

function show(next) {
  now = next;
  head();
  checks();
  machine();
  [...plots.keys()].forEach(draw);
}

show(data);
const events = new EventSource("/events");
events.onmessage = ({ data: text }) => {
  const next = JSON.parse(text);
  state = next.closed ? "ended" : "live";
  if (next.closed) events.close();
  show(next);
};
events.onerror = () => {
  if (state === "ended") return;
  state = "lost";
  head();
};
