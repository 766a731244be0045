"use strict";
// Charts: each has its room from the beginning, is drawn when it comes into view, and again when a model is hidden or brought out,
// or when light turns to dark. Numbers and words come from the page.
const SIGNS = {
  circle: "●", square: "■", diamond: "◆", "diamond-tall": "♦", "triangle-up": "▲", "triangle-down": "▼",
  "triangle-left": "◀", "triangle-right": "▶", cross: "✚", x: "✖", star: "★",
};
const charts = new Map();
let library = null;

function plotly() {
  library ??= unpacked("library").then((text) => {
    document.head.append(make("script", { textContent: text }));
    return window.Plotly;
  });
  return library;
}

// A chart on the page: its values, and what a reader did to it.
function chartOf(figure) {
  if (!charts.has(figure)) {
    const graph = stored(figure.dataset.graph);
    charts.set(figure, { figure, graph, hidden: new Set(), out: new Set(), drawn: false });
    if (graph) laidOut(charts.get(figure));
  }
  return charts.get(figure);
}

function tone(chart, trace, colour, least = 3) {
  const colours = paint();
  if (colour === "ink" || colour === "faint") return colours[colour];
  const behind = chart.out.size && trace.meta && !chart.out.has(trace.meta);
  if (behind || colour === "#C4C4C4") return colours.grey;
  return seen(colour, least);
}

function coloured(chart, trace) {
  const marker = trace.marker && { ...trace.marker, color: tone(chart, trace, trace.marker.color) };
  if (marker?.line && trace.type === "bar") marker.line = { ...marker.line, color: marker.color };
  if (trace.type === "bar" && trace.textposition === "inside") {
    // On a pale or a hatched bar ink is read best, on a solid one what differs from it most.
    const { paper, ink } = paint();
    const solid = trace.marker.opacity === 1 && !trace.marker.pattern;
    const best = contrast(marker.color, paper) >= contrast(marker.color, ink) ? paper : ink;
    trace = { ...trace, insidetextfont: { size: 11, color: solid ? best : ink } };
  }
  if (marker?.pattern) {
    const written = trace.text?.some(Boolean);
    marker.pattern = { ...marker.pattern, fgcolor: marker.color, fgopacity: written ? 0.3 : 1, bgcolor: paint().paper };
  }
  const shown = { ...trace, marker, visible: !chart.hidden.has(trace.meta) || !trace.meta };
  if (trace.line) {
    const width = chart.out.has(trace.meta) ? trace.line.width + 1 : trace.line.width;
    shown.line = { ...trace.line, color: tone(chart, trace, trace.line.color), width };
  }
  for (const error of ["error_x", "error_y"]) {
    if (trace[error]) shown[error] = { ...trace[error], color: marker.color };
  }
  return shown;
}

// Names at the ends of lines belong to models too.
function isShown(chart, word) {
  return !word.name || (!chart.hidden.has(word.name) && (!chart.out.size || chart.out.has(word.name)));
}

function layoutOf(chart, panel) {
  const colours = paint();
  const { layout } = panel;
  const isKey = panel.kind === "key";
  const rows = layout.yaxis.rows;
  const axis = {
    color: colours.faint, gridcolor: colours.line, zeroline: false, fixedrange: true, automargin: true,
    linecolor: colours.faint, ticks: "", tickangle: 0, title: { font: { color: colours.ink, size: 12 }, standoff: 8 },
  };
  const merged = (own, more) => {
    const { rows: _, ...rest } = own;
    return { ...axis, ...more, ...rest, title: { ...axis.title, ...own.title } };
  };
  const words = layout.annotations.filter((word) => isShown(chart, word));
  return {
    height: panel.height,
    font: { family: "system-ui, sans-serif", size: 12, color: colours.ink },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: rows ? 10 : 58, r: panel.right ?? 16, t: 8, b: isKey ? 8 : 44 },
    uniformtext: { minsize: 9, mode: "hide" }, showlegend: false, hovermode: "closest", dragmode: false, barmode: "overlay",
    hoverlabel: { bgcolor: colours.paper, bordercolor: colours.faint, font: { color: colours.ink, size: 13 } },
    xaxis: merged(layout.xaxis, isKey ? { visible: false } : { showline: true }),
    yaxis: merged(layout.yaxis, rows ? { showgrid: panel.kind === "dots" || panel.kind === "ratios", tickfont: { color: colours.ink } } : {}),
    shapes: layout.shapes.map((shape) => ({
      ...shape,
      fillcolor: shape.fillcolor && colours[shape.fillcolor],
      line: { ...shape.line, color: shape.line.color && tone(chart, {}, shape.line.color) },
    })),
    annotations: words.map((word) => ({ ...word, font: { ...word.font, color: tone(chart, {}, word.font.color, 4.5) } })),
  };
}

// Its panels, empty but as high as they will be: so places of the page stay where links look for them.
function laidOut(chart) {
  const panels = chart.figure.querySelector(".panels");
  for (const panel of chart.graph.panels) {
    const box = make("div", { className: `panel kind-${panel.kind}` });
    if (panel.title) box.append(make("p", { className: "title", textContent: panel.title }));
    const canvas = make("div", { className: "canvas" });
    if (!panel.data.length && panel.kind === "key") box.classList.add("blank");
    else canvas.style.minHeight = `${panel.height}px`;
    box.append(canvas);
    panels.append(box);
  }
  keyOf(chart);
}

async function draw(chart) {
  const Plotly = await plotly();
  if (!chart.graph) return;
  const { figure, graph } = chart;
  const panels = figure.querySelector(".panels");
  chart.drawn = true;
  const settings = { displayModeBar: false, responsive: true, showTips: false, doubleClick: false };
  for (const [number, panel] of graph.panels.entries()) {
    if (!panel.data.length && panel.kind === "key") continue;
    const data = panel.data.map((trace) => coloured(chart, trace));
    // Who is brought out is drawn last, in front of the others.
    data.sort((a, b) => chart.out.has(a.meta) - chart.out.has(b.meta));
    Plotly.react(panels.children[number].querySelector(".canvas"), data, layoutOf(chart, panel), settings);
  }
}

// The models of a chart as buttons: the sign hides one, the name brings it out.
function keyOf(chart) {
  const key = chart.figure.querySelector(".key");
  if (!key || chart.graph.servers.length < 2) return key?.remove();
  key.append(make("span", { className: "hint", textContent: "A click on a sign hides that model, one on a name brings it out." }));
  for (const { name, colour, symbol } of chart.graph.servers) {
    const sign = make("button", {
      type: "button", className: "sign", textContent: SIGNS[symbol] ?? "●", "aria-pressed": "false",
      "aria-label": `Hide ${name}`, title: `Hide ${name}`,
    });
    const word = make("button", {
      type: "button", className: "name", textContent: name, "aria-pressed": "false", title: `Bring out ${name}`,
      "aria-label": `${name}: bring out`,
    });
    sign.dataset.colour = colour;
    sign.addEventListener("click", () => toggled(chart, chart.hidden, name));
    word.addEventListener("click", () => toggled(chart, chart.out, name));
    const entry = make("span", { className: "entry" }, sign, word);
    entry.dataset.name = name;
    key.append(entry);
  }
  key.append(make("button", {
    type: "button", className: "all", textContent: "Show all", hidden: true,
  }));
  key.lastChild.addEventListener("click", () => {
    chart.hidden.clear();
    chart.out.clear();
    marked(chart);
    draw(chart);
    key.querySelector(".name").focus();
  });
  marked(chart);
}

function toggled(chart, set, name) {
  if (!set.delete(name)) set.add(name);
  if (set === chart.out) chart.hidden.delete(name);
  else if (chart.hidden.has(name)) chart.out.delete(name);
  marked(chart);
  draw(chart);
}

function marked(chart) {
  for (const entry of chart.figure.querySelectorAll(".key .entry")) {
    const { name } = entry.dataset;
    const [sign, word] = entry.children;
    sign.setAttribute("aria-pressed", chart.hidden.has(name));
    word.setAttribute("aria-pressed", chart.out.has(name));
    sign.style.color = seen(sign.dataset.colour, 3);
    entry.classList.toggle("hidden", chart.hidden.has(name));
  }
  const all = chart.figure.querySelector(".key .all");
  if (all) all.hidden = !chart.hidden.size && !chart.out.size;
}

function redrawn() {
  for (const chart of charts.values()) {
    if (!chart.drawn) continue;
    marked(chart);
    draw(chart);
  }
}

const figures = [...document.querySelectorAll("figure.chart")];
const watch = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    watch.unobserve(target);
    draw(chartOf(target));
  }
}, { rootMargin: "600px" });
figures.forEach((figure) => {
  chartOf(figure);
  watch.observe(figure);
});
DARK.addEventListener("change", redrawn);
PRINT.addEventListener("change", redrawn);
// Paper is narrower than most screens: charts are drawn as wide as it is, and what is folded but
// belongs to the answer is unfolded.
addEventListener("beforeprint", () => {
  document.body.classList.add("printing");
  for (const details of document.querySelectorAll("#answer details, details.answered")) details.open = true;
  figures.forEach((figure) => draw(chartOf(figure)));
});
addEventListener("afterprint", () => {
  document.body.classList.remove("printing");
  redrawn();
});
