"use strict";
// What every part of the page draws with: elements, numbers, colours of the scheme, and plots.

const data = JSON.parse(document.getElementById("data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const paper = matchMedia("print");

const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "12px 3px 2px 3px 2px 3px", "2px 7px"];
const STROKES = ["", "6 4", "2 3", "6 3 2 3", "10 4", "10 3 2 3", "12 3 2 3 2 3", "2 7"]; // the same, as SVG has them
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "x", "triangle-down", "hourglass"];
const SHAPES = [
  "M-3.5 0a3.5 3.5 0 1 0 7 0a3.5 3.5 0 1 0-7 0z",
  "M-3-3h6v6h-6z",
  "M0-4.5L4.5 0 0 4.5-4.5 0z",
  "M0-4L4 3h-8z",
  "M-1.3-4h2.6v2.7H4v2.6H1.3V4h-2.6V1.3H-4v-2.6h2.7z",
  "M-4-2.4L-2.4-4 0-1.6 2.4-4 4-2.4 1.6 0 4 2.4 2.4 4 0 1.6-2.4 4-4 2.4-1.6 0z",
  "M0 4L4-3h-8z",
  "M-4-4h8L-4 4h8z",
]; // the same, as paths
const COLOURS = 8; // that the style sheet has
const FEW = 8; // more unused cores than this are listed, not drawn

// Elements -------------------------------------------------------------------------------------------------

/** An element; children are elements or text, and nothing is ever read as HTML. What is false or null is left out. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  const shown = (child) => child !== null && child !== undefined && child !== false;
  element.append(...children.flat(Infinity).filter(shown));
  return element;
}

/** Each cell knows its title, which a narrow page shows before it. */
function table(titles, rows) {
  const heads = titles.map((title) => h("th", { scope: "col" }, title));
  for (const row of rows) [...row.cells].forEach((cell, index) => (cell.dataset.title = titles[index]));
  return h("div", { class: "inner" }, h("table", {}, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows)));
}

/** The same from texts, the titles first. */
const textTable = ([titles, ...rows]) =>
  table(titles, rows.map((texts) => h("tr", {}, texts.map((text) => h("td", {}, text)))));

// Numbers --------------------------------------------------------------------------------------------------

const known = (value) => value !== null && value !== undefined;
const middle = (spread) => (spread ? spread[0] : null);
const unique = (values) => [...new Set(values)];
const words = (...parts) => parts.filter(Boolean).join(" ");
const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const grouped = (count) => Math.round(count).toLocaleString("en-US");
const percent = (share, digits = 0) => (known(share) ? `${(100 * share).toFixed(digits)}%` : "–");

function number(value) {
  if (!known(value)) return "–";
  if (Math.abs(value) >= 1000) return grouped(value);
  return String(Number(value.toPrecision(value < 1 ? 3 : 4)));
}

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10));
  return `${number(count / 1024 ** power)} ${units[power]}`;
}

/** Integers as a person writes them: 0–3, 7. */
function ranges(values) {
  const parts = [];
  for (const value of [...values].sort((a, b) => a - b)) {
    const last = parts[parts.length - 1];
    if (last && value === last[1] + 1) last[1] = value;
    else parts.push([value, value]);
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}–${to}`)).join(", ");
}

// Colours --------------------------------------------------------------------------------------------------

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const printing = () => document.documentElement.classList.contains("printing");

/** The first colours are made for both schemes; further ones are spread over the circle. */
function colour(index) {
  const light = dark.matches && !printing() ? 68 : 42;
  return index < COLOURS ? css(`--c${index}`) : `hsl(${(index * 137.5) % 360} 55% ${light}%)`;
}

/** The same for elements, which follow the scheme by themselves. */
const paint = (index) => (index < COLOURS ? `var(--c${index})` : colour(index));

// Plots ----------------------------------------------------------------------------------------------------

const plots = new Map(); // element → function that makes its traces and layout in the present colours

const faint = (size) => ({ size, color: css("--quiet") });

function axis(title, more = {}) {
  return {
    title: { text: title, font: faint(12), standoff: 8 },
    tickfont: faint(11),
    gridcolor: css("--grid"),
    linecolor: css("--line"),
    zeroline: false,
    automargin: true,
    ...more,
  };
}

const stretch = (values) => Math.max(...values) / Math.min(...values);
const logarithmic = (values) => values.length > 1 && values.every((value) => value > 0) && stretch(values) > 30;

/** From zero, or logarithmic where most would lie flat on zero. */
function valueAxis(title, values) {
  if (!logarithmic(values)) return axis(title, { rangemode: "tozero", tickformat: "," });
  return axis(title, { type: "log", dtick: stretch(values) > 300 ? 1 : "D2", tickformat: ",~r" });
}

/** A batch size doubles from one to the next, so that its axis does. */
function sizeAxis(title, sizes) {
  const values = unique(sizes).sort((a, b) => a - b);
  const range = [Math.log10(values[0]) - 0.08, Math.log10(values[values.length - 1]) + 0.08];
  return axis(title, { type: "log", tickmode: "array", tickvals: values, ticktext: values.map(String), range });
}

function layout(xaxis, yaxis, more = {}) {
  const font = { family: css("--sans"), size: 12, color: css("--ink") };
  return {
    xaxis,
    yaxis,
    font,
    showlegend: false,
    hovermode: "closest",
    dragmode: false,
    margin: { l: 8, r: 12, t: 10, b: 8 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font, align: "left" },
    ...more,
  };
}

/** A line whose colour and dash have a meaning each; its marker is told apart as its colour is. */
function line(name, x, y, colourIndex, dashIndex = 0, more = {}) {
  return {
    type: "scatter",
    mode: "lines+markers",
    name,
    x,
    y,
    line: { color: colour(colourIndex), width: 2, dash: DASHES[dashIndex % DASHES.length] },
    marker: { size: 6, color: colour(colourIndex), symbol: SYMBOLS[colourIndex % SYMBOLS.length] },
    ...more,
  };
}

/** Names that came from files, in templates of plotly's, which reads some HTML. */
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

function draw(element) {
  const { traces, layout } = plots.get(element)();
  // Plotly hears of the width of paper too late.
  const size = printing() ? { width: element.clientWidth, height: element.clientHeight, autosize: false } : { autosize: true };
  return Plotly.react(element, traces, { ...layout, ...size }, { responsive: true, displayModeBar: false });
}

dark.addEventListener("change", () => [...plots.keys()].forEach(draw));

/** Paper has its own width, and is light: plots are drawn anew for it, before it is laid out. */
function toPaper(begins) {
  if (printing() === begins) return;
  document.documentElement.classList.toggle("printing", begins);
  [...plots.keys()].forEach(draw);
}

addEventListener("beforeprint", () => toPaper(true));
addEventListener("afterprint", () => toPaper(false));
paper.addEventListener("change", () => toPaper(paper.matches));

/** A card with a plot in it; `make` is called again when the colour scheme changes. */
function card(title, text, make, { kind = "", legend = null, onClick = null } = {}) {
  const plot = h("div", { class: "plot", role: "img", "aria-label": `${title}: ${text}` });
  plots.set(plot, make);
  // Plotly measures the element, so it must be in the page.
  queueMicrotask(() => {
    draw(plot);
    if (onClick) plot.on("plotly_click", (event) => onClick(event.points[0].customdata));
  });
  const caption = h("figcaption", {}, h("h3", {}, title), h("p", {}, text));
  return h("figure", { class: `card ${kind}` }, caption, legend, plot);
}

/** Let go of the plots within an element that leaves the page. */
function forget(element) {
  for (const plot of element.querySelectorAll(".plot")) {
    plots.delete(plot);
    Plotly.purge(plot);
  }
}

/**
 * Explains each colour with its marker and each dash once, instead of every combination; nothing where there is one
 * line only. Without dashes, a colour is told apart by a dash too.
 */
function legend(colours, dashes = null) {
  const items = colours.map((name, index) => h("li", {}, sample(paint(index), dashes ? 0 : index, index), name));
  const quiet = "var(--quiet)";
  if (dashes && dashes.length > 1) items.push(...dashes.map((name, index) => h("li", {}, sample(quiet, index), name)));
  return items.length > 1 ? h("ul", { class: "legend" }, items) : null;
}

function sample(stroke, dash, symbol = null) {
  const element = (name, values) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(values).forEach((pair) => made.setAttribute(...pair));
    return made;
  };
  const svg = element("svg", { width: 34, height: 10, "aria-hidden": "true" });
  const dashes = STROKES[dash % STROKES.length];
  const mark = element("line", { x1: 1, x2: 33, y1: 5, y2: 5, "stroke-width": 2.2, "stroke-dasharray": dashes });
  mark.style.stroke = stroke;
  svg.append(mark);
  if (symbol === null) return svg;
  const shape = element("path", { d: SHAPES[symbol % SHAPES.length], transform: "translate(17 5)" });
  shape.style.fill = stroke;
  svg.append(shape);
  return svg;
}

const TICKS = [1, 2, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7];
const PERCENTILES = ["0", "50", "90", "99", "99.9", "99.99", "99.999", "99.9999", "99.99999"];

/** Latency by percentile on a scale that gives each further nine the same width. */
function spectrumCard(title, text, lines, kind) {
  const make = () => {
    const traces = lines.map(({ name, spectrum }, index) =>
      line(name, spectrum.oneIn, spectrum.ms, index, index, {
        mode: "lines",
        customdata: spectrum.oneIn.map((oneIn) => `p${Number((100 - 100 / oneIn).toPrecision(7))}`),
        hovertemplate: `<b>${escaped(name)}</b><br>%{customdata}: %{y:,.4~r} ms<extra></extra>`,
      }),
    );
    const ticks = { tickmode: "array", tickvals: TICKS, ticktext: PERCENTILES, tickangle: 0 };
    const most = Math.max(...lines.map(({ spectrum }) => spectrum.oneIn[spectrum.oneIn.length - 1]), 10);
    const x = axis("percentile (%), spaced by 1/(1 − q)", { type: "log", range: [0, Math.log10(most)], ...ticks });
    return { traces, layout: layout(x, valueAxis("latency (ms)", lines.flatMap(({ spectrum }) => spectrum.ms))) };
  };
  return card(title, text, make, { kind, legend: legend(lines.map(({ name }) => name)) });
}
